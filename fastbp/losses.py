"""The losses by name: what targets they take and what computes them.

The kernels divide by the batch (1/N has one owner, the loss); docs/math.md#losses.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from fastbp._errors import ArgumentError, DataError, ShapeError

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

__all__ = ["LOSSES", "Loss", "get", "smooth_labels"]


@dataclass(frozen=True)
class Loss:
    """One loss as a trainer sees it.

    `name` is that of the function in `fastbp.ops` and, after "emit_", in `fastbp.emit.losses`.
    `target` "labels" is integers (N,), one class a row; "matrix" is numbers of the output's shape.
    `classification`: accuracy is reported beside the loss. `settings` are passed on to the kernel.
    """

    name: str
    target: Literal["labels", "matrix"]
    classification: bool
    settings: dict[str, float] = field(default_factory=dict)


LOSSES: dict[str, Loss] = {
    loss.name: loss
    for loss in (
        Loss("softmax_cross_entropy", "labels", classification=True),
        Loss("hinge", "labels", classification=True),
        Loss("sigmoid_cross_entropy", "matrix", classification=True),
        Loss("mean_squared_error", "matrix", classification=False),
        Loss("mean_absolute_error", "matrix", classification=False),
        Loss("huber", "matrix", classification=False, settings={"delta": 1.0}),
        Loss("poisson_deviance", "matrix", classification=False),
        Loss("pinball", "matrix", classification=False, settings={"quantile": 0.5}),
    )
}


def get(loss: str | Loss, **settings: Any) -> Loss:
    """The loss of that name, with settings of your own (`get("huber", delta=2.0)`)."""
    if isinstance(loss, Loss):
        return loss
    if loss not in LOSSES:
        raise ArgumentError(f"loss {loss!r}", f"one of {', '.join(LOSSES)}")
    found = LOSSES[loss]
    unknown = sorted(set(settings) - set(found.settings))
    if unknown:
        known = ", ".join(found.settings) or "no settings"
        raise ArgumentError(f"loss {loss!r}: unknown {', '.join(unknown)}", known)
    merged = {**found.settings, **{name: float(value) for name, value in settings.items()}}
    return Loss(found.name, found.target, found.classification, merged)


def smooth_labels(labels: Any, classes: int, smoothing: float, dtype: DTypeLike = "float32"
                  ) -> NDArray[Any]:
    """Targets for softmax_cross_entropy that leave some doubt (Szegedy et al. 2016, section 7).

    Arguments:
        labels: (N,) whole numbers from 0 to classes-1. smoothing: 0 gives plain one-hot rows.
    Returns:
        (N, classes) in `dtype`: smoothing/classes, and 1-smoothing more at the label.
    """
    array = np.asarray(labels)
    if array.ndim != 1:
        raise ShapeError(f"labels with shape {array.shape}", "(N,): one label a sample")
    if not 0 <= smoothing < 1:
        raise ArgumentError(f"smoothing={smoothing!r}", "a number from 0, below 1")
    if array.size and not (np.all(array == np.floor(array)) and array.min() >= 0
                           and array.max() < classes):
        raise DataError("labels other than whole numbers of classes", f"0 to {classes - 1}")
    targets = np.full((len(array), classes), smoothing / classes, dtype)
    targets[np.arange(len(array)), array.astype(np.int64)] += 1 - smoothing
    return targets
