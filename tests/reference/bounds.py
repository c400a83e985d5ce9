"""How far a floating-point result may lie from the twin's, and the comparisons that say so.

The model is the standard one (Higham 2002, Accuracy and Stability, ch. 2-4): each operation
returns its exact result times (1 + d), |d| <= u, so a sum of n terms in any order is off by at
most n*u*sum|terms|, to first order in u. Bounds here are first order too: good for n*u << 1.
Underflow is not covered; keep test values away from the subnormals.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .precision import Array, as_rows, widen


def unit_roundoff(dtype: npt.DTypeLike) -> float:
    """u: half the distance from 1 to the next number of `dtype`.

    Doubled where the twin can compute no wider than `dtype` (longdouble is float64 on some
    platforms): then the twin's own rounding takes part in the difference.
    """
    own = np.finfo(np.dtype(dtype)).eps
    twin = np.finfo(np.longdouble if np.dtype(dtype).itemsize >= 8 else np.float64).eps
    return float(own if twin == own else own / 2)


def relative_bound(expected: Array, dtype: npt.DTypeLike, roundings: float) -> Array:
    """roundings * u * |expected|: a chain of that many operations without cancellation."""
    return roundings * unit_roundoff(dtype) * np.abs(widen(expected))


def sum_bound(terms: Array, dtype: npt.DTypeLike, axis: int | None = None) -> Array:
    """n * u * sum|terms| for a sum of n terms over `axis` (None: over all)."""
    wide = np.abs(widen(terms))
    n = wide.size if axis is None else wide.shape[axis]
    bound: Array = n * unit_roundoff(dtype) * wide.sum(axis=axis)
    return bound


def matmul_bound(a: Array, b: Array, dtype: npt.DTypeLike) -> Array:
    """(K + 2) * u * |A||B|, elementwise, for c = a @ b with K terms in each sum."""
    a, b = np.abs(np.asarray(a, np.float64)), np.abs(np.asarray(b, np.float64))
    bound: Array = (a.shape[-1] + 2) * unit_roundoff(dtype) * (a @ b)
    return bound


def affine_forward_bound(
    x: Array,
    w: Array,
    b: Array,
    dtype: npt.DTypeLike,
    layout: str = "column",
) -> Array:
    """(D + 3) * u * (|x||w| + |b|): the bias is one more term. Before any activation."""
    rows = as_rows(np.abs(np.asarray(x, np.float64)))
    columns = np.abs(np.asarray(w, np.float64))
    columns = columns if layout == "column" else columns.T
    magnitude = rows @ columns + np.abs(np.asarray(b, np.float64))
    bound: Array = (rows.shape[1] + 3) * unit_roundoff(dtype) * magnitude
    return bound


def affine_backward_bounds(
    dy: Array,
    x: Array,
    w: Array,
    dtype: npt.DTypeLike,
    layout: str = "column",
) -> tuple[Array, Array, Array]:
    """For (dx, dw, db), in their shapes; dy is the gradient by z, after any activation mask."""
    dy, x = np.asarray(dy, np.float64), np.asarray(x, np.float64)
    rows, columns = as_rows(x), np.asarray(w, np.float64)
    columns = columns if layout == "column" else columns.T
    dw = matmul_bound(rows.T, dy, dtype)
    return (
        matmul_bound(dy, columns.T, dtype).reshape(x.shape),
        dw if layout == "column" else dw.T,
        sum_bound(dy, dtype, axis=0).astype(np.float64),
    )


class NormalizedError(NamedTuple):
    """xhat = (x - mean) * inv_std and its error, with those of the statistics behind it.

    `inv_std_error` is relative, the other errors are absolute.
    """

    xhat: Array
    inv_std: Array
    xhat_error: Array
    inv_std_error: Array
    mean_error: Array
    var_error: Array


def normalized_error(
    x: Array, dtype: npt.DTypeLike, eps: float, axis: int = 0, depth: int | None = None
) -> NormalizedError:
    """The error of two-pass normalisation along `axis`; a sum has `depth` roundings in a chain.

    `depth` is n for a plain loop, n/lanes + log2(lanes) for a vector one; default n. Steps:
    the mean is off by e = (depth + 1) u mean|x|; the deviations by e + u|x - mean|; since true
    deviations sum to 0, e moves the variance only by e^2; 1/sqrt halves a relative error.
    """
    u, x = unit_roundoff(dtype), widen(x)
    depth = x.shape[axis] if depth is None else depth
    mean, var = x.mean(axis=axis, keepdims=True), x.var(axis=axis, keepdims=True)
    inv_std = 1 / np.sqrt(var + eps)
    xhat = (x - mean) * inv_std
    mean_error = (depth + 1) * u * np.abs(x).mean(axis=axis, keepdims=True)
    var_error = (depth + 5) * u * var + mean_error**2
    inv_std_error = var_error * inv_std**2 / 2 + 3 * u
    xhat_error = np.abs(xhat) * (inv_std_error + 2 * u) + inv_std * mean_error
    return NormalizedError(xhat, inv_std, xhat_error, inv_std_error, mean_error, var_error)


def batchnorm_forward_bound(
    x: Array,
    gamma: Array,
    beta: Array,
    dtype: npt.DTypeLike,
    *,
    eps: float = 1e-5,
    axis: int = 0,
    depth: int | None = None,
) -> Array:
    """For y of BatchNorm in training mode (axis 0) or LayerNorm (axis 1)."""
    e = normalized_error(x, dtype, eps, axis, depth)
    gamma, beta = np.abs(widen(gamma)), np.abs(widen(beta))
    u = unit_roundoff(dtype)
    bound: Array = gamma * e.xhat_error + 2 * u * (gamma * np.abs(e.xhat) + beta)
    return bound


def batchnorm_backward_bounds(
    dy: Array,
    x: Array,
    gamma: Array,
    dtype: npt.DTypeLike,
    *,
    eps: float = 1e-5,
    axis: int = 0,
    depth: int | None = None,
) -> tuple[Array, Array, Array]:
    """For (dx, dgamma, dbeta) of BatchNorm in training mode (axis 0) or LayerNorm (axis 1).

    dx = inv_std * (g - sum(g)/n - xhat * sum(g xhat)/n), g = gamma*dy; sums along `axis`.
    """
    u = unit_roundoff(dtype)
    e = normalized_error(x, dtype, eps, axis, depth)
    n, rows = e.xhat.shape[axis], e.xhat.shape[0]
    depth = n if depth is None else depth
    dy, xhat = np.abs(widen(dy)), np.abs(e.xhat)
    g = dy * np.abs(widen(gamma))

    sum_g, sum_gx = g.sum(axis=axis, keepdims=True), (g * xhat).sum(axis=axis, keepdims=True)
    sum_g_error = (depth + 1) * u * sum_g
    sum_gx_error = (depth + 2) * u * sum_gx + (g * e.xhat_error).sum(axis=axis, keepdims=True)
    dx = e.inv_std * (
        (sum_g_error + xhat * sum_gx_error + e.xhat_error * sum_gx) / n
        + (e.inv_std_error + 8 * u) * (g + sum_g / n + xhat * sum_gx / n)
    )
    dgamma = (rows + 2) * u * (dy * xhat).sum(axis=0) + (dy * e.xhat_error).sum(axis=0)
    return dx, dgamma, (rows + 1) * u * dy.sum(axis=0)


def assert_within(
    actual: Array, expected: Array, bound: Array | float, what: str = "result"
) -> None:
    """|actual - expected| <= bound elementwise; NaN and infinities must stand in the same places.

    `bound` broadcasts; 0 asks for equality. The message shows the element furthest outside.
    """
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape, (
        f"{what}: shape {actual.shape}, expected {expected.shape}"
    )
    limit = np.broadcast_to(np.asarray(bound), expected.shape)
    finite = np.isfinite(expected)
    assert np.all(limit[finite] >= 0), f"{what}: a bound must be a number >= 0, this one is not"
    with np.errstate(invalid="ignore", over="ignore"):
        error = np.abs(actual.astype(np.longdouble) - expected.astype(np.longdouble))
        same = np.where(np.isnan(expected), np.isnan(actual), actual == expected)
    good = np.where(finite, error <= limit, same)
    if np.all(good):
        return
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(good, -1, np.where(np.isfinite(error), error / limit, np.inf))
    worst = np.unravel_index(np.nanargmax(ratio), ratio.shape)
    where = tuple(int(i) for i in worst)
    raise AssertionError(
        f"{what}: {np.count_nonzero(~good)} of {good.size} elements out of bound; worst at "
        f"{where}: got {actual[worst]!r}, expected {expected[worst]!r}, "
        f"error {float(error[worst]):.3g}, bound {float(limit[worst]):.3g} "
        f"({float(ratio[worst]):.3g} times)"
    )


def assert_exact(actual: Array, expected: Array, what: str = "result") -> None:
    """Equality of every element, for integer data; refuses to judge by mostly zeros.

    A result full of zeros is what a kernel that did nothing would give, so a reference with more
    than 30 % zeros (of at least 16 elements) is an AssertionError that starts with MISTRUSTED.
    """
    expected = np.asarray(expected)
    zeros = np.count_nonzero(expected == 0)
    assert expected.size < 16 or zeros <= 0.3 * expected.size, (
        f"MISTRUSTED {what}: {zeros} of {expected.size} expected values are 0"
    )
    assert_within(actual, expected, 0.0, what)
