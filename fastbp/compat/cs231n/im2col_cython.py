"""The functions of the course's compiled helper, without a compiler."""

from __future__ import annotations

import numpy as np

from fastbp._errors import ShapeError
from fastbp.compat.cs231n._arrays import named
from fastbp.compat.cs231n.im2col import col2im_indices, im2col_indices, out_size, overlap_add

__all__ = ["col2im_6d_cython", "col2im_cython", "im2col_cython", "np"]


def im2col_cython(x: np.ndarray, field_height: int, field_width: int, padding: int, stride: int
                  ) -> np.ndarray:
    """`im2col_indices`: columns (C*fh*fw, H'*W'*N) of x (N, C, H, W)."""
    return im2col_indices(x, field_height, field_width, padding, stride)


def col2im_cython(cols: np.ndarray, N: int, C: int, H: int, W: int,  # noqa: N803 - their names
                  field_height: int, field_width: int, padding: int, stride: int) -> np.ndarray:
    """`col2im_indices`: the sum (N, C, H, W) of columns (C*fh*fw, H'*W'*N)."""
    return col2im_indices(cols, (N, C, H, W), field_height, field_width, padding, stride)


@named()
def col2im_6d_cython(cols: np.ndarray, N: int, C: int, H: int, W: int,  # noqa: N803
                     HH: int, WW: int, pad: int, stride: int) -> np.ndarray:  # noqa: N803
    """The sum (N, C, H, W) of windows cols (C, HH, WW, N, H', W')."""
    wanted = (C, HH, WW, N, *out_size((N, C, H, W), HH, WW, pad, stride))
    if cols.shape != wanted:
        raise ShapeError(f"cols with shape {cols.shape}", f"{wanted}")
    return overlap_add(cols.transpose(3, 0, 1, 2, 4, 5), (N, C, H, W), pad, stride)
