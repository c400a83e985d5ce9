"""Ends of a fit: no more progress, no more sense, no more time."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np

from fastbp._errors import ArgumentError, NonFiniteError
from fastbp.callbacks._base import Callback, Steps
from fastbp.history import Row
from fastbp.schedules import is_better, larger_is_better, monitored

_MODES = ("auto", "min", "max")


def larger_wins(owner: str, monitor: str, mode: str) -> bool:
    """Whether larger values of `monitor` are better, by a mode "auto", "min" or "max"."""
    if mode not in _MODES:
        raise ArgumentError(f"{owner}: mode={mode!r}", "'auto', 'min' or 'max'")
    return larger_is_better(monitor) if mode == "auto" else mode == "max"


class EarlyStopping(Callback):
    """Stop when `monitor` has not improved for `patience` epochs.

    Arguments:
        monitor: a column of the history.
        patience: how many epochs in a row may pass without an improvement.
        min_delta: what counts as an improvement is a change by more than this.
        restore_best: at the end of the fit, go back to the weights of the best epoch.
        mode: "min", "max", or "auto": "max" for accuracy, score, r2, f1 and auc, else "min".

    After a fit `best`, `best_epoch` and `stopped_epoch` (None if it ran to the end) tell what
    happened.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        patience: int = 10,
        min_delta: float = 0.0,
        restore_best: bool = True,
        mode: str = "auto",
    ) -> None:
        if patience < 1:
            raise ArgumentError(f"EarlyStopping: patience={patience!r}", "1 or more")
        if not min_delta >= 0:
            raise ArgumentError(f"EarlyStopping: min_delta={min_delta!r}", "0 or more")
        self.monitor, self.patience, self.min_delta = monitor, patience, min_delta
        self.restore_best = restore_best
        self.larger = larger_wins("EarlyStopping", monitor, mode)
        self._reset()

    def _reset(self) -> None:
        self.best: float | None = None
        self.best_epoch: int | None = None
        self.stopped_epoch: int | None = None
        self._waited = 0
        self._best_arrays: dict[str, np.ndarray] | None = None

    def on_fit_begin(self, trainer: Any) -> None:
        """Forget an earlier fit."""
        self._reset()

    def on_epoch_end(self, trainer: Any, row: Row) -> None:
        """Compare with the best epoch so far."""
        value = monitored(row, self.monitor)
        if is_better(value, self.best, self.min_delta, larger=self.larger):
            self.best, self.best_epoch, self._waited = value, int(row["epoch"]), 0
            if self.restore_best:
                state = trainer.network.state_dict()
                self._best_arrays = {name: np.array(array) for name, array in state.items()}
            return
        self._waited += 1
        if self._waited >= self.patience:
            self.stopped_epoch = int(row["epoch"])
            trainer.stop = True

    def on_fit_end(self, trainer: Any) -> None:
        """Put the best epoch's weights back (an interrupted epoch may have changed them)."""
        if self._best_arrays is not None:
            trainer.network.load_state_dict(self._best_arrays)

    def state(self) -> dict[str, Any]:
        """The best value, its epoch and weights; epochs waited."""
        return {"best": self.best, "best_epoch": self.best_epoch, "waited": self._waited,
                "stopped_epoch": self.stopped_epoch, **(self._best_arrays or {})}

    def load_state(self, state: dict[str, Any]) -> None:
        """As in `Callback.load_state`."""
        rest = dict(state)
        self.best, self.best_epoch = rest.pop("best"), rest.pop("best_epoch")
        self._waited, self.stopped_epoch = rest.pop("waited"), rest.pop("stopped_epoch")
        self._best_arrays = rest or None


class TerminateOnNaN(Callback):
    """Stop when the loss is not finite: what follows could not be of use.

    Without this callback a fit raises `NonFiniteError` then (`Trainer(check_finite=True)`).
    """

    def __init__(self) -> None:
        self.stopped_epoch: int | None = None

    def on_epoch_end(self, trainer: Any, row: Row) -> None:
        """Look at the training loss and, where there is one, the validation loss."""
        if not all(math.isfinite(row.get(name, 0.0)) for name in ("loss", "val_loss")):
            self.stopped_epoch = int(row["epoch"])
            trainer.stop = True

    def on_non_finite(self, trainer: Any, error: NonFiniteError) -> bool:
        """End the fit before the step that cannot be made."""
        self.stopped_epoch = error.epoch
        return True


class TimeLimit(Callback):
    """Stop when `seconds` since the start of the fit (of this process, if resumed) have passed.

    Arguments:
        seconds: the limit.
        at_step_edge: stop within a fraction of a second, in the middle of an epoch or of its
            validation, instead of at the end of the epoch. `expired` tells whether it happened;
            `stopped_epoch` when.
    """

    def __init__(self, seconds: float, at_step_edge: bool = False) -> None:
        if not seconds > 0:
            raise ArgumentError(f"TimeLimit: seconds={seconds!r}", "a number above 0")
        self.seconds, self.at_step_edge = seconds, at_step_edge
        self.stopped_epoch: int | None = None
        self._start = 0.0

    @property
    def expired(self) -> bool:
        """Whether the limit ended the last fit."""
        return self.stopped_epoch is not None

    def on_fit_begin(self, trainer: Any) -> None:
        """Start the clock."""
        self._start, self.stopped_epoch = time.monotonic(), None

    def on_steps(self, trainer: Any, steps: Steps) -> None:
        """Look at the clock between steps."""
        self._look(trainer, steps.epoch)

    def on_validation(self, trainer: Any) -> None:
        """Look at the clock between chunks of the validation data."""
        self._look(trainer, trainer.current.epoch)

    def _look(self, trainer: Any, epoch: int) -> None:
        if self.at_step_edge and self._is_over():
            self.stopped_epoch = epoch
            trainer.stop_now = True

    def on_epoch_end(self, trainer: Any, row: Row) -> None:
        """Look at the clock."""
        if self._is_over():
            self.stopped_epoch = int(row["epoch"])
            if self.at_step_edge:
                trainer.stop_now = True
            else:
                trainer.stop = True

    def _is_over(self) -> bool:
        return time.monotonic() - self._start >= self.seconds
