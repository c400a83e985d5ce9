"""What exp, log and their kin are made of: numbers by precision, polynomials, powers of two.

One body serves float32 and float64: where they need other numbers or more terms, both are
given and the vector's dtype chooses at compile time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from llvmlite import ir

from fastbp._simd._emit import (
    I32,
    llvm_function,
    lowers,
    multiply_add,
    register_ir,
    splat_ir,
    types,
)
from fastbp._simd.machine import AVX512, machine

if TYPE_CHECKING:
    from fastbp._simd._types import Vector

_SQRT_HALF = 0.5**0.5
# Added and subtracted, they leave multiples of 2^-34 and 2^-62.
_KEEPER = (1.5 * 2.0**-11, 1.5 * 2.0**-10)


def constant(x: Any, single: float, double: float) -> Any:
    """A register like `x` full of `single` (float32) or `double` (float64)."""
    return np.full(len(x), single if x.dtype == np.float32 else double, x.dtype)


def polynomial(x: Any, single: Any, double: Any) -> Any:
    """Horner's rule; coefficients from the highest power down, `single` or `double` by dtype."""
    coefficients = single if x.dtype == np.float32 else double
    total = constant(x, coefficients[0], coefficients[0])
    for c in coefficients[1:]:
        total = total * x + x.dtype.type(c)
    return total


def scale(x: Any, k: Any) -> Any:
    """x * 2^k for integral lanes k, |k| <= 252 (float32) or 2044 (float64); rounded once.

    What is too small becomes subnormal, then 0; what is too large infinite. x NaN gives NaN.
    """
    with np.errstate(all="ignore"):
        return np.ldexp(x, k.astype(np.int32))


def scale_normal(x: Any, k: Any) -> Any:
    """`scale` where the result is a normal number and -126 <= k <= 127 (-1022 <= k <= 1023)."""
    return scale(x, k)


def exponent(x: Any) -> Any:
    """Integral lanes k such that sqrt(1/2) <= x / 2^k < sqrt(2); x positive and normal.

    Any number for other x.
    """
    single = x.dtype == np.float32
    integer, shift = (np.int32, 23) if single else (np.int64, 52)
    low = x.dtype.type(_SQRT_HALF).view(integer)
    with np.errstate(over="ignore"):
        return ((x.view(integer) - low) >> shift).astype(x.dtype)


def ratio(a: Any, b: Any, c: Any) -> Any:
    """a / (b + c) for |c| <= |b| and 1 <= b + c <= 2.

    With fused multiply-add within 0.6 units of the last place or so: the rounding error of the
    sum, c - ((b + c) - b), is taken back. What is below 2^-10 of its bound counts as 0, so that no
    product of it is subnormal. In plain Python, and without fused multiply-add, 1.5 units.
    """
    return a / (b + c)


def _float_vector(*kinds: Any) -> Vector | None:
    first = kinds[0]
    fits = isinstance(first, types.Vector) and isinstance(first.dtype, types.Float)
    return first if fits and all(k == first for k in kinds) else None


def _choose(sig: Any, single: Any, double: Any) -> Any:
    return single if sig.args[0].dtype == types.float32 else double


def _all(builder: Any, sig: Any, number: Any) -> Any:
    """A float64 number in all lanes of the result's type."""
    vector = register_ir(sig.return_type)
    if isinstance(vector.element, ir.FloatType):
        number = builder.fptrunc(number, vector.element)
    return splat_ir(builder, number, vector)


def _is_number(kind: Any) -> bool:
    return isinstance(kind, types.Float) and kind.bitwidth == 64


@lowers(constant, lambda x, s, d: _float_vector(x) if _is_number(s) and _is_number(d) else None)
def _constant(builder: Any, sig: Any, x: Any, single: Any, double: Any) -> Any:
    return _all(builder, sig, _choose(sig, single, double))


@lowers(polynomial, lambda x, s, d: _float_vector(x))
def _polynomial(builder: Any, sig: Any, x: Any, single: Any, double: Any) -> Any:
    chosen, count = _choose(sig, single, double), len(_choose(sig, *sig.args[1:]))
    total = _all(builder, sig, builder.extract_value(chosen, 0))
    for place in range(1, count):
        c = _all(builder, sig, builder.extract_value(chosen, place))
        total = multiply_add(builder, total, x, c)
    return total


@lowers(scale, lambda x, k: _float_vector(x, k))
def _scale(builder: Any, sig: Any, x: Any, k: Any) -> Any:
    if machine() == AVX512:
        return _scalef(builder, x, k)
    # Two factors, as 2^k itself may be out of range; the first product is exact.
    integers, _, _ = _format(x.type)
    power = builder.fptosi(k, integers)
    half = builder.ashr(power, _every(integers, 1))
    x = builder.fmul(x, _two_to_the(builder, half, x.type))
    return builder.fmul(x, _two_to_the(builder, builder.sub(power, half), x.type))


@lowers(scale_normal, lambda x, k: _float_vector(x, k))
def _scale_normal(builder: Any, sig: Any, x: Any, k: Any) -> Any:
    if machine() == AVX512:
        return _scalef(builder, x, k)
    power = builder.fptosi(k, _format(x.type)[0])
    return builder.fmul(x, _two_to_the(builder, power, x.type))


def _scalef(builder: Any, x: Any, k: Any) -> Any:
    kind = "ps" if isinstance(x.type.element, ir.FloatType) else "pd"
    mask = ir.IntType(x.type.count)
    f = llvm_function(builder, f"llvm.x86.avx512.mask.scalef.{kind}.512", x.type,
                      [x.type, x.type, x.type, mask, I32])
    return builder.call(f, [x, k, x, ir.Constant(mask, -1), I32(4)])  # 4: current rounding


def _two_to_the(builder: Any, power: Any, vector: Any) -> Any:
    """2^power from an integer vector, by its bit pattern."""
    integers, fraction, bias = _format(vector)
    biased = builder.add(power, _every(integers, bias))
    return builder.bitcast(builder.shl(biased, _every(integers, fraction)), vector)


@lowers(exponent, lambda x: _float_vector(x))
def _exponent(builder: Any, sig: Any, x: Any) -> Any:
    integers, fraction, _ = _format(x.type)
    number = np.float32 if fraction == 23 else np.float64
    low = int(number(_SQRT_HALF).view(np.int32 if fraction == 23 else np.int64))
    above = builder.sub(builder.bitcast(x, integers), _every(integers, low))
    return builder.sitofp(builder.ashr(above, _every(integers, fraction)), x.type)


def _format(vector: Any) -> tuple[Any, int, int]:
    """(integer vector of the same width, bits of fraction, bias of the exponent)."""
    if isinstance(vector.element, ir.FloatType):
        return ir.VectorType(ir.IntType(32), vector.count), 23, 127
    return ir.VectorType(ir.IntType(64), vector.count), 52, 1023


def _every(integers: Any, number: int) -> Any:
    return ir.Constant(integers, [ir.Constant(integers.element, number)] * integers.count)


@lowers(ratio, lambda a, b, c: _float_vector(a, b, c))
def _ratio(builder: Any, sig: Any, a: Any, b: Any, c: Any) -> Any:
    total = builder.fadd(b, c)
    if not machine().has_fma:
        return builder.fdiv(a, total)
    keeper = _all(builder, sig, ir.Constant(ir.DoubleType(), _choose(sig, *_KEEPER)))
    lost = builder.fsub(c, builder.fsub(total, b))
    lost = builder.fsub(builder.fadd(lost, keeper), keeper)
    minus = builder.fneg(total)
    if machine() == AVX512:
        inverse = _inverse(builder, total, minus)
        quotient = builder.fmul(a, inverse)
    else:  # 1.457 - total/2 is within 9 % of the inverse: enough for a correction of a unit
        half, more = (_all(builder, sig, ir.Constant(ir.DoubleType(), n)) for n in (0.5, 1.457))
        inverse = multiply_add(builder, minus, half, more)
        quotient = builder.fdiv(a, total)
    rest = multiply_add(builder, minus, quotient, a)
    rest = multiply_add(builder, builder.fneg(lost), quotient, rest)
    return multiply_add(builder, rest, inverse, quotient)


def _inverse(builder: Any, x: Any, minus: Any) -> Any:
    """1/x from the 14-bit estimate: good enough to be corrected once, 28 bits for float64."""
    inverse = _estimate_of_inverse(builder, x)
    if isinstance(x.type.element, ir.FloatType):
        return inverse
    one = ir.Constant(x.type, [ir.Constant(x.type.element, 1.0)] * x.type.count)
    miss = multiply_add(builder, minus, inverse, one)
    return multiply_add(builder, inverse, miss, inverse)


def _estimate_of_inverse(builder: Any, x: Any) -> Any:
    kind = "ps" if isinstance(x.type.element, ir.FloatType) else "pd"
    mask = ir.IntType(x.type.count)
    f = llvm_function(builder, f"llvm.x86.avx512.rcp14.{kind}.512", x.type, [x.type, x.type, mask])
    return builder.call(f, [x, x, ir.Constant(mask, -1)])
