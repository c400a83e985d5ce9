"""Schedules that are functions of the step: stairs and cosines."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from fastbp.schedules._base import Schedule, require

if TYPE_CHECKING:
    from fastbp.schedules._base import Factors


def _steps(first_step: int, count: int) -> Factors:
    return np.arange(first_step, first_step + count, dtype=np.float64)


@dataclass(frozen=True)
class Step(Schedule):
    """factor^(epoch // every_epochs): a fall by `factor` after every so many epochs."""

    name: ClassVar[str] = "step"
    every_epochs: int
    factor: float = 0.1

    def __post_init__(self) -> None:
        require(self.every_epochs >= 1, self, "every_epochs", "1 or more")
        require(0 < self.factor <= 1, self, "factor", "a number above 0, at most 1")

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
        require(self.warmup_epochs >= 0, self, "warmup_epochs", "0 or more")
        require(0 <= self.final_factor <= 1, self, "final_factor", "a number from 0 to 1")

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
        require(0 <= self.warmup < 1, self, "warmup", "a part of the training, from 0, below 1")
        require(0 < self.start_factor <= 1, self, "start_factor", "a number above 0, at most 1")
        require(0 <= self.final_factor <= 1, self, "final_factor", "a number from 0 to 1")

    def factors(
        self, first_step: int, count: int, steps_per_epoch: int, total_epochs: int
    ) -> Factors:
        """As in `Schedule.factors`."""
        step = _steps(first_step, count)
        total = total_epochs * steps_per_epoch
        peak = round(self.warmup * total)
        up = _fall(step, 0, peak, self.start_factor, 1.0)
        return np.where(step < peak, up, _fall(step, peak, total, 1.0, self.final_factor))
