"""Losses over a batch of scores (docs/math.md#losses): the mean over N is in the gradient."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastbp import ops
from fastbp.compat.cs231n._arrays import floats, named


@named(logits="x", target="y")
def softmax_loss(x: Any, y: Any) -> tuple[float, np.ndarray]:
    """Softmax and cross-entropy, averaged over the batch.

    Arguments:
        x: scores (N, C). y: labels (N,), whole numbers from 0 to C-1.
    Returns:
        (loss, dx (N, C)). Finite for every finite x: the score of the label is subtracted before
        the exponential, and no logarithm of a rounded probability is taken.
    Raises:
        ShapeError, DTypeError; DataError for a label that is no class.
    """
    (scores,) = floats("x", x)
    return ops.softmax_cross_entropy(scores, y)


@named(scores="x", target="y")
def svm_loss(x: Any, y: Any) -> tuple[float, np.ndarray]:
    """Multiclass hinge loss with margin 1, averaged over the batch.

    sum over j != y_i of max(0, x_ij - x_iy + 1). Arguments, results and errors as for
    `softmax_loss`; the slope at the kink is 0.
    """
    (scores,) = floats("x", x)
    return ops.hinge(scores, y)
