"""Data frames (pandas, polars, anything with named columns) as tables and as matrices."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp._errors import DataError
from fastbp.data._columns import Columns
from fastbp.data._table import Table, checked


def from_frame(frame: Any, columns: Columns | None = None, *, source: str = "data frame") -> Table:
    """A table of a data frame's columns.

    Arguments:
        frame: pandas, polars or alike: `frame.columns` names what `frame[name]` gives.
        columns: which are features and which is the target; default: the last is the target.
    Raises:
        DataError: naming the column that is missing, or is no number, or holds no finite one.
    """
    names = [str(name) for name in frame.columns]
    choice = (columns or Columns()).choose(source, len(names), names)
    x = _matrix(frame, [names[i] for i in choice.features], source)
    y, target = None, ""
    if choice.target is not None:
        target = names[choice.target]
        y = _target(_column(frame, target, source), target, source)
    return checked(Table(x, y, source, np.arange(len(x)),
                         feature_names=tuple(names[i] for i in choice.features),
                         target_name=target, columns=tuple(i + 1 for i in choice.features),
                         target_column=0 if choice.target is None else choice.target + 1))


def frame_matrix(frame: Any, *, without: str | None = None, source: str = "data frame"
                 ) -> NDArray[Any]:
    """All columns, but for the one named `without`, as a matrix of numbers."""
    names = [str(name) for name in frame.columns]
    return _matrix(frame, [name for name in names if name != without], source)


def frame_column(frame: Any, name: str, source: str = "data frame") -> NDArray[Any]:
    """One column as an array."""
    return _column(frame, name, source)


def _column(frame: Any, name: str, source: str) -> NDArray[Any]:
    # A name may stand for another type than text: pandas' default names are integers.
    for found in frame.columns:
        if str(found) == name:
            return np.asarray(frame[found].to_numpy())
    raise DataError(f"{source}: no column named {name!r}",
                    "one of " + ", ".join(repr(str(n)) for n in frame.columns))


def _matrix(frame: Any, names: list[str], source: str) -> NDArray[Any]:
    if not names:
        raise DataError(f"{source}: no feature columns", "at least one besides the target")
    arrays = [_numbers(_column(frame, name, source), name, source) for name in names]
    dtype = np.result_type(*arrays)
    return np.column_stack([a.astype(dtype, copy=False) for a in arrays])


def _numbers(column: NDArray[Any], name: str, source: str) -> NDArray[Any]:
    if column.dtype.kind in "biuf":
        return column
    try:
        return column.astype(np.float64)  # nullable numbers come as objects
    except (TypeError, ValueError):
        shown = next((v for v in column if not isinstance(v, (int, float))), column[0])
        raise DataError(f"{source}, column {name!r}: {shown!r}", "numbers",
                        "encode it as numbers, or leave the column out") from None


def _target(column: NDArray[Any], name: str, source: str) -> NDArray[Any]:
    if column.dtype.kind in "biufU":
        return column
    if any(v is None or v != v for v in column):
        raise DataError(f"{source}, column {name!r}: a missing value", "a target for each row",
                        "drop such rows")
    return column.astype(np.str_)
