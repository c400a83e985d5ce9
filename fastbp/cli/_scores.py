"""How good outputs are, in the units of the data."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp.data import Preparation

Score = dict[str, float | int]


def probabilities(logits: NDArray[Any]) -> NDArray[np.float64]:
    """Softmax of each row, float64 (N, C)."""
    return np.exp(_log_softmax(logits))


def score(preparation: Preparation, outputs: NDArray[Any], targets: NDArray[Any]) -> Score:
    """Accuracy and mean cross-entropy, or R2, RMSE and MAE in the targets' own units.

    Arguments:
        outputs: (N, C) logits or (N, K) standardised predictions.
        targets: (N,) class indices or (N, K) standardised targets.

    R2 is the mean over the K targets; one that does not vary is left out, and without any that
    varies R2 is nan.
    """
    if preparation.classes:
        correct = int((outputs.argmax(axis=1) == targets).sum())
        taken = _log_softmax(outputs)[np.arange(len(targets)), targets]
        return {"accuracy": correct / len(targets), "correct": correct, "rows": len(targets),
                "cross_entropy": float(-taken.mean())}
    truth = preparation.targets_scaler.invert(targets)
    error = preparation.targets_scaler.invert(outputs) - truth
    spread = np.square(truth - truth.mean(axis=0)).sum(axis=0)
    varies = spread > 0
    r2 = 1.0 - np.square(error).sum(axis=0)[varies] / spread[varies]
    return {"r2": float(r2.mean()) if varies.any() else float("nan"),
            "rmse": float(np.sqrt(np.square(error).mean())),
            "mae": float(np.abs(error).mean()), "rows": len(truth)}


def describe(found: Score) -> str:
    """A score in one line."""
    if "accuracy" in found:
        return f"accuracy {found['accuracy']:.4f} ({found['correct']} of {found['rows']})"
    return f"R2 {found['r2']:.4f}, RMSE {found['rmse']:.6g}, MAE {found['mae']:.6g}"


def _log_softmax(logits: NDArray[Any]) -> NDArray[np.float64]:
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))
