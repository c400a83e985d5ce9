"""The hooks that a fit calls."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import numpy as np

from fastbp._errors import NonFiniteError
from fastbp.history import Row


class Steps(NamedTuple):
    """Steps just made in one go: number of the first (from 1), epoch, losses and rates (count,)."""

    first: int
    epoch: int
    losses: np.ndarray
    rates: np.ndarray


class Callback:
    """Hooks that do nothing; a callback of your own overrides some of them.

    next_step: where a callback sets it, the fit makes an edge exactly after that step (as
    `trainer.step_count` counts). priority: callbacks with a higher one are called later, so that
    `Checkpoint` sees what the others have decided. decides: whether its state matters to what is
    trained; a checkpoint with such a state cannot be continued without the callback.
    """

    priority: ClassVar[int] = 0
    decides: ClassVar[bool] = True
    next_step: int | None = None

    def on_fit_begin(self, trainer: Any) -> None:
        """Before the first epoch; `trainer.resumed` tells whether a checkpoint is continued."""

    def on_epoch_begin(self, trainer: Any, epoch: int) -> None:
        """Before epoch `epoch` (from 1), or before what a resumed fit has left of it."""

    def on_steps(self, trainer: Any, steps: Steps) -> None:
        """At an edge between steps, 20 times a second or more; arrays live until the next edge."""

    def on_validation(self, trainer: Any) -> None:
        """Before each chunk of the validation data, 1024 samples; `stop_now` ends it and the fit.

        The epoch's last step is done, and not its end: a fit that goes on validates from the start.
        """

    def on_epoch_end(self, trainer: Any, row: Row) -> None:
        """After an epoch; `row` is its line of the history, and may be added to."""

    def on_pause(self, trainer: Any) -> None:
        """The fit ends before its last epoch, by `stop_now` or Ctrl-C, at an edge of a step."""

    def on_non_finite(self, trainer: Any, error: NonFiniteError) -> bool:
        """A loss or parameters are not finite; True ends the fit instead of raising the error."""
        return False

    def on_fit_end(self, trainer: Any) -> None:
        """After the last epoch, also when the fit was interrupted."""

    def state(self) -> dict[str, Any]:
        """What a checkpoint must hold: arrays, and values that JSON can write, by name."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from what `state` returned; called after `on_fit_begin`."""
