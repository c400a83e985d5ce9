"""Convolution and max pooling (docs/math.md#convolution); "naive" is the course's name for them."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastbp import ops
from fastbp._errors import ArgumentError
from fastbp.compat.cs231n._arrays import floats, named

ConvCache = tuple[Any, Any, Any, dict[str, Any]]
PoolCache = tuple[Any, dict[str, Any]]


@named(padding="pad")
def conv_forward_naive(x: Any, w: Any, b: Any, conv_param: dict[str, Any]
                       ) -> tuple[np.ndarray, ConvCache]:
    """out_nfij = b_f + sum over c, u, v of w_fcuv xpad_nc(i*stride + u)(j*stride + v).

    Arguments:
        x: (N, C, H, W). w: (F, C, HH, WW). b: (F,).
        conv_param: `stride`, and `pad`, how many zeros go around each image.
    Returns:
        out (N, F, H', W') with H' = 1 + (H + 2*pad - HH) // stride, W' alike, and the cache
        (x, w, b, conv_param): the very arguments.
    Raises:
        ShapeError, DTypeError, ArgumentError: for what does not fit.
    """
    return convolve(x, w, b, conv_param), (x, w, b, conv_param)


@named(dy="dout", padding="pad")
def conv_backward_naive(dout: Any, cache: ConvCache
                        ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(dx, dw, db) in the shapes of x, w and b, for dout (N, F, H', W'); sums over the batch."""
    return deconvolve(dout, cache)


@named()
def max_pool_forward_naive(x: Any, pool_param: dict[str, Any]) -> tuple[np.ndarray, PoolCache]:
    """The maximum of each window of x (N, C, H, W), without padding.

    Arguments:
        pool_param: `pool_height`, `pool_width`, `stride`.
    Returns:
        out (N, C, H', W') with H' = 1 + (H - pool_height) // stride, W' alike, and the cache
        (x, pool_param).
    """
    return pool(x, pool_param)[0], (x, pool_param)


@named(dy="dout")
def max_pool_backward_naive(dout: Any, cache: PoolCache) -> np.ndarray:
    """dx of x's shape: dout goes to the first maximum of each window, row by row."""
    x, pool_param = cache
    upstream, data = floats("dout x", dout, x)
    return ops.max_pool2d_backward(upstream, pool(data, pool_param)[1])


def convolve(x: Any, w: Any, b: Any, conv_param: dict[str, Any]) -> np.ndarray:
    """The convolution that every forward function gives."""
    stride, pad = conv_param["stride"], conv_param["pad"]
    images, weights, bias = floats("x w b", x, w, b)
    return ops.conv2d_forward(images, weights, bias, stride=stride, padding=pad)


def deconvolve(dout: Any, cache: Any, *, need_dx: bool = True
               ) -> tuple[Any, np.ndarray, np.ndarray]:
    """(dx, dw, db), from a cache that begins with x, w, b and conv_param.

    need_dx: False for the first layer of a network (dx is None): half the work.
    """
    x, w, _, conv_param = cache[:4]
    upstream, images, weights = floats("dout x w", dout, x, w)
    return ops.conv2d_backward(upstream, images, weights, stride=conv_param["stride"],
                               padding=conv_param["pad"], need_dx=need_dx)


def pool(x: Any, pool_param: dict[str, Any]) -> tuple[np.ndarray, Any]:
    """(maxima, what the backward pass of `fastbp.ops` needs)."""
    (images,) = floats("x", x)
    stride = pool_param["stride"]
    if isinstance(stride, bool) or not isinstance(stride, (int, np.integer)):
        raise ArgumentError(f"stride={stride!r}", "a whole number of at least 1")
    size = pool_param["pool_height"], pool_param["pool_width"]
    return ops.max_pool2d_forward(images, size, stride=stride)
