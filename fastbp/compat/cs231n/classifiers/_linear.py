"""What the linear classifiers share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastbp import ops
from fastbp.compat.cs231n._affine import scores_of
from fastbp.compat.cs231n._arrays import floats
from fastbp.compat.cs231n._edition import penalty_is_halved
from fastbp.compat.cs231n.classifiers._parameters import penalty


def linear_loss(loss_of: Callable[[Any, Any], tuple[float, np.ndarray]], w: Any, x: Any, y: Any,
                reg: float) -> tuple[Any, np.ndarray]:
    """(loss_of(x w, y) + reg * sum(w*w), its gradient (D, C) by w); in 2016 half the penalty.

    w (D, C), x (N, D), y (N,) labels.
    """
    loss, dscores = loss_of(scores_of(x, w), y)
    rows, weights = floats("x w", x, w)
    dw = ops.matmul(rows.T, dscores)
    return loss + penalty({"W": weights}, {"W": dw}, reg if penalty_is_halved() else 2 * reg), dw
