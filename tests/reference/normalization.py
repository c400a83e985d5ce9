"""BatchNorm, LayerNorm, GroupNorm (docs/math.md#batchnorm, #layernorm, #groupnorm)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .precision import Array, widen


class Normalized(NamedTuple):
    """What a backward pass needs, and the running statistics after the forward pass."""

    xhat: Array
    inv_std: Array
    gamma: Array
    training: bool
    running_mean: Array | None = None
    running_var: Array | None = None


def batchnorm_forward(
    x: Array,
    gamma: Array,
    beta: Array,
    running_mean: Array | None = None,
    running_var: Array | None = None,
    *,
    momentum: float = 0.9,
    eps: float = 1e-5,
    training: bool = True,
) -> tuple[Array, Normalized]:
    """y = gamma * (x - mean) / sqrt(var + eps) + beta, statistics of each column of x (N, D).

    Training: mean and biased variance of the batch. Otherwise: the running statistics. Nothing
    is written; the new running statistics are in the second result.
    """
    x, gamma, beta = widen(x, gamma, beta)
    mean, var = x.mean(axis=0), x.var(axis=0)
    if running_mean is not None and running_var is not None:
        running_mean = np.asarray(running_mean, x.dtype)
        running_var = np.asarray(running_var, x.dtype)
        if training:
            running_mean = momentum * running_mean + (1 - momentum) * mean
            running_var = momentum * running_var + (1 - momentum) * var
        else:
            mean, var = running_mean, running_var
    inv_std = 1 / np.sqrt(var + eps)
    xhat = (x - mean) * inv_std
    saved = Normalized(xhat, inv_std, gamma, training, running_mean, running_var)
    return gamma * xhat + beta, saved


def batchnorm_backward(dy: Array, saved: Normalized) -> tuple[Array, Array, Array]:
    """(dx, dgamma, dbeta) by the one formula the whole derivation ends in."""
    dy = np.asarray(dy, saved.xhat.dtype)
    dgamma, dbeta = (dy * saved.xhat).sum(axis=0), dy.sum(axis=0)
    scale = saved.gamma * saved.inv_std
    if not saved.training:
        return scale * dy, dgamma, dbeta
    n = dy.shape[0]
    return scale * (dy - dbeta / n - saved.xhat * dgamma / n), dgamma, dbeta


def batchnorm_backward_staged(
    dy: Array, x: Array, gamma: Array, *, eps: float = 1e-5
) -> tuple[Array, Array, Array]:
    """The same in training mode, node by node through the graph of Ioffe & Szegedy 2015."""
    dy, x, gamma = widen(dy, x, gamma)
    n = x.shape[0]
    mean = x.sum(axis=0) / n
    centred = x - mean
    var = (centred**2).sum(axis=0) / n
    std = np.sqrt(var + eps)
    inv_std = 1 / std
    xhat = centred * inv_std

    dbeta = dy.sum(axis=0)
    dgamma = (dy * xhat).sum(axis=0)
    dxhat = dy * gamma
    dinv_std = (dxhat * centred).sum(axis=0)
    dstd = -dinv_std / std**2
    dvar = dstd / (2 * std)
    dcentred = dxhat * inv_std + 2 * centred * dvar / n
    dmean = -dcentred.sum(axis=0)
    return dcentred + dmean / n, dgamma, dbeta


def layernorm_forward(
    x: Array, gamma: Array, beta: Array, *, eps: float = 1e-5
) -> tuple[Array, Normalized]:
    """y = gamma * (x - mean) / sqrt(var + eps) + beta, statistics of each row of x (N, D)."""
    x, gamma, beta = widen(x, gamma, beta)
    mean, var = x.mean(axis=1, keepdims=True), x.var(axis=1, keepdims=True)
    inv_std = 1 / np.sqrt(var + eps)
    xhat = (x - mean) * inv_std
    return gamma * xhat + beta, Normalized(xhat, inv_std, gamma, True)


def layernorm_backward(dy: Array, saved: Normalized) -> tuple[Array, Array, Array]:
    """(dx, dgamma, dbeta): sums for dx along a row, for dgamma and dbeta along a column."""
    dy = np.asarray(dy, saved.xhat.dtype)
    g, xhat = dy * saved.gamma, saved.xhat
    centre = g.mean(axis=1, keepdims=True) + xhat * (g * xhat).mean(axis=1, keepdims=True)
    return saved.inv_std * (g - centre), (dy * xhat).sum(axis=0), dy.sum(axis=0)


def spatial_batchnorm_forward(
    x: Array, gamma: Array, beta: Array, *running: Array, momentum: float = 0.9,
    eps: float = 1e-5, training: bool = True
) -> tuple[Array, Normalized]:
    """BatchNorm of x (N, C, H, W) over all pixels of all samples: they are the rows."""
    n, c, h, w = np.shape(x)
    y, saved = batchnorm_forward(by_pixel(x), gamma, beta, *running, momentum=momentum, eps=eps,
                                 training=training)
    return y.reshape(n, h, w, c).transpose(0, 3, 1, 2), saved


def spatial_batchnorm_backward(dy: Array, saved: Normalized) -> tuple[Array, Array, Array]:
    """(dx, dgamma, dbeta)."""
    n, c, h, w = np.shape(dy)
    dx, dgamma, dbeta = batchnorm_backward(by_pixel(dy), saved)
    return dx.reshape(n, h, w, c).transpose(0, 3, 1, 2), dgamma, dbeta


def by_pixel(x: Array) -> Array:
    """(N, C, H, W) as (N*H*W, C)."""
    return np.moveaxis(x, 1, -1).reshape(-1, x.shape[1])


def groupnorm_forward(
    x: Array, gamma: Array, beta: Array, groups: int, *, eps: float = 1e-5
) -> tuple[Array, Normalized]:
    """y = gamma * xhat + beta of x (N, C, ...), statistics of groups of channels of a sample."""
    x, gamma, beta = widen(x, gamma, beta)
    rows = x.reshape(len(x) * groups, -1)
    ones = np.ones(rows.shape[1])
    _, saved = layernorm_forward(rows, ones, 0 * ones, eps=eps)
    xhat = saved.xhat.reshape(x.shape)
    scale, shift = (v.reshape(-1, *[1] * (x.ndim - 2)) for v in (gamma, beta))
    return scale * xhat + shift, Normalized(xhat, saved.inv_std, gamma, True)


def groupnorm_backward(dy: Array, saved: Normalized) -> tuple[Array, Array, Array]:
    """(dx, dgamma, dbeta): sums for dx over a group, for dgamma and dbeta over a channel."""
    dy, xhat = np.asarray(dy, saved.xhat.dtype), saved.xhat
    axes = (0, *range(2, dy.ndim))
    scale = saved.gamma.reshape(-1, *[1] * (dy.ndim - 2))
    rows = len(saved.inv_std)
    inner = Normalized(xhat.reshape(rows, -1), saved.inv_std, np.ones(()), True)
    dx = layernorm_backward((dy * scale).reshape(rows, -1), inner)[0]
    return dx.reshape(dy.shape), (dy * xhat).sum(axis=axes), dy.sum(axis=axes)


class Moments(NamedTuple):
    """Of a set of rows: how many there are, their mean, the sum of squared deviations from it."""

    rows: int
    mean: Array
    m2: Array


def moments(x: Array) -> Moments:
    """The two-pass moments of the rows of x (N, D), N >= 1."""
    x = widen(x)
    mean = x.mean(axis=0)
    return Moments(x.shape[0], mean, ((x - mean) ** 2).sum(axis=0))


def merge_moments(a: Moments, b: Moments) -> Moments:
    """The moments of the rows of both (Chan, Golub & LeVeque 1983)."""
    rows = a.rows + b.rows
    delta = b.mean - a.mean
    mean = a.mean + delta * b.rows / rows
    return Moments(rows, mean, a.m2 + b.m2 + delta**2 * a.rows * b.rows / rows)
