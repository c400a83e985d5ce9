"""Dividing rows into training, validation and test parts."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp._errors import DataError

Rows = NDArray[np.int64]


def hold_out(labels: NDArray[Any], fraction: float, seed: int) -> tuple[Rows, Rows]:
    """Row numbers to keep and to hold out, each ascending.

    The held-out part has round(fraction * N) rows, of every class its share to within one row,
    and never the last row of a class: what is held out can always be learnt from what is kept.
    Equal labels and seed give equal parts.

    Arguments:
        labels: (N,) class of each row; for regression pass zeros.
        fraction: in [0, 1).

    Raises:
        DataError: `fraction` is positive but so small or the classes so many that either part
            would be empty.
    """
    if not 0.0 <= fraction < 1.0:
        raise DataError(f"fraction {fraction:g} of the rows", "at least 0 and less than 1")
    total = labels.shape[0]
    if fraction == 0.0:
        return np.arange(total), np.empty(0, dtype=np.int64)
    shuffled = np.random.default_rng(seed).permutation(total)
    ordered = shuffled[np.argsort(labels[shuffled], kind="stable")]
    sorted_labels = labels[ordered]
    may_go = np.r_[False, sorted_labels[1:] == sorted_labels[:-1]]
    candidates = ordered[may_go]
    wanted = min(round(fraction * total), candidates.size)
    if wanted == 0:
        raise DataError(f"holding out {fraction:g} of {total} rows leaves no row to test with",
                        "more rows of each class or a larger fraction",
                        "pass a file, or 0 to go without")
    # Systematic sampling: evenly spaced in class order, so every class gives its share.
    picked = (np.arange(wanted) * candidates.size + candidates.size // 2) // wanted
    held = np.sort(candidates[picked])
    return np.setdiff1d(np.arange(total), held), held


def stratified_split(labels: NDArray[Any], *, validation: float = 0.1, test: float = 0.2,
                     seed: int = 0) -> tuple[Rows, Rows, Rows]:
    """Row numbers of a training, a validation and a test part with the classes in proportion.

    Arguments:
        labels: (N,) class of each row.
        validation, test: fractions of all N rows.
        seed: the same seed divides the same labels in the same way, on every machine.

    Returns:
        Three ascending int64 arrays that together hold every row once.
    """
    if not 0.0 <= validation + test < 1.0:
        raise DataError(f"validation {validation:g} and test {test:g}", "a sum less than 1")
    rest, test_rows = hold_out(labels, test, seed)
    kept, held = hold_out(labels[rest], validation / (1.0 - test), seed + 1)
    return rest[kept], rest[held], test_rows
