"""What the functions share: one dtype as NumPy would choose it, and named errors."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import numpy as np

from fastbp._errors import DTypeError, FastbpError, ShapeError

P = ParamSpec("P")
R = TypeVar("R")

_FLOAT32, _FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)


def named(**names: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Errors that the function raises begin with its name, and call arguments as its callers do.

    names: what `fastbp.ops` calls an argument, and what it is called here (dy="dout").
    """
    words = re.compile(rf"\b({'|'.join(names)})\b") if names else None

    def translated(text: str) -> str:
        return words.sub(lambda match: names[match[1]], text) if words else text

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                return function(*args, **kwargs)
            except FastbpError as error:
                raise type(error)(f"{function.__name__}: {translated(error.given)}",
                                  translated(error.wanted), translated(error.remedy)) from None

        return call

    return decorate


def floats(names: str, *arrays: Any) -> tuple[np.ndarray, ...]:
    """The arrays in the dtype that NumPy's arithmetic on all of them would have.

    float32 and float64 stay as they are where there is one of them only; mixed, they are float64,
    as whole numbers are. No copy is made of what already has that dtype. names: for errors.
    """
    dtype = getattr(arrays[0], "dtype", None)
    if dtype is _FLOAT64 or dtype is _FLOAT32:  # others that are equal take the long way
        for array in arrays:
            if type(array) is not np.ndarray or array.dtype is not dtype:
                break
        else:
            return arrays
    found = [np.asarray(a) for a in arrays]
    for name, array in zip(names.split(), found, strict=True):
        kind = array.dtype.kind
        if kind not in "biuf" or (kind == "f" and array.itemsize not in (4, 8)):
            raise DTypeError(f"{name} with dtype {array.dtype}", "float32 or float64",
                             f"convert it: {name}.astype(np.float32)")
    common = np.result_type(*found)
    if common.kind != "f":
        common = _FLOAT64
    return tuple(array.astype(common, copy=False) for array in found)


def rows_of(x: np.ndarray, features: int) -> np.ndarray:
    """x (N, ...) as a matrix (N, features), where it has that many numbers a sample."""
    if x.ndim == 2 and x.shape[1] == features:
        return x
    if x.ndim == 0:
        raise ShapeError("x is a single number", "(N, d_1, ..., d_k): N samples")
    if x.size != len(x) * features:
        raise ShapeError(f"x with shape {x.shape}", f"{features} numbers a sample")
    return x.reshape(len(x), features)


def same_shape(name: str, array: np.ndarray, wanted: tuple[int, ...]) -> None:
    """Refuse an upstream gradient that has not the shape of the forward result."""
    if array.shape != wanted:
        raise ShapeError(f"{name} with shape {array.shape}",
                         f"{wanted}, that of the forward result")
