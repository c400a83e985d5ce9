"""The only folder that runs Numba: kernels to object code.

Numba optimises and assembles the whole call tree below every function it compiles, so code at
depth d is compiled d times. Kernels are never called from Python: their LLVM code is kept as text
(`_kernels.py`) and linked, optimised and assembled once (`_link.py`), in a few object files (parts,
`fastbp._jit.PARTS`) that several processes make side by side (`_crew.py`). How long that takes:
docs/design/003-compiling-once.md.

Numba is imported as late as possible: other processes are started first.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from fastbp import _cache
from fastbp._compiler import _crew
from fastbp._jit import NEEDS


def object_code(function: Callable, words: int, dtype: np.dtype, name: str) -> bytes:
    """What the cache stores of `int64 name(int64 * words)`, which calls the kernel `function`.

    The kernel's last argument, a pointer that tells the type of elements, is null. The content
    (`_cache.unpack`) holds the object file of the function and those of all parts it needs; parts
    that the cache has already, with another function, are taken from there. It is the same
    whether one or several processes made it.
    """
    parts = NEEDS.get(function, ())
    stored = _cache.stored_objects(f"_{dtype.name}") if parts else {}
    known = {part: stored[file] for part in parts if (file := f"{part}_{dtype.name}") in stored}
    own, *others = _crew.shares([part for part in parts if part not in known])
    with _crew.Crew(function.__module__, dtype, others) as crew, _without_collector():
        from fastbp._compiler._doors import door_code, part_code

        door = door_code(function, words, dtype, name)
        known |= {part: part_code(part, dtype) for part in own}
        known |= crew.results()
        known |= {part: part_code(part, dtype) for part in parts if part not in known}
    return _cache.pack({name: door, **{f"{part}_{dtype.name}": known[part] for part in parts}})


@contextlib.contextmanager
def _without_collector() -> Iterator[None]:
    """Millions of small objects are made and kept: looking for cycles among them is a tenth."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def callable_from_python(function: Callable) -> Any:
    """A Numba dispatcher that may call kernels."""
    from fastbp._compiler import _kernels

    return _kernels.callable_from_python(function)
