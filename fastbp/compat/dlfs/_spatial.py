"""Layers of the book that work on images (N, C, H, W): Convolution, Pooling."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastbp import ops
from fastbp._errors import FastbpError, ShapeError
from fastbp.compat.dlfs import _arithmetic
from fastbp.compat.dlfs._layers import computed, forget, used_before_forward
from fastbp.compat.dlfs.util import im2col


class Convolution:
    """Each filter's products with the windows of the images, plus b.

    No matrix of windows is made: `col` is, when it is asked for.

    Arguments:
        W: (FN, C, FH, FW). b: (FN,). References are kept: what changes them in place changes the
        layer. stride, pad: of both axes; places a filter does not reach are left out.
    Attributes:
        x: the last images. dW, db: gradients, sums over the batch.
    """

    def __init__(self, W: np.ndarray, b: np.ndarray, stride: int = 1, pad: int = 0) -> None:
        self.W = W
        self.b = b
        self.stride = stride
        self.pad = pad
        self.x: Any = None
        self.dW: Any = None
        self.db: Any = None
        # x in the dtype of the result.
        self._images: Any = None

    @computed
    def col(self) -> Any:
        """The windows of the last images as rows, as `im2col` makes them; None before `forward`."""
        if self.x is None:
            return None
        return im2col(self.x, self.W.shape[2], self.W.shape[3], self.stride, self.pad)

    @computed
    def col_W(self) -> Any:
        """The filters as columns (C*FH*FW, FN); None before `forward`."""
        return None if self.x is None else self.W.reshape(len(self.W), -1).T

    def forward(self, x: np.ndarray) -> np.ndarray:
        """(N, FN, OH, OW) for x (N, C, H, W); float32 only if x, W and b are."""
        images, W, b = _arithmetic.alike(x, self.W, self.b)
        y = _named(self, ops.conv2d_forward, images, W, b, stride=self.stride, padding=self.pad)
        self.x, self._images = x, images
        forget(self, "col", "col_W")
        return y

    def backward(self, dout: np.ndarray) -> np.ndarray:
        """The gradient by x, of its shape; sets dW and db."""
        if self._images is None:
            raise used_before_forward(self)
        up, images, W = _arithmetic.alike(dout, self._images, self.W)
        by_products = images.shape[1] == 1 and _work_of_an_image(up, W) > _arithmetic.SMALL_PRODUCT
        dx, dW, db = _named(self, ops.conv2d_backward, up, images, W, stride=self.stride,
                            padding=self.pad, need_dx=not by_products)
        if by_products:
            dx = _gradient_of_one_channel(up, W, images.shape, self.stride, self.pad)
        self.dW, self.db = dW, db
        return dx


def _work_of_an_image(dout: np.ndarray, W: np.ndarray) -> int:
    """Multiply-adds that an image's gradient takes."""
    return W.size * int(np.prod(dout.shape[2:]))


def _gradient_of_one_channel(dout: np.ndarray, W: np.ndarray, shape: tuple[int, ...], stride: int,
                             pad: int) -> np.ndarray:
    """The gradient by images (N, 1, H, W): a product for each, then its rows added at their places.

    As a convolution with one filter it fills one row in fourteen of the kernel's tile (100 images
    of 28x28, 30 filters of 5x5, float64, one thread: 23 ms, like this 6).
    """
    (n, filters, oh, ow), (fh, fw) = dout.shape, W.shape[2:]
    taps = W.reshape(filters, fh * fw).T
    gradients = np.ascontiguousarray(dout).reshape(n, filters, oh * ow)
    products = np.empty((n, fh * fw, oh * ow), dout.dtype)
    for image, product in zip(gradients, products, strict=True):
        ops.matmul(taps, image, out=product)
    windows = products.reshape(n, fh, fw, oh, ow)
    dx = np.zeros((n, shape[2] + 2 * pad, shape[3] + 2 * pad), dout.dtype)
    for i in range(fh):
        for j in range(fw):
            dx[:, i : i + stride * oh : stride, j : j + stride * ow : stride] += windows[:, i, j]
    return dx[:, None, pad : shape[2] + pad, pad : shape[3] + pad]


class Pooling:
    """The largest element of every window; of equal ones the first, row by row.

    Arguments:
        pool_h, pool_w: of the window. stride: of both axes. pad: zeros on every side; they may win,
        and must not change the number of windows, which is counted without them.
    Attributes:
        x: the last images.
    """

    def __init__(self, pool_h: int, pool_w: int, stride: int = 2, pad: int = 0) -> None:
        self.pool_h = pool_h
        self.pool_w = pool_w
        self.stride = stride
        self.pad = pad
        self.x: Any = None
        # The padded images, and what the backward pass of `ops` needs.
        self._images: Any = None
        self._saved: Any = None

    @computed
    def arg_max(self) -> Any:
        """Number of the winner in each window of the last images, (N*OH*OW*C,); or None."""
        if self.x is None:
            return None
        col = im2col(self.x, self.pool_h, self.pool_w, self.stride, self.pad)
        return np.argmax(col.reshape(-1, self.pool_h * self.pool_w), axis=1)

    def forward(self, x: np.ndarray) -> np.ndarray:
        """(N, C, OH, OW) for x (N, C, H, W), of x's dtype if that is float32 or float64."""
        images = _arithmetic.converted(x, _arithmetic.common_dtype(x))
        if self.pad and x.ndim == 4:
            self._check_pad(x.shape[2:])
            around = (self.pad, self.pad)
            images = np.pad(images, ((0, 0), (0, 0), around, around))
        y, saved = self._pool(images)
        self.x, self._images, self._saved = x, images, saved
        forget(self, "arg_max")
        return y

    def _pool(self, images: np.ndarray) -> Any:
        return _named(self, ops.max_pool2d_forward, images, (self.pool_h, self.pool_w),
                      stride=self.stride)

    def _check_pad(self, sizes: tuple[int, ...]) -> None:
        for size, window in zip(sizes, (self.pool_h, self.pool_w), strict=True):
            if 2 * self.pad + (size - window) % self.stride >= self.stride:
                raise ShapeError(f"Pooling: pad={self.pad} on {size} points adds windows of "
                                 f"{window} with stride {self.stride}", "as many as without it",
                                 "pad the images themselves: np.pad")

    def backward(self, dout: np.ndarray) -> np.ndarray:
        """The gradient by x, of its shape: dout at the winners, summed where windows overlap."""
        if self._images is None:
            raise used_before_forward(self)
        dtype = _arithmetic.common_dtype(dout, self._images)
        if dtype != self._images.dtype:
            self._images = _arithmetic.converted(self._images, dtype)
            _, self._saved = self._pool(self._images)
        dx = _named(self, ops.max_pool2d_backward, _arithmetic.converted(dout, dtype), self._saved)
        if not self.pad:
            return dx
        return dx[:, :, self.pad : -self.pad, self.pad : -self.pad]


def _named(layer: Any, function: Any, *arguments: Any, **settings: Any) -> Any:
    """What the function returns; its errors begin with the layer's name."""
    try:
        return function(*arguments, **settings)
    except FastbpError as error:
        name = type(layer).__name__
        raise type(error)(f"{name}: {error.given}", error.wanted, error.remedy) from None
