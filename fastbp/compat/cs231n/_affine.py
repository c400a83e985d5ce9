"""The affine layer, ReLU, and both in one pass (docs/math.md#affine)."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastbp import ops
from fastbp._errors import ShapeError
from fastbp.compat.cs231n._arrays import floats, named, rows_of, same_shape

AffineCache = tuple[Any, Any, Any]

_REAL = np.dtype(np.float64), np.dtype(np.float32)


@named()
def affine_forward(x: Any, w: Any, b: Any) -> tuple[np.ndarray, AffineCache]:
    """out = x w + b, with each sample of x as one row.

    Arguments:
        x: (N, d_1, ..., d_k) with D = d_1 ... d_k numbers a sample. w: (D, M). b: (M,).
    Returns:
        out (N, M), and the cache (x, w, b): the very arguments, so what is changed in them
        between the calls shows in the backward pass.
    Raises:
        ShapeError, DTypeError: for what does not fit.
    """
    rows, weights, bias = _operands(x, w, b)
    return ops.affine_forward(rows, weights, bias), (x, w, b)


@named(dy="dout")
def affine_backward(dout: Any, cache: AffineCache) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(dx, dw, db) in the shapes of x, w and b: sums over the batch of what dout (N, M) says."""
    x, w, _ = cache
    upstream, data, weights = floats("dout x w", dout, x, w)
    rows = rows_of(data, weights.shape[0])
    same_shape("dout", upstream, (len(rows), weights.shape[1]))
    dx, dw, db = ops.affine_backward(upstream, rows, weights)
    return dx.reshape(data.shape), dw, db


@named()
def relu_forward(x: Any) -> tuple[np.ndarray, Any]:
    """out = max(x, 0) of x's shape and dtype; the cache is x."""
    values = np.asarray(x)
    if values.dtype not in _REAL or values.ndim == 0:
        return np.maximum(values, 0), x
    return ops.relu_forward(values), x


@named(dy="dout")
def relu_backward(dout: Any, cache: Any) -> np.ndarray:
    """dx = dout where x > 0, else 0; also at x = 0."""
    upstream, x = np.asarray(dout), np.asarray(cache)
    same_shape("dout", upstream, x.shape)
    if upstream.dtype != x.dtype or x.dtype not in _REAL or x.ndim == 0:
        return upstream * (x > 0)
    return ops.relu_backward(upstream, x)


@named()
def affine_relu_forward(x: Any, w: Any, b: Any) -> tuple[np.ndarray, tuple[AffineCache, Any]]:
    """relu(x w + b) in one pass; arguments as for `affine_forward`.

    The cache is (cache of the affine layer, cache of ReLU); the latter is the result itself, which
    is positive where x w + b is.
    """
    rows, weights, bias = _operands(x, w, b)
    out = ops.affine_relu_forward(rows, weights, bias)
    return out, ((x, w, b), out)


@named(dy="dout")
def affine_relu_backward(dout: Any, cache: tuple[AffineCache, Any]
                         ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(dx, dw, db) of `affine_relu_forward`."""
    (x, w, _), out = cache
    upstream, data, weights, result = floats("dout x w out", dout, x, w, out)
    rows = rows_of(data, weights.shape[0])
    same_shape("dout", upstream, (len(rows), weights.shape[1]))
    dx, dw, db = ops.affine_relu_backward(upstream, rows, weights, result)
    return dx.reshape(data.shape), dw, db


def parameter_gradients(dout: np.ndarray, cache: AffineCache, out: np.ndarray | None = None
                        ) -> tuple[np.ndarray, np.ndarray]:
    """(dw, db) of the first layer of a network, whose dx nobody needs: a third of the work.

    out: the result of ReLU, where the layer has one.
    """
    x, w, _ = cache
    if out is not None:
        dout = relu_backward(dout, out)
    upstream, data = floats("dout x", dout, x)
    return ops.matmul(rows_of(data, len(w)).T, upstream), upstream.sum(axis=0)


def scores_of(x: Any, w: Any) -> np.ndarray:
    """x w for x (N, D), w (D, C): the scores of a linear classifier."""
    rows, weights = floats("X W", x, w)
    if rows.ndim != 2 or weights.ndim != 2 or rows.shape[1] != weights.shape[0]:
        raise ShapeError(f"X with shape {rows.shape}, W with shape {weights.shape}",
                         "X (N, D) and W (D, C)")
    return ops.matmul(rows, weights)


def _operands(x: Any, w: Any, b: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x as rows, w and b, of one dtype and of shapes that fit."""
    data, weights, bias = floats("x w b", x, w, b)
    if weights.ndim != 2:
        raise ShapeError(f"w with shape {weights.shape}", "(D, M): one column a neuron")
    d, m = weights.shape
    if data.ndim == 2 and data.shape[1] == d and bias.shape == (m,):
        return data, weights, bias
    if data.ndim and data.size != len(data) * d:
        given = data.size // max(len(data), 1)
        raise ShapeError(f"w with shape {weights.shape} for x with shape {data.shape}",
                         f"w with {given} rows, one for each number of a sample",
                         "w.T fits" if m == given else "")
    if bias.shape not in ((m,), (1, m)):
        raise ShapeError(f"b with shape {bias.shape}", f"({m},): one number a column of w")
    return rows_of(data, d), weights, bias
