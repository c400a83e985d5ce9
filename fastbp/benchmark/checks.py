"""Is the timed result right? Every row of fastbp is compared with every peer's, in the same run.

Both sides compute in float32 (or both in float64) from the same data, each in its own order, so the
bounds are those of two rounded results of one formula.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastbp.benchmark import workloads
from fastbp.benchmark.rows import Row, Verdict

PRODUCT_FACTOR = 8.0
"""A sum of K products of normal numbers, rounded K times, is wrong by about sqrt(K) eps times the
norms of its row and column; two of them are compared, and the largest of all elements counts."""


def verify(row: Row, mine: Sequence[Any], theirs: Sequence[Any]) -> Verdict:
    """Compare two results of a row.

    Matrix products: every element within 8 sqrt(K) eps |a_i| |b_j| (2-norms). Everything else:
    each array's norm-wise relative difference within the row's tolerance for it,
    or half its digits.
    """
    if row.kind == "matmul":
        return _product(row, mine[0], theirs[0])
    bounds = row.tolerances or [half_the_digits(a, b)
                                for a, b in zip(mine, theirs, strict=False)]  # fmt: skip
    if not (len(mine) == len(theirs) == len(bounds)) or not bounds:
        return Verdict(math.inf, 0.0)
    verdicts = [Verdict(relative_difference(a, b), bound)
                for a, b, bound in zip(mine, theirs, bounds, strict=True)]  # fmt: skip
    return max(verdicts, key=_excess)


def _excess(verdict: Verdict) -> float:
    return math.inf if math.isnan(verdict.error) else verdict.error / verdict.bound


def half_the_digits(*arrays: Any) -> float:
    """sqrt(eps) of the coarser of the arrays' dtypes: 3e-4 for float32, 1.5e-8 for float64."""
    kinds = [np.asarray(array).dtype for array in arrays]
    return math.sqrt(max(float(np.finfo(kind if kind.kind == "f" else np.float64).eps)
                         for kind in kinds))  # fmt: skip


def relative_difference(a: Any, b: Any) -> float:
    """|a - b| / |b| in 2-norms, computed in float64; inf for different shapes."""
    x, y = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if x.shape != y.shape:
        return math.inf
    scale = float(np.linalg.norm(y))
    difference = float(np.linalg.norm(x - y))
    return difference / scale if scale else difference


def _product(row: Row, mine: Any, theirs: Any) -> Verdict:
    bound = PRODUCT_FACTOR * math.sqrt(row.spec["k"]) * float(np.finfo(row.spec["dtype"]).eps)
    if np.shape(mine) != np.shape(theirs):
        return Verdict(math.inf, bound)
    a, b = workloads.matrices(row.spec)
    scale = np.outer(np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=0))
    return Verdict(float(np.max(np.abs(np.asarray(mine) - np.asarray(theirs)) / scale)), bound)
