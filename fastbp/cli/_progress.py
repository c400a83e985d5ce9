"""What is shown and recorded while a network trains."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from fastbp.callbacks import Callback
from fastbp.cli._scores import score
from fastbp.cli._sources import Arrays
from fastbp.data import Preparation
from fastbp.history import Row, json_line

_HEADINGS = {"loss": "loss", "val_loss": "val loss", "val_accuracy": "val acc", "val_r2": "val R2",
             "val_rmse": "val RMSE", "samples_per_second": "samples/s"}


class Recorder(Callback):
    """Keeps each epoch's row, appends it to `metrics.jsonl` as a whole line and prints it.

    For a regression it adds the validation data's R2 and RMSE in the targets' own units. It ends
    the fit when a loss is not finite: `diverged` is then that epoch.
    """

    def __init__(self, path: Path, preparation: Preparation, validation: Arrays | None, *,
                 epochs: int, quiet: bool) -> None:
        self.rows: list[Row] = []
        self.diverged: int | None = None
        self._path, self._preparation = path, preparation
        self._validation = None if preparation.classes else validation
        self._epochs, self._quiet = epochs, quiet

    def on_fit_begin(self, trainer: Any) -> None:
        """An empty file says that training has begun."""
        self._path.touch()

    def on_epoch_end(self, trainer: Any, row: Row) -> None:
        """Record and show the epoch."""
        row = dict(row)
        if self._validation is not None:
            x, y = self._validation
            found = score(self._preparation, trainer.network.predict(x), y)
            row |= {"val_r2": found["r2"], "val_rmse": found["rmse"]}
        self.rows.append(row)
        with self._path.open("a", encoding="utf-8") as stream:
            stream.write(json_line(row))
        if not self._quiet:
            self._show(row)
        if not all(math.isfinite(row.get(name, 0.0)) for name in ("loss", "val_loss")):
            self.diverged = int(row["epoch"])
            trainer.stop = True

    def _show(self, row: Row) -> None:
        columns = [name for name in _HEADINGS if name in row]
        if len(self.rows) == 1:
            print("  epoch" + "".join(f"{_HEADINGS[name]:>11}" for name in columns))
        number = f"{row['epoch']}/{self._epochs}"
        print(f"{number:>7}" + "".join(f"{_cell(name, row[name]):>11}" for name in columns),
              flush=True)


def _cell(name: str, value: float) -> str:
    if name == "samples_per_second":
        return f"{value:.0f}"
    return f"{value:.4g}" if name == "val_rmse" or value >= 1e4 else f"{value:.4f}"
