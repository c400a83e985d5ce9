"""A user's own layer, written in Python and NumPy, inside a network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from fastbp._errors import ArgumentError, ShapeError
from fastbp.layers.base import Layer, Parameter, Shape

if TYPE_CHECKING:
    from fastbp._program import Operand
    from fastbp.planner import Plan


class PythonLayer(Layer):
    """Any object with `forward(x) -> y` and `backward(dy) -> dx`.

    If it has a dict `parameters`, its arrays are moved into the network's arena (the dict then
    holds the views) and `backward` must leave a dict `gradients` with the same names. If it has
    an attribute `training`, it is set before each forward pass. Networks wrap such objects by
    themselves.
    """

    compiled: ClassVar[bool] = False

    def __init__(self, layer: Any) -> None:
        super().__init__()
        for method in ("forward", "backward"):
            if not callable(getattr(layer, method, None)):
                raise ArgumentError(f"{type(layer).__name__} has no method {method}()",
                                    "a fastbp layer, or an object with forward(x) and backward(dy)")
        self.layer = layer
        if getattr(layer, "parameters", None):
            self._parameters = {k: np.asarray(v) for k, v in layer.parameters.items()}

    def parameter_list(self) -> list[Parameter]:
        """The object's own parameters; they keep their values."""
        return [Parameter(name, value.shape, "zeros", 1, 1, decays=value.ndim > 1)
                for name, value in (self._parameters or {}).items()]

    def output_shape(self, *shapes: Shape) -> Shape:
        """Found by a forward pass over two samples of zeros."""
        y = np.asarray(self.layer.forward(np.zeros((2, *shapes[0]), self.dtype)))
        if y.ndim < 1 or y.shape[0] != 2:
            raise ShapeError(f"{type(self.layer).__name__}.forward of 2 samples: shape {y.shape}",
                             "an array whose first axis is the batch")
        return tuple(y.shape[1:])

    def adopt(self, parameters: dict[str, np.ndarray], gradients: dict[str, np.ndarray],
              buffers: dict[str, np.ndarray], dtype: np.dtype, name: str) -> None:
        """As in `Layer.adopt`; the object's dict is updated, too."""
        super().adopt(parameters, gradients, buffers, dtype, name)
        if parameters:
            self.layer.parameters.update(parameters)

    def forward(self, x: np.ndarray) -> np.ndarray:
        """The object's forward."""
        if hasattr(self.layer, "training"):
            self.layer.training = self.training
        return np.asarray(self.layer.forward(x))

    def backward(self, dy: np.ndarray) -> np.ndarray:
        """The object's backward; its gradients are copied to the network's."""
        dx = np.asarray(self.layer.backward(dy))
        for name, view in self.gradients.items():
            view[...] = self.layer.gradients[name]
        return dx

    def emit_forward(self, plan: Plan, node: int) -> None:
        """A break in the program: Python runs there."""
        source, training = plan.source_of(node), plan.training
        x, y = plan.array_of(source), plan.array(plan.new_value(node), plan.shape_of(node))

        def run() -> None:
            self.training = training
            y[...] = self.forward(np.array(x))

        plan.call(run)

    def emit_backward(self, plan: Plan, node: int, dy: Operand) -> None:
        """Likewise."""
        source = plan.source_of(node)
        upstream = plan.array(dy, plan.shape_of(node))
        wanted = plan.needs_gradient(source)
        dx = plan.new_gradient(source) if wanted else None
        target = plan.array(dx, plan.shape_of(source)) if dx else None

        def run() -> None:
            value = self.backward(np.array(upstream))
            if target is not None:
                target[...] = value

        plan.call(run)
        if dx:
            plan.add_gradient(source, dx)
