"""What a network is trained towards: labels or numbers, checked once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastbp._errors import DataError, ShapeError
from fastbp.losses import Loss


@dataclass(frozen=True)
class Target:
    """Targets of one output: int64 labels (N,), or a matrix (N, C) of the network's dtype."""

    array: np.ndarray
    is_labels: bool

    @classmethod
    def of(cls, y: Any, loss: Loss, size: int, dtype: np.dtype) -> Target:
        """Targets for an output of `size` numbers a sample, as the loss wants them."""
        array = np.asarray(y)
        if array.dtype.kind not in "biuf":
            raise DataError(f"targets of dtype {array.dtype}", "numbers")
        if loss.target == "labels" and array.ndim == 1:
            return cls(_labels(array, size), True)
        if loss.target == "labels" and loss.name == "hinge":
            raise ShapeError(f"targets with shape {array.shape}", "labels (N,)")
        if array.ndim == 1 and size == 1:
            array = array[:, None]
        if array.ndim < 2 or array.size != len(array) * size:
            raise ShapeError(f"targets with shape {array.shape}", f"(N, {size})")
        return cls(np.ascontiguousarray(array.reshape(len(array), size), dtype), False)


def _labels(array: np.ndarray, classes: int) -> np.ndarray:
    if array.dtype.kind == "f" and not np.all(array == np.floor(array)):
        raise DataError("labels that are not whole numbers", f"0 to {classes - 1}")
    labels = np.ascontiguousarray(array, np.int64)
    if labels.size and labels.view(np.uint64).max() >= classes:  # negative ones are huge there
        bad = labels.min() if labels.min() < 0 else labels.max()
        where = int(np.flatnonzero(labels == bad)[0])
        raise DataError(f"label {bad} at sample {where}", f"0 to {classes - 1}",
                        f"the output has {classes} numbers")
    return labels


def check_lengths(inputs: Sequence[np.ndarray], targets: Sequence[Target]) -> None:
    """As many targets as samples."""
    for target in targets:
        if len(target.array) != len(inputs[0]):
            raise ShapeError(f"{len(inputs[0])} samples with {len(target.array)} targets",
                             "equal numbers")


def accuracy(output: np.ndarray, target: Target, weights: np.ndarray | None = None) -> float:
    """Share of right answers: the largest logit, or for single logits their sign.

    weights: (N,) of the samples, or None for equal ones.
    """
    if target.is_labels:
        right = output.argmax(axis=1) == target.array
    elif output.shape[1] == 1:
        right = ((output > 0) == (target.array > 0.5))[:, 0]
    else:
        right = output.argmax(axis=1) == target.array.argmax(axis=1)
    return float(np.average(right, weights=weights))
