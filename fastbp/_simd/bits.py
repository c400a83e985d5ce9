"""Integer views of vectors: what exp, log and the random numbers are made of."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir

from fastbp._simd._emit import I32, lowers, register_ir, splat_ir, types
from fastbp._simd.machine import machine
from fastbp._simd.pointer import lanes

_INTEGER = {np.dtype(np.float32): np.int32, np.dtype(np.float64): np.int64}
_FLOAT = {np.dtype(np.int32): np.float32, np.dtype(np.int64): np.float64}


def bits_of(v: Any) -> Any:
    """The bit patterns of float lanes as signed integers of the same width."""
    return v.view(_INTEGER[v.dtype])


def float_of_bits(v: Any) -> Any:
    """The floats whose bit patterns these signed integers are."""
    return v.view(_FLOAT[v.dtype])


def to_integer(v: Any) -> Any:
    """Float lanes truncated to signed integers of the same width."""
    return v.astype(_INTEGER[v.dtype])


def to_float(v: Any) -> Any:
    """Signed integer lanes as floats of the same width, rounded to nearest."""
    return v.astype(_FLOAT[v.dtype])


def counter(p: Any, start: int) -> Any:
    """uint32 lanes start, start+1, ... (modulo 2^32), as many as `p` has lanes."""
    with np.errstate(over="ignore"):
        return np.arange(lanes(p), dtype=np.uint32) + np.uint32(int(start) & 0xFFFFFFFF)


def _integers(v: Any) -> Any:
    if isinstance(v, types.Vector) and isinstance(v.dtype, types.Float):
        return types.Vector(types.int32 if v.dtype.bitwidth == 32 else types.int64, v.lanes)
    return None


def _floats(v: Any) -> Any:
    if isinstance(v, types.Vector) and isinstance(v.dtype, types.Integer):
        return types.Vector(types.float32 if v.dtype.bitwidth == 32 else types.float64, v.lanes)
    return None


@lowers(bits_of, _integers)
def _bits_of(builder: Any, sig: Any, v: Any) -> Any:
    return builder.bitcast(v, register_ir(sig.return_type))


@lowers(float_of_bits, _floats)
def _float_of_bits(builder: Any, sig: Any, v: Any) -> Any:
    return builder.bitcast(v, register_ir(sig.return_type))


@lowers(to_integer, _integers)
def _to_integer(builder: Any, sig: Any, v: Any) -> Any:
    return builder.fptosi(v, register_ir(sig.return_type))


@lowers(to_float, _floats)
def _to_float(builder: Any, sig: Any, v: Any) -> Any:
    return builder.sitofp(v, register_ir(sig.return_type))


@lowers(counter, lambda p, s: types.Vector(types.uint32, machine().lanes(p.dtype.bitwidth // 8)))
def _counter(builder: Any, sig: Any, p: Any, start: Any) -> Any:
    kind = ir.VectorType(I32, sig.return_type.lanes)
    first = splat_ir(builder, builder.trunc(start, I32), kind)
    return builder.add(first, ir.Constant(kind, [I32(i) for i in range(kind.count)]))
