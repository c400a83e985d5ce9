"""Convolution and pooling by windows (docs/math.md#convolution, docs/math.md#pooling)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .precision import Array, widen


def _pair(value: int | tuple[int, int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else value


def windows(x: Array, size: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int],
            dilation: tuple[int, int], fill: float = 0.0) -> Array:
    """The windows of x (N, C, H, W) as (N, C, OH, OW, HH, WW); `fill` outside the image."""
    n, c, h, w = x.shape
    (hh, ww), (sh, sw), (ph, pw), (dh, dw) = size, stride, padding, dilation
    big = np.full((n, c, h + 2 * ph, w + 2 * pw), fill, x.dtype)
    big[:, :, ph : ph + h, pw : pw + w] = x
    oh = 1 + (h + 2 * ph - dh * (hh - 1) - 1) // sh
    ow = 1 + (w + 2 * pw - dw * (ww - 1) - 1) // sw
    found = np.empty((n, c, oh, ow, hh, ww), x.dtype)
    for i in range(hh):
        for j in range(ww):
            found[..., i, j] = big[:, :, i * dh : i * dh + (oh - 1) * sh + 1 : sh,
                                   j * dw : j * dw + (ow - 1) * sw + 1 : sw]
    return found


def unwindow(dwindows: Array, shape: tuple[int, ...], stride: tuple[int, int],
             padding: tuple[int, int], dilation: tuple[int, int]) -> Array:
    """The transpose of `windows`: every element is added where it came from."""
    n, c, h, w = shape
    oh, ow, hh, ww = dwindows.shape[2:]
    (sh, sw), (ph, pw), (dh, dw) = stride, padding, dilation
    big = np.zeros((n, c, h + 2 * ph, w + 2 * pw), dwindows.dtype)
    for i in range(hh):
        for j in range(ww):
            big[:, :, i * dh : i * dh + (oh - 1) * sh + 1 : sh,
                j * dw : j * dw + (ow - 1) * sw + 1 : sw] += dwindows[..., i, j]
    return big[:, :, ph : ph + h, pw : pw + w]


def conv2d_forward(x: Array, w: Array, b: Array | None = None, *, stride: int | tuple[int, int] = 1,
                   padding: int | tuple[int, int] = 0, dilation: int | tuple[int, int] = 1,
                   groups: int = 1) -> Array:
    """y (N, F, OH, OW) of x (N, C, H, W) and w (F, C/groups, HH, WW)."""
    x, w = widen(x, w)
    cols = windows(x, w.shape[2:], _pair(stride), _pair(padding), _pair(dilation))
    n, c, oh, ow = cols.shape[:4]
    f = len(w) // groups
    y = np.zeros((n, len(w), oh, ow), x.dtype)
    for g in range(groups):
        part = cols[:, g * (c // groups) : (g + 1) * (c // groups)]
        y[:, g * f : (g + 1) * f] = np.moveaxis(
            np.tensordot(part, w[g * f : (g + 1) * f], ((1, 4, 5), (1, 2, 3))), 3, 1)
    return y if b is None else y + np.asarray(b, x.dtype)[:, None, None]


def conv2d_backward(dy: Array, x: Array, w: Array, *, stride: int | tuple[int, int] = 1,
                    padding: int | tuple[int, int] = 0, dilation: int | tuple[int, int] = 1,
                    groups: int = 1) -> tuple[Array, Array, Array]:
    """(dx, dw, db)."""
    dy, x, w = widen(dy, x, w)
    steps = _pair(stride), _pair(padding), _pair(dilation)
    cols = windows(x, w.shape[2:], *steps)
    dcols, dw = np.zeros_like(cols), np.zeros_like(w)
    f, c = len(w) // groups, x.shape[1] // groups
    for g in range(groups):
        rows, chans = slice(g * f, (g + 1) * f), slice(g * c, (g + 1) * c)
        dw[rows] = np.tensordot(dy[:, rows], cols[:, chans], ((0, 2, 3), (0, 2, 3)))
        up = np.tensordot(dy[:, rows], w[rows], (1, 0))  # (N, OH, OW, C, HH, WW)
        dcols[:, chans] = np.moveaxis(up, 3, 1)
    return unwindow(dcols, x.shape, *steps), dw, dy.sum(axis=(0, 2, 3))


class Pooled(NamedTuple):
    """Shares of each element of each window in its output, and the geometry."""

    shares: Array
    shape: tuple[int, ...]
    steps: tuple[tuple[int, int], ...]


def max_pool2d_forward(x: Array, size: int | tuple[int, int], *,
                       stride: int | tuple[int, int] | None = None,
                       padding: int | tuple[int, int] = 0) -> tuple[Array, Pooled]:
    """The first maximum of each window takes all."""
    x, size = widen(x), _pair(size)
    steps = _pair(size if stride is None else stride), _pair(padding), (1, 1)
    found = windows(x, size, *steps, fill=-np.inf)
    flat = found.reshape(*found.shape[:4], -1)
    winners = flat.argmax(axis=-1)  # NaN counts as the largest; the first of several
    shares = np.arange(flat.shape[-1]) == winners[..., None]
    y = np.take_along_axis(flat, winners[..., None], axis=-1)[..., 0]
    return y, Pooled(shares.reshape(found.shape).astype(x.dtype), x.shape, steps)


def avg_pool2d_forward(x: Array, size: int | tuple[int, int], *,
                       stride: int | tuple[int, int] | None = None,
                       padding: int | tuple[int, int] = 0, count_include_pad: bool = True
                       ) -> tuple[Array, Pooled]:
    """The mean of each window; the border counts or does not."""
    x, size = widen(x), _pair(size)
    steps = _pair(size if stride is None else stride), _pair(padding), (1, 1)
    found = windows(x, size, *steps)
    inside = windows(np.ones_like(x), size, *steps, fill=float(count_include_pad))
    shares = np.ones_like(found) / inside.sum(axis=(-2, -1), keepdims=True)
    return (found * shares).sum(axis=(-2, -1)), Pooled(shares, x.shape, steps)


def max_pool2d_backward(dy: Array, saved: Pooled) -> Array:
    """dx: every window gives its elements their shares of dy."""
    dy = np.asarray(dy, saved.shares.dtype)[..., None, None]
    up = np.where(saved.shares != 0, dy * saved.shares, 0)  # what has no share gets no NaN either
    return unwindow(up, saved.shape, *saved.steps)


avg_pool2d_backward = max_pool2d_backward
