"""Targets: class labels to numbers 0..C-1 and back, or regression targets as floats."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp._errors import DataError
from fastbp.data._table import Table, shown

_MANY_CLASSES = 50
"""Below this number of classes no suspicion that the target is a quantity."""

_CLASSES_SHOWN = 10

_LARGEST = 2.0 ** 53
"""Beyond it float64 does not tell whole numbers apart."""

_ADVICE = "number the classes 0, 1, ... or name them; for quantities pass --task regression"


def class_names(table: Table) -> tuple[str, ...]:
    """The distinct labels of a training table in order: by number, or alphabetically for text.

    Raises:
        DataError: a label is empty, negative, not a whole number or not finite; numbers and text
            are mixed; there is one class only; nearly every row has a class of its own.
    """
    names, _ = _distinct(table)
    if len(names) == 1:
        raise DataError(f"{table.source}: every row has the label {shown(names[0])}",
                        "at least two classes", "is this the column to predict?")
    if len(names) > max(_MANY_CLASSES, table.rows // 2):
        raise DataError(f"{table.source}: {len(names)} different labels in {table.rows} rows",
                        "classes with several rows each", "for quantities pass --task regression")
    return names


def encode(table: Table, classes: tuple[str, ...]) -> NDArray[np.int64]:
    """Each row's index in `classes`, int64 (N,).

    Raises:
        DataError: a label is not one of `classes`, with the place of the first such row.
    """
    names, inverse = _distinct(table)
    index = {name: i for i, name in enumerate(classes)}
    codes = np.array([index.get(name, -1) for name in names], dtype=np.int64)[inverse]
    unknown = np.flatnonzero(codes < 0)
    if unknown.size:
        row = int(unknown[0])
        shown_classes = ", ".join(classes[:_CLASSES_SHOWN])
        raise DataError(f"{table.target_place(row)}: label {shown(names[inverse[row]])} does not "
                        "occur in the training data", f"one of {len(classes)} classes: "
                        f"{shown_classes}{', ...' if len(classes) > _CLASSES_SHOWN else ''}")
    return codes


def strata(table: Table, task: str) -> NDArray[np.int64]:
    """What to divide rows by: the class of each row, or zeros for a regression; int64 (N,).

    Raises:
        DataError: the targets are of no use for the task, as `class_names` and `targets` say.
    """
    if task == "classification":
        return encode(table, class_names(table))
    targets(table)
    return np.zeros(table.rows, dtype=np.int64)


def targets(table: Table) -> NDArray[np.float64]:
    """Regression targets as float64 (N, K); K is 1 but for arrays with several columns.

    Raises:
        DataError: text where a number is expected, NaN or infinity, with the place.
    """
    y = _y(table)
    if y.dtype.kind == "U":
        values = np.array([_number(table, row, str(text)) for row, text in enumerate(y)])
    else:
        values = y.astype(np.float64)
    columns = values.reshape(table.rows, -1)
    finite = np.isfinite(columns).all(axis=1)
    if not finite.all():
        row = int(np.flatnonzero(~finite)[0])
        bad = columns[row][~np.isfinite(columns[row])][0]
        raise DataError(f"{table.target_place(row)}: {bad}", "a finite number",
                        "fill in or drop such rows")
    return columns


def _y(table: Table) -> NDArray[Any]:
    if table.y is None:
        raise DataError(f"{table.source}: holds no targets", "targets",
                        "pass their file with --labels")
    return table.y


def _number(table: Table, row: int, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        given = f"{table.target_place(row)}: text {shown(text)}"
        raise DataError(given, "a number", "for classes pass --task classification") from None


def _distinct(table: Table) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Distinct labels as text, in order, and each row's index among them."""
    y = _y(table)
    if y.ndim != 1:
        raise DataError(f"{table.source}: {table.arrays[1]} has shape {y.shape}",
                        "one label a row, shape (rows,)", "for one-hot rows pass their argmax")
    values, first, inverse = np.unique(y, return_index=True, return_inverse=True)
    rows = np.sort(first)  # in the order of the file, so that its first flaw is reported
    if values.dtype.kind == "U" and not _all_numbers(table, y, rows):
        return tuple(str(v) for v in values), inverse
    for row in rows:
        _check_whole(table, float(y[row]), int(row))
    # Several spellings ("3", "3.0", "03") may mean one class.
    whole = np.array([int(float(value)) for value in values], dtype=np.int64)
    numbers, merged = np.unique(whole, return_inverse=True)
    return tuple(str(n) for n in numbers), merged[inverse]


def _all_numbers(table: Table, y: NDArray[Any], rows: NDArray[np.intp]) -> bool:
    """Whether the text labels in the given rows are numbers; a mixture is taken for a slip."""
    kinds: dict[bool, int] = {}
    for row in rows:
        if not y[row]:
            raise DataError(f"{table.target_place(int(row))}: empty label", "a class",
                            "fill in or drop such rows")
        kinds.setdefault(_is_number(str(y[row])), int(row))
    if len(kinds) == 2:
        number, text = (str(y[kinds[kind]]) for kind in (True, False))
        raise DataError(f"{table.target_place(kinds[False])}: label {shown(text)} is text, but "
                        f"{table.target_place(kinds[True])} has the number {shown(number)}",
                        "all labels numbers or all text")
    return True in kinds


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _check_whole(table: Table, number: float, row: int) -> None:
    place = table.target_place(row)
    if not np.isfinite(number):
        raise DataError(f"{place}: label {number}", "a class", "fill in or drop such rows")
    if number != np.floor(number):
        raise DataError(f"{place}: label {number:g} is not a whole number", "a class", _ADVICE)
    if number > _LARGEST:
        raise DataError(f"{place}: label {number:g} is too large", "a class", _ADVICE)
    if number < 0:
        raise DataError(f"{place}: label {number:g} is negative", "a class", _ADVICE)
