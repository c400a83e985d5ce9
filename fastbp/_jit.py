"""What is compiled: `kernel` marks the functions that compiled code is made of.

Marking costs nothing: the functions stay plain Python, and Numba is imported only when something
has to be compiled (`_compiler/`); what was compiled once is loaded without it (`_native.py`).
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any, NamedTuple

# Numba's own switch: everything runs as plain Python, for debugging and for tests.
DISABLED = os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0")

# Every function that compiled code may call.
KERNELS: list[Callable] = []

# The arguments of a kernel that runs a task of an instruction (`kernels._instruction`). Its calls
# are calls of another object file's symbol: such kernels are compiled in parts, in several
# processes at a time. An `entry` cannot reach them.
RUN_ARGUMENTS = ("w", "r", "task", "step", "slot", "like")


class Part(NamedTuple):
    """Kernels with RUN_ARGUMENTS that are compiled together, into one object file.

    seconds: what that takes, roughly; it decides who compiles what.
    """

    functions: tuple[Callable, ...]
    seconds: float


# All parts, and which of them a kernel needs that is called from Python.
PARTS: dict[str, Part] = {}
NEEDS: dict[Callable, tuple[str, ...]] = {}


def kernel(function: Callable) -> Callable:
    """Mark a function for use from compiled code; called from Python it is plain Python."""
    KERNELS.append(function)
    return function


def entry(function: Callable) -> Callable:
    """Compile for calls from Python with arrays, at the first call and in this process only.

    For tests and measurements of kernels. `py_func` is the plain function.
    """
    if DISABLED:
        return function

    @functools.wraps(function)
    def call(*args: Any) -> Any:
        return _dispatcher(function)(*args)

    call.py_func = function  # type: ignore[attr-defined]
    return call


@functools.cache
def _dispatcher(function: Callable) -> Any:
    from fastbp._compiler import callable_from_python

    return callable_from_python(function)
