"""Matmul, the affine layer in both weight layouts, dropout (docs/math.md#affine)."""

from __future__ import annotations

import numpy as np

from .activations import ACTIVATIONS
from .precision import Array, as_rows, widen


def matmul(a: Array, b: Array) -> Array:
    """c = a @ b; a (M, K), b (K, N), c (M, N)."""
    a, b = widen(a, b)
    c: Array = np.matmul(a, b)
    return c


def columns_of(w: Array, layout: str) -> Array:
    """`w` with one neuron a column, (D, C), whatever the layout."""
    return {"column": w, "row": w.T}[layout]


def affine_forward(
    x: Array,
    w: Array,
    b: Array,
    *,
    layout: str = "column",
    activation: str = "identity",
) -> Array:
    """y = activation(x @ w + b), or x @ w.T + b in the row layout; y (N, C)."""
    x, w, b = widen(x, w, b)
    z = as_rows(x) @ columns_of(w, layout) + b
    return ACTIVATIONS[activation][0](z)


def affine_backward(
    dy: Array,
    x: Array,
    w: Array,
    b: Array | None = None,
    *,
    layout: str = "column",
    activation: str = "identity",
) -> tuple[Array, Array, Array]:
    """(dx, dw, db) in the shapes of x, w, b; `b` is read only where there is an activation."""
    dy, x, w = widen(dy, x, w)
    rows, columns = as_rows(x), columns_of(w, layout)
    if activation != "identity":
        assert b is not None, "the activation's gradient needs z = x @ w + b"
        dy = ACTIVATIONS[activation][1](dy, rows @ columns + np.asarray(b, x.dtype))
    dx = (dy @ columns.T).reshape(x.shape)
    dw = rows.T @ dy
    return dx, columns_of(dw, layout), dy.sum(axis=0)


def dropout_forward(x: Array, keep: Array, rate: float) -> Array:
    """y = x * keep / (1 - rate): inverted dropout; keep holds 0 or 1 for every element of x."""
    x = widen(x)
    return np.where(np.asarray(keep) != 0, x / (1 - x.dtype.type(rate)), 0)


def dropout_backward(dy: Array, keep: Array, rate: float) -> Array:
    """dx = dy * keep / (1 - rate), with the mask of the forward pass."""
    return dropout_forward(dy, keep, rate)
