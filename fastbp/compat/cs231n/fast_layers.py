"""Convolution and pooling of the course's fast_layers.py; no compiled helper is needed."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastbp import ops
from fastbp._errors import ArgumentError, ShapeError
from fastbp.compat.cs231n._arrays import floats, named
from fastbp.compat.cs231n._conv import convolve, deconvolve, pool
from fastbp.compat.cs231n.im2col import col2im_indices, im2col_indices, windows

# np and the im2col functions: they came with the course's star import.
__all__ = [
    "col2im_indices",
    "conv_backward_fast",
    "conv_backward_im2col",
    "conv_backward_strides",
    "conv_forward_fast",
    "conv_forward_im2col",
    "conv_forward_strides",
    "im2col_indices",
    "max_pool_backward_fast",
    "max_pool_backward_im2col",
    "max_pool_backward_reshape",
    "max_pool_forward_fast",
    "max_pool_forward_im2col",
    "max_pool_forward_reshape",
    "np",
]

ConvCache = tuple[Any, Any, Any, dict[str, Any], np.ndarray | None]
Gradients = tuple[np.ndarray, np.ndarray, np.ndarray]

# Numbers that are dealt with at a time, so that what is made on the way stays in the caches.
_CHUNK = 65_536


@named(padding="pad")
def conv_forward_fast(x: Any, w: Any, b: Any, conv_param: dict[str, Any]
                      ) -> tuple[np.ndarray, ConvCache]:
    """As `layers.conv_forward_naive`; the cache is (x, w, b, conv_param, None).

    The last place is for the columns of x, which this convolution does not make.
    """
    return convolve(x, w, b, conv_param), (x, w, b, conv_param, None)


@named(padding="pad")
def conv_forward_strides(x: Any, w: Any, b: Any, conv_param: dict[str, Any]
                         ) -> tuple[np.ndarray, ConvCache]:
    """As `conv_forward_fast`, with the columns of x, (C*HH*WW, N*H'*W'), last in the cache."""
    out = convolve(x, w, b, conv_param)
    fh, fw = np.shape(w)[2:]
    seen = windows(np.asarray(x), fh, fw, conv_param["pad"], conv_param["stride"])
    n, c, out_h, out_w = seen.shape[:4]
    cols = seen.transpose(1, 4, 5, 0, 2, 3).reshape(c * fh * fw, n * out_h * out_w)
    return out, (x, w, b, conv_param, cols)


@named(padding="pad")
def conv_forward_im2col(x: Any, w: Any, b: Any, conv_param: dict[str, Any]
                        ) -> tuple[np.ndarray, ConvCache]:
    """As `conv_forward_fast`, with the columns of `im2col_indices` last in the cache."""
    out = convolve(x, w, b, conv_param)
    fh, fw = np.shape(w)[2:]
    cols = im2col_indices(x, fh, fw, conv_param["pad"], conv_param["stride"])
    return out, (x, w, b, conv_param, cols)


@named(dy="dout", padding="pad")
def conv_backward_fast(dout: Any, cache: ConvCache) -> Gradients:
    """(dx, dw, db) in the shapes of x, w and b, for dout (N, F, H', W'); sums over the batch.

    Takes the cache of any of the forward functions, and of `layers.conv_forward_naive`.
    """
    return deconvolve(dout, cache)


@named(dy="dout", padding="pad")
def conv_backward_strides(dout: Any, cache: ConvCache) -> Gradients:
    """As `conv_backward_fast`."""
    return deconvolve(dout, cache)


@named(dy="dout", padding="pad")
def conv_backward_im2col(dout: Any, cache: ConvCache) -> Gradients:
    """As `conv_backward_fast`."""
    return deconvolve(dout, cache)


def max_pool_forward_fast(x: Any, pool_param: dict[str, Any]
                          ) -> tuple[np.ndarray, tuple[str, Any]]:
    """Max pooling of x (N, C, H, W); see `layers.max_pool_forward_naive` for pool_param.

    The cache is ("reshape", ...) where the windows are square and tile x, which decides how the
    backward pass treats equal maxima, else ("im2col", ...).
    """
    if _tiles(x, pool_param):
        out, tiled = max_pool_forward_reshape(x, pool_param)
        return out, ("reshape", tiled)
    out, saved = max_pool_forward_im2col(x, pool_param)
    return out, ("im2col", saved)


def max_pool_backward_fast(dout: Any, cache: tuple[str, Any]) -> np.ndarray:
    """dx of `max_pool_forward_fast`."""
    method, inner = cache
    if method == "reshape":
        return max_pool_backward_reshape(dout, inner)
    if method == "im2col":
        return max_pool_backward_im2col(dout, inner)
    raise ValueError(f'Unrecognized method "{method}"')


@named()
def max_pool_forward_reshape(x: Any, pool_param: dict[str, Any]
                             ) -> tuple[np.ndarray, tuple[Any, np.ndarray, np.ndarray]]:
    """Max pooling where the windows are square and tile x (N, C, H, W).

    The cache is (x, x as (N, C, H', size, W', size), out).
    """
    out, _ = pool(x, pool_param)
    if not _tiles(x, pool_param):
        raise ArgumentError(f"pool_param {pool_param} for x with shape {np.shape(x)}",
                            "pool_height = pool_width = stride, and a height and width of x that "
                            "are multiples of it", "max_pool_forward_fast takes the others too")
    n, c, height, width = out.shape
    size = pool_param["stride"]
    return out, (x, np.reshape(x, (n, c, height, size, width, size)), out)


def _tiles(x: Any, pool_param: dict[str, Any]) -> bool:
    """True where the windows are square and tile the images x (N, C, H, W)."""
    size = pool_param["stride"]
    return (size == pool_param["pool_height"] == pool_param["pool_width"]
            and not any(length % size for length in np.shape(x)[2:]))


@named()
def max_pool_backward_reshape(dout: Any, cache: tuple[Any, np.ndarray, np.ndarray]) -> np.ndarray:
    """dx of x's shape; equal maxima of a window share its dout equally."""
    x, tiled, out = cache
    upstream, data = floats("dout x", dout, x)
    if upstream.shape != out.shape:
        raise ShapeError(f"dout with shape {upstream.shape}", f"{out.shape}")
    size = tiled.shape[3]
    dx = np.empty(data.shape, upstream.dtype)
    some = max(1, _CHUNK // max(1, data[:1].size))
    with np.errstate(divide="ignore", invalid="ignore"):  # a window with NaN has no maximum
        for begin in range(0, len(data), some):
            part = slice(begin, begin + some)
            _share(dx[part], upstream[part], data[part], out[part], size)
    return dx


def _share(dx: np.ndarray, dout: np.ndarray, x: np.ndarray, out: np.ndarray, size: int) -> None:
    """Fill dx of a few images: at one place of every window at a time, which is the fastest."""
    places = [(slice(None), slice(None), slice(u, None, size), slice(v, None, size))
              for u in range(size) for v in range(size)]
    is_maximum = [x[place] == out for place in places]
    number = np.zeros(out.shape, np.min_scalar_type(size * size))
    for found in is_maximum:
        number += found
    share = np.divide(dout, number, dtype=dx.dtype)
    for place, found in zip(places, is_maximum, strict=True):
        np.multiply(share, found, out=dx[place])


@named()
def max_pool_forward_im2col(x: Any, pool_param: dict[str, Any]
                            ) -> tuple[np.ndarray, tuple[Any, Any, dict[str, Any]]]:
    """Max pooling of any windows; the cache is for the backward pass and nothing else."""
    out, saved = pool(x, pool_param)
    return out, (saved, out.dtype, pool_param)


@named(dy="dout")
def max_pool_backward_im2col(dout: Any, cache: tuple[Any, Any, dict[str, Any]]) -> np.ndarray:
    """dx of x's shape: dout goes to the first maximum of each window, row by row."""
    saved, dtype, _ = cache
    (upstream,) = floats("dout", dout)
    dx = ops.max_pool2d_backward(upstream.astype(dtype, copy=False), saved)
    return dx.astype(np.promote_types(upstream.dtype, dtype), copy=False)
