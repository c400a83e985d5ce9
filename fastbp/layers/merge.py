"""Layers with several inputs."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from fastbp._errors import ShapeError
from fastbp.emit.reduce import emit_add
from fastbp.layers.base import Layer, Shape

if TYPE_CHECKING:
    from fastbp._program import Operand
    from fastbp.planner import Plan


class Add(Layer):
    """The sum of two values of one shape: residual connections. `a + b` on nodes makes one."""

    inputs: ClassVar[int] = 2
    row_local: ClassVar[bool] = True

    def output_shape(self, *shapes: Shape) -> Shape:
        """The common shape."""
        if shapes[0] != shapes[1]:
            raise ShapeError(f"Add of values with shapes {shapes[0]} and {shapes[1]}",
                             "equal shapes", "put an Affine layer before one of them")
        return shapes[0]

    def forward(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:  # type: ignore[override]
        """a + b."""
        return np.add(a, b)

    def backward(self, dy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[override]
        """dy for each input."""
        return dy, dy

    def emit_forward(self, plan: Plan, node: int) -> None:
        """As in `Layer.emit_forward`."""
        y = plan.new_value(node)
        emit_add(plan.program, y, plan.input_of(node, 0), plan.input_of(node, 1))

    def emit_backward(self, plan: Plan, node: int, dy: Operand) -> None:
        """Both inputs receive dy; a gradient buffer belongs to one value, so each has a copy."""
        for place in range(2):
            source = plan.source_of(node, place)
            if plan.needs_gradient(source):
                plan.add_copy(source, dy)
