"""Values for tests: exact small integers, and reals."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .precision import Array

LARGEST_INTEGER = 2
"""Magnitude of the largest value `integers` gives."""


def integers(rng: np.random.Generator, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
    """Values of {-1, 1, 2}: products and sums of them are exact, in any order.

    No zeros, so that a forgotten term shows; a positive mean, so that few sums are 0. A matrix
    product stays exact in float32 while 4*K <= 2**24, see `exact_length`.
    """
    return rng.choice(np.array([-1, 1, LARGEST_INTEGER]), size=shape).astype(dtype)


def exact_length(dtype: npt.DTypeLike) -> int:
    """The longest K for which a matrix product of `integers` has no rounding."""
    return int(2 ** (np.finfo(np.dtype(dtype)).nmant + 1)) // LARGEST_INTEGER**2


def exact_matmul(a: Array, b: Array) -> Array:
    """a @ b of integer-valued arrays, in int64."""
    a, b = np.asarray(a), np.asarray(b)
    assert a.shape[-1] <= exact_length(np.result_type(a, b)), "K too long to be exact"
    whole: Array = a.astype(np.int64) @ b.astype(np.int64)
    return whole


def reals(rng: np.random.Generator, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
    """Standard normal values, rounded to `dtype` (so that the twin sees the same numbers)."""
    return rng.standard_normal(shape).astype(dtype)
