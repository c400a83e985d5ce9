"""What a schedule is, and the one that leaves the rate alone."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from fastbp._errors import ArgumentError

if TYPE_CHECKING:
    from numpy.typing import NDArray

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


@dataclass(frozen=True)
class Constant(Schedule):
    """The base rate throughout."""

    name: ClassVar[str] = "constant"


def require(good: bool, schedule: Schedule, setting: str, wanted: str) -> None:
    """Refuse a setting, by its name."""
    if not good:
        value = getattr(schedule, setting)
        raise ArgumentError(f"{type(schedule).__name__}: {setting}={value!r}", wanted)
