"""What operations on images share: pairs, layouts, images as rows of a matrix."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastbp._arena import address_of, allocate
from fastbp._errors import ArgumentError, ShapeError
from fastbp._program import Operand
from fastbp.emit._window import Window
from fastbp.ops._check import as_real, output

_FORMATS = ("NCHW", "NHWC")
# Results from this size on come from aligned memory on huge pages.
LARGE_BYTES = 1 << 20


def pair(name: str, value: Any, least: int) -> tuple[int, int]:
    """An int, or two of them (down, across), each at least `least`."""
    both = (value, value) if isinstance(value, (int, np.integer)) else value
    try:
        numbers = tuple(both)
    except TypeError:
        numbers = ()
    if len(numbers) != 2 or not all(isinstance(n, (int, np.integer)) and not isinstance(n, bool)
                                    and n >= least for n in numbers):
        raise ArgumentError(f"{name}={value!r}", f"an integer of {least} or more, or two of them "
                            "(height, width)")
    return int(numbers[0]), int(numbers[1])


def settings_key(*values: Any) -> tuple[Any, ...]:
    """Settings that are looked up as they were passed: 1 is a stride, True, its equal, is not."""
    return tuple([(v, *map(type, v)) if type(v) is tuple else (v, type(v)) for v in values])


def window(size: Any, stride: Any, padding: Any, dilation: Any = 1) -> Window:
    """The four settings, checked."""
    return Window(pair("size", size, 1), pair("stride", stride, 1), pair("padding", padding, 0),
                  pair("dilation", dilation, 1))


def outputs(shape: Window, height: int, width: int) -> tuple[int, int]:
    """(OH, OW), both at least 1."""
    found = shape.outputs(height, width)
    if min(found) < 1:
        reach = tuple(d * (k - 1) + 1 for k, d in zip(shape.size, shape.dilation, strict=True))
        raise ShapeError(
            f"images of {height}x{width} with padding {shape.padding} under a window that reaches "
            f"{reach[0]}x{reach[1]}", "a window inside the padded image", "use more padding")
    return found


def check_format(data_format: str) -> None:
    """Refuse what is neither NCHW nor NHWC."""
    if data_format not in _FORMATS:
        raise ArgumentError(f"data_format={data_format!r}", "'NCHW' or 'NHWC'")


def as_images(name: str, x: Any, data_format: str = "NCHW") -> np.ndarray:
    """`x` as (N, C, H, W) with every sample contiguous: a view where the memory allows it."""
    array = as_real(name, x)
    if array.ndim != 4:
        letters = ", ".join(data_format)
        raise ShapeError(f"{name} with shape {array.shape}", f"({letters})",
                         f"one image is {name}[None]" if array.ndim == 3 else "")
    if data_format == "NHWC":
        array = array.transpose(0, 3, 1, 2)
    return by_sample(array)


def by_sample(array: np.ndarray) -> np.ndarray:
    """The array itself if its samples are contiguous, else a copy in C order."""
    if array.size and array[0].flags.c_contiguous and array.strides[0] % array.itemsize == 0:
        return array
    return np.ascontiguousarray(array)


def rows(images: np.ndarray) -> Operand:
    """Images with contiguous samples as the rows of a matrix."""
    count = len(images)
    size = images.size // count if count else 0
    step = images.strides[0] // images.itemsize if size else size
    return Operand(address_of(images), count, size, step)


def new(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """An array in C order, of undefined content."""
    count = math.prod(shape)
    if count * np.dtype(dtype).itemsize < LARGE_BYTES:
        return np.empty(shape, dtype)
    return allocate(count, dtype).reshape(shape)


def result(out: np.ndarray | None, shape: tuple[int, ...], dtype: Any, data_format: str,
           *inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(what to return, C-ordered NCHW memory to compute into) for a result of NCHW `shape`.

    They are the same array where out is none, or lies so and over no input.
    """
    n, c, h, w = shape
    if out is not None:
        y = output(out, shape if data_format == "NCHW" else (n, h, w, c), dtype)
        fits = data_format == "NCHW" and y.flags.c_contiguous and y.flags.aligned
        if fits and not any(np.may_share_memory(y, x) for x in inputs):
            return y, y
        return y, new(shape, dtype)
    target = new(shape, dtype)
    return (target if data_format == "NCHW" else np.empty((n, h, w, c), dtype)), target


def finish(y: np.ndarray, target: np.ndarray, data_format: str) -> np.ndarray:
    """The result in its place and layout."""
    if y is not target:
        y[...] = target if data_format == "NCHW" else target.transpose(0, 2, 3, 1)
    return y
