"""Compiled functions as machine code: loaded from the cache, or compiled and stored.

A warm start needs llvmlite's loader and nothing of Numba, whose import takes longer than all the
rest of a first training step (docs/design/006-start-up.md).
"""

from __future__ import annotations

import ctypes
import functools
import os
import sys
import threading
from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm
import numpy as np

from fastbp import _cache
from fastbp._jit import DISABLED

# One thread compiles or loads at a time. A fork waits for it: the child could not go on with what
# another thread had begun. (Code that forks while it compiles does so in the same thread.)
_lock = threading.RLock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release,
                        after_in_child=_lock.release)
# LLVM engines own the code they load; it is called until the process ends.
_engines: list[Any] = []
_announces: bool | None = None


class Native:
    """A kernel callable from Python: `native(dtype)` is its code for pointers to that dtype.

    The function takes int64 arguments and, last, a pointer that only tells the type of elements;
    it returns an int64. Calls release the GIL, so it must not touch Python objects.
    """

    def __init__(self, function: Callable) -> None:
        self.function = function
        self.words = function.__code__.co_argcount - 1
        self._calls: dict[Any, Callable] = {}

    def __call__(self, dtype: Any) -> Callable[..., int]:
        """The compiled function as a ctypes function of `words` integers."""
        call = self._calls.get(dtype)
        if call is None:
            with _lock:
                call = self._calls.get(dtype)
                if call is None:
                    call = self._calls[dtype] = self._load(dtype)
        return call

    def name(self, dtype: np.dtype) -> str:
        """What the code for a dtype is called, in the cache and by the linker."""
        return f"{self.function.__name__}_{dtype.name}"

    def _load(self, dtype: np.dtype) -> Callable[..., int]:
        if DISABLED:
            from fastbp._simd import Pointer

            return functools.partial(_plain, self.function, Pointer(0, dtype))
        name = self.name(dtype)
        code = _cache.read(name)
        if code is None:
            with _cache.only_writer(name):
                code = _cache.read(name)  # by whom we have waited for
                if code is None:
                    code = _compile(self.function, self.words, dtype, name)
                    _cache.write(name, code)
        kind = ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_void_p] * self.words)
        return kind(_link(code, name))


def _plain(function: Callable, like: Any, *words: int) -> int:
    return int(function(*words, like))


def _compile(function: Callable, words: int, dtype: np.dtype, name: str) -> bytes:
    takes_long = function.__name__.startswith("work")
    if takes_long and (sys.stderr.isatty() if _announces is None else _announces):
        what = "kernels" if "images" not in name else "kernels for images"
        sys.stderr.write(f"fastbp: compiling {what} for this CPU, once, about 5 to 15 s ...\n")
        sys.stderr.flush()
    from fastbp._compiler import object_code

    return object_code(function, words, dtype, name)


def announce_compilation(wanted: bool | None) -> None:
    """Say on stderr when kernels are about to be compiled: always, never, or (None) to
    terminals.
    """
    global _announces
    _announces = wanted


@functools.cache
def _target() -> Any:
    """The machine that code is loaded for (it is object code already: nothing is generated)."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm.Target.from_default_triple().create_target_machine(jit=True)


def _link(code: bytes, name: str) -> int:
    """Address of function `name` of packed object files, brought into this process."""
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _target())
    for file in _cache.unpack(code).values():
        engine.add_object_file(llvm.ObjectFileRef.from_data(file))
    engine.finalize_object()
    _engines.append(engine)
    address: int = engine.get_function_address(name)
    return address
