"""Two-dimensional pooling on arrays, forward and backward (docs/math.md#pooling)."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastbp._errors import ArgumentError, ShapeError
from fastbp._program import Operand, Program
from fastbp.emit.pool import Pool, emit_pool_backward, emit_pool_forward
from fastbp.ops import _images
from fastbp.ops._again import again, key_of, recall, remember
from fastbp.ops._check import same_dtype
from fastbp.ops._plans import run_over
from fastbp.ops._short import Short

_short, _short_backward = Short("pool2d_forward", keeps="object"), Short("pool2d_backward")


class Pooled(NamedTuple):
    """What the backward pass of pooling needs.

    which: (N, C, OH, OW): the number i*WW + j of the tap that won each window, in x's dtype (None
    for averages).
    """

    shape: Pool
    samples: int
    dtype: np.dtype
    data_format: str
    which: np.ndarray | None


def max_pool2d_forward(x: Any, size: Any, *, stride: Any = None, padding: Any = 0,
                       data_format: str = "NCHW", out: np.ndarray | None = None
                       ) -> tuple[np.ndarray, Pooled]:
    """The largest element of every window.

    Arguments:
        x: (N, C, H, W), or (N, H, W, C) with data_format="NHWC"; float32 or float64, any strides.
        size: of the window; stride: None: the size; padding: below the size. Each an integer, or a
            pair (height, width). The border never wins.
        out: array for y; may overlap x.
    Returns:
        y, OH = 1 + (H + 2*padding - size)//stride, and `saved` for `max_pool2d_backward`. Of equal
        elements the first (row by row) wins; NaN wins over all numbers.
    """
    return _forward("max", x, size, stride, padding, data_format, out)


def max_pool2d_backward(dy: Any, saved: Pooled) -> np.ndarray:
    """dx of `max_pool2d_forward`: dy at the winners, summed where windows overlap."""
    return _backward("max", dy, saved)


def avg_pool2d_forward(x: Any, size: Any, *, stride: Any = None, padding: Any = 0,
                       count_include_pad: bool = True, data_format: str = "NCHW",
                       out: np.ndarray | None = None) -> tuple[np.ndarray, Pooled]:
    """The mean of every window; arguments as for `max_pool2d_forward`.

    count_include_pad: zeros of the border count as elements; else a window at the border is divided
    by the number of its elements in the image.
    """
    return _forward("average" if count_include_pad else "average_inside", x, size, stride, padding,
                    data_format, out)


def avg_pool2d_backward(dy: Any, saved: Pooled) -> np.ndarray:
    """dx of `avg_pool2d_forward`: dy/count at every element, summed where windows overlap."""
    return _backward("average", dy, saved)


def pool_of(kind: str, image: tuple[int, int, int], size: Any, stride: Any, padding: Any) -> Pool:
    """The geometry for images (C, H, W), checked."""
    window = _images.window(size, size if stride is None else stride, padding)
    if any(p >= k for p, k in zip(window.padding, window.size, strict=True)):
        raise ArgumentError(f"padding={window.padding} for windows of {window.size}",
                            "padding below the size", "a window of border only has no largest "
                            "element")
    channels, height, width = image
    _images.outputs(window, height, width)
    return Pool(kind, channels, height, width, window)


def _forward(kind: str, x: Any, size: Any, stride: Any, padding: Any, data_format: str,
             out: np.ndarray | None) -> tuple[np.ndarray, Pooled]:
    found = _short.call(kind, size, stride, padding, data_format, x, out)
    if found is not None:
        return found[1], Pooled(found[0], len(x), x.dtype, data_format,
                                found[2] if kind == "max" else None)
    settings = _images.settings_key(size, stride, padding, data_format)
    key = key_of((_forward, kind, settings), (x,), out)
    done = again(key, (x,), out, short=_short,
                 arguments=(kind, size, stride, padding, data_format, x, out))
    known = recall(key)
    if known is not None and done is not None:
        return done[0], Pooled(known.plan.kept, len(x), x.dtype, data_format,
                               done[1] if kind == "max" else None)
    _images.check_format(data_format)
    images = _images.as_images("x", x, data_format)
    _, channels, height, width = images.shape
    shape = pool_of(kind, (channels, height, width), size, stride, padding)
    full = (len(images), shape.channels, *shape.out)
    y, target = _images.result(out, full, images.dtype, data_format, images)
    which = _images.new(full, images.dtype) if kind == "max" else None

    def build(program: Program, y: Operand, x: Operand, which: Operand | None) -> Pool:
        emit_pool_forward(program, y, x, which, shape)
        return shape

    if target.size:
        plan = run_over((_images.rows(target), _images.rows(images),
                         None if which is None else _images.rows(which)), (_forward, shape),
                        images.dtype, build)
        if target.nbytes < _images.LARGE_BYTES:
            results, places = ([y], (0, 1)) if which is None else ([y, which], (0, 2, 1))
            remember(key, (x,), plan, results, out=out, links=[(n, 0) for n in places])
    saved = Pooled(shape, len(images), images.dtype, data_format, which)
    return _images.finish(y, target, data_format), saved


def _backward(kind: str, dy: Any, saved: Pooled) -> np.ndarray:
    if not isinstance(saved, Pooled) or not saved.shape.kind.startswith(kind):
        of = saved.shape.kind if isinstance(saved, Pooled) else type(saved).__name__
        name = "max_pool2d" if kind == "max" else "avg_pool2d"
        raise ArgumentError(f"saved of {of}", f"what {name}_forward returned",
                            f"y, saved = {name}_forward(...)")
    arguments = None
    if (type(dy) is np.ndarray and dy.shape[:1] == (saved.samples,) and dy.dtype == saved.dtype):
        arguments = (saved.shape, saved.data_format, dy, saved.which)
        done = _short_backward.call(*arguments)
        if done is not None:
            return done
    shape, (oh, ow) = saved.shape, saved.shape.out
    given = (dy,) if saved.which is None else (dy, saved.which)
    key = key_of((_backward, *saved[:4]), given)
    known = again(key, given, short=arguments and _short_backward, arguments=arguments or ())
    if known is not None:
        return known[0]
    up = _images.as_images("dy", dy, saved.data_format)
    same_dtype(dy=up, x=np.empty(0, saved.dtype))
    if up.shape != (saved.samples, shape.channels, oh, ow):
        c, n = shape.channels, saved.samples
        wanted = (n, c, oh, ow) if saved.data_format == "NCHW" else (n, oh, ow, c)
        raise ShapeError(f"dy with shape {np.shape(dy)}", f"y's shape {wanted}")
    dx, target = _images.result(
        None, (saved.samples, shape.channels, shape.height, shape.width), saved.dtype,
        saved.data_format)

    def build(program: Program, dx: Operand, dy: Operand, which: Operand | None) -> None:
        emit_pool_backward(program, dx, dy, which, shape)

    if target.size:
        plan = run_over((_images.rows(target), _images.rows(up),
                         None if saved.which is None else _images.rows(saved.which)),
                        (_backward, shape), saved.dtype, build)
        if target.nbytes < _images.LARGE_BYTES:
            remember(key, given, plan, [dx])
    return _images.finish(dx, target, saved.data_format)
