"""What may happen around epochs: stop early, log, show progress, keep a time limit.

A trainer calls the hooks; a callback reads `trainer.network` and may set `trainer.stop = True` to
end the fit after the epoch. Rows are those of `fastbp.history.History`.
"""

from __future__ import annotations

import csv
import math
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from fastbp._errors import ArgumentError
from fastbp.history import Row, json_line, plain
from fastbp.schedules import is_better, larger_is_better, monitored

__all__ = [
    "CSVLogger",
    "Callback",
    "EarlyStopping",
    "JSONLogger",
    "Progress",
    "TerminateOnNaN",
    "TimeLimit",
]


class Callback:
    """Hooks that do nothing; a callback of your own overrides some of them."""

    def on_fit_begin(self, trainer: Any) -> None:
        """Before the first epoch."""

    def on_epoch_begin(self, trainer: Any, epoch: int) -> None:
        """Before epoch `epoch` (from 1)."""

    def on_epoch_end(self, trainer: Any, row: Row) -> None:
        """After an epoch; `row` is its line of the history."""

    def on_fit_end(self, trainer: Any) -> None:
        """After the last epoch, also when the fit was interrupted."""


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
        if mode not in ("auto", "min", "max"):
            raise ArgumentError(f"EarlyStopping: mode={mode!r}", "'auto', 'min' or 'max'")
        self.monitor, self.patience, self.min_delta = monitor, patience, min_delta
        self.restore_best = restore_best
        self.larger = larger_is_better(monitor) if mode == "auto" else mode == "max"
        self._reset()

    def _reset(self) -> None:
        self.best: float | None = None
        self.best_epoch: int | None = None
        self.stopped_epoch: int | None = None
        self._waited = 0
        self._state: dict[str, np.ndarray] | None = None

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
                self._state = {name: np.array(array) for name, array in state.items()}
            return
        self._waited += 1
        if self._waited >= self.patience:
            self.stopped_epoch = int(row["epoch"])
            trainer.stop = True

    def on_fit_end(self, trainer: Any) -> None:
        """Put the best epoch's weights back (an interrupted epoch may have changed them)."""
        if self._state is not None:
            trainer.network.load_state_dict(self._state)


class TerminateOnNaN(Callback):
    """Stop when the loss is not finite: what follows could not be of use."""

    def __init__(self) -> None:
        self.stopped_epoch: int | None = None

    def on_epoch_end(self, trainer: Any, row: Row) -> None:
        """Look at the training loss and, where there is one, the validation loss."""
        if not all(math.isfinite(row.get(name, 0.0)) for name in ("loss", "val_loss")):
            self.stopped_epoch = int(row["epoch"])
            trainer.stop = True


class TimeLimit(Callback):
    """Stop at the end of the epoch in which `seconds` since the start of the fit have passed."""

    def __init__(self, seconds: float) -> None:
        if not seconds > 0:
            raise ArgumentError(f"TimeLimit: seconds={seconds!r}", "a number above 0")
        self.seconds = seconds
        self.stopped_epoch: int | None = None
        self._start = 0.0

    def on_fit_begin(self, trainer: Any) -> None:
        """Start the clock."""
        self._start, self.stopped_epoch = time.monotonic(), None

    def on_epoch_end(self, trainer: Any, row: Row) -> None:
        """Look at the clock."""
        if time.monotonic() - self._start >= self.seconds:
            self.stopped_epoch = int(row["epoch"])
            trainer.stop = True


class JSONLogger(Callback):
    """Write each row as a line of JSON, at once; an interrupted fit leaves whole lines.

    Arguments:
        path: the file.
        append: go on with an existing file instead of starting anew.
    """

    def __init__(self, path: str | os.PathLike[str], append: bool = False) -> None:
        self.path, self.append = Path(path), append

    def on_fit_begin(self, trainer: Any) -> None:
        """Open the file once, so that an unwritable path fails before training."""
        with self.path.open("a" if self.append else "w", encoding="utf-8"):
            pass

    def on_epoch_end(self, trainer: Any, row: Row) -> None:
        """Append the row."""
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(json_line(row))


class CSVLogger(Callback):
    """Write each row as a line of a CSV file, at once; the first row's names are the header."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._columns: list[str] | None = None

    def on_fit_begin(self, trainer: Any) -> None:
        """Open the file once, so that an unwritable path fails before training."""
        self._columns = None
        with self.path.open("w", encoding="utf-8"):
            pass

    def on_epoch_end(self, trainer: Any, row: Row) -> None:
        """Append the row; it must have the first row's columns."""
        with self.path.open("a", newline="", encoding="utf-8") as stream:
            if self._columns is None:
                self._columns = list(row)
                csv.writer(stream).writerow(self._columns)
            elif set(row) != set(self._columns):
                raise ArgumentError(
                    f"CSVLogger: a row with {', '.join(row)}",
                    f"the first row's columns, {', '.join(self._columns)}",
                    "JSONLogger takes rows of any form",
                )
            csv.DictWriter(stream, self._columns).writerow(plain(row))


class Progress(Callback):
    """A progress bar over the epochs on standard error, with the metrics of the last one.

    Arguments:
        total: how many epochs there will be; None asks `trainer.epochs`.
        force: show it even where standard error is no terminal (there it stays silent).
    """

    def __init__(self, total: int | None = None, force: bool = False) -> None:
        self.total, self.force = total, force
        self._bar: Any = None

    def on_fit_begin(self, trainer: Any) -> None:
        """Show an empty bar."""
        if not self.force and not sys.stderr.isatty():
            return
        from tqdm import tqdm

        total = self.total if self.total is not None else getattr(trainer, "epochs", None)
        self._bar = tqdm(total=total, unit="epoch", file=sys.stderr, dynamic_ncols=True)

    def on_epoch_end(self, trainer: Any, row: Row) -> None:
        """Advance the bar."""
        if self._bar is not None:
            shown = {
                k: f"{v:.4g}"
                for k, v in row.items()
                if isinstance(v, (float, np.floating)) and k != "seconds"
            }
            self._bar.set_postfix(shown, refresh=False)
            self._bar.update(1)

    def on_fit_end(self, trainer: Any) -> None:
        """Leave the finished bar on the screen."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
