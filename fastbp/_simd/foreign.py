"""Calls of C functions whose addresses are known at run time only.

For the kernel that makes Python objects (kernels/calls.py), and the one that asks a generator of
random numbers (kernels/shuffle.py).
"""

from __future__ import annotations

import ctypes
from typing import Any

from llvmlite import ir

from fastbp._simd._emit import I64, lowers, types


def call_address(address: int, *arguments: float) -> int:
    """What the C function at an address returns, an int64; arguments are int64 or float64.

    The caller holds the GIL if the function needs it.
    """
    kinds = [ctypes.c_double if isinstance(a, float) else ctypes.c_int64 for a in arguments]
    return int(ctypes.PYFUNCTYPE(ctypes.c_int64, *kinds)(address)(*arguments))


def _typing(address: Any, a: Any = None, b: Any = None, c: Any = None, d: Any = None,
            e: Any = None, f: Any = None, g: Any = None, h: Any = None) -> Any:
    """Numba has no variable number of arguments for a primitive: up to eight."""
    given = (address, *(kind for kind in (a, b, c, d, e, f, g, h) if kind is not None))
    return types.int64 if all(k in (types.int64, types.float64) for k in given) else None


@lowers(call_address, _typing)
def _call_address(builder: Any, sig: Any, address: Any, *arguments: Any) -> Any:
    function = ir.FunctionType(I64, [a.type for a in arguments])
    return builder.call(builder.inttoptr(address, function.as_pointer()), arguments)
