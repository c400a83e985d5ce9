"""The loss of a linear support vector machine."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastbp import ops
from fastbp.compat.cs231n._arrays import named
from fastbp.compat.cs231n.classifiers._linear import linear_loss

__all__ = ["np", "svm_loss_naive", "svm_loss_vectorized"]


@named(scores="X W", target="y")
def svm_loss_naive(W: Any, X: Any, y: Any, reg: float  # noqa: N803 - their names
                   ) -> tuple[float, np.ndarray]:
    """The same as `svm_loss_vectorized`."""
    return linear_loss(ops.hinge, W, X, y, reg)


@named(scores="X W", target="y")
def svm_loss_vectorized(W: Any, X: Any, y: Any, reg: float  # noqa: N803
                        ) -> tuple[float, np.ndarray]:
    """Mean hinge loss (margin 1) of the scores X W, plus reg * sum(W*W) (2016: half of it).

    W (D, C), X (N, D), y (N,) labels. Returns (loss, dW (D, C)).
    """
    return linear_loss(ops.hinge, W, X, y, reg)
