"""Layers of the book that keep little: Relu, Sigmoid, Affine, Dropout, SoftmaxWithLoss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastbp._errors import ArgumentError, ShapeError
from fastbp.compat.dlfs import _arithmetic
from fastbp.compat.dlfs.functions import cross_entropy_error, picked_by


def used_before_forward(layer: Any) -> ArgumentError:
    """The error of a `backward` that knows of no `forward`."""
    name = type(layer).__name__
    return ArgumentError(f"{name}.backward before {name}.forward", "forward first",
                         "it keeps what backward needs")


def forget(layer: Any, *names: str) -> None:
    """Drop what was assigned to `computed` attributes."""
    for name in names:
        vars(layer).pop(name, None)


class computed:  # noqa: N801 - a decorator, as `property` is
    """A method as an attribute that may be assigned to: the book keeps it, here it is computed."""

    def __init__(self, method: Callable[[Any], Any]) -> None:
        self._method = method
        self.__doc__ = method.__doc__

    def __get__(self, layer: Any, owner: type | None = None) -> Any:
        return self if layer is None else self._method(layer)


class Relu:
    """max(x, 0). mask: where x <= 0, of the last forward pass."""

    def __init__(self) -> None:
        self.mask: Any = None

    def forward(self, x: np.ndarray) -> np.ndarray:
        """A new array of x's shape and dtype."""
        self.mask = x <= 0
        return _arithmetic.relu(x)

    def backward(self, dout: np.ndarray) -> np.ndarray:
        """`dout` itself, with zeros written into it where x was not above 0."""
        if self.mask is None:
            raise used_before_forward(self)
        if dout.shape != self.mask.shape:
            raise ShapeError(f"Relu: dout with shape {dout.shape}", f"{self.mask.shape}, that of x")
        if not dout.flags.writeable:
            raise ArgumentError("Relu: dout is read-only", "a writeable array",
                                "backward writes the gradient into it")
        # A product of the bits as whole numbers: all or nothing, also of NaN and infinity.
        bits = dout.view(f"i{dout.itemsize}")
        np.multiply(bits, ~self.mask, out=bits)
        return dout


class Sigmoid:
    """1 / (1 + exp(-x)). out: the last result."""

    def __init__(self) -> None:
        self.out: Any = None

    def forward(self, x: Any) -> Any:
        """A new array of x's shape."""
        self.out = _arithmetic.sigmoid(x)
        return self.out

    def backward(self, dout: Any) -> Any:
        """dout * (1 - out) * out."""
        if self.out is None:
            raise used_before_forward(self)
        return _arithmetic.sigmoid_gradient(dout, self.out)


class Affine:
    """x W + b.

    Arguments:
        W: (D, M). b: (M,). References are kept: what changes them in place changes the layer.
    Attributes:
        x: the last input as rows (N, D). dW, db: gradients, sums over the batch.
    """

    def __init__(self, W: np.ndarray, b: np.ndarray) -> None:
        self.W = W
        self.b = b
        self.x: Any = None
        self.original_x_shape: Any = None
        self.dW: Any = None
        self.db: Any = None
        # x in the dtype of the result.
        self._rows: Any = None

    def forward(self, x: np.ndarray) -> np.ndarray:
        """(N, M) for x (N, ...) with D numbers a sample; float32 only if x, W and b are."""
        W, b = self.W, self.b
        rows = x if x.ndim == 2 else x.reshape(x.shape[0], -1)
        if W.ndim != 2 or rows.shape[1] != W.shape[0] or b.shape != (W.shape[1],):
            raise ShapeError(f"Affine: x with shape {x.shape}, W with shape {W.shape}, b with "
                             f"shape {b.shape}", f"W ({rows.shape[1]}, M) and b (M,)")
        self.original_x_shape, self.x = x.shape, rows
        self._rows, W, b = _arithmetic.alike(rows, W, b)
        return _arithmetic.affine(self._rows, W, b)

    def backward(self, dout: np.ndarray) -> np.ndarray:
        """The gradient by x, of its shape; sets dW and db."""
        return self.gradients(dout).reshape(self.original_x_shape)

    def gradients(self, dout: np.ndarray, *, need_dx: bool = True) -> Any:
        """Set dW and db; the gradient by the rows of x, or None if it is not needed."""
        if self._rows is None:
            raise used_before_forward(self)
        if dout.shape != (len(self._rows), self.W.shape[1]):
            raise ShapeError(f"Affine: dout with shape {dout.shape}",
                             f"{(len(self._rows), self.W.shape[1])}")
        dx, self.dW, self.db = _arithmetic.affine_gradients(
            *_arithmetic.alike(dout, self._rows, self.W), need_dx=need_dx)
        return dx


class Dropout:
    """x with a share of `dropout_ratio` set to zero; not scaled in training, but in the test.

    mask: True where x was kept in the last training pass; from `np.random.rand(*x.shape)`.
    """

    def __init__(self, dropout_ratio: float = 0.5) -> None:
        self.dropout_ratio = dropout_ratio
        self.mask: Any = None

    def forward(self, x: np.ndarray, train_flg: bool = True) -> np.ndarray:
        """x * mask, or x * (1 - dropout_ratio) if not `train_flg`."""
        if not train_flg:
            return x * (1.0 - self.dropout_ratio)
        self.mask = np.random.rand(*x.shape) > self.dropout_ratio
        return x * self.mask

    def backward(self, dout: np.ndarray) -> np.ndarray:
        """dout * mask."""
        if self.mask is None:
            raise used_before_forward(self)
        return dout * self.mask


class SoftmaxWithLoss:
    """`cross_entropy_error` of softmax(x). y: the probabilities, t: the labels, loss: the last."""

    def __init__(self) -> None:
        self.loss: Any = None
        self.y: Any = None
        self.t: Any = None

    def forward(self, x: np.ndarray, t: np.ndarray) -> Any:
        """The mean loss of scores x (N, C); t: labels, or one-hot rows (where t.size == x.size)."""
        self.t = t
        self.y = _arithmetic.softmax(x)
        self.loss = cross_entropy_error(self.y, t)
        return self.loss

    def backward(self, dout: Any = 1) -> np.ndarray:
        """(y - t)/N, the gradient without the 1e-7 of the loss; `dout` is not used."""
        if self.t is None:
            raise used_before_forward(self)
        y, t = self.y, self.t
        count = t.shape[0]
        if t.size == y.size:
            return (y - t) / count
        dx = y.copy()
        dx[np.arange(count), t] = picked_by(y, t) - 1
        dx /= count
        return dx
