"""What is shown and recorded while a network trains."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from fastbp._errors import NonFiniteError
from fastbp.callbacks import Callback
from fastbp.cli._files import write_whole
from fastbp.cli._scores import score
from fastbp.cli._sources import Arrays
from fastbp.data import Preparation
from fastbp.history import Row, json_line

_HEADINGS = {"loss": "loss", "val_loss": "val loss", "val_accuracy": "val acc", "val_r2": "val R2",
             "val_rmse": "val RMSE", "samples_per_second": "samples/s"}


class Recorder(Callback):
    """Keeps each epoch's row, appends it to `metrics.jsonl` as a whole line and prints it.

    For a regression it adds the validation data's R2 and RMSE in the targets' own units. A resumed
    training's rows come from its checkpoint.
    """

    def __init__(self, path: Path, preparation: Preparation, validation: Arrays | None, *,
                 epochs: int, quiet: bool) -> None:
        self.rows: list[Row] = []
        self._path, self._preparation = path, preparation
        self._validation = None if preparation.classes else validation
        self._epochs, self._quiet, self._headed = epochs, quiet, False

    def on_fit_begin(self, trainer: Any) -> None:
        """A file, empty at first, says that training has begun."""
        if not trainer.resumed:
            self._path.write_bytes(b"")
            return
        self.rows = [dict(row) for row in trainer.history]
        text = "".join(json_line(row) for row in self.rows)
        write_whole(self._path, lambda part: part.write_text(text, encoding="utf-8"))
        print(f"resumed  after {trainer.step_count} steps, {len(self.rows)} of {self._epochs} "
              "epochs", flush=True)

    def on_epoch_end(self, trainer: Any, row: Row) -> None:
        """Record and show the epoch.

        Raises:
            NonFiniteError: the validation loss is not finite.
        """
        if self._validation is not None:
            # What the fit has just predicted: doing it again could not be interrupted.
            found = score(self._preparation, trainer.current.outputs[0], self._validation[1])
            row |= {"val_r2": found["r2"], "val_rmse": found["rmse"]}
        self.rows.append(dict(row))
        with self._path.open("a", encoding="utf-8") as stream:
            stream.write(json_line(row))
        if not self._quiet:
            self._show(row)
        if not math.isfinite(row.get("val_loss", 0.0)):
            raise NonFiniteError(f"the validation loss of epoch {row['epoch']} is not finite",
                                 step=trainer.step_count, epoch=row["epoch"])

    def _show(self, row: Row) -> None:
        columns = [name for name in _HEADINGS if name in row]
        if not self._headed:
            self._headed = True
            print("  epoch" + "".join(f"{_HEADINGS[name]:>11}" for name in columns))
        number = f"{row['epoch']}/{self._epochs}"
        print(f"{number:>7}" + "".join(f"{_cell(name, row[name]):>11}" for name in columns),
              flush=True)


def _cell(name: str, value: float) -> str:
    if name == "samples_per_second":
        return f"{value:.0f}"
    return f"{value:.4g}" if name == "val_rmse" or value >= 1e4 else f"{value:.4f}"
