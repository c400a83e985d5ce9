"""Activations as layers of their own; behind an `Affine` they are fused into it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from fastbp.emit.activations import emit_activation_backward, emit_activation_forward
from fastbp.emit.affine import needs_input
from fastbp.kernels.activations import NAMES
from fastbp.layers.base import Layer
from fastbp.ops.activations import activation_backward, activation_forward

if TYPE_CHECKING:
    from fastbp._program import Operand
    from fastbp.planner import Plan


class Activation(Layer):
    """Base: an elementwise function by its name; shapes stay as they are."""

    row_local: ClassVar[bool] = True
    activation: ClassVar[str] = "identity"
    slope: float = 0.0

    @property
    def kind(self) -> int:
        """The activation's number (kernels/activations.py)."""
        return NAMES[self.activation]

    def forward(self, x: np.ndarray) -> np.ndarray:
        """y = f(x)."""
        y = activation_forward(self.activation, x, slope=self.slope)
        self._kept = x if needs_input(self.kind) else y
        return y

    def backward(self, dy: np.ndarray) -> np.ndarray:
        """dx = dy * f'(x)."""
        return activation_backward(self.activation, dy, self._kept, slope=self.slope)

    def emit_forward(self, plan: Plan, node: int) -> None:
        """As in `Layer.emit_forward`."""
        x, y = plan.input_of(node), plan.new_value(node)
        emit_activation_forward(plan.program, y, x, self.kind, self.slope)
        plan.saved[node] = x if needs_input(self.kind) else y

    def emit_backward(self, plan: Plan, node: int, dy: Operand) -> None:
        """As in `Layer.emit_backward`."""
        source = plan.source_of(node)
        if plan.needs_gradient(source):
            dx = plan.new_gradient(source)
            emit_activation_backward(plan.program, dx, dy, plan.saved[node], self.kind, self.slope)
            plan.add_gradient(source, dx)


class Identity(Activation):
    """y = x."""


class ReLU(Activation):
    """y = max(x, 0); its gradient at 0 is 0."""

    activation = "relu"


class LeakyReLU(Activation):
    """y = x above 0, slope * x below."""

    activation = "leaky_relu"

    def __init__(self, slope: float = 0.01, **keywords: Any) -> None:
        super().__init__(**keywords)
        self.slope = float(slope)

    def config(self) -> dict[str, Any]:
        """As in `Layer.config`."""
        return {"slope": self.slope}


class Sigmoid(Activation):
    """y = 1 / (1 + exp(-x))."""

    activation = "sigmoid"


class Tanh(Activation):
    """y = tanh(x)."""

    activation = "tanh"


class GELU(Activation):
    """y = x * Phi(x), with the exact normal distribution function (erf)."""

    activation = "gelu"


class Softplus(Activation):
    """y = log(1 + exp(x))."""

    activation = "softplus"


class SiLU(Activation):
    """y = x * sigmoid(x)."""

    activation = "silu"
