"""`common.functions`: the book's functions of arrays and numbers.

All take what NumPy takes; floating-point results are float32 where the argument is.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastbp._errors import DataError, ShapeError
from fastbp.compat.dlfs._arithmetic import relu, sigmoid, softmax  # noqa: F401


def identity_function(x: Any) -> Any:
    """x itself."""
    return x


def step_function(x: Any) -> np.ndarray:
    """1 where x > 0, else 0, as integers."""
    return np.array(x > 0, dtype=int)


def sigmoid_grad(x: Any) -> Any:
    """Slope of `sigmoid` at x."""
    y = sigmoid(x)
    return (1.0 - y) * y


def relu_grad(x: np.ndarray) -> np.ndarray:
    """1 where x >= 0, else 0, of x's dtype (at 0 the layer `Relu` has 0)."""
    return (x >= 0).astype(x.dtype)


def sum_squared_error(y: Any, t: Any) -> Any:
    """Half the sum of (y - t)^2."""
    difference = y - t
    return 0.5 * np.sum(difference * difference)


# Its name in the first printings.
mean_squared_error = sum_squared_error


def cross_entropy_error(y: np.ndarray, t: np.ndarray) -> Any:
    """-log(y + 1e-7) at the label, averaged over the rows of y.

    Arguments:
        y: probabilities (N, C) or (C,). t: labels, or one-hot rows: those where t.size == y.size.
    Raises:
        ShapeError, DataError: labels that do not fit y's rows or columns.
    """
    if y.ndim == 1:
        y, t = y.reshape(1, y.size), t.reshape(1, t.size)
    if t.size == y.size:
        t = t.argmax(axis=1)
    count = y.shape[0]
    picked = picked_by(y, t) + 1e-7
    return -np.add.reduce(np.log(picked), axis=None) / count


def softmax_loss(X: np.ndarray, t: np.ndarray) -> Any:
    """`cross_entropy_error` of softmax(X)."""
    return cross_entropy_error(softmax(X), t)


def picked_by(y: np.ndarray, t: np.ndarray) -> np.ndarray:
    """y[i, t[i]] of every row."""
    try:
        return y[np.arange(y.shape[0]), t]
    except IndexError:
        if t.dtype.kind in "iu" and t.shape == (y.shape[0],):
            raise DataError(f"t from {t.min()} to {t.max()}", f"labels from 0 to {y.shape[1] - 1}",
                            "labels count from 0, one for each column of y") from None
        raise ShapeError(f"t with shape {t.shape} and dtype {t.dtype}",
                         f"whole numbers ({y.shape[0]},), or one-hot rows {y.shape}") from None
