"""Every float32 there is through a function, against NumPy or SciPy in float64 (check 21).

    python tests/reliability/every_float32.py tanh gelu    # PYTHONPATH=.:tests; without names: all

Prints the largest error in units of the last place, where it is, and how often a larger argument
gives a smaller value. Pieces stay in the cache, and only a piece that is beyond the bound at first
sight is looked at closely, so that a function takes about half a minute.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import test_transcendental as functions

from fastbp import ops
from fastbp._jit import entry
from fastbp._simd import data_pointer, lanes, load, splat, store
from fastbp._simd.estimate import divide, root

PIECE = 1 << 16
"""Numbers at a time: 0.8 MB as float32 and float64 together."""
ALL = 1 << 32
_LEAST = float(np.finfo(np.float32).smallest_normal)
_EXPONENT = np.uint64(0x7FF0_0000_0000_0000)
Bits = tuple[tuple[int, int], ...]


class Function(NamedTuple):
    """What is tested, its twin in float64, the bits of its arguments, the largest error.

    rises: a larger argument never gives a smaller value, in mathematics. least: a smaller value may
    be 0, and a unit is that of this value.
    """

    run: Callable[[np.ndarray], np.ndarray]
    twin: Callable[[np.ndarray], np.ndarray]
    bits: Bits
    most: float
    rises: bool = False
    least: float = _LEAST


class Found(NamedTuple):
    """The largest error in units of the last place, its argument; numbers compared; disorder."""

    units: float
    at: float
    compared: int
    disorder: int


def _span(nearest: float, farthest: float) -> tuple[int, int]:
    """The bits of all float32 between two of one sign; the second is farther from 0."""
    return tuple(int(np.float32(v).view(np.uint32)) + past
                 for v, past in ((nearest, 0), (farthest, 1)))


NEGATIVE = _span(-0.0, -np.inf)
NAN = ((0x7F80_0001, 0x8000_0000), (0xFF80_0001, ALL))
EVERY = ((0, 1 << 31), (1 << 31, ALL))


@entry
def reciprocal(y, x):
    """y = 1/x on whole registers; sizes are multiples of 16."""
    to, of = data_pointer(y), data_pointer(x)
    for i in range(0, x.size, lanes(of)):
        store(to, i, divide(splat(of, 1.0), load(of, i, None)), None)


@entry
def square_root(y, x):
    """y = sqrt(x) on whole registers; sizes are multiples of 16."""
    to, of = data_pointer(y), data_pointer(x)
    for i in range(0, x.size, lanes(of)):
        store(to, i, root(load(of, i, None)), None)


def _whole(apply: Callable) -> Callable[[np.ndarray], np.ndarray]:
    """A function of an array from one that writes whole registers."""

    def run(x: np.ndarray) -> np.ndarray:
        padded = x if len(x) % 16 == 0 else np.resize(x, -(-len(x) // 16) * 16)
        y = np.empty_like(padded)
        apply(y, padded)
        return y[: len(x)]

    return run


def _register(number: int) -> Callable[[np.ndarray], np.ndarray]:
    return _whole(lambda y, x: functions.apply(number, y, x))


def _sigmoid(x: np.ndarray) -> np.ndarray:
    small = np.exp(-np.abs(x))
    return np.where(x < 0, small, 1) / (1 + small)


def _softplus(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def _silu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, -1e300) * _sigmoid(x)


def _normal_cdf(x: np.ndarray) -> np.ndarray:
    from scipy.special import ndtr

    return ndtr(x)


def _gelu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, -1e300) * _normal_cdf(x)


def _density(x: np.ndarray) -> np.ndarray:
    return np.exp(-0.5 * x * x) / np.sqrt(2 * np.pi)


def _table() -> dict[str, Function]:
    f = functions
    registers = {
        f.EXP: (np.exp, EVERY), f.EXPM1: (np.expm1, (NEGATIVE, *NAN)), f.LOG: (np.log, EVERY),
        f.LOG1P: (np.log1p, (_span(0.0, 1.0), *NAN)), f.TANH: (np.tanh, EVERY),
        f.SIGMOID: (_sigmoid, EVERY), f.SOFTPLUS: (_softplus, EVERY), f.CDF: (_normal_cdf, EVERY),
        f.DENSITY: (_density, EVERY)}
    found = {}
    for number, (twin, bits) in registers.items():
        name, _, _, most = f.FUNCTIONS[number]
        found[name] = Function(_register(number), twin, bits, most, number != f.DENSITY)
    # Where their second factor is subnormal it counts as 0, and so does the product.
    found["gelu"] = Function(ops.gelu_forward, _gelu, EVERY, 6.0, least=15 * _LEAST)
    found["silu"] = Function(ops.silu_forward, _silu, EVERY, 2.5, least=90 * _LEAST)
    found["root"] = Function(_whole(square_root), np.sqrt, (_span(2.0**-126, 2.0**127), *NAN), 0.5,
                             True)
    found["divide"] = Function(
        _whole(reciprocal), np.reciprocal,
        (_span(2.0**-125, 2.0**125), _span(-(2.0**-125), -(2.0**125)), *NAN), 2.0)
    return found


FUNCTIONS = _table()


def pieces(bits: Bits, step: int) -> Iterator[np.ndarray]:
    """Every step-th number with these bits, in the order of the bits."""
    for start, stop in bits:
        for first in range(start, stop, PIECE * step):
            last = min(stop, first + PIECE * step)
            yield np.arange(first, last, step, dtype=np.uint64).astype(np.uint32).view(np.float32)


def _quick(y: np.ndarray, expected: np.ndarray, least: float) -> np.ndarray:
    """Errors in units of the last place where all is finite; NaN or anything elsewhere."""
    power = (expected.view(np.uint64) & _EXPONENT).view(np.float64)
    np.maximum(power, least, out=power)
    error = np.subtract(y, expected, dtype=np.float64)
    np.abs(error, out=error)
    error /= power
    error *= 2.0**23
    return error


def _excused(function: Function, y: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Values below `least` that are 0, or within the units of `least`."""
    near = np.abs(y - expected) <= function.most * 2.0**-23 * function.least
    return (np.abs(expected) <= function.least) & (near | (y == 0))


def _disorder(x: np.ndarray, y: np.ndarray) -> int:
    """How often y falls where x grows; x has one sign and is in the order of its bits."""
    falls = y[1:] > y[:-1] if np.signbit(x[0]) else y[1:] < y[:-1]
    return int(np.count_nonzero(falls))


def examine(function: Function, step: int = 1) -> Found:
    """Every step-th argument of the function."""
    worst, at, compared, disorder = 0.0, 0.0, 0, 0
    for x in pieces(function.bits, step):
        y, expected = function.run(x), function.twin(x.astype(np.float64))
        error = _quick(y, expected, function.least)
        if not error.max() <= function.most:
            error = np.nan_to_num(functions.units(y, expected), nan=np.inf)
            error[_excused(function, y, expected)] = 0
        largest = int(np.argmax(error))
        if error[largest] > worst:
            worst, at = float(error[largest]), float(x[largest])
        compared, disorder = compared + len(x), disorder + _disorder(x, y) * function.rises
    return Found(worst, at, compared, disorder)


def main(names: list[str]) -> None:
    warnings.simplefilter("ignore")
    for name in names or FUNCTIONS:
        with np.errstate(all="ignore"):
            found = examine(FUNCTIONS[name])
        print(f"{name}: {found.units:.3f} units at {found.at!r}, {found.compared} numbers, "
              f"{found.disorder} out of order", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
