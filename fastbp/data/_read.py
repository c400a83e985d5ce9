"""One reader for every format, told apart by the first bytes of the file."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp._errors import DataError
from fastbp.data._columns import Columns
from fastbp.data._csv import read_csv_stream
from fastbp.data._files import PathLike, Stream, reading
from fastbp.data._idx import idx_table, is_idx, load_idx, load_images
from fastbp.data._numpy import is_npy, is_npz, load_array, read_npz_stream, table_of
from fastbp.data._table import Table, checked


def read(path: PathLike, *, labels: PathLike | None = None, columns: Columns | None = None,
         header: bool | None = None, part: str | None = None) -> Table:
    """Read CSV text, `.npy`, `.npz` or IDX, plain or gzip.

    Arguments:
        path: the file with the features and, unless `labels` is given, the targets.
        labels: a file with the targets alone: IDX, `.npy` or text with one column.
        columns: which columns of CSV and `.npy` are features and target; default: the last
            is the target. With `labels` all are features.
        header: whether CSV has a header; None: look at the first line.
        part: which part of an `.npz` with several: "train", "validation" or "test".

    Raises:
        DataError: naming the file and the place in it.
    """
    source = os.fspath(path)
    rule = columns or Columns()
    if labels is not None:
        rule = replace(rule, target=None, target_required=False)
    with reading(path) as stream:
        table = _read_stream(stream, source, rule, header, part)
    if labels is None:
        return table
    if table.y is not None:
        raise DataError(f"{source}: holds targets itself", "no separate file of labels")
    return checked(replace(table, y=read_labels(labels), target_source=os.fspath(labels),
                           positions=np.arange(table.rows), columns=()))


def _read_stream(stream: Stream, source: str, columns: Columns, header: bool | None,
                 part: str | None) -> Table:
    if is_npz(stream):
        return read_npz_stream(stream, source, part)
    if is_npy(stream):
        return table_of(load_array(stream, source), source, columns)
    if is_idx(stream):
        return idx_table(*load_images(stream, source), None, source)
    _check_suffix(source)
    return read_csv_stream(stream, source, columns, header)


def _check_suffix(source: str) -> None:
    """Refuse to take for text what calls itself a binary file."""
    plain = source.removesuffix(".gz").lower()
    if plain.endswith((".npy", ".npz")):
        raise DataError(f"{source}: not a NumPy file", f"data in {plain[-4:]} format")
    if plain.endswith("-ubyte"):
        raise DataError(f"{source}: not an IDX file", "data in IDX format")


def read_labels(path: PathLike) -> NDArray[Any]:
    """A file of targets alone: IDX, `.npy` or text with one column; shape (N,)."""
    source = os.fspath(path)
    with reading(path) as stream:
        if is_idx(stream):
            found = load_idx(stream, source)
        elif is_npy(stream):
            found = load_array(stream, source)
        elif is_npz(stream):
            raise DataError(f"{source}: an .npz archive", "IDX, .npy or one column of text")
        else:
            _check_suffix(source)
            found = _text_labels(stream, source)
    if found.ndim == 2 and found.shape[1] == 1:
        found = found[:, 0]
    if found.ndim != 1:
        raise DataError(f"{source}: holds {found.ndim}-dimensional data", "one label a row",
                        "were data and labels exchanged?")
    return found


def _text_labels(stream: Stream, source: str) -> NDArray[Any]:
    try:
        lines = stream.read().decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise DataError(f"{source}: not a text file", "IDX, .npy or one column of text") from None
    labels = [line.strip() for line in lines if line.strip()]
    return np.array(labels, dtype=np.str_)
