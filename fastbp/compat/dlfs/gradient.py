"""`common.gradient`: gradients by central differences, (f(x + h) - f(x - h)) / 2h with h = 1e-4.

x is changed in place, one element at a time, while f is called, and is what it was afterwards.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

_H = 1e-4


def numerical_gradient(f: Callable[[np.ndarray], Any], x: np.ndarray) -> np.ndarray:
    """The gradient of f at x, an array of any shape, element by element."""
    grad = np.zeros_like(x)
    for where in np.ndindex(x.shape):
        _difference(f, x, where, grad)
    return grad


def numerical_gradient_2d(f: Callable[[np.ndarray], Any], X: np.ndarray) -> np.ndarray:
    """The gradient at each row of X by itself (f is called with a row), or at a vector X."""
    if X.ndim == 1:
        return _numerical_gradient_1d(f, X)
    grad = np.zeros_like(X)
    for row, x in enumerate(X):
        grad[row] = _numerical_gradient_1d(f, x)
    return grad


def _numerical_gradient_1d(f: Callable[[np.ndarray], Any], x: np.ndarray) -> np.ndarray:
    """The gradient at a vector x."""
    grad = np.zeros_like(x)
    for i in range(x.size):
        _difference(f, x, i, grad)
    return grad


def _difference(f: Callable[[np.ndarray], Any], x: np.ndarray, where: Any,
                grad: np.ndarray) -> None:
    """grad[where] = the central difference by x[where]."""
    before = x[where]
    x[where] = float(before) + _H
    above = f(x)
    x[where] = before - _H
    below = f(x)
    grad[where] = (above - below) / (2 * _H)
    x[where] = before
