"""What a training achieved: one row an epoch."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from fastbp._errors import ArgumentError

__all__ = ["History"]

Row = dict[str, Any]


class History:
    """Rows of numbers by name, one row an epoch; `history["val_loss"]` is a column.

    A row has `epoch` (from 1), `loss`, the metrics of the loss, `lr`, `seconds`,
    and the same metrics with `val_` in front where fit was given validation data.
    """

    def __init__(self, rows: Sequence[Row] = ()) -> None:
        self.rows: list[Row] = [dict(row) for row in rows]

    def append(self, row: Row) -> None:
        """Add an epoch."""
        self.rows.append(dict(row))

    @property
    def columns(self) -> list[str]:
        """Names of the columns, in the order of their first appearance."""
        return list(dict.fromkeys(name for row in self.rows for name in row))

    @property
    def loss(self) -> list[float]:
        """The mean training loss of every epoch."""
        return self["loss"] if self.rows else []

    def __getitem__(self, name: str) -> list[Any]:
        if name not in self.columns:
            raise KeyError(f"{name!r}; the history has {', '.join(self.columns) or 'no rows'}")
        return [row.get(name, math.nan) for row in self.rows]

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def __repr__(self) -> str:
        last = ", ".join(f"{k}={_short(v)}" for k, v in self.rows[-1].items()) if self.rows else ""
        return f"History({len(self)} epochs{': ' + last if last else ''})"

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write a CSV file with a header; a number that a row lacks is left empty."""
        import csv

        with Path(path).open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, self.columns, restval="")
            writer.writeheader()
            writer.writerows(plain(row) for row in self.rows)

    def to_jsonl(self, path: str | os.PathLike[str]) -> None:
        """Write one JSON object a line; JSON has no NaN or infinity: they become null."""
        with Path(path).open("w", encoding="utf-8") as stream:
            stream.writelines(json_line(row) for row in self.rows)

    def plot(self, path: str | os.PathLike[str] | None = None) -> Any:
        """Curves of the loss and of the measure of quality over the epochs (extra `plot`).

        Arguments:
            path: a picture file to write; None only draws.
        Returns:
            The matplotlib `Figure`.
        """
        from fastbp.plots import figure_of_curves, matplotlib_is_installed

        if not matplotlib_is_installed():
            raise ArgumentError("matplotlib is not installed", "", 'pip install "fastbp[plot]"')
        if not self.rows:
            raise ArgumentError("a history without rows", "one epoch at least", "call fit first")
        figure = figure_of_curves(self.rows)
        if path is not None:
            figure.savefig(path)
        return figure


def plain(row: Row) -> Row:
    """The row with Python's own numbers in place of NumPy's."""
    return {name: value.item() if hasattr(value, "item") else value for name, value in row.items()}


def json_line(row: Row) -> str:
    """The row as one line of JSON; NaN and infinities are null."""
    import json

    finite = {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in plain(row).items()
    }
    return json.dumps(finite) + "\n"


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
