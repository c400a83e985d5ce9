"""One set of rows as read from a file, which still knows where every row came from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp._errors import DataError


@dataclass(frozen=True)
class Table:
    """Features and, where the file has them, targets.

    Attributes:
        x: (N, D) numbers of any integer or floating dtype, finite.
        y: (N,) or (N, K) numbers, (N,) text, or None.
        source: the file's name, for messages.
        positions: int64 (N,), the line of a text file (from 1) or the row of an array (from 0).
        feature_names: D names, or () where the file gives none.
        target_name: name of the target, or "".
        columns: for a text file, the column (from 1) of each feature; () for arrays.
        target_column: for a table of columns, the column (from 1) of the target; 0: none.
        arrays: for arrays, what the file or its format calls x and y.
        target_source: the file of the targets, where it is not `source`.
        pixels: every feature has the same unit and range, as in an image.
    """

    x: NDArray[Any]
    y: NDArray[Any] | None
    source: str
    positions: NDArray[np.int64]
    feature_names: tuple[str, ...] = ()
    target_name: str = ""
    columns: tuple[int, ...] = ()
    target_column: int = 0
    arrays: tuple[str, str] = ("X", "y")
    target_source: str = ""
    pixels: bool = False

    @property
    def rows(self) -> int:
        """N, the number of rows."""
        return int(self.x.shape[0])

    @property
    def features(self) -> int:
        """D, the number of features."""
        return int(self.x.shape[1])

    def place(self, row: int, feature: int) -> str:
        """Where x[row, feature] stands: "a.csv, line 3, column 2 (width)" or "a.npy, X[2, 1]"."""
        position = int(self.positions[row])
        if not self.columns:
            return f"{self.source}, {self.arrays[0]}[{position}, {feature}]"
        name = self.feature_names[feature] if self.feature_names else ""
        return text_place(self.source, position, self.columns[feature], name)

    def target_place(self, row: int) -> str:
        """Where y[row] stands."""
        position = int(self.positions[row])
        if self.target_source:
            return f"{self.target_source}, label {position} (counting from 0)"
        if not self.columns or not self.target_column:
            return f"{self.source}, {self.arrays[1]}[{position}]"
        return text_place(self.source, position, self.target_column, self.target_name)

    def take(self, rows: NDArray[np.int64]) -> Table:
        """The given rows, in the given order; places stay those of the file."""
        y = None if self.y is None else self.y[rows]
        return replace(self, x=self.x[rows], y=y, positions=self.positions[rows])


def text_place(source: str, line: int, column: int, name: str = "") -> str:
    """The words for a cell of a text file; line and column count from 1."""
    return f"{source}, line {line}, column {column}" + (f" ({name})" if name else "")


def shown(value: object) -> str:
    """A cell's text for a message: quoted, escaped, on one line, not longer than 40 characters."""
    text = repr(str(value))
    return text if len(text) <= 40 else text[:36] + "...'"


def checked(table: Table) -> Table:
    """`table` itself, once it has rows, features, equal lengths and finite features.

    Raises:
        DataError: with the place of the first value that cannot be used.
    """
    if table.rows == 0:
        raise DataError(f"{table.source}: zero rows of data", "at least one row")
    if table.features == 0:
        raise DataError(f"{table.source}: no feature columns", "at least one besides the target")
    if table.y is not None and table.y.shape[0] != table.rows:
        targets = f"{table.y.shape[0]} in {table.target_source or table.arrays[1]}"
        raise DataError(f"{table.source}: {table.rows} rows in {table.arrays[0]} but {targets}",
                        "one target a row")
    if table.x.dtype.kind == "f":
        finite = np.isfinite(table.x)
        if not finite.all():
            row, feature = (int(i) for i in np.argwhere(~finite)[0])
            raise DataError(f"{table.place(row, feature)}: {table.x[row, feature]}",
                            "a finite number", "fill in or drop such rows")
    return table
