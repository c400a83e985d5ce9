"""exp, log and their kin on registers: vectors in, vectors out, no memory.

Every function keeps NaN and is right at infinity. Errors are at most 2 units in the last place, of
the normal distribution 6 (tests/test_transcendental.py).

exp is 0 where its value is below the smallest normal number, and nothing inside these functions is
subnormal for any but tiny arguments: an AVX-512 register with one subnormal result takes 150 cycles
more, and saturated sigmoids and softmax rows are full of them (25 times slower, measured).

Method, as in Muller, Elementary Functions (3rd ed., 2016) and in Cephes / fdlibm: reduce the
argument, approximate by a polynomial, undo the reduction. Coefficients are minimax (Remez exchange
in 200 bits, then rounded from the highest power down with the rest fitted again); the relative
error of the approximation stands beside each. The first tuple is for float32, the second for
float64.
"""

from __future__ import annotations

from fastbp._jit import kernel
from fastbp._simd import absolute, bits_of, float_of_bits, fma, maximum, minimum, select
from fastbp._simd.elementary import constant, exponent, polynomial, ratio, scale, scale_normal
from fastbp._simd.estimate import divide

LOG2_E = 1.4426950408889634
# ln 2 = HIGH + LOW; HIGH has so few bits that its product with an exponent is exact (Cody, Waite).
LN2_HIGH = (0.693359375, 6.93147180369123816490e-01)
LN2_LOW = (-2.12194440e-4, 1.90821492927058770002e-10)
# Adding 1.5 * 2^fraction bits leaves no room for a fraction: subtracting it again rounds.
ROUNDER = (12582912.0, 6755399441055744.0)
# exp is 0 below the first pair (its value would be subnormal) and infinite above the second;
# exp(x) - 1 is -1 below the third.
EXP_LEAST = (-87.3365, -708.396)
EXP_MOST = (89.0, 710.0)
_EXPM1_LEAST = (-25.0, -45.0)

# (exp(r) - 1 - r) / r^2 for |r| <= ln(2)/2; relative error of exp(r) - 1: 2^-25.9, 2^-59.7.
_EXPM1 = (
    (0.0013976136688143015, 0.008368191309273243, 0.04166615754365921, 0.16666530072689056, 0.5),
    (2.0875330973224845e-09, 2.5109080789959453e-08, 2.7557402965871564e-07,
     2.755724410509339e-06, 2.4801587171792293e-05, 0.00019841269886223238,
     0.0013888888888962823, 0.008333333333321587, 0.041666666666666505, 0.16666666666666677, 0.5),
)
_EXP = (_EXPM1[0] + (1.0, 1.0), _EXPM1[1] + (1.0, 1.0))
# (log((1+s)/(1-s))/s - 2) / z, z = s^2, for |s| <= 3 - sqrt(8); of the logarithm: 2^-29.7, 2^-58.8.
_LOG = (
    (0.2988520860671997, 0.3997707962989807, 0.6666678190231323),
    (0.14811344054985873, 0.15312588503033112, 0.1818361834623636, 0.22222197596189275,
     0.2857142875129388, 0.3999999999937758, 0.6666666666666738),
)
# (Phi(x) - 1/2) / x in x^2 for |x| <= NEAR: 2^-24.9, 2^-53.6.
_NEAR_ZERO = (
    (0.00010436179582029581, -0.0011826060945168138, 0.009972725994884968, -0.06649032980203629,
     0.3989422917366028),
    (2.035688359192177e-09, -4.100984546054077e-08, 6.658616627089189e-07, -9.444624952930433e-06,
     0.00011543468225700593, -0.0011873282149642594, 0.00997355701001087, -0.06649038006690498,
     0.3989422804014327),
)
NEAR = 0.7
# Q(-t) exp(t^2/2) (t+K) in v = (t-K)/(t+K), NEAR <= t <= TAIL_MOST (the variable is Shepherd and
# Laframboise's, Math. Comp. 36, 1981): 2^-24.6, 2^-53.8. Q is 0 beyond TAIL_MOST.
_TAIL = (
    (-0.00046306094736792147, 0.0005964965093880892, 0.0026272786781191826, -0.001589056453667581,
     -0.016408279538154602, 0.009236158803105354, 0.13198846578598022, -0.433692067861557,
     0.7066566348075867),
    (-3.0300486469634463e-10, 1.4316770477796494e-09, 7.942257580420865e-09,
     -8.293965673118736e-09, -6.601121957622752e-08, 4.087940380103699e-08,
     4.3288312897794513e-07, -3.355365901073452e-07, -2.768950983823087e-06,
     3.9803849170175694e-06, 1.668103997300208e-05, -4.976265537347574e-05,
     -5.937567424549679e-05, 0.0005448990335856519, -0.0007978694081120575,
     -0.002993376766712847, 0.020795066800833126, -0.06911863870658196, 0.16502036617034183,
     -0.31353315667129406, 0.49530561596997685, -0.6653825028900568, 0.769193049750063),
)
TAIL_CENTRE = (2.5, 5.0)
TAIL_MOST = (15.0, 39.0)
# As ROUNDER, but leaves 8 or 20 bits of fraction: the square of what is left is exact.
_SPLITTER = (49152.0, 6442450944.0)
INV_SQRT_2PI = 0.3989422804014327

_SQRT2_LESS_1 = 0.41421356237309503
_LEAST_NORMAL = (1.1754943508222875e-38, 2.2250738585072014e-308)
# Power of two that makes subnormal numbers normal.
_LIFT = (24.0, 54.0)
# log(1 + x) = x below.
_TINY = (2.0**-26, 2.0**-55)
_INFINITY = float("inf")
_NAN = float("nan")


@kernel
def _nearest_power(x):
    """round(x / ln 2), integral lanes."""
    rounder = constant(x, ROUNDER[0], ROUNDER[1])
    return fma(x, constant(x, LOG2_E, LOG2_E), rounder) - rounder


@kernel
def _exp_parts(x):
    """(e^r, k) with x = r + k ln 2, |r| <= ln(2)/2, for EXP_LEAST <= x <= EXP_MOST."""
    k = _nearest_power(x)
    r = fma(k, constant(x, -LN2_HIGH[0], -LN2_HIGH[1]), x)
    r = fma(k, constant(x, -LN2_LOW[0], -LN2_LOW[1]), r)
    return polynomial(r, _EXP[0], _EXP[1]), k


@kernel
def exp(x):
    """e^x; 0 where that is below the smallest normal number."""
    least = constant(x, EXP_LEAST[0], EXP_LEAST[1])
    most = constant(x, EXP_MOST[0], EXP_MOST[1])
    e, k = _exp_parts(minimum(maximum(x, least), most))
    return select(x < least, constant(x, 0.0, 0.0), scale(e, k))


@kernel
def exp_nonpositive(x):
    """e^x for x <= 0 (true up to 88 or 709); 0 where that is below the smallest normal number."""
    least = constant(x, EXP_LEAST[0], EXP_LEAST[1])
    e, k = _exp_parts(maximum(x, least))
    return select(x < least, constant(x, 0.0, 0.0), scale_normal(e, k))


@kernel
def expm1_nonpositive(x):
    """e^x - 1 for x <= 0, without cancellation: 2^k (e^r - 1) + (2^k - 1)."""
    x = maximum(x, constant(x, _EXPM1_LEAST[0], _EXPM1_LEAST[1]))
    k = _nearest_power(x)
    high = fma(k, constant(x, -LN2_HIGH[0], -LN2_HIGH[1]), x)
    low = constant(x, -LN2_LOW[0], -LN2_LOW[1])
    r = fma(k, low, high)
    lost = fma(k, low, high - r)
    series = fma(r * r, polynomial(r, _EXPM1[0], _EXPM1[1]), lost)
    power = scale_normal(constant(x, 1.0, 1.0), k)
    return fma(power, r + series, power - 1.0)


@kernel
def _log_product(f, k):
    """log((1 + f) 2^k) for sqrt(1/2) <= 1 + f <= sqrt(2) and integral k.

    With s = f/(2+f), log(1+f) = log((1+s)/(1-s)) = f - f^2/2 + s (f^2/2 + z R(z)), z = s^2
    (fdlibm).
    """
    s = divide(f, 2.0 + f)
    z = s * s
    half_square = 0.5 * f * f
    series = s * fma(z, polynomial(z, _LOG[0], _LOG[1]), half_square)
    low = fma(k, constant(f, LN2_LOW[0], LN2_LOW[1]), series)
    return fma(k, constant(f, LN2_HIGH[0], LN2_HIGH[1]), f - (half_square - low))


@kernel
def log(x):
    """Natural logarithm: log(0) = -inf, NaN below 0."""
    lift = constant(x, _LIFT[0], _LIFT[1])
    small = x < constant(x, _LEAST_NORMAL[0], _LEAST_NORMAL[1])
    lift = select(small, lift, constant(x, 0.0, 0.0))
    y = scale(x, lift)
    k = exponent(y)
    y = _log_product(scale(y, -k) - 1.0, k - lift)
    infinity = constant(x, _INFINITY, _INFINITY)
    outside = select(x == 0.0, -infinity, constant(x, _NAN, _NAN))
    return select(x > 0.0, select(x < infinity, y, x), outside)


@kernel
def log1p_unit(x):
    """log(1 + x) for 0 <= x <= 1."""
    one = constant(x, 1.0, 1.0)
    tiny = constant(x, _TINY[0], _TINY[1])
    f = maximum(x, tiny)
    large = f > constant(x, _SQRT2_LESS_1, _SQRT2_LESS_1)
    f = select(large, 0.5 * (f - one), f)
    y = _log_product(f, select(large, one, constant(x, 0.0, 0.0)))
    return select(x < tiny, x, y)


@kernel
def tanh(x):
    """tanh(x) = -t/(t + 2) with t = exp(-2|x|) - 1, and the sign of x."""
    size = absolute(x)
    t = expm1_nonpositive(-2.0 * size)
    sign = bits_of(x) ^ bits_of(size)
    y = absolute(ratio(-t, constant(x, 2.0, 2.0), t))
    return float_of_bits(bits_of(y) ^ sign)


@kernel
def sigmoid(x):
    """1 / (1 + exp(-x)) for x >= 0, exp(x) / (1 + exp(x)) below: exp never overflows."""
    e = exp_nonpositive(-absolute(x))
    return sigmoid_from(x, e)


@kernel
def sigmoid_from(x, e):
    """sigmoid(x), given e = exp(-|x|)."""
    one = constant(x, 1.0, 1.0)
    return ratio(select(x < 0.0, e, one), one, e)


@kernel
def softplus(x):
    """log(1 + exp(x)) = max(x, 0) + log(1 + exp(-|x|))."""
    return softplus_from(x, exp_nonpositive(-absolute(x)))


@kernel
def softplus_from(x, e):
    """softplus(x), given e = exp(-|x|)."""
    return maximum(x, constant(x, 0.0, 0.0)) + log1p_unit(e)


@kernel
def normal_cdf_and_density(x):
    """(Phi(x), phi(x)) of the standard normal distribution: Phi = (1 + erf(x/sqrt(2)))/2.

    Near 0 a series in odd powers of x. Elsewhere the tail Q(-|x|) = exp(-x^2/2) u P(v), u =
    1/(|x|+K), v = 1 - 2 K u, has a small *relative* error, so that GELU(x) = x Phi(x) is right far
    below 0. t = |x| is split into parts whose products are exact, since an error of x^2 is one of
    exp(-x^2/2) many times larger.
    """
    t = minimum(absolute(x), constant(x, TAIL_MOST[0], TAIL_MOST[1]))
    splitter = constant(x, _SPLITTER[0], _SPLITTER[1])
    high = (t + splitter) - splitter
    square = -0.5 * high * high
    rest = -0.5 * (t - high) * (t + high)
    least = constant(x, EXP_LEAST[0], EXP_LEAST[1])
    below = square + rest < least
    square = maximum(square, least)
    k = _nearest_power(square + rest)
    r = fma(k, constant(x, -LN2_HIGH[0], -LN2_HIGH[1]), square)
    r = r + fma(k, constant(x, -LN2_LOW[0], -LN2_LOW[1]), rest)
    e = scale_normal(polynomial(r, _EXP[0], _EXP[1]), k)
    e = select(below, constant(x, 0.0, 0.0), e)
    one = constant(x, 1.0, 1.0)
    u = divide(one, t + constant(x, TAIL_CENTRE[0], TAIL_CENTRE[1]))
    v = fma(constant(x, -2.0 * TAIL_CENTRE[0], -2.0 * TAIL_CENTRE[1]), u, one)
    tail = e * (u * polynomial(v, _TAIL[0], _TAIL[1]))
    series = polynomial(t * t, _NEAR_ZERO[0], _NEAR_ZERO[1])
    near = fma(x, series, constant(x, 0.5, 0.5))
    cdf = select(t < NEAR, near, select(x > 0.0, one - tail, tail))
    return cdf, e * INV_SQRT_2PI
