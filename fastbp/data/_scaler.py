"""Standardisation: subtract the mean, divide by the standard deviation of the training rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

_BLOCK_NUMBERS = 1 << 16
"""Numbers converted to float64 at a time: 512 KiB, which stay in cache."""

_CONSTANT = 1e-12
"""A column whose deviation is below this part of its largest value does not vary (rounding)."""


@dataclass(frozen=True)
class Scaler:
    """z = (x - mean) / scale, in float64 whatever the dtype of x.

    Attributes:
        mean, scale: float64 (D,), or (1,) where all columns share one unit.
    """

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]

    def apply(self, x: NDArray[Any], dtype: DTypeLike) -> NDArray[Any]:
        """z of shape (N, D), contiguous, in `dtype`; infinite where a value does not fit."""
        z = np.empty(x.shape, dtype=dtype)
        with np.errstate(over="ignore"):
            for rows in _blocks(x):
                z[rows] = (x[rows].astype(np.float64) - self.mean) / self.scale
        return z

    def invert(self, z: NDArray[Any]) -> NDArray[np.float64]:
        """x = z * scale + mean, float64."""
        return np.asarray(z.astype(np.float64) * self.scale + self.mean)


def fit_scaler(x: NDArray[Any], *, shared: bool = False) -> Scaler:
    """Mean and standard deviation of the columns of x (N, D), by two passes in float64.

    Arguments:
        shared: one mean and one deviation for all columns, as suits pixels: a pixel that is
            nearly always 0 would otherwise be blown up when it is not.

    A column that does not vary gets the scale 1, so it becomes 0.
    """
    count = x.shape[0]
    pivot = x[0].astype(np.float64)  # small differences sum without loss, large numbers do not
    means = pivot + _over_blocks(x, lambda block: block - pivot) / count
    mean = np.array([means.mean()]) if shared else means
    squares = _over_blocks(x, lambda block: np.square(block - mean))
    variance = np.array([squares.sum() / (count * x.shape[1])]) if shared else squares / count
    deviation = np.sqrt(variance)
    varies = deviation > _CONSTANT * np.maximum(np.abs(mean), np.finfo(np.float64).tiny)
    return Scaler(mean, np.where(varies, deviation, 1.0))


def identity_scaler() -> Scaler:
    """The scaler that leaves numbers as they are."""
    return Scaler(np.zeros(1), np.ones(1))


def _over_blocks(x: NDArray[Any], term: Callable[[NDArray[Any]], NDArray[Any]]
                 ) -> NDArray[np.float64]:
    """Column sums of term(x), float64 (D,), in blocks of rows."""
    total = np.zeros(x.shape[1])
    for rows in _blocks(x):
        total += term(x[rows].astype(np.float64)).sum(axis=0)
    return total


def _blocks(x: NDArray[Any]) -> Iterator[slice]:
    """Slices of rows that cover x."""
    count = max(1, _BLOCK_NUMBERS // x.shape[1])
    for start in range(0, x.shape[0], count):
        yield slice(start, start + count)
