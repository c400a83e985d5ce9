"""The score and the loss on validation data after each epoch."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastbp.sklearn._losses import Criterion, activate
from fastbp.sklearn._network import Model
from fastbp.sklearn._predict import logits_of


class Validation:
    """Validation data of a fit.

    Arguments:
        x: (N, D), dense or sparse. target: as `Samples` takes it, without smoothing. weights: (N,)
        or None. criterion: for such targets. out_activation: the output's. classifier: accuracy
        is the score, else R^2.
    """

    def __init__(self, x: Any, target: np.ndarray, weights: np.ndarray | None,
                 criterion: Criterion, out_activation: str, *, classifier: bool) -> None:
        self.x, self.target, self.weights = x, target, weights
        self.criterion, self.out_activation = criterion, out_activation
        self.classifier = classifier

    def measure(self, model: Model, n_threads: int | None) -> tuple[float, float]:
        """(score, loss) of a model."""
        logits = logits_of(model, self.x, n_threads)
        weights = self.weights
        loss = self.criterion.of(logits, self.target,
                                 None if weights is None else weights.astype(logits.dtype))
        output = activate(logits, self.out_activation)
        if self.classifier:
            return accuracy(output, self.target, weights), loss
        if not np.isfinite(output).all():
            return np.nan, loss
        return r2(output, self.target, weights), loss


def accuracy(output: np.ndarray, target: np.ndarray, weights: np.ndarray | None) -> float:
    """Share of samples with the right class, or with all outputs right.

    output: probabilities (N, C); target: labels (N,), or (N, C) of 0 and 1.
    """
    if target.ndim == 1:
        right = output.argmax(axis=1) == target
    else:
        right = ((output > 0.5) == (target > 0.5)).all(axis=1)
    return float(np.average(right, weights=weights))


def r2(output: np.ndarray, target: np.ndarray, weights: np.ndarray | None) -> float:
    """1 - sum w (t - y)^2 / sum w (t - mean)^2, averaged over outputs.

    A target that never changes counts 1 where it is met and 0 elsewhere, as in scikit-learn.
    """
    w = np.ones((len(target), 1)) if weights is None else weights.astype(np.float64)[:, None]
    wide = target.astype(np.float64)
    missed = (w * (wide - output) ** 2).sum(axis=0)
    spread = (w * (wide - np.average(wide, axis=0, weights=weights)) ** 2).sum(axis=0)
    share = np.divide(missed, spread, out=np.ones_like(missed), where=spread != 0)
    return float(np.where((missed == 0) & (spread == 0), 1.0, 1.0 - share).mean())
