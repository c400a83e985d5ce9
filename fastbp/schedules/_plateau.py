"""The schedule that looks at what training achieves, and how it tells progress."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from fastbp._errors import ArgumentError
from fastbp.schedules._base import Schedule, require

if TYPE_CHECKING:
    from fastbp.schedules._base import Factors


def larger_is_better(monitor: str) -> bool:
    """Whether a rise of that column of the history is progress; a fall is for losses."""
    return any(word in monitor for word in ("accuracy", "score", "r2", "f1", "auc"))


def monitored(row: dict[str, Any], monitor: str) -> float:
    """That column of a row of the history."""
    if monitor not in row:
        remedy = "pass validation_data to fit" if monitor.startswith("val_") else ""
        raise ArgumentError(
            f"monitor={monitor!r}, which the history does not have",
            f"one of {', '.join(row)}",
            remedy,
        )
    return float(row[monitor])


@dataclass
class Plateau(Schedule):
    """Multiply by `factor` when `monitor` has not improved for more than `patience` epochs."""

    name: ClassVar[str] = "plateau"
    patience: int = 10
    factor: float = 0.1
    monitor: str = "val_loss"
    min_factor: float = 0.0
    min_delta: float = 0.0
    current: float = field(default=1.0, init=False)
    best: float | None = field(default=None, init=False)
    waited: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        require(self.patience >= 0, self, "patience", "0 or more")
        require(0 < self.factor < 1, self, "factor", "a number between 0 and 1")
        require(0 <= self.min_factor < 1, self, "min_factor", "a number from 0, below 1")
        require(self.min_delta >= 0, self, "min_delta", "0 or more")

    def factors(
        self, first_step: int, count: int, steps_per_epoch: int, total_epochs: int
    ) -> Factors:
        """The factor that the epochs so far have led to."""
        return np.full(count, self.current)

    def epoch_end(self, row: dict[str, Any]) -> None:
        """Count epochs without progress; after more than `patience` of them lower the rate."""
        value = monitored(row, self.monitor)
        if is_better(value, self.best, self.min_delta, larger=larger_is_better(self.monitor)):
            self.best, self.waited = value, 0
            return
        self.waited += 1
        if self.waited > self.patience:
            self.current = max(self.current * self.factor, self.min_factor)
            self.waited = 0

    def state(self) -> dict[str, float]:
        """The factor, the best value so far (absent before the first epoch), epochs waited."""
        best = {} if self.best is None else {"best": self.best}
        return {"current": self.current, "waited": self.waited, **best}

    def load_state(self, state: dict[str, float]) -> None:
        """Go on from what `state()` returned."""
        self.current = float(state["current"])
        self.waited = int(state["waited"])
        self.best = float(state["best"]) if "best" in state else None


def is_better(value: float, best: float | None, min_delta: float, *, larger: bool) -> bool:
    """Whether `value` improves on `best` by more than `min_delta`; NaN and infinities never do."""
    if not math.isfinite(value):
        return False
    if best is None:
        return True
    return value > best + min_delta if larger else value < best - min_delta
