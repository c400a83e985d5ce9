"""Vectors in registers: memory access, arithmetic, masks, reductions.

In plain Python a vector is a NumPy array of `lanes(p)` elements and the operators are NumPy's;
compiled it is one LLVM vector. A scalar beside a vector is converted to the vector's dtype.

The count argument `n` of `load` and `store` chooses at compile time: `None` is the full
register, an integer means the first `n` lanes, so one body serves full registers and tails.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

import numpy as np
from llvmlite import ir

from fastbp._simd._emit import (
    I32,
    llvm_function,
    lowers,
    masked_load,
    masked_store,
    multiply_add,
    register_ir,
    scalar_ir,
    splat_ir,
    suffix,
    types,
    vector_load,
    vector_of,
    vector_store,
)
from fastbp._simd.pointer import lanes

if TYPE_CHECKING:
    from fastbp._simd._types import Vector

# ---- memory ------------------------------------------------------------------------------


def load(p: Any, i: int, n: Any) -> Any:
    """Lanes `p[i], p[i+1], ...`: all (`n=None`) or the first `n`, then 0."""
    width = lanes(p)
    if n is None:
        return p.view(i, width).copy()
    value = np.zeros(width, p.dtype)
    n = min(n, width)
    if n > 0:
        value[:n] = p.view(i, n)
    return value


def store(p: Any, i: int, v: Any, n: Any) -> None:
    """Write lanes to `p[i], p[i+1], ...`: all (`n=None`) or the first `n`; no other memory."""
    n = lanes(p) if n is None else min(n, lanes(p))
    if n > 0:
        p.view(i, n)[:] = v[:n]


def load_as(p: Any, i: int, n: Any, like: Any) -> Any:
    """`load` of as many lanes as `like` has, converted to `like`'s dtype."""
    width = lanes(like)
    n = width if n is None else min(n, width)
    value = np.zeros(width, like.dtype)
    if n > 0:
        value[:n] = p.view(i, n)
    return value


def splat(p: Any, s: Any) -> Any:
    """All lanes `s`, in the dtype of `p`'s elements."""
    return np.full(lanes(p), s, p.dtype)


def _typed_load(p: Any, i: Any, n: Any) -> Any:
    fits = isinstance(p, types.CPointer) and isinstance(i, types.Integer)
    return vector_of(p.dtype) if fits else None


@lowers(load, _typed_load)
def _load(builder: Any, sig: Any, p: Any, i: Any, n: Any) -> Any:
    where = builder.gep(p, [i])
    kind = register_ir(sig.return_type)
    if isinstance(sig.args[2], types.NoneType):
        return vector_load(builder, where, kind)
    return masked_load(builder, where, n, kind)


@lowers(store, lambda p, i, v, n: types.none if isinstance(v, types.Vector) else None)
def _store(builder: Any, sig: Any, p: Any, i: Any, v: Any, n: Any) -> None:
    where = builder.gep(p, [i])
    if isinstance(sig.args[3], types.NoneType):
        vector_store(builder, v, where)
    else:
        masked_store(builder, v, where, n)


@lowers(load_as, lambda p, i, n, like: vector_of(like.dtype))
def _load_as(builder: Any, sig: Any, p: Any, i: Any, n: Any, like: Any) -> Any:
    target = register_ir(sig.return_type)
    source = ir.VectorType(scalar_ir(sig.args[0].dtype), target.count)
    where = builder.gep(p, [i])
    if isinstance(sig.args[2], types.NoneType):
        value = vector_load(builder, where, source)
    else:
        value = masked_load(builder, where, n, source)
    return _convert(builder, value, sig.args[0].dtype, sig.return_type)


@lowers(splat, lambda p, s: vector_of(p.dtype) if isinstance(s, types.Number) else None)
def _splat(builder: Any, sig: Any, p: Any, s: Any) -> Any:
    return _broadcast(builder, s, sig.args[1], sig.return_type)


def _broadcast(builder: Any, s: Any, kind: Any, vector: Vector) -> Any:
    """A scalar of Numba type `kind` in all lanes, converted to the vector's dtype."""
    one = ir.VectorType(s.type, vector.lanes)
    return _convert(builder, splat_ir(builder, s, one), kind, vector)


def _convert(builder: Any, value: Any, kind: Any, vector: Vector) -> Any:
    """Lanes of Numba type `kind` to the dtype of `vector`."""
    target = register_ir(vector)
    if value.type == target:
        return value
    if isinstance(vector.dtype, types.Float):
        if isinstance(kind, types.Float):
            narrower = vector.dtype.bitwidth < kind.bitwidth
            return (builder.fptrunc if narrower else builder.fpext)(value, target)
        return (builder.sitofp if kind.signed else builder.uitofp)(value, target)
    if isinstance(kind, types.Float):
        return (builder.fptosi if vector.dtype.signed else builder.fptoui)(value, target)
    if vector.dtype.bitwidth < kind.bitwidth:
        return builder.trunc(value, target)
    return (builder.sext if kind.signed else builder.zext)(value, target)


# ---- arithmetic and comparison ------------------------------------------------------------


def _pair(a: Any, b: Any) -> Vector | None:
    """The vector type of an elementwise operation, or None."""
    if isinstance(a, types.Vector):
        return a if a == b or isinstance(b, types.Number) else None
    return b if isinstance(b, types.Vector) and isinstance(a, types.Number) else None


def _mask(a: Any, b: Any) -> Vector | None:
    vector = _pair(a, b)
    return types.Vector(types.boolean, vector.lanes) if vector else None


def _aligned(builder: Any, sig: Any, a: Any, b: Any) -> tuple[Any, Any, Vector]:
    """Both operands as registers of one type."""
    vector = _pair(*sig.args)
    assert vector is not None
    if not isinstance(sig.args[0], types.Vector):
        a = _broadcast(builder, a, sig.args[0], vector)
    if not isinstance(sig.args[1], types.Vector):
        b = _broadcast(builder, b, sig.args[1], vector)
    return a, b, vector


_SHAPES = (("Vector", "Vector"), ("Vector", "Number"), ("Number", "Vector"))


def _register_binary(function: Any, float_op: str | None, signed_op: str, unsigned_op: str) -> None:
    for shape in _SHAPES:

        @lowers(function, _pair, *shape)
        def _(builder: Any, sig: Any, a: Any, b: Any) -> Any:
            a, b, vector = _aligned(builder, sig, a, b)
            if isinstance(vector.dtype, types.Float):
                return getattr(builder, float_op or "")(a, b)
            signed = vector.dtype != types.boolean and vector.dtype.signed
            return getattr(builder, signed_op if signed else unsigned_op)(a, b)


def _register_comparison(function: Any, sign: str) -> None:
    for shape in _SHAPES:

        @lowers(function, _mask, *shape)
        def _(builder: Any, sig: Any, a: Any, b: Any) -> Any:
            a, b, vector = _aligned(builder, sig, a, b)
            if isinstance(vector.dtype, types.Float):
                if sign == "!=":  # true for NaN, as in Python
                    return builder.fcmp_unordered(sign, a, b)
                return builder.fcmp_ordered(sign, a, b)
            signed = vector.dtype.signed
            return (builder.icmp_signed if signed else builder.icmp_unsigned)(sign, a, b)


for _function, _names in {
    operator.add: ("fadd", "add", "add"),
    operator.sub: ("fsub", "sub", "sub"),
    operator.mul: ("fmul", "mul", "mul"),
    operator.truediv: ("fdiv", "sdiv", "udiv"),
    operator.and_: (None, "and_", "and_"),
    operator.or_: (None, "or_", "or_"),
    operator.xor: (None, "xor", "xor"),
    operator.lshift: (None, "shl", "shl"),
    operator.rshift: (None, "ashr", "lshr"),
}.items():
    _register_binary(_function, *_names)

for _function, _sign in {
    operator.lt: "<", operator.le: "<=", operator.gt: ">", operator.ge: ">=",
    operator.eq: "==", operator.ne: "!=",
}.items():
    _register_comparison(_function, _sign)


@lowers(operator.neg, lambda a: a if isinstance(a, types.Vector) else None, "Vector")
def _neg(builder: Any, sig: Any, a: Any) -> Any:
    if isinstance(sig.args[0].dtype, types.Float):
        return builder.fneg(a)
    return builder.neg(a)


# ---- functions ----------------------------------------------------------------------------


def fma(a: Any, b: Any, c: Any) -> Any:
    """a*b + c, rounded once where the machine can."""
    return a * b + c


def maximum(a: Any, b: Any) -> Any:
    """The larger; `a` where either is NaN (so NaN data pass through `maximum(x, 0)`)."""
    return np.where(b > a, b, a)


def minimum(a: Any, b: Any) -> Any:
    """The smaller; `a` where either is NaN."""
    return np.where(b < a, b, a)


def select(mask: Any, a: Any, b: Any) -> Any:
    """`a` where the mask is true, else `b`."""
    return np.where(mask, a, b)


def absolute(a: Any) -> Any:
    """|a|."""
    return np.abs(a)


def sqrt(a: Any) -> Any:
    """Correctly rounded square root."""
    return np.sqrt(a)


def _same(*kinds: Any) -> Vector | None:
    first = kinds[0]
    return first if isinstance(first, types.Vector) and all(k == first for k in kinds) else None


@lowers(fma, lambda a, b, c: _same(a, b, c))
def _fma(builder: Any, sig: Any, a: Any, b: Any, c: Any) -> Any:
    return multiply_add(builder, a, b, c)


def _extremum(builder: Any, sign: str, a: Any, b: Any) -> Any:
    return builder.select(builder.fcmp_ordered(sign, b, a), b, a)


@lowers(maximum, lambda a, b: _same(a, b))
def _maximum(builder: Any, sig: Any, a: Any, b: Any) -> Any:
    return _extremum(builder, ">", a, b)


@lowers(minimum, lambda a, b: _same(a, b))
def _minimum(builder: Any, sig: Any, a: Any, b: Any) -> Any:
    return _extremum(builder, "<", a, b)


@lowers(select, lambda m, a, b: _same(a, b))
def _select(builder: Any, sig: Any, mask: Any, a: Any, b: Any) -> Any:
    return builder.select(mask, a, b)


def _unary_intrinsic(builder: Any, name: str, a: Any) -> Any:
    return builder.call(llvm_function(builder, f"llvm.{name}.{suffix(a.type)}", a.type, [a.type]),
                        [a])


@lowers(absolute, lambda a: _same(a))
def _absolute(builder: Any, sig: Any, a: Any) -> Any:
    return _unary_intrinsic(builder, "fabs", a)


@lowers(sqrt, lambda a: _same(a))
def _sqrt(builder: Any, sig: Any, a: Any) -> Any:
    return _unary_intrinsic(builder, "sqrt", a)


# ---- reductions over lanes: a fixed tree, halves first --------------------------------------


def lane_sum(v: Any) -> Any:
    """Sum of the lanes, by halves: lanes i and i + width/2 first."""
    while len(v) > 1:
        v = v[: len(v) // 2] + v[len(v) // 2:]
    return v[0]


def lane_max(v: Any) -> Any:
    """Largest lane (NaN lanes lose unless lane 0's half holds them: test data first)."""
    while len(v) > 1:
        v = maximum(v[: len(v) // 2], v[len(v) // 2:])
    return v[0]


def any_lane(mask: Any) -> bool:
    """True where a lane of the mask is."""
    return bool(np.any(mask))


def _scalar(v: Any) -> Any:
    return v.dtype if isinstance(v, types.Vector) else None


def _halves(builder: Any, v: Any) -> tuple[Any, Any]:
    half = v.type.count // 2
    kind = ir.VectorType(I32, half)
    low = ir.Constant(kind, [I32(i) for i in range(half)])
    high = ir.Constant(kind, [I32(i + half) for i in range(half)])
    return builder.shuffle_vector(v, v, low), builder.shuffle_vector(v, v, high)


@lowers(lane_sum, _scalar)
def _lane_sum(builder: Any, sig: Any, v: Any) -> Any:
    while v.type.count > 1:
        low, high = _halves(builder, v)
        v = builder.fadd(low, high)
    return builder.extract_element(v, I32(0))


@lowers(lane_max, _scalar)
def _lane_max(builder: Any, sig: Any, v: Any) -> Any:
    while v.type.count > 1:
        low, high = _halves(builder, v)
        v = _extremum(builder, ">", low, high)
    return builder.extract_element(v, I32(0))


@lowers(any_lane, lambda m: types.boolean if isinstance(m, types.Vector) else None)
def _any_lane(builder: Any, sig: Any, mask: Any) -> Any:
    bits = builder.bitcast(mask, ir.IntType(mask.type.count))
    return builder.icmp_unsigned("!=", bits, ir.Constant(bits.type, 0))
