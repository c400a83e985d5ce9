"""CS231n's layers as plain NumPy gives them: vectorised, obvious, nothing from fastbp.

Names, arguments and results are those of `fastbp.compat.cs231n`; forward stands next to backward.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray


def affine_forward(x: Array, w: Array, b: Array) -> tuple[Array, Any]:
    """x w + b for x (N, ...), w (D, M), b (M,)."""
    return x.reshape(len(x), -1).dot(w) + b, (x, w, b)


def affine_backward(dout: Array, cache: Any) -> tuple[Array, Array, Array]:
    """(dx, dw, db)."""
    x, w, _ = cache
    return dout.dot(w.T).reshape(x.shape), x.reshape(len(x), -1).T.dot(dout), dout.sum(axis=0)


def relu_forward(x: Array) -> tuple[Array, Array]:
    """max(x, 0)."""
    return np.maximum(x, 0), x


def relu_backward(dout: Array, cache: Array) -> Array:
    """Dout where x > 0."""
    return dout * (cache > 0)


def affine_relu_forward(x: Array, w: Array, b: Array) -> tuple[Array, Any]:
    """max(x w + b, 0)."""
    a, affine_cache = affine_forward(x, w, b)
    out, relu_cache = relu_forward(a)
    return out, (affine_cache, relu_cache)


def affine_relu_backward(dout: Array, cache: Any) -> tuple[Array, Array, Array]:
    """(dx, dw, db)."""
    affine_cache, relu_cache = cache
    return affine_backward(relu_backward(dout, relu_cache), affine_cache)


def softmax_loss(x: Array, y: Array) -> tuple[Any, Array]:
    """Mean cross-entropy of scores (N, C), and its gradient."""
    rows = np.arange(len(x))
    shifted = x - x.max(axis=1, keepdims=True)
    total = np.exp(shifted).sum(axis=1, keepdims=True)
    log_probs = shifted - np.log(total)
    dx = np.exp(log_probs)
    dx[rows, y] -= 1
    return -log_probs[rows, y].mean(), dx / len(x)


def svm_loss(x: Array, y: Array) -> tuple[Any, Array]:
    """Mean hinge loss with margin 1, and its gradient."""
    rows = np.arange(len(x))
    margins = np.maximum(0, x - x[rows, y][:, None] + 1)
    margins[rows, y] = 0
    dx = (margins > 0).astype(x.dtype)
    dx[rows, y] -= dx.sum(axis=1)
    return margins.sum() / len(x), dx / len(x)


def batchnorm_forward(x: Array, gamma: Array, beta: Array, bn_param: dict[str, Any]
                      ) -> tuple[Array, Any]:
    """Each feature by the batch's statistics ("train") or the running ones ("test")."""
    eps, momentum = bn_param.get("eps", 1e-5), bn_param.get("momentum", 0.9)
    mean = bn_param.get("running_mean", np.zeros(x.shape[1], x.dtype))
    var = bn_param.get("running_var", np.zeros(x.shape[1], x.dtype))
    cache = None
    if bn_param["mode"] == "train":
        centred = x - x.mean(axis=0)
        batch_var = (centred**2).mean(axis=0)
        xhat = centred / np.sqrt(batch_var + eps)
        cache = xhat, gamma, np.sqrt(batch_var + eps)
        mean = momentum * mean + (1 - momentum) * x.mean(axis=0)
        var = momentum * var + (1 - momentum) * batch_var
    else:
        xhat = (x - mean) / np.sqrt(var + eps)
    bn_param["running_mean"], bn_param["running_var"] = mean, var
    return gamma * xhat + beta, cache


def batchnorm_backward(dout: Array, cache: Any) -> tuple[Array, Array, Array]:
    """(dx, dgamma, dbeta)."""
    xhat, gamma, std = cache
    dgamma, dbeta = (dout * xhat).sum(axis=0), dout.sum(axis=0)
    dx = gamma / std * (dout - (dbeta + xhat * dgamma) / len(dout))
    return dx, dgamma, dbeta


def layernorm_forward(x: Array, gamma: Array, beta: Array, ln_param: dict[str, Any]
                      ) -> tuple[Array, Any]:
    """Each sample by its own mean and variance."""
    centred = x - x.mean(axis=1, keepdims=True)
    std = np.sqrt((centred**2).mean(axis=1, keepdims=True) + ln_param.get("eps", 1e-5))
    xhat = centred / std
    return gamma * xhat + beta, (xhat, gamma, std)


def layernorm_backward(dout: Array, cache: Any) -> tuple[Array, Array, Array]:
    """(dx, dgamma, dbeta)."""
    xhat, gamma, std = cache
    dxhat = dout * gamma
    dx = (dxhat - dxhat.mean(axis=1, keepdims=True)
          - xhat * (dxhat * xhat).mean(axis=1, keepdims=True)) / std
    return dx, (dout * xhat).sum(axis=0), dout.sum(axis=0)


def spatial_batchnorm_forward(x: Array, gamma: Array, beta: Array, bn_param: dict[str, Any]
                              ) -> tuple[Array, Any]:
    """BatchNorm of each channel of x (N, C, H, W)."""
    n, c, h, w = x.shape
    out, cache = batchnorm_forward(x.transpose(0, 2, 3, 1).reshape(-1, c), gamma, beta, bn_param)
    return out.reshape(n, h, w, c).transpose(0, 3, 1, 2), cache


def spatial_batchnorm_backward(dout: Array, cache: Any) -> tuple[Array, Array, Array]:
    """(dx, dgamma, dbeta)."""
    n, c, h, w = dout.shape
    rows = dout.transpose(0, 2, 3, 1).reshape(-1, c)
    dx, dgamma, dbeta = batchnorm_backward(rows, cache)
    return dx.reshape(n, h, w, c).transpose(0, 3, 1, 2), dgamma, dbeta


def spatial_groupnorm_forward(x: Array, gamma: Array, beta: Array, groups: int,
                              gn_param: dict[str, Any]) -> tuple[Array, Any]:
    """Each group of channels of each sample by its mean and variance; gamma (1, C, 1, 1)."""
    grouped = x.reshape(len(x), groups, -1)
    centred = grouped - grouped.mean(axis=2, keepdims=True)
    std = np.sqrt((centred**2).mean(axis=2, keepdims=True) + gn_param.get("eps", 1e-5))
    xhat = (centred / std).reshape(x.shape)
    return gamma * xhat + beta, (xhat, gamma, std, groups)


def spatial_groupnorm_backward(dout: Array, cache: Any) -> tuple[Array, Array, Array]:
    """(dx, dgamma, dbeta)."""
    xhat, gamma, std, groups = cache
    dxhat = (dout * gamma).reshape(len(dout), groups, -1)
    grouped = xhat.reshape(dxhat.shape)
    dx = (dxhat - dxhat.mean(axis=2, keepdims=True)
          - grouped * (dxhat * grouped).mean(axis=2, keepdims=True)) / std
    axes = (0, 2, 3)
    return (dx.reshape(dout.shape), (dout * xhat).sum(axis=axes, keepdims=True),
            dout.sum(axis=axes, keepdims=True))


def dropout_forward(x: Array, dropout_param: dict[str, Any]) -> tuple[Array, Any]:
    """Keep each number with probability p, scaled by 1/p."""
    p = dropout_param["p"]
    if "seed" in dropout_param:
        np.random.seed(dropout_param["seed"])  # noqa: NPY002 - the course's random numbers
    if dropout_param["mode"] == "test":
        return x, (dropout_param, None)
    mask = ((np.random.rand(*x.shape) < p) / p).astype(x.dtype)  # noqa: NPY002
    return x * mask, (dropout_param, mask)


def dropout_backward(dout: Array, cache: Any) -> Array:
    """Dout through the mask."""
    _, mask = cache
    return dout if mask is None else dout * mask


def _windows(x: Array, height: int, width: int, stride: int) -> Array:
    """(N, C, H', W', height, width), a view."""
    seen = np.lib.stride_tricks.sliding_window_view(x, (height, width), axis=(2, 3))
    return seen[:, :, ::stride, ::stride]


def conv_forward(x: Array, w: Array, b: Array, conv_param: dict[str, Any]) -> tuple[Array, Any]:
    """The convolution as one matrix product over columns of x (N, C, H, W), w (F, C, HH, WW)."""
    pad, stride = conv_param["pad"], conv_param["stride"]
    f, c, hh, ww = w.shape
    padded = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    seen = _windows(padded, hh, ww, stride)
    n, _, oh, ow = seen.shape[:4]
    cols = seen.transpose(1, 4, 5, 0, 2, 3).reshape(c * hh * ww, -1)
    out = w.reshape(f, -1).dot(cols) + b[:, None]
    return np.ascontiguousarray(out.reshape(f, n, oh, ow).transpose(1, 0, 2, 3)), (
        x, w, b, conv_param, cols)


def conv_backward(dout: Array, cache: Any) -> tuple[Array, Array, Array]:
    """(dx, dw, db)."""
    x, w, _, conv_param, cols = cache
    pad, stride = conv_param["pad"], conv_param["stride"]
    n, f, oh, ow = dout.shape
    c, hh, ww = w.shape[1:]
    rows = dout.transpose(1, 0, 2, 3).reshape(f, -1)
    dcols = w.reshape(f, -1).T.dot(rows).reshape(c, hh, ww, n, oh, ow)
    dx = np.zeros((n, c, x.shape[2] + 2 * pad, x.shape[3] + 2 * pad), dcols.dtype)
    for u in range(hh):
        for v in range(ww):
            dx[:, :, u : u + stride * oh : stride, v : v + stride * ow : stride] += dcols[
                :, u, v].transpose(1, 0, 2, 3)
    dx = dx[:, :, pad : pad + x.shape[2], pad : pad + x.shape[3]]
    return dx, rows.dot(cols.T).reshape(w.shape), dout.sum(axis=(0, 2, 3))


def max_pool_forward(x: Array, pool_param: dict[str, Any]) -> tuple[Array, Any]:
    """Maxima of square windows that tile x (N, C, H, W)."""
    size = pool_param["pool_height"]
    n, c, h, w = x.shape
    tiled = x.reshape(n, c, h // size, size, w // size, size)
    out = tiled.max(axis=3).max(axis=4)
    return out, (x, tiled, out)


def max_pool_backward(dout: Array, cache: Any) -> Array:
    """Dx: equal maxima share dout equally."""
    x, tiled, out = cache
    mask = tiled == out[:, :, :, None, :, None]
    dx = dout[:, :, :, None, :, None] * mask / mask.sum(axis=(3, 5), keepdims=True, dtype=x.dtype)
    return dx.reshape(x.shape)
