"""What is passed as samples, as the gather instructions take it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastbp._errors import ArgumentError, ShapeError
from fastbp.emit.sparse import KINDS, SparseRows
from fastbp.layers.base import Shape
from fastbp.network import Network


def as_batch(network: Network, x: Any) -> list[Any]:
    """Inputs as matrices (N, size) of a dtype that the gather instruction converts, or CSR rows."""
    given = x if isinstance(x, (tuple, list)) and len(network.input_steps) > 1 else (x,)
    if len(given) != len(network.input_steps):
        raise ArgumentError(f"{len(given)} inputs", f"{len(network.input_steps)}, as a tuple")
    arrays = [_as_rows(a, network.steps[i].shape, network.dtype)
              for a, i in zip(given, network.input_steps, strict=True)]
    for rows, i in zip(arrays, network.input_steps, strict=True):
        if isinstance(rows, SparseRows) and network.steps[i].scale != 1.0:
            raise ArgumentError("a sparse x for an input with a scale", "a dense x, or no scale",
                                "multiply x.data before")
    if len({len(a) for a in arrays}) > 1:
        raise ShapeError(f"inputs with {[len(a) for a in arrays]} samples", "equal numbers")
    return arrays


def _as_rows(x: Any, shape: Shape, dtype: np.dtype) -> np.ndarray | SparseRows:
    size = math.prod(shape)
    if isinstance(x, SparseRows) or (hasattr(x, "tocsr") and hasattr(x, "nnz")):
        rows = x if isinstance(x, SparseRows) else SparseRows.of(x)
        if rows.columns != size:
            raise ShapeError(f"a sparse x with {rows.columns} features", f"{size}")
        return rows
    array = np.asarray(x)
    if array.ndim < 2 and not (array.ndim == 1 and size == 1):
        raise ShapeError(f"x with shape {array.shape}", f"(N, {', '.join(map(str, shape))})",
                         "one sample is x[None]")
    if array.size != len(array) * size:
        raise ShapeError(f"x with shape {array.shape}: {array.size // max(len(array), 1)} features",
                         f"(N, {', '.join(map(str, shape))})")
    if array.dtype not in KINDS:
        if array.dtype.kind not in "biuf":
            raise ArgumentError(f"x of dtype {array.dtype}", "numbers", "convert the columns first")
        array = array.astype(dtype)
    if array.ndim != 2:
        array = array.reshape(len(array), size)
    if not array.flags.aligned or any(s % array.itemsize for s in array.strides):
        array = np.ascontiguousarray(array)
    return array
