"""The losses by name: what targets they take and what computes them.

The kernels divide by the batch (1/N has one owner, the loss); docs/math.md#losses.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from fastbp._errors import ArgumentError

__all__ = ["LOSSES", "Loss", "get"]


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
