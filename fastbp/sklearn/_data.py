"""Samples as training programs take them: dense where they lie, sparse a few batches at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fastbp._arena import address_of
from fastbp.targets import Target

# Bytes of dense rows that are made of sparse ones at a time, one batch at least.
DENSE_BYTES = 1 << 24


@dataclass(frozen=True)
class Source:
    """Where the rows of some batches are: arrays, and the address of an index into them (or 0)."""

    x: np.ndarray
    target: Target
    weights: np.ndarray | None
    index: int


class Samples:
    """All samples of a fit.

    Arguments:
        x: (N, D) float32 or float64; any dense array, or a sparse matrix.
        target: labels (N,), int64; or (N, C), of a float dtype, or uint8 for false and true.
        weights: (N,) of a float dtype, or None.
    """

    def __init__(self, x: Any, target: np.ndarray, weights: np.ndarray | None) -> None:
        self.sparse = not isinstance(x, np.ndarray)
        self.x = x.tocsr() if self.sparse else _readable(x)
        self.target = np.ascontiguousarray(target)
        self.weights = None if weights is None else np.ascontiguousarray(weights)
        self.order: np.ndarray | None = None

    def __len__(self) -> int:
        return int(self.x.shape[0])

    @property
    def stay(self) -> bool:
        """Whether `source` gives the same addresses for the same `begin`."""
        return not self.sparse and self.order is not None

    def most_rows(self) -> int:
        """How many rows `source` may be asked for at once."""
        if not self.sparse:
            return len(self)
        return max(1, DENSE_BYTES // (self.x.shape[1] * self.x.dtype.itemsize))

    def source(self, begin: int, count: int) -> Source:
        """The samples number `begin` .. `begin + count - 1` in the order of `order`."""
        is_labels = self.target.ndim == 1
        if not self.sparse and self.order is not None:
            index = address_of(self.order) + 8 * begin
            return Source(self.x, Target(self.target, is_labels), self.weights, index)
        rows: Any = slice(begin, begin + count)
        if self.order is not None:
            rows = self.order[rows]
        x = self.x[rows].toarray() if self.sparse else self.x[rows]
        weights = None if self.weights is None else self.weights[rows]
        return Source(x, Target(self.target[rows], is_labels), weights, 0)


def _readable(x: np.ndarray) -> np.ndarray:
    """x itself where rows can be gathered as they lie (each contiguous and aligned), or a copy."""
    item = x.itemsize
    as_it_lies = x.flags.aligned and x.strides[1] == item and x.strides[0] % item == 0
    return x if as_it_lies or x.size == 0 else np.require(x, requirements=["C", "A"])
