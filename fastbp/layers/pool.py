"""Pooling (docs/math.md#pooling), and images as vectors."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from fastbp import ops
from fastbp.emit.pool import Pool, emit_pool_backward, emit_pool_forward
from fastbp.layers.base import Layer, Shape
from fastbp.layers.conv import image_shape
from fastbp.ops._images import pair
from fastbp.ops.pool import pool_of

if TYPE_CHECKING:
    from fastbp._program import Operand
    from fastbp.planner import Plan


class _Pool2D(Layer):
    """Base: windows over the planes of images (C, H, W)."""

    takes_images = True
    average: ClassVar[bool] = False

    def __init__(self, size: Any, *, stride: Any = None, padding: Any = 0, dtype: Any = None,
                 seed: int = 0) -> None:
        super().__init__(dtype=dtype, seed=seed)
        self.size = pair("size", size, 1)
        self.stride = self.size if stride is None else pair("stride", stride, 1)
        self.padding = pair("padding", padding, 0)
        self._saved: Any = None

    @property
    def kind(self) -> str:
        """The emitter's name of the operation."""
        return "max"

    def _shape(self, image: Shape) -> Pool:
        return pool_of(self.kind, image_shape(type(self).__name__, image), self.size, self.stride,
                       self.padding)

    def output_shape(self, *shapes: Shape) -> Shape:
        """(C, OH, OW)."""
        return (shapes[0][0], *self._shape(shapes[0]).out)

    def config(self) -> dict[str, Any]:
        """As in `Layer.config`."""
        return {"size": self.size, "stride": self.stride, "padding": self.padding}

    def emit_forward(self, plan: Plan, node: int) -> None:
        """As in `Layer.emit_forward`."""
        y = plan.new_value(node)
        which = plan.new(y.cols) if self.kind == "max" else None
        plan.saved[node] = which
        emit_pool_forward(plan.program, y, plan.input_of(node), which,
                          self._shape(plan.shape_of(plan.source_of(node))))

    def emit_backward(self, plan: Plan, node: int, dy: Operand) -> None:
        """As in `Layer.emit_backward`."""
        source = plan.source_of(node)
        if plan.needs_gradient(source):
            dx = plan.new_gradient(source)
            emit_pool_backward(plan.program, dx, dy, plan.saved[node],
                               self._shape(plan.shape_of(source)))
            plan.add_gradient(source, dx)


class MaxPool2D(_Pool2D):
    """The largest element of every window.

    Arguments: size of the window; stride (None: the size); padding, below the size. Each an
    integer, or a pair (height, width). The first of equal elements gets the gradient.
    """

    def forward(self, x: np.ndarray) -> np.ndarray:
        """y (N, C, OH, OW) of x (N, C, H, W)."""
        y, self._saved = ops.max_pool2d_forward(x, self.size, stride=self.stride,
                                                padding=self.padding)
        return y

    def backward(self, dy: np.ndarray) -> np.ndarray:
        """dx of x's shape."""
        return ops.max_pool2d_backward(dy, self._saved)


class AvgPool2D(_Pool2D):
    """The mean of every window.

    Arguments: those of `MaxPool2D`; count_include_pad: zeros of the border count as elements.
    """

    def __init__(self, size: Any, *, stride: Any = None, padding: Any = 0,
                 count_include_pad: bool = True, dtype: Any = None, seed: int = 0) -> None:
        super().__init__(size, stride=stride, padding=padding, dtype=dtype, seed=seed)
        self.count_include_pad = bool(count_include_pad)

    @property
    def kind(self) -> str:
        """The emitter's name of the operation."""
        return "average" if self.count_include_pad else "average_inside"

    def config(self) -> dict[str, Any]:
        """As in `Layer.config`."""
        return {**super().config(), "count_include_pad": self.count_include_pad}

    def forward(self, x: np.ndarray) -> np.ndarray:
        """y (N, C, OH, OW) of x (N, C, H, W)."""
        y, self._saved = ops.avg_pool2d_forward(x, self.size, stride=self.stride,
                                                padding=self.padding,
                                                count_include_pad=self.count_include_pad)
        return y

    def backward(self, dy: np.ndarray) -> np.ndarray:
        """dx of x's shape."""
        return ops.avg_pool2d_backward(dy, self._saved)


class Flatten(Layer):
    """Samples of any shape as vectors; in a network nothing is copied.

    `Affine` flattens by itself; this says so, and gives the network's output the shape (N, D).
    """

    row_local: ClassVar[bool] = True

    def output_shape(self, *shapes: Shape) -> Shape:
        """(D,)."""
        return (math.prod(shapes[0]),)

    def forward(self, x: np.ndarray) -> np.ndarray:
        """y (N, D) of x (N, ...)."""
        self._given = np.shape(x)
        return np.reshape(x, (self._given[0], math.prod(self._given[1:])))

    def backward(self, dy: np.ndarray) -> np.ndarray:
        """dy in the shape of x."""
        return np.reshape(dy, self._given)

    def emit_forward(self, plan: Plan, node: int) -> None:
        """As in `Layer.emit_forward`: the input itself is the value."""
        plan.values[node] = plan.input_of(node)

    def emit_backward(self, plan: Plan, node: int, dy: Operand) -> None:
        """As in `Layer.emit_backward`: nobody else reads dy after this."""
        source = plan.source_of(node)
        if plan.needs_gradient(source):
            plan.add_gradient(source, dy)
