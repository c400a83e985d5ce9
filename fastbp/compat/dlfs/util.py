"""`common.util`: curves, shuffling, and convolution written as a product (im2col, col2im)."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastbp._errors import ShapeError

_WINDOW = 11


def smooth_curve(x: Any) -> np.ndarray:
    """x (N,) averaged with a Kaiser window of 11 points (beta 2); the ends are mirrored."""
    values = np.asarray(x)
    mirrored = np.r_[values[_WINDOW - 1 : 0 : -1], values, values[-1:-_WINDOW:-1]]
    window = np.kaiser(_WINDOW, 2)
    smooth = np.convolve(window / window.sum(), mirrored, mode="valid")
    return smooth[5 : len(smooth) - 5]


def shuffle_dataset(x: np.ndarray, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(x, t) in a random order, the same for both (`np.random.permutation`); copies."""
    order = np.random.permutation(x.shape[0])
    return x[order], t[order]


def conv_output_size(input_size: int, filter_size: int, stride: int = 1, pad: int = 0) -> float:
    """(input_size + 2*pad - filter_size)/stride + 1, not rounded."""
    return (input_size + 2 * pad - filter_size) / stride + 1


def im2col(input_data: np.ndarray, filter_h: int, filter_w: int, stride: int = 1, pad: int = 0
           ) -> np.ndarray:
    """The windows of a filter as rows.

    Arguments:
        input_data: (N, C, H, W). pad: zeros on every side.
    Returns:
        (N*OH*OW, C*filter_h*filter_w), always float64; OH = (H + 2*pad - filter_h)//stride + 1.
    Raises:
        ShapeError: not four dimensions, or a filter larger than the padded image.
    """
    if input_data.ndim != 4:
        raise ShapeError(f"im2col: input_data with shape {input_data.shape}", "(N, C, H, W)")
    n, c, h, w = input_data.shape
    out_h, out_w = _windows(h, filter_h, stride, pad), _windows(w, filter_w, stride, pad)
    image: np.ndarray = input_data
    if pad or image.dtype != np.float64:
        image = np.zeros((n, c, h + 2 * pad, w + 2 * pad))
        image[:, :, pad : h + pad, pad : w + pad] = input_data
    step_n, step_c, step_h, step_w = image.strides
    windows = np.lib.stride_tricks.as_strided(
        image, (n, out_h, out_w, c, filter_h, filter_w),
        (step_n, step_h * stride, step_w * stride, step_c, step_h, step_w), writeable=False)
    return np.array(windows, order="C").reshape(n * out_h * out_w, c * filter_h * filter_w)


def col2im(col: np.ndarray, input_shape: tuple[int, int, int, int], filter_h: int, filter_w: int,
           stride: int = 1, pad: int = 0) -> np.ndarray:
    """The images (N, C, H, W), float64, into which each window of `col` is added at its place.

    Arguments:
        col: (N*OH*OW, C*filter_h*filter_w), as `im2col` orders it. input_shape: (N, C, H, W).
    """
    n, c, h, w = input_shape
    out_h, out_w = _windows(h, filter_h, stride, pad), _windows(w, filter_w, stride, pad)
    windows = col.reshape(n, out_h, out_w, c, filter_h, filter_w).transpose(0, 3, 4, 5, 1, 2)
    image = np.zeros((n, c, h + 2 * pad + stride - 1, w + 2 * pad + stride - 1))
    for i in range(filter_h):
        for j in range(filter_w):
            image[:, :, i : i + stride * out_h : stride, j : j + stride * out_w : stride] += \
                windows[:, :, i, j]
    return image[:, :, pad : h + pad, pad : w + pad]


def _windows(size: int, filter_size: int, stride: int, pad: int) -> int:
    """How many places a filter has along an axis."""
    count = (size + 2 * pad - filter_size) // stride + 1
    if count < 1:
        raise ShapeError(f"a filter of {filter_size} on {size} points with pad {pad}",
                         "a filter that fits into the padded image")
    return int(count)
