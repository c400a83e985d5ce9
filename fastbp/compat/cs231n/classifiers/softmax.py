"""The loss of a linear softmax classifier."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastbp import ops
from fastbp.compat.cs231n._arrays import named
from fastbp.compat.cs231n.classifiers._linear import linear_loss

__all__ = ["np", "softmax_loss_naive", "softmax_loss_vectorized"]


@named(logits="X W", target="y")
def softmax_loss_naive(W: Any, X: Any, y: Any, reg: float  # noqa: N803 - their names
                       ) -> tuple[float, np.ndarray]:
    """The same as `softmax_loss_vectorized`."""
    return linear_loss(ops.softmax_cross_entropy, W, X, y, reg)


@named(logits="X W", target="y")
def softmax_loss_vectorized(W: Any, X: Any, y: Any, reg: float  # noqa: N803
                            ) -> tuple[float, np.ndarray]:
    """Mean cross-entropy of the scores X W, plus reg * sum(W*W) (2016: half of it).

    W (D, C), X (N, D), y (N,) labels. Returns (loss, dW (D, C)).
    """
    return linear_loss(ops.softmax_cross_entropy, W, X, y, reg)
