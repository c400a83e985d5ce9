"""Strips: four registers side by side as one value.

Four registers of a row are 256 bytes with AVX-512, enough for the hardware to fetch ahead, and
four independent chains, enough to hide the latency of a sum. Operators and functions of vectors
work on strips too.

The count `n` is a run-time number: of a strip that reaches over the end of a row only the first
`n` lanes exist. One compiled body then serves whole strips and tails: the test costs one
predicted branch for four registers, a second specialisation of every kernel would cost seconds of
the first start.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir

from fastbp._simd import guard
from fastbp._simd._emit import (
    I32,
    I64,
    bytes_of,
    first_lanes,
    lowers,
    masked_load,
    masked_store,
    register_ir,
    types,
    vector_load,
    vector_of,
    vector_store,
)
from fastbp._simd.pointer import lanes
from fastbp._simd.vector import _broadcast

STRIP = 4


def strip_lanes(p: Any) -> int:
    """Elements of `p`'s type in a strip: a constant of the compilation."""
    return STRIP * lanes(p)


def load_strip(p: Any, i: int, n: int) -> Any:
    """Lanes `p[i], p[i+1], ...`: the first `n`, at most a strip; 0 elsewhere."""
    n, width = min(n, strip_lanes(p)), strip_lanes(p)
    if n == width:
        return p.view(i, width).copy()
    value = np.zeros(width, p.dtype)
    value[:n] = p.view(i, n)
    return value


def store_strip(p: Any, i: int, v: Any, n: int) -> None:
    """Write the first `n` lanes, at most a strip, to `p[i], p[i+1], ...`; no other memory."""
    n = min(n, len(v))
    p.view(i, n)[:] = v[:n]


def stream_strip(p: Any, i: int, v: Any, n: int, past_caches: bool) -> None:
    """`store_strip`, past the caches if asked: then whole strips must lie on cache lines."""
    store_strip(p, i, v, n)


def splat_strip(p: Any, s: Any) -> Any:
    """All lanes `s`, in the dtype of `p`'s elements."""
    return np.full(strip_lanes(p), s, p.dtype)


def keep_lanes(v: Any, n: int) -> Any:
    """`v` with 0 in all lanes after the first `n`."""
    return np.where(np.arange(len(v)) < n, v, v.dtype.type(0))


def _strip_of(p: Any) -> Any:
    if not isinstance(p, types.CPointer):
        return None
    one = vector_of(p.dtype)
    return types.Vector(p.dtype, STRIP * one.lanes)


def _is_whole(builder: Any, n: Any, kind: Any) -> Any:
    return builder.icmp_signed(">=", n, I64(kind.count))


@lowers(strip_lanes, lambda p: types.int64 if isinstance(p, types.CPointer) else None)
def _strip_lanes(builder: Any, sig: Any, p: Any) -> Any:
    return I64(_strip_of(sig.args[0]).lanes)


@lowers(load_strip, lambda p, i, n: _strip_of(p))
def _load_strip(builder: Any, sig: Any, p: Any, i: Any, n: Any) -> Any:
    kind, where = register_ir(sig.return_type), builder.gep(p, [i])
    with builder.if_else(_is_whole(builder, n, kind)) as (whole, part):
        with whole:
            full, full_block = vector_load(builder, where, kind), builder.block
        with part:
            some, some_block = masked_load(builder, where, n, kind), builder.block
    return _either(builder, kind, (full, full_block), (some, some_block))


def _either(builder: Any, kind: Any, *cases: tuple[Any, Any]) -> Any:
    result = builder.phi(kind)
    for value, block in cases:
        result.add_incoming(value, block)
    return result


@lowers(store_strip, lambda p, i, v, n: types.none if isinstance(v, types.Vector) else None)
def _store_strip(builder: Any, sig: Any, p: Any, i: Any, v: Any, n: Any) -> None:
    where = builder.gep(p, [i])
    with builder.if_else(_is_whole(builder, n, v.type)) as (whole, part):
        with whole:
            vector_store(builder, v, where)
        with part:
            masked_store(builder, v, where, n)


@lowers(stream_strip, lambda p, i, v, n, past: types.none if isinstance(v, types.Vector) else None)
def _stream_strip(builder: Any, sig: Any, p: Any, i: Any, v: Any, n: Any, past: Any) -> None:
    whole = _is_whole(builder, n, v.type)
    with builder.if_else(builder.and_(whole, past)) as (stream, ordinary):
        with stream:
            where = builder.gep(p, [i])
            guard.check(builder, where, I64(bytes_of(v.type.element) * v.type.count))
            written = builder.store(v, builder.bitcast(where, v.type.as_pointer()), align=64)
            written.set_metadata("nontemporal", builder.module.add_metadata([I32(1)]))
        with ordinary:
            _store_strip(builder, sig, p, i, v, n)


@lowers(splat_strip, lambda p, s: _strip_of(p) if isinstance(s, types.Number) else None)
def _splat_strip(builder: Any, sig: Any, p: Any, s: Any) -> Any:
    return _broadcast(builder, s, sig.args[1], sig.return_type)


@lowers(keep_lanes, lambda v, n: v if isinstance(v, types.Vector) else None)
def _keep_lanes(builder: Any, sig: Any, v: Any, n: Any) -> Any:
    before = builder.block
    with builder.if_then(builder.not_(_is_whole(builder, n, v.type))):
        mask = first_lanes(builder, n, v.type.count)
        some, block = builder.select(mask, v, ir.Constant(v.type, None)), builder.block
    return _either(builder, v.type, (v, before), (some, block))
