"""Two-dimensional convolution on arrays, forward and backward (docs/math.md#convolution)."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastbp._arena import address_of
from fastbp._errors import ArgumentError, ShapeError
from fastbp._program import Operand, Program
from fastbp.emit.conv import Conv, emit_conv2d_dw, emit_conv2d_dx, emit_conv2d_forward
from fastbp.ops import _images
from fastbp.ops._again import again, key_of, remember
from fastbp.ops._check import as_real, same_dtype
from fastbp.ops._plans import run_over
from fastbp.ops._short import Short

_forward, _backward = Short("conv2d_forward"), Short("conv2d_backward")


def conv2d_forward(x: Any, w: Any, b: Any = None, *, stride: Any = 1, padding: Any = 0,
                   dilation: Any = 1, groups: int = 1, data_format: str = "NCHW",
                   out: np.ndarray | None = None) -> np.ndarray:
    """y[n, f, o, q] = b[f] + sum_{c,i,j} w[f, c, i, j] * x[n, c, o*s - p + i*d, q*s - p + j*d].

    Arguments:
        x: (N, C, H, W), or (N, H, W, C) with data_format="NHWC"; float32 or float64, any strides.
            0 outside the image.
        w: (F, C/groups, HH, WW) in both formats. b: (F,), or None.
        stride, padding, dilation: s, p, d: an integer, or a pair (height, width).
        groups: filters f of group g see the channels of group g only.
        out: array for y; may overlap x.
    Returns:
        y (N, F, OH, OW) (or N, OH, OW, F), OH = 1 + (H + 2*p - d*(HH-1) - 1)//s.
    Raises:
        ShapeError, DTypeError, ArgumentError: for what does not fit.

    The error is at most (K + 2) u (|w| * |x| + |b|), K = C/groups*HH*WW; sums run over K in order.
    """
    done = _forward.call(x, w, b, stride, padding, dilation, groups, data_format, out)
    if done is not None:
        return done
    given = (x, w) if b is None else (x, w, b)
    settings = _images.settings_key(stride, padding, dilation, groups, data_format)
    key = key_of((conv2d_forward, settings), given, out)
    known = again(key, given, out, short=_forward, arguments=(
        x, w, b, stride, padding, dilation, groups, data_format, out))
    if known is not None:
        return known[0]
    images, weights, bias, shape = _inputs(x, w, b, stride, padding, dilation, groups, data_format)
    n, (oh, ow) = len(images), _images.outputs(*_window_of(shape))
    y, target = _images.result(out, (n, shape.filters, oh, ow), images.dtype, data_format, images,
                               weights)
    if n:
        def build(program: Program, y: Operand, x: Operand, w: Operand, bias: int) -> None:
            emit_conv2d_forward(program, y, x, w, bias, shape)

        plan = run_over((_images.rows(target), _images.rows(images), Operand.of(weights),
                         0 if bias is None else address_of(bias)), (conv2d_forward, shape),
                        images.dtype, build)
        if target.nbytes < _images.LARGE_BYTES:
            remember(key, given, plan, [y], out=out)
    return _images.finish(y, target, data_format)


def conv2d_backward(dy: Any, x: Any, w: Any, *, stride: Any = 1, padding: Any = 0,
                    dilation: Any = 1, groups: int = 1, data_format: str = "NCHW",
                    need_dx: bool = True
                    ) -> tuple[np.ndarray | None, np.ndarray, np.ndarray]:
    """(dx, dw, db) of `conv2d_forward`.

    Arguments:
        dy: gradient of the loss by y, of y's shape. The others as in the forward pass.
        need_dx: False leaves dx out (None): half the work of a first layer.
    Returns:
        dx of x's shape, dw of w's, db (F,): sums over the batch of what dy says, no 1/N.
    """
    done = _backward.call(dy, x, w, stride, padding, dilation, groups, data_format, need_dx)
    if done is not None:
        return (done[2] if need_dx else None), done[0], done[1]
    settings = _images.settings_key(stride, padding, dilation, groups, data_format)
    given = dy, x, w
    key = key_of((conv2d_backward, settings, need_dx), given)
    known = again(key, given, short=_backward, arguments=(
        dy, x, w, stride, padding, dilation, groups, data_format, need_dx))
    if known is not None:
        return (known[2] if need_dx else None), known[0], known[1]
    images, weights, _, shape = _inputs(x, w, None, stride, padding, dilation, groups, data_format)
    up = _images.as_images("dy", dy, data_format)
    same_dtype(dy=up, x=images)
    n, (oh, ow) = len(images), _images.outputs(*_window_of(shape))
    if up.shape != (n, shape.filters, oh, ow):
        wanted = (n, shape.filters, oh, ow) if data_format == "NCHW" else (n, oh, ow, shape.filters)
        raise ShapeError(f"dy with shape {np.shape(dy)}", f"y's shape {wanted}")
    dw, db = np.empty(weights.shape, images.dtype), np.empty(shape.filters, images.dtype)

    dx, target = None, None
    if need_dx:
        dx, target = _images.result(None, images.shape, images.dtype, data_format)

    def build(program: Program, dw: Operand, db: int, dy: Operand, x: Operand, w: Operand,
              dx: Operand | None) -> None:
        emit_conv2d_dw(program, dw, db, dy, x, shape)
        if dx is not None and n:
            emit_conv2d_dx(program, dx, dy, w, shape)

    plan = run_over((Operand.of(dw), address_of(db), _images.rows(up), _images.rows(images),
                     Operand.of(weights), None if target is None else _images.rows(target)),
                    (conv2d_backward, shape), images.dtype, build)
    dw = dw.reshape(np.shape(w))
    if dx is None or target is None:
        remember(key, given, plan, [dw, db])
        return None, dw, db
    if target.nbytes < _images.LARGE_BYTES:
        remember(key, given, plan, [dw, db, dx],
                 links=[(0, 0), (1, 0), (3, 0), (4, 0), (5, 0), (2, 0)])
    return _images.finish(dx, target, data_format), dw, db


def _window_of(shape: Conv) -> tuple[Any, int, int]:
    return shape.window, shape.height, shape.width


def _inputs(x: Any, w: Any, b: Any, stride: Any, padding: Any, dilation: Any, groups: int,
            data_format: str) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, Conv]:
    """(images (N, C, H, W), weights (F, taps), bias, geometry), all checked."""
    _images.check_format(data_format)
    images = _images.as_images("x", x, data_format)
    kernel = as_real("w", w)
    same_dtype(x=images, w=kernel)
    if kernel.ndim != 4 or min(kernel.shape) < 1:
        raise ShapeError(f"w with shape {kernel.shape}", "(F, C/groups, HH, WW), all 1 or more")
    filters, per_group = kernel.shape[:2]
    if not isinstance(groups, (int, np.integer)) or groups < 1 or filters % groups:
        raise ArgumentError(f"groups={groups!r} for {filters} filters",
                            "an integer of 1 or more that divides them")
    channels, height, width = images.shape[1:]
    if channels != per_group * groups:
        raise ShapeError(
            f"x with {channels} channels, w with shape {kernel.shape}, groups={groups}",
            f"x with {per_group * groups} channels",
            "data_format='NHWC' would fit" if data_format == "NCHW"
            and width == per_group * groups else "")
    shape = Conv(channels, height, width, filters,
                 _images.window(kernel.shape[2:], stride, padding, dilation), int(groups))
    _images.outputs(*_window_of(shape))
    bias = None
    if b is not None:
        bias = as_real("b", b)
        same_dtype(x=images, b=bias)
        if bias.shape != (filters,):
            raise ShapeError(f"b with shape {bias.shape}", f"({filters},)")
        bias = np.ascontiguousarray(bias)
    return images, np.ascontiguousarray(kernel).reshape(filters, -1), bias, shape
