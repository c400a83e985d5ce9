"""Learning-rate schedules: factors that multiply the optimizer's own rate, one for each step.

`factors` depends on nothing but its arguments, so a resumed run sees the rates that the
uninterrupted one saw. `Plateau` is the exception: it looks at what training achieves, and its
`state()` belongs into a checkpoint.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from fastbp._errors import ArgumentError

__all__ = [
    "Constant",
    "Cosine",
    "OneCycle",
    "Plateau",
    "Schedule",
    "Step",
    "from_dict",
    "from_name",
    "larger_is_better",
]

Factors = NDArray[np.float64]


class Schedule:
    """What every schedule offers; this one leaves the rate alone."""

    name: ClassVar[str] = ""

    def factors(
        self, first_step: int, count: int, steps_per_epoch: int, total_epochs: int
    ) -> Factors:
        """Factors of the base learning rate.

        Arguments:
            first_step: how many steps were made before (0 at the start of training).
            count: how many steps the factors are for.
            steps_per_epoch, total_epochs: the length of the whole training.
        Returns:
            float64 (count,), one factor for each of the steps first_step, first_step+1, ...
        """
        return np.ones(count)

    def epoch_end(self, row: dict[str, Any]) -> None:
        """What an epoch achieved: a row of the history."""

    def state(self) -> dict[str, float]:
        """What must be kept to go on later."""
        return {}

    def load_state(self, state: dict[str, float]) -> None:
        """Go on from what `state()` returned."""

    def as_dict(self) -> dict[str, Any]:
        """Name and settings, for a JSON file; `from_dict` reads it."""
        settings = {
            f.name: getattr(self, f.name)
            for f in dataclasses.fields(self)  # type: ignore[arg-type]
            if f.init
        }
        return {"name": self.name, **settings}


def _require(good: bool, schedule: Schedule, setting: str, wanted: str) -> None:
    if not good:
        value = getattr(schedule, setting)
        raise ArgumentError(f"{type(schedule).__name__}: {setting}={value!r}", wanted)


def _steps(first_step: int, count: int) -> Factors:
    return np.arange(first_step, first_step + count, dtype=np.float64)


@dataclass(frozen=True)
class Constant(Schedule):
    """The base rate throughout."""

    name: ClassVar[str] = "constant"


@dataclass(frozen=True)
class Step(Schedule):
    """factor^(epoch // every_epochs): a fall by `factor` after every so many epochs."""

    name: ClassVar[str] = "step"
    every_epochs: int
    factor: float = 0.1

    def __post_init__(self) -> None:
        _require(self.every_epochs >= 1, self, "every_epochs", "1 or more")
        _require(0 < self.factor <= 1, self, "factor", "a number above 0, at most 1")

    def factors(
        self, first_step: int, count: int, steps_per_epoch: int, total_epochs: int
    ) -> Factors:
        """As in `Schedule.factors`."""
        epoch = _steps(first_step, count) // steps_per_epoch
        return np.power(self.factor, epoch // self.every_epochs)


@dataclass(frozen=True)
class Cosine(Schedule):
    """A linear warm-up, then half a cosine from 1 to `final_factor` (Loshchilov & Hutter 2017).

    Step s of a warm-up of W steps has the factor (s+1)/W; step s of T in all
    final + (1-final) * (1 + cos(pi * (s-W)/(T-W))) / 2, and `final_factor` from T on.
    """

    name: ClassVar[str] = "cosine"
    warmup_epochs: float = 0.0
    final_factor: float = 0.0

    def __post_init__(self) -> None:
        _require(self.warmup_epochs >= 0, self, "warmup_epochs", "0 or more")
        _require(0 <= self.final_factor <= 1, self, "final_factor", "a number from 0 to 1")

    def factors(
        self, first_step: int, count: int, steps_per_epoch: int, total_epochs: int
    ) -> Factors:
        """As in `Schedule.factors`."""
        step = _steps(first_step, count)
        warmup = round(self.warmup_epochs * steps_per_epoch)
        total = total_epochs * steps_per_epoch
        down = _fall(step, warmup, total, 1.0, self.final_factor)
        return np.where(step < warmup, (step + 1) / max(warmup, 1), down)


def _fall(step: Factors, begin: float, end: float, high: float, low: float) -> Factors:
    """Half a cosine from `high` at step `begin` to `low` at step `end` and later."""
    part = np.clip((step - begin) / max(end - begin, 1), 0.0, 1.0)
    return low + (high - low) * (1 + np.cos(math.pi * part)) / 2


@dataclass(frozen=True)
class OneCycle(Schedule):
    """Up to the base rate over `warmup` of the training and down again (Smith & Topin 2018).

    The base rate is the peak: half a cosine from `start_factor` to 1, another from 1 to
    `final_factor`. The defaults are PyTorch's: 30 %, 1/25, and 1/250000 at the end.
    """

    name: ClassVar[str] = "onecycle"
    warmup: float = 0.3
    start_factor: float = 0.04
    final_factor: float = 4e-6

    def __post_init__(self) -> None:
        _require(0 <= self.warmup < 1, self, "warmup", "a part of the training, from 0, below 1")
        _require(0 < self.start_factor <= 1, self, "start_factor", "a number above 0, at most 1")
        _require(0 <= self.final_factor <= 1, self, "final_factor", "a number from 0 to 1")

    def factors(
        self, first_step: int, count: int, steps_per_epoch: int, total_epochs: int
    ) -> Factors:
        """As in `Schedule.factors`."""
        step = _steps(first_step, count)
        total = total_epochs * steps_per_epoch
        peak = round(self.warmup * total)
        up = _fall(step, 0, peak, self.start_factor, 1.0)
        return np.where(step < peak, up, _fall(step, peak, total, 1.0, self.final_factor))


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
        _require(self.patience >= 0, self, "patience", "0 or more")
        _require(0 < self.factor < 1, self, "factor", "a number between 0 and 1")
        _require(0 <= self.min_factor < 1, self, "min_factor", "a number from 0, below 1")
        _require(self.min_delta >= 0, self, "min_delta", "0 or more")

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


_CLASSES: dict[str, type[Schedule]] = {
    kind.name: kind for kind in (Constant, Step, Cosine, OneCycle, Plateau)
}
NAMES = tuple(_CLASSES)


def from_name(name: str, **settings: Any) -> Schedule:
    """The schedule of that name."""
    if name not in _CLASSES:
        raise ArgumentError(f"schedule {name!r}", f"one of {', '.join(NAMES)}")
    kind = _CLASSES[name]
    known = [f.name for f in dataclasses.fields(kind) if f.init]  # type: ignore[arg-type]
    unknown = sorted(set(settings) - set(known))
    if unknown:
        raise ArgumentError(
            f"schedule {name!r}: unknown {', '.join(unknown)}",
            f"settings among {', '.join(known)}" if known else "no settings",
        )
    return kind(**settings)


def from_dict(data: dict[str, Any]) -> Schedule:
    """The schedule that `as_dict` described."""
    settings = dict(data)
    if "name" not in settings:
        raise ArgumentError("a schedule's description without a name", "the key 'name'")
    return from_name(settings.pop("name"), **settings)
