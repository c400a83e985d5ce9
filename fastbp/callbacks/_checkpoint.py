"""Saving a training as it runs, so that it can go on as if it had never stopped."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from fastbp import checkpoint, training_state
from fastbp._errors import ArgumentError
from fastbp.callbacks._base import Callback, Steps
from fastbp.callbacks._lock import FolderLock
from fastbp.callbacks._stopping import larger_wins
from fastbp.history import Row
from fastbp.schedules import is_better, monitored

BEST = "best" + training_state.SUFFIX


class Checkpoint(Callback):
    """Save everything that the training is, in files that are whole or absent.

    Arguments:
        folder: made if it is missing; it belongs to one training at a time. Files are
            step-NUMBER.safetensors; `fit(resume=folder)` takes the newest whole one.
        every_epochs, every_steps, every_seconds: when to save; any of them, or none. A training
            that is paused (Ctrl-C, SIGTERM through `Signals`, a `TimeLimit` at a step's edge) is
            saved in any case.
        keep: how many of the last files stay.
        best: a column of the history such as "val_loss": after each epoch that improves on it the
            file best.safetensors is written, too. mode: as in `EarlyStopping`.
        overwrite: a fit that is not resumed takes away an earlier training's files; without this
            it refuses to begin.
        announce: called with a line about each file written (print, say).

    A checkpoint is itself a model for `fastbp.load`. Parameters that are not finite are never
    saved. `saved` is the last file written, or None.

    A file that cannot be written is an OSError, which ends the fit; older files stay as they are.
    """

    priority: ClassVar[int] = 1
    decides: ClassVar[bool] = False

    def __init__(self, folder: str | os.PathLike[str], *, every_epochs: int | None = 1,
                 every_steps: int | None = None, every_seconds: float | None = None,
                 keep: int = 2, best: str | None = None, mode: str = "auto",
                 overwrite: bool = False,
                 announce: Callable[[str], object] | None = None) -> None:
        for name, value in (("every_epochs", every_epochs), ("every_steps", every_steps),
                            ("every_seconds", every_seconds)):
            if value is not None and not value > 0:
                raise ArgumentError(f"Checkpoint: {name}={value!r}", "a number above 0, or None")
        if keep < 1:
            raise ArgumentError(f"Checkpoint: keep={keep!r}", "1 or more")
        self.folder, self.keep, self.overwrite = Path(folder), keep, overwrite
        self.every_epochs, self.every_steps = every_epochs, every_steps
        self.every_seconds = every_seconds
        self.monitor, self.announce = best, announce
        self.larger = larger_wins("Checkpoint", best or "", mode)
        self.best: float | None = None
        self.saved: Path | None = None
        self._last_time = 0.0
        self._lock = FolderLock()

    def on_fit_begin(self, trainer: Any) -> None:
        """Make the folder ready; take away what a killed process was writing.

        Raises:
            ArgumentError: the folder holds another training's files (see `overwrite`).
            ConcurrencyError: another training is under way there.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock.take(self.folder)
        try:
            self._clear(trainer)
        except BaseException:
            self._lock.release()
            raise
        self.best, self.saved, self._last_time = None, None, time.monotonic()
        self._plan_next(trainer)

    def _clear(self, trainer: Any) -> None:
        source = trainer.current.resumed_from
        if source is not None and source.parent.resolve() == self.folder.resolve():
            # Files of later steps are damaged, or the user went back behind them.
            begin = training_state.number_of
            self._remove([f for f in self._files() if begin(f) > trainer.step_count])
        elif self._files() and not self.overwrite:
            raise ArgumentError(f"{self.folder} holds checkpoints of an earlier training",
                                "a folder for each training",
                                f"pass resume={str(self.folder)!r} to fit to go on with it, or "
                                "overwrite=True to Checkpoint")
        else:
            self._remove([*self._files(), *self.folder.glob(BEST)])
        self._remove(self.folder.glob(f".*{checkpoint.PART}"))

    def on_steps(self, trainer: Any, steps: Steps) -> None:
        """Save where one is due or asked for."""
        asked, trainer.checkpoint_wanted = trainer.checkpoint_wanted, False
        due = self.next_step is not None and trainer.step_count >= self.next_step
        late = (self.every_seconds is not None
                and time.monotonic() - self._last_time >= self.every_seconds)
        if asked or due or late:
            self._save(trainer)

    def on_validation(self, trainer: Any) -> None:
        """Save where it is asked for."""
        if trainer.checkpoint_wanted:
            trainer.checkpoint_wanted = False
            self._save(trainer)

    def on_epoch_end(self, trainer: Any, row: Row) -> None:
        """Save at the end of an epoch where one is due, and the best."""
        if self.monitor is not None:
            value = monitored(row, self.monitor)
            if is_better(value, self.best, 0.0, larger=self.larger) and _is_finite(trainer):
                self.best = value
                checkpoint.save(self.folder / BEST, *training_state.capture(trainer.current))
        asked, trainer.checkpoint_wanted = trainer.checkpoint_wanted, False
        if asked or (self.every_epochs is not None and row["epoch"] % self.every_epochs == 0):
            self._save(trainer)

    def on_pause(self, trainer: Any) -> None:
        """Save, so that nothing is lost."""
        self._save(trainer)

    def on_fit_end(self, trainer: Any) -> None:
        """Leave no empty folder, and let others in."""
        self._lock.release()
        with contextlib.suppress(OSError):
            self.folder.rmdir()

    def state(self) -> dict[str, Any]:
        """The best value so far, and of what."""
        return {"monitor": self.monitor, "best": self.best}

    def load_state(self, state: dict[str, Any]) -> None:
        """As in `Callback.load_state`; another column's best value says nothing."""
        if state["monitor"] == self.monitor:
            self.best = state["best"]

    def _save(self, trainer: Any) -> None:
        """Write a file, then drop those that are too many; never the other way round."""
        target = training_state.numbered(self.folder, trainer.step_count)
        if _is_finite(trainer):
            checkpoint.save(target, *training_state.capture(trainer.current))
            self.saved = target
            if self.announce is not None:
                self.announce(f"saved    {target}")
            self._remove(old for old in self._files()[self.keep :] if old != target)
        self._last_time = time.monotonic()
        self._plan_next(trainer)

    def _files(self) -> list[Path]:
        return training_state.files(self.folder)

    @staticmethod
    def _remove(files: Iterable[Path]) -> None:
        for file in files:
            file.unlink(missing_ok=True)

    def _plan_next(self, trainer: Any) -> None:
        if self.every_steps is not None:
            done = trainer.step_count - trainer.current.first_step
            left = self.every_steps - done % self.every_steps
            self.next_step = trainer.step_count + left


def _is_finite(trainer: Any) -> bool:
    return bool(np.isfinite(trainer.network.values).all())
