"""The losses by scikit-learn's names: kernels, how outputs are summed, and the output's activation.

Gradients are means over samples and sums over outputs. The values reported follow scikit-learn:
its squared error is halved and averaged over outputs, while its gradient is summed; log-losses are
cut off where a probability would be below the smallest number that changes 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from scipy.special import expit

from fastbp import ops
from fastbp.emit.losses import Reduction
from fastbp.losses import Loss

REGRESSION = {
    "squared_error": "mean_squared_error", "absolute_error": "mean_absolute_error",
    "huber": "huber", "poisson": "poisson_deviance", "quantile": "pinball",
}  # fmt: skip


@dataclass(frozen=True)
class Criterion:
    """What training makes small, for targets as `kind` of target says.

    loss: as the training program takes it. gradient, value: what its mean over all numbers is
    multiplied by, for the slopes and for the report.
    """

    loss: Loss
    gradient: float
    value: float
    settings: dict[str, float] = field(default_factory=dict)

    def reduction(self, denominator: float = 0.0) -> Reduction:
        """For the training program; see `fastbp.emit.losses.Reduction`."""
        return Reduction(self.gradient, self.value, denominator)

    def of(self, logits: np.ndarray, target: np.ndarray, weights: np.ndarray | None) -> float:
        """The loss of some outputs before their activation, (N, C), without a penalty."""
        goal = target if target.ndim == 1 else target.astype(logits.dtype)
        value, _ = getattr(ops, self.loss.name)(logits, goal, sample_weight=weights,
                                                **self.settings)
        return float(value) * self.value


def classification(out_activation: str, outputs: int, dtype: Any, *, smoothed: bool) -> Criterion:
    """log_loss: over classes ("softmax") or of each output by itself ("logistic")."""
    most = -math.log(np.finfo(dtype).eps)
    if out_activation == "softmax":
        target: Literal["labels", "matrix"] = "matrix" if smoothed else "labels"
        # A smoothed label costs more than `most` where it would have to.
        cut = {} if smoothed else {"most": most}
        return Criterion(Loss("softmax_cross_entropy", target, True, cut), 1.0, 1.0)
    loss = Loss("sigmoid_cross_entropy", "matrix", True, {} if smoothed else {"most": most})
    return Criterion(loss, outputs, outputs)


def regression(name: str, outputs: int, delta: float, quantile: float) -> Criterion:
    """One of REGRESSION; delta is Huber's, quantile the quantile loss's."""
    settings = {"huber": {"delta": delta}, "quantile": {"quantile": quantile}}.get(name, {})
    loss = Loss(REGRESSION[name], "matrix", False, settings)
    if name == "squared_error":
        return Criterion(loss, outputs / 2, 0.5, settings)
    return Criterion(loss, outputs, outputs, settings)


def activate(logits: np.ndarray, name: str) -> np.ndarray:
    """The output's activation, in place: identity, softmax, logistic or exp."""
    if name == "softmax":
        ops.softmax(logits, out=logits)
    elif name == "logistic":
        expit(logits, out=logits)
    elif name == "exp":
        with np.errstate(over="ignore"):
            np.exp(logits, out=logits)
    return logits
