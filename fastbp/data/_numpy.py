"""NumPy's own files: one array (`.npy`) or several by name (`.npz`)."""

from __future__ import annotations

import os
import struct
import tokenize
import zipfile
import zlib
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp._errors import DataError
from fastbp.data._columns import Columns
from fastbp.data._files import PathLike, Stream, reading
from fastbp.data._table import Table, checked

_ZIP_MAGIC = (b"PK\x03\x04", b"PK\x05\x06")
"""With members and without."""

# What NumPy and zipfile raise on files that are damaged, encrypted or promise absurd sizes.
_DAMAGE = (ValueError, EOFError, SyntaxError, MemoryError, OverflowError, TypeError, KeyError,
           RuntimeError, tokenize.TokenError, struct.error, zipfile.BadZipFile, zlib.error)

_WHOLE = (("X", "y"), ("x", "y"))
_PARTS = {
    "train": (("x_train", "y_train"), ("X_train", "y_train")),
    "validation": (("x_val", "y_val"), ("X_val", "y_val"), ("x_valid", "y_valid"),
                   ("X_valid", "y_valid"), ("x_validation", "y_validation")),
    "test": (("x_test", "y_test"), ("X_test", "y_test")),
}


def load_array(stream: Stream, source: str) -> NDArray[Any]:
    """The array of an `.npy` file.

    Raises:
        DataError: not such a file, truncated, or an array of Python objects.
    """
    try:
        return np.asarray(np.lib.format.read_array(stream, allow_pickle=False))
    except _DAMAGE as error:
        raise DataError(f"{source}: not a readable .npy file ({_first_line(error)})") from None


def read_npy(path: PathLike, columns: Columns | None = None) -> Table:
    """Read a two-dimensional array whose columns are features and, by default the last, target."""
    with reading(path) as stream:
        return table_of(load_array(stream, os.fspath(path)), os.fspath(path),
                        columns or Columns())


def table_of(data: NDArray[Any], source: str, columns: Columns) -> Table:
    """Divide an array (N, columns) into features and target; more dimensions: features only."""
    if data.ndim > 2 and (columns.target is None or columns.width is not None):
        return array_table(data, None, source, ("the array", ""))
    if data.ndim != 2:
        raise DataError(f"{source}: an array of shape {data.shape}", "shape (rows, columns)",
                        "pass the targets of images in a file of their own, with --labels")
    choice = columns.choose(source, data.shape[1])
    if choice.target is None:
        return array_table(data, None, source, ("the array", ""))
    column = f"column {choice.target} of the array"
    table = array_table(data[:, choice.features], data[:, choice.target], source,
                        ("the array", column))
    return replace(table, target_column=choice.target + 1)


def read_npz(path: PathLike, part: str | None = None) -> Table:
    """Read one part of an `.npz` archive.

    The keys are X and y or x and y. With `part` ("train", "validation", "test") x_train and
    y_train and so on are looked for first. The targets may be missing.

    Raises:
        DataError: no such keys; the message says which ones were found.
    """
    with reading(path) as stream:
        return read_npz_stream(stream, os.fspath(path), part)


def read_npz_stream(stream: Stream, source: str, part: str | None = None) -> Table:
    """`read_npz` for an open stream."""
    with _archive(stream, source) as archive:
        pairs = (_PARTS[part] if part else ()) + _WHOLE
        found = next((pair for pair in pairs if pair[0] in archive), None)
        if found is None:
            keys = ", ".join(archive) or "none"
            raise DataError(f"{source}: keys found: {keys}",
                            f"X and y, x and y, or x_{part or 'train'} and y_{part or 'train'}")
        x = _member(archive, found[0], source)
        y = _member(archive, found[1], source) if found[1] in archive else None
    return array_table(x, y, source, found)


def has_part(path: PathLike, part: str) -> bool:
    """Whether `path` is an `.npz` archive that holds x_<part> for a part of `read_npz`."""
    with reading(path) as stream:
        if not is_npz(stream):
            return False
        with _archive(stream, os.fspath(path)) as archive:
            return any(pair[0] in archive for pair in _PARTS[part])


def is_npz(stream: Stream) -> bool:
    """Whether the stream begins like a zip archive."""
    return stream.peek(4)[:4] in _ZIP_MAGIC


def is_npy(stream: Stream) -> bool:
    """Whether the stream begins like an `.npy` file."""
    return stream.peek(6)[:6] == b"\x93NUMPY"


def array_table(x: NDArray[Any], y: NDArray[Any] | None, source: str,
                arrays: tuple[str, str]) -> Table:
    """A checked table of x (N, ...), flattened to (N, D), and y (N,), (N, 1) or (N, K).

    Raises:
        DataError: wrong number of dimensions, x not of real numbers, y of Python objects.
    """
    if x.ndim < 2:
        raise DataError(f"{source}: {arrays[0]} has shape {x.shape}",
                        "shape (rows, features) or (rows, height, width, ...)")
    if x.dtype.kind not in "fiub":
        raise DataError(f"{source}: {arrays[0]} holds {x.dtype}", "real numbers")
    if y is not None:
        if y.ndim not in (1, 2):
            raise DataError(f"{source}: {arrays[1]} has shape {y.shape}", "shape (rows,)")
        if y.dtype.kind not in "fiubU":
            raise DataError(f"{source}: {arrays[1]} holds {y.dtype}", "numbers or text")
        y = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
    flat = x.reshape(x.shape[0], int(np.prod(x.shape[1:])))
    return checked(Table(flat, y, source, np.arange(x.shape[0]), arrays=arrays,
                         pixels=x.dtype == np.uint8))


def _archive(stream: Stream, source: str) -> np.lib.npyio.NpzFile:
    try:
        archive: np.lib.npyio.NpzFile = np.load(stream, allow_pickle=False)
        return archive
    except _DAMAGE as error:
        raise DataError(f"{source}: not a readable .npz file ({_first_line(error)})") from None


def _member(archive: np.lib.npyio.NpzFile, key: str, source: str) -> NDArray[Any]:
    try:
        return np.asarray(archive[key])
    except _DAMAGE as error:
        raise DataError(f"{source}: array {key!r} cannot be read "
                        f"({_first_line(error)})") from None


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
