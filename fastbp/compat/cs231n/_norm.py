"""Batch, layer, spatial batch and group normalisation (docs/math.md#batchnorm).

The caches are tuples to hand to the backward functions and nothing else; they keep a reference to
x. Gradients have the dtype that NumPy's arithmetic on dout and x would have.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastbp import ops
from fastbp._errors import ArgumentError, ShapeError
from fastbp.compat.cs231n._arrays import floats, named, same_shape

Gradients = tuple[np.ndarray, np.ndarray, np.ndarray]
# Numbers up to which NumPy's few operations take no longer than one call and its conditions.
_SMALL_BATCH = 1024
# What the forward pass of `fastbp.ops` saved, the shape of x, its dtype.
Cache = tuple[Any, tuple[int, ...], np.dtype]


@named()
def batchnorm_forward(x: Any, gamma: Any, beta: Any, bn_param: dict[str, Any]
                      ) -> tuple[np.ndarray, Cache | None]:
    """out = gamma * (x - mean) / sqrt(var + eps) + beta, for each of D features.

    Arguments:
        x: (N, D). gamma, beta: (D,).
        bn_param: `mode` "train" (statistics of the batch) or "test" (running ones); `eps` (1e-5),
            `momentum` (0.9), `running_mean`, `running_var` (zeros (D,)). The last two are written
            back at every call: running = momentum*running + (1 - momentum)*batch, with the biased
            variance, as new arrays.
    Returns:
        out (N, D), and the cache for the backward pass, None in mode "test".
    Raises:
        ValueError: another mode. ShapeError, DTypeError: for what does not fit; bn_param is
        unchanged then.
    """
    return _batchnorm(x, gamma, beta, bn_param, ops.batchnorm_forward, ndim=2)


@named(dy="dout")
def batchnorm_backward(dout: Any, cache: Cache | None) -> Gradients:
    """(dx (N, D), dgamma (D,), dbeta (D,)) of `batchnorm_forward` in mode "train"."""
    return _backward(dout, cache, "batchnorm_forward", ops.batchnorm_backward)


@named(dy="dout")
def batchnorm_backward_alt(dout: Any, cache: Cache | None) -> Gradients:
    """The same as `batchnorm_backward`, which is the simplified form already."""
    return _backward(dout, cache, "batchnorm_forward", ops.batchnorm_backward)


@named()
def layernorm_forward(x: Any, gamma: Any, beta: Any, ln_param: dict[str, Any]
                      ) -> tuple[np.ndarray, Cache]:
    """out = gamma * (x - mean) / sqrt(var + eps) + beta, with mean and variance of each sample.

    x (N, D), gamma, beta (D,); ln_param: `eps` (1e-5), anything else is of no consequence.
    """
    rows, scale, shift = floats("x gamma beta", x, gamma, beta)
    if rows.ndim != 2:
        raise ShapeError(f"x with shape {rows.shape}", "(N, D)")
    eps = ln_param.get("eps", 1e-5)
    out, saved = ops.layernorm_forward(rows, scale, shift, eps=eps, **_reused(rows))
    return out, (saved, rows.shape, rows.dtype)


@named(dy="dout")
def layernorm_backward(dout: Any, cache: Cache) -> Gradients:
    """(dx (N, D), dgamma (D,), dbeta (D,)) of `layernorm_forward`."""
    return _backward(dout, cache, "layernorm_forward", ops.layernorm_backward)


@named()
def spatial_batchnorm_forward(x: Any, gamma: Any, beta: Any, bn_param: dict[str, Any]
                              ) -> tuple[np.ndarray, Cache | None]:
    """`batchnorm_forward` for each channel of x (N, C, H, W); gamma, beta (C,)."""
    return _batchnorm(x, gamma, beta, bn_param, ops.spatial_batchnorm_forward, ndim=4)


@named(dy="dout")
def spatial_batchnorm_backward(dout: Any, cache: Cache | None) -> Gradients:
    """(dx (N, C, H, W), dgamma (C,), dbeta (C,)) of `spatial_batchnorm_forward`."""
    return _backward(dout, cache, "spatial_batchnorm_forward", ops.spatial_batchnorm_backward)


@named(groups="G")
def spatial_groupnorm_forward(x: Any, gamma: Any, beta: Any, G: int,  # noqa: N803 - its name
                              gn_param: dict[str, Any]) -> tuple[np.ndarray, Cache]:
    """Normalise each sample's C/G channels of each of G groups by their mean and variance.

    x (N, C, H, W), gamma, beta (1, C, 1, 1), one number a channel; gn_param: `eps` (1e-5).
    Wu and He 2018, Group Normalization.
    """
    images, scale, shift = floats("x gamma beta", x, gamma, beta)
    if images.ndim != 4:
        raise ShapeError(f"x with shape {images.shape}", "(N, C, H, W)")
    out, saved = ops.groupnorm_forward(images, scale.reshape(-1), shift.reshape(-1), G,
                                       eps=gn_param.get("eps", 1e-5))
    return out, (saved, images.shape, images.dtype)


@named(dy="dout")
def spatial_groupnorm_backward(dout: Any, cache: Cache) -> Gradients:
    """(dx (N, C, H, W), dgamma, dbeta (1, C, 1, 1)) of `spatial_groupnorm_forward`."""
    dx, dgamma, dbeta = _backward(dout, cache, "spatial_groupnorm_forward", ops.groupnorm_backward)
    return dx, dgamma.reshape(1, -1, 1, 1), dbeta.reshape(1, -1, 1, 1)


def _batchnorm(x: Any, gamma: Any, beta: Any, bn_param: dict[str, Any],
               forward: Callable[..., tuple[np.ndarray, Any]], ndim: int
               ) -> tuple[np.ndarray, Cache | None]:
    mode = bn_param["mode"]
    eps, momentum = bn_param.get("eps", 1e-5), bn_param.get("momentum", 0.9)
    data, scale, shift = floats("x gamma beta", x, gamma, beta)
    if data.ndim != ndim:
        raise ShapeError(f"x with shape {data.shape}", "(N, D)" if ndim == 2 else "(N, C, H, W)")
    features = data.shape[1]
    kind = np.asarray(x).dtype
    blank = np.zeros(features, kind if kind.kind == "f" else data.dtype)
    mean, var = bn_param.get("running_mean", blank), bn_param.get("running_var", blank)
    for name, value in (("running_mean", mean), ("running_var", var)):
        if np.shape(value) != (features,):
            raise ShapeError(f"bn_param[{name!r}] with shape {np.shape(value)}", f"({features},)")
    if mode == "train":
        out, saved, batch_mean, batch_var = _by_the_batch(data, scale, shift, eps, forward)
        mean = momentum * mean + (1 - momentum) * batch_mean
        var = momentum * var + (1 - momentum) * batch_var
        cache: Cache | None = (saved, data.shape, data.dtype)
    elif mode == "test":
        out, cache = _normalised(data, scale, shift, mean, var, eps, forward), None
    else:
        raise ValueError(f'Invalid forward batchnorm mode "{mode}"')
    bn_param["running_mean"], bn_param["running_var"] = mean, var
    return out, cache


def _by_the_batch(x: np.ndarray, gamma: np.ndarray, beta: np.ndarray, eps: float,
                  forward: Callable[..., tuple[np.ndarray, Any]]
                  ) -> tuple[np.ndarray, Any, np.ndarray, np.ndarray]:
    """(out, saved, mean, variance) with the statistics (D,) or (C,) of the batch."""
    # Momentum 0 leaves the batch's statistics: the running ones may have another dtype, and are
    # not to be changed in place.
    mean, var = np.zeros((2, x.shape[1]), x.dtype)
    out, kept = forward(x, gamma, beta, mean, var, momentum=0.0, eps=eps, **_reused(x))
    return out, kept, mean, var


def _normalised(x: np.ndarray, gamma: np.ndarray, beta: np.ndarray, mean: Any, var: Any,
                eps: float, forward: Callable[..., tuple[np.ndarray, Any]]) -> np.ndarray:
    """gamma * (x - mean) / sqrt(var + eps) + beta."""
    data, scale, shift, mean, var = floats("x gamma beta running_mean running_var", x, gamma, beta,
                                           mean, var)
    if data.ndim == 2 and data.size < _SMALL_BATCH and data.shape[1:] == scale.shape == shift.shape:
        factor = scale / np.sqrt(var + eps)
        return (data - mean) * factor + shift
    return forward(data, scale, shift, mean, var, eps=eps, training=False, **_reused(data))[0]


def _reused(like: np.ndarray) -> dict[str, np.ndarray]:
    """`out` for the operations on matrices: memory that NumPy had before.

    They would ask the system for new memory from 1 MB on, which is several times the arithmetic.
    """
    return {"out": np.empty(like.shape, like.dtype)} if like.ndim == 2 else {}


def _backward(dout: Any, cache: Cache | None, forward: str,
              backward: Callable[..., Gradients]) -> Gradients:
    if cache is None:
        raise ArgumentError("the cache is None", f'the cache of {forward} in mode "train"',
                            'there is nothing to save in mode "test"')
    saved, shape, dtype = cache
    (upstream,) = floats("dout", dout)
    same_shape("dout", upstream, shape)
    rows = upstream.astype(dtype, copy=False)
    grads = backward(rows, saved, **_reused(rows))
    if upstream.dtype == dtype:
        return grads
    wide = np.promote_types(upstream.dtype, dtype)
    dx, dgamma, dbeta = (grad.astype(wide, copy=False) for grad in grads)
    return dx, dgamma, dbeta
