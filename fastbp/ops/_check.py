"""What every operation asks of its arrays, asked once, with errors that say what to do."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastbp._arena import address_of
from fastbp._errors import ArgumentError, DataError, DTypeError, ShapeError

_REAL = (np.dtype(np.float32), np.dtype(np.float64))


def as_real(name: str, x: Any) -> np.ndarray:
    """`x` as an aligned float32 or float64 array whose strides are whole elements.

    No copy is made unless the memory is of another kind (a list, unaligned, byte-swapped).
    """
    array = x if type(x) is np.ndarray else np.asarray(x)
    if array.dtype not in _REAL:
        if not isinstance(x, np.ndarray) and array.dtype.kind in "iu":
            return array.astype(np.float64)  # a list of whole numbers
        if array.dtype.newbyteorder("=") in _REAL:
            return array.astype(array.dtype.newbyteorder("="))
        raise DTypeError(f"{name} with dtype {array.dtype}", "float32 or float64",
                         f"convert it: {name}.astype(np.float32)")
    flags, item = array.flags, array.itemsize
    if flags.c_contiguous and flags.aligned:
        return array
    if not flags.aligned or any(step % item for step in array.strides):
        return np.array(array, order="C")
    return array


def same_dtype(**arrays: np.ndarray) -> None:
    """Refuse arrays of different dtypes: float32 and float64 are never mixed by accident."""
    kinds = {name: array.dtype for name, array in arrays.items()}
    if len(set(kinds.values())) > 1:
        given = ", ".join(f"{name} {kind}" for name, kind in kinds.items())
        raise DTypeError(given, "one dtype",
                         "convert with .astype(np.float32), or pass all as float64")


def as_matrix(name: str, x: Any) -> tuple[np.ndarray, tuple[int, ...]]:
    """(x as a matrix (N, everything else) with contiguous columns, the original shape).

    A vector (N,) becomes (N, 1). A view where the memory allows it, else a copy.
    """
    array = as_real(name, x)
    shape = array.shape
    if array.ndim == 0:
        raise ShapeError(f"{name} is a single number", "at least one dimension",
                         f"pass np.atleast_1d({name})")
    if array.ndim != 2:
        array = array.reshape(shape[0], -1 if array.size else int(np.prod(shape[1:])))
    return rows_of(array), shape


def rows_of(matrix: np.ndarray) -> np.ndarray:
    """The matrix itself if its columns are contiguous, else a copy in C order."""
    if matrix.strides[1] == matrix.itemsize or matrix.shape[1] == 1:
        return matrix
    return np.ascontiguousarray(matrix)


def same_shape(**arrays: np.ndarray) -> None:
    """Refuse arrays of different shapes."""
    shapes = {name: array.shape for name, array in arrays.items()}
    if len(set(shapes.values())) > 1:
        given = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ShapeError(given, "equal shapes")


def output(out: np.ndarray | None, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """`out` if it fits, or a new array where it is None."""
    if out is None:
        return np.empty(shape, dtype)
    if not isinstance(out, np.ndarray):
        raise DTypeError(f"out is {type(out).__name__}", "a NumPy array")
    if out.dtype != dtype:
        raise DTypeError(f"out with dtype {out.dtype}", f"{np.dtype(dtype)}")
    if out.shape != shape:
        raise ShapeError(f"out with shape {out.shape}", f"{shape}")
    if not out.flags.writeable:
        raise ArgumentError("out is read-only", "a writeable array")
    return out


def target_of(y: np.ndarray, out: np.ndarray | None, *inputs: np.ndarray) -> np.ndarray:
    """Memory in C order to compute y into: y itself unless it lies otherwise or over an input.

    An input that is the very same array may be overwritten as it is read; one that is shifted may
    not.
    """
    if out is None:
        return y
    if not (y.flags.c_contiguous and y.flags.aligned):
        return np.empty(y.shape, y.dtype)
    for x in inputs:
        same = x.flags.c_contiguous and address_of(x) == address_of(y)
        if not same and np.may_share_memory(x, y):
            return np.empty(y.shape, y.dtype)
    return y


def as_labels(name: str, target: Any, rows: int, classes: int) -> np.ndarray:
    """`target` as contiguous int64 labels (rows,), each within 0 .. classes-1."""
    array = np.asarray(target)
    if array.dtype.kind not in "iu":
        raise DTypeError(f"{name} with dtype {array.dtype}", "whole numbers",
                         f"pass class labels: {name}.astype(np.int64)")
    if array.shape not in ((rows,), (rows, 1)):
        raise ShapeError(f"{name} with shape {array.shape}", f"({rows},): one label a row")
    labels = np.ascontiguousarray(array.reshape(rows), np.int64)
    # As unsigned numbers, negative ones are the largest.
    if rows and int(np.maximum.reduce(labels.view(np.uint64))) >= classes:
        wrong = int(np.flatnonzero((labels < 0) | (labels >= classes))[0])
        raise DataError(f"{name}[{wrong}] is {array.reshape(rows)[wrong]}",
                        f"labels from 0 to {classes - 1}",
                        "labels count from 0, one for each column of the scores")
    return labels
