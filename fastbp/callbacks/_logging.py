"""Logs that programs read: a line an epoch, or a line a step."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Any

from fastbp._errors import ArgumentError
from fastbp.callbacks._base import Callback, Steps
from fastbp.history import Row, json_line, plain

StrPath = str | os.PathLike[str]


class _Log(Callback):
    """A file that grows by whole lines.

    A resumed fit takes up the file where the checkpoint was made: lines that were written after it
    are cut off, because their epochs come again.
    """

    def __init__(self, path: StrPath, append: bool = False) -> None:
        self.path, self.append = Path(path), append
        self._rows: list[Row] = []

    def on_fit_begin(self, trainer: Any) -> None:
        """Open the file once, so that an unwritable path fails before training."""
        resumed = getattr(trainer, "resumed", False)
        self._rows = list(trainer.history) if resumed else []
        with self.path.open("a" if self.append or resumed else "w", encoding="utf-8"):
            pass

    def state(self) -> dict[str, Any]:
        """The length of the file."""
        return {"bytes": self.path.stat().st_size}

    def load_state(self, state: dict[str, Any]) -> None:
        """Cut off what came after the checkpoint; a file that lacks rows is written anew."""
        if self.path.stat().st_size >= state["bytes"]:
            os.truncate(self.path, state["bytes"])
            return
        with self.path.open("w", encoding="utf-8"):
            pass
        for row in self._rows:
            self._write(row)

    def on_epoch_end(self, trainer: Any, row: Row) -> None:
        """Append the row."""
        self._write(row)

    def _write(self, row: Row) -> None:
        raise NotImplementedError(type(self).__name__)


class JSONLogger(_Log):
    """Write each row as a line of JSON, at once; an interrupted fit leaves whole lines.

    Arguments:
        path: the file.
        append: go on with an existing file instead of starting anew.
    """

    def _write(self, row: Row) -> None:
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(json_line(row))


class CSVLogger(_Log):
    """Write each row as a line of a CSV file, at once; the first row's names are the header."""

    def __init__(self, path: StrPath) -> None:
        super().__init__(path)
        self._columns: list[str] | None = None

    def on_fit_begin(self, trainer: Any) -> None:
        """As in `_Log`."""
        self._columns = None
        super().on_fit_begin(trainer)

    def state(self) -> dict[str, Any]:
        """The length of the file and its columns."""
        return {**super().state(), "columns": self._columns}

    def load_state(self, state: dict[str, Any]) -> None:
        """As in `_Log`."""
        whole = self.path.stat().st_size >= state["bytes"]
        self._columns = state["columns"] if whole else None
        super().load_state(state)

    def _write(self, row: Row) -> None:
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


class LearningRateLogger(_Log):
    """Write step, epoch, learning rate and loss of every so many steps as lines of a CSV file.

    Arguments:
        path: the file.
        every: log the steps whose number is a multiple of this.
    """

    def __init__(self, path: StrPath, every: int = 1) -> None:
        if every < 1:
            raise ArgumentError(f"LearningRateLogger: every={every!r}", "1 or more")
        super().__init__(path)
        self.every = every

    def on_fit_begin(self, trainer: Any) -> None:
        """A new file begins with the names of the columns."""
        super().on_fit_begin(trainer)
        if self.path.stat().st_size == 0:
            self.path.write_text("step,epoch,lr,loss\r\n", encoding="utf-8")

    def on_steps(self, trainer: Any, steps: Steps) -> None:
        """Append the steps."""
        pairs = zip(steps.rates.tolist(), steps.losses.tolist(), strict=True)
        lines = [(number, steps.epoch, rate, loss)
                 for number, (rate, loss) in enumerate(pairs, steps.first)
                 if number % self.every == 0]
        with self.path.open("a", newline="", encoding="utf-8") as stream:
            csv.writer(stream).writerows(lines)

    def load_state(self, state: dict[str, Any]) -> None:
        """Cut off what came after the checkpoint; steps that the file lacks are not known."""
        if self.path.stat().st_size >= state["bytes"]:
            os.truncate(self.path, state["bytes"])

    def _write(self, row: Row) -> None:
        """Steps are written, not epochs."""
