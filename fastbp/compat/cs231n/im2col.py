"""Images as columns and back, in the order of the course's im2col.py.

A column is one position of the window: rows run over (channel, row, column) of the window, columns
over (row, column) of the position and then the sample: (C*field_height*field_width, H'*W'*N).
Chellapilla, Puri and Simard 2006.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastbp._errors import ShapeError
from fastbp.compat.cs231n._arrays import named

__all__ = ["col2im_indices", "get_im2col_indices", "im2col_indices", "np"]


@named()
def get_im2col_indices(x_shape: Any, field_height: int, field_width: int, padding: int = 1,
                       stride: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(k, i, j) such that padded[:, k, i, j] are the columns (N, C*fh*fw, H'*W').

    k (C*fh*fw, 1): channels; i, j (C*fh*fw, H'*W'): rows and columns of the padded images.
    """
    out_h, out_w = out_size(x_shape, field_height, field_width, padding, stride)
    k, u, v = np.indices((x_shape[1], field_height, field_width)).reshape(3, -1, 1)
    row, column = stride * np.indices((out_h, out_w)).reshape(2, 1, -1)
    return k, u + row, v + column


@named()
def im2col_indices(x: np.ndarray, field_height: int, field_width: int, padding: int = 1,
                   stride: int = 1) -> np.ndarray:
    """The windows of x (N, C, H, W) as columns (C*fh*fw, H'*W'*N), of x's dtype."""
    seen = windows(np.asarray(x), field_height, field_width, padding, stride)
    n, c, out_h, out_w = seen.shape[:4]
    return seen.transpose(1, 4, 5, 2, 3, 0).reshape(c * field_height * field_width,
                                                    out_h * out_w * n)


@named()
def col2im_indices(cols: np.ndarray, x_shape: Any, field_height: int = 3, field_width: int = 3,
                   padding: int = 1, stride: int = 1) -> np.ndarray:
    """The sum (N, C, H, W) of columns (C*fh*fw, H'*W'*N) where their windows overlap."""
    out_h, out_w = out_size(x_shape, field_height, field_width, padding, stride)
    n, c = x_shape[:2]
    if cols.shape != (c * field_height * field_width, out_h * out_w * n):
        raise ShapeError(f"cols with shape {cols.shape}",
                         f"{(c * field_height * field_width, out_h * out_w * n)} for x with shape "
                         f"{tuple(x_shape)}")
    parts = cols.reshape(c, field_height, field_width, out_h, out_w, n).transpose(5, 0, 1, 2, 3, 4)
    return overlap_add(parts, x_shape, padding, stride)


def out_size(x_shape: Any, field_height: int, field_width: int, padding: int, stride: int
             ) -> tuple[int, int]:
    """(H', W'), refused where the window is larger than the padded image."""
    if len(x_shape) != 4:
        raise ShapeError(f"x with shape {tuple(x_shape)}", "(N, C, H, W)")
    h, w = x_shape[2] + 2 * padding, x_shape[3] + 2 * padding
    if h < field_height or w < field_width:
        raise ShapeError(f"a window of {field_height}x{field_width} for images of {h}x{w} with "
                         "their padding", "a window that fits in")
    return (h - field_height) // stride + 1, (w - field_width) // stride + 1


def windows(x: np.ndarray, field_height: int, field_width: int, padding: int, stride: int
            ) -> np.ndarray:
    """Every window of x, (N, C, H', W', fh, fw): a view of the padded images."""
    out_size(x.shape, field_height, field_width, padding, stride)
    around = ((0, 0), (0, 0), (padding, padding), (padding, padding))
    padded = np.pad(x, around) if padding else x
    size = field_height, field_width
    seen = np.lib.stride_tricks.sliding_window_view(padded, size, axis=(2, 3))
    return seen[:, :, ::stride, ::stride]


def overlap_add(parts: np.ndarray, x_shape: Any, padding: int, stride: int) -> np.ndarray:
    """The sum (N, C, H, W) of windows (N, C, fh, fw, H', W'); what falls on the padding is lost."""
    n, c, h, w = x_shape
    fh, fw, out_h, out_w = parts.shape[2:]
    padded = np.zeros((n, c, h + 2 * padding, w + 2 * padding), parts.dtype)
    for u in range(fh):
        for v in range(fw):
            padded[:, :, u : u + stride * out_h : stride,
                   v : v + stride * out_w : stride] += parts[:, :, u, v]
    return padded[:, :, padding : padding + h, padding : padding + w]
