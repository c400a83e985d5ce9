"""exp, log and their kin against wider arithmetic: error in units of the last place, edges,
order. `reliability/every_float32.py` takes all arguments there are."""

from __future__ import annotations

import os

import conditions
import numpy as np
import pytest
import reference

from fastbp._jit import DISABLED, entry
from fastbp._simd import data_pointer, lanes, load, machine, store
from fastbp.kernels import _vmath

# Without fused multiply-add (plain Python, SSE) the same formulas round more often.
ROUNDINGS = 1.5 if DISABLED or not machine().has_fma else 1.0
SLOW = DISABLED or os.environ.get("FASTBP_BOUNDSCHECK") == "1"
EXP, EXPM1, LOG, LOG1P, TANH, SIGMOID, SOFTPLUS, CDF, DENSITY = range(9)
# number: (name, twin, domain, largest error in units of the last place)
FUNCTIONS = {
    EXP: ("exp", np.exp, (-np.inf, np.inf), 1.0),
    EXPM1: ("expm1_nonpositive", np.expm1, (-np.inf, 0.0), 1.1),
    LOG: ("log", np.log, (0.0, np.inf), 1.0),
    LOG1P: ("log1p_unit", np.log1p, (0.0, 1.0), 1.5),
    TANH: ("tanh", np.tanh, (-np.inf, np.inf), 2.0),
    SIGMOID: ("sigmoid", reference.sigmoid_forward, (-np.inf, np.inf), 1.6),
    SOFTPLUS: ("softplus", reference.softplus_forward, (-np.inf, np.inf), 1.9),
    CDF: ("Phi", reference.normal_cdf, (-np.inf, np.inf), 6.0),
    DENSITY: ("phi", reference.normal_density, (-np.inf, np.inf), 2.5),
}
IDS = [name for name, *_ in FUNCTIONS.values()]
WIDER = {np.float32: np.float64, np.float64: np.longdouble}
INTEGER = {np.float32: np.uint32, np.float64: np.uint64}


@entry
def apply(number, y, x):
    """y = function(x) on whole registers; sizes are multiples of 16."""
    to, of = data_pointer(y), data_pointer(x)
    for i in range(0, x.size, lanes(of)):
        v = load(of, i, None)
        if number == EXP:
            v = _vmath.exp(v)
        elif number == EXPM1:
            v = _vmath.expm1_nonpositive(v)
        elif number == LOG:
            v = _vmath.log(v)
        elif number == LOG1P:
            v = _vmath.log1p_unit(v)
        elif number == TANH:
            v = _vmath.tanh(v)
        elif number == SIGMOID:
            v = _vmath.sigmoid(v)
        elif number == SOFTPLUS:
            v = _vmath.softplus(v)
        elif number == CDF:
            v = _vmath.normal_cdf_and_density(v)[0]
        else:
            v = _vmath.normal_cdf_and_density(v)[1]
        store(to, i, v, None)


def evaluate(number, x):
    """The function of an array of any size."""
    padded = np.resize(x, -(-len(x) // 16) * 16) if len(x) else np.zeros(16, x.dtype)
    y = np.full_like(padded, 7)
    with np.errstate(all="ignore"):
        apply(number, y, padded)
    return y[: len(x)]


def twin(number, x):
    with np.errstate(all="ignore"):
        return FUNCTIONS[number][1](x.astype(WIDER[x.dtype.type]))


def units(y, expected):
    """Errors in units of the last place of y's dtype; a value too small to be normal may be 0."""
    info = np.finfo(y.dtype)
    with np.errstate(all="ignore"):
        size = np.maximum(np.abs(expected), info.smallest_normal)
        _, power = np.frexp(size)
        error = np.abs(y.astype(expected.dtype) - expected) / np.ldexp(
            np.ones_like(expected), power - 1 - info.nmant)
    flushed = (np.abs(expected) < 1.001 * info.smallest_normal) & (np.abs(y) <= np.abs(size))
    same = (y == expected) | (np.isnan(y) & np.isnan(expected))
    overflown = np.isinf(y) & (np.abs(expected) >= info.max)
    return np.where(same | flushed | overflown, 0, error)


def inside(x, domain):
    return x[(x >= domain[0]) & (x <= domain[1])]


def numbers(dtype, count, rng):
    """Numbers of every size and sign, and many where functions bend."""
    bits = rng.integers(0, np.iinfo(INTEGER[dtype]).max, count, dtype=INTEGER[dtype])
    usual = rng.normal(size=count).astype(dtype) * rng.choice([1, 10, 100], count).astype(dtype)
    unit = rng.random(count).astype(dtype)
    return np.concatenate([bits.view(dtype), usual, unit])


@pytest.mark.parametrize("number", FUNCTIONS, ids=IDS)
@pytest.mark.parametrize("dtype", conditions.DTYPES)
def test_error_in_units_of_the_last_place(dtype, number, rng):
    count = 300 if SLOW else 4000 if number in (CDF, DENSITY) else 60_000
    _, _, domain, largest = FUNCTIONS[number]
    largest *= ROUNDINGS
    x = inside(numbers(dtype, count, rng), domain)
    error = units(evaluate(number, x), twin(number, x))
    worst = np.argmax(error)
    assert error[worst] <= largest, f"{error[worst]} units at {x[worst]!r}"


@pytest.mark.nightly
@pytest.mark.parametrize("number", [EXP, LOG, TANH, SIGMOID], ids=lambda n: FUNCTIONS[n][0])
def test_a_hundred_million_numbers_of_float64(number, rng):
    """Check 21, where not all numbers can be taken."""
    _, _, domain, largest = FUNCTIONS[number]
    done, worst = 0, (0.0, 0.0)
    while done < 100_000_000:
        x = inside(numbers(np.float64, 100_000, rng), domain)
        error = units(evaluate(number, x), twin(number, x))
        at = np.argmax(error)
        worst, done = max(worst, (float(error[at]), float(x[at]))), done + len(x)
    print(f"{FUNCTIONS[number][0]}: {worst[0]:.3f} units at {worst[1]!r} of {done}")
    assert worst[0] <= largest * ROUNDINGS


EDGES = {
    EXP: [(-np.inf, 0), (np.inf, np.inf), (0.0, 1), (-1e5, 0), (1e5, np.inf)],
    EXPM1: [(-np.inf, -1), (0.0, 0), (-1e5, -1)],
    LOG: [(0.0, -np.inf), (-0.0, -np.inf), (np.inf, np.inf), (1.0, 0), (-1.0, np.nan),
          (-np.inf, np.nan)],
    LOG1P: [(0.0, 0)],
    TANH: [(-np.inf, -1), (np.inf, 1), (0.0, 0), (50.0, 1), (-1e30, -1)],
    SIGMOID: [(-np.inf, 0), (np.inf, 1), (0.0, 0.5), (-1e4, 0), (1e4, 1)],
    SOFTPLUS: [(-np.inf, 0), (np.inf, np.inf), (1e4, 1e4), (-1e4, 0)],
    CDF: [(-np.inf, 0), (np.inf, 1), (0.0, 0.5), (-1e30, 0), (1e30, 1)],
    DENSITY: [(-np.inf, 0), (np.inf, 0), (1e30, 0)],
}


@pytest.mark.parametrize("number", FUNCTIONS, ids=IDS)
@pytest.mark.parametrize("dtype", conditions.DTYPES)
def test_edges_and_nan(dtype, number):
    x, expected = np.array([*EDGES[number], (np.nan, np.nan)], dtype).T
    y = evaluate(number, np.ascontiguousarray(x))
    assert np.array_equal(y, expected, equal_nan=True)


@pytest.mark.parametrize("dtype", conditions.DTYPES)
def test_subnormal_arguments(dtype):
    tiny = np.finfo(dtype).smallest_subnormal * np.arange(1, 16, dtype=dtype)
    assert np.array_equal(evaluate(EXP, tiny), np.ones(15))
    assert np.array_equal(evaluate(TANH, -tiny), -tiny)
    assert np.array_equal(evaluate(LOG1P, tiny), tiny)
    assert units(evaluate(LOG, tiny), twin(LOG, tiny)).max() <= 1


@pytest.mark.parametrize("number", [EXP, LOG, TANH, SIGMOID], ids=["exp", "log", "tanh", "sigmoid"])
@pytest.mark.parametrize("dtype", conditions.DTYPES)
def test_neighbouring_numbers_keep_their_order(dtype, number, rng):
    starts = inside(numbers(dtype, 5 if SLOW else 100, rng), FUNCTIONS[number][2])
    for start in starts[np.abs(starts) < 1e30]:
        bits = start.view(INTEGER[dtype]) + np.arange(64, dtype=INTEGER[dtype])
        x = np.sort(bits.view(dtype))
        y = evaluate(number, x)
        with np.errstate(invalid="ignore"):
            slack = 0 if ROUNDINGS == 1 else np.nan_to_num(np.abs(np.spacing(y[1:])))
        assert np.all(y[1:] + slack >= y[:-1]), start


def test_the_sign_of_zero_survives_tanh():
    y = evaluate(TANH, np.array([0.0, -0.0], np.float32))
    assert list(np.signbit(y)) == [False, True]
