"""Normalising layers (docs/math.md#batchnorm, #layernorm)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from fastbp import ops
from fastbp._errors import ArgumentError, ShapeError
from fastbp.emit.batchnorm import emit_batchnorm_backward, emit_batchnorm_forward, emit_track
from fastbp.emit.layernorm import emit_layernorm_backward, emit_layernorm_forward
from fastbp.layers.base import Layer, Parameter, Shape, set_gradients

if TYPE_CHECKING:
    from fastbp._program import Operand
    from fastbp.planner import Plan


class _Norm(Layer):
    """Scale "gamma" and shift "beta" (features,), over all numbers of a sample."""

    def __init__(self, features: int, *, eps: float = 1e-5, dtype: Any = None,
                 seed: int = 0) -> None:
        super().__init__(dtype=dtype, seed=seed)
        kind = type(self).__name__
        if not isinstance(features, (int, np.integer)) or features < 1:
            raise ArgumentError(f"{kind}: features={features!r}", "an integer of 1 or more")
        if not eps > 0:
            raise ArgumentError(f"{kind}: eps={eps!r}", "a number above 0", "1e-5 is usual")
        self.features, self.eps = int(features), float(eps)
        self._saved: Any = None

    def parameter_list(self) -> list[Parameter]:
        """gamma (ones), beta (zeros); weight decay leaves both alone."""
        n = self.features
        return [Parameter("gamma", (n,), "ones", n, n), Parameter("beta", (n,), "zeros", n, n)]

    def output_shape(self, *shapes: Shape) -> Shape:
        """The input's shape."""
        size = int(np.prod(shapes[0]))
        if size != self.features:
            kind = type(self).__name__
            raise ShapeError(f"{kind}({self.features}) after a layer with {size} features",
                             f"{self.features} features", f"use {kind}({size})")
        return shapes[0]


def running_statistics(layer: Layer, plan: Plan, mean: int, size: int, momentum: float
                       ) -> dict[str, int]:
    """What a forward pass in a plan is told about the running statistics: addresses, by name.

    In training they change once the losses are known to be finite, and only if parameters do.
    """
    means, variances = plan.address(layer, "running_mean"), plan.address(layer, "running_var")
    if not plan.training:
        return {"running_mean": means, "running_var": variances}
    if plan.update is None:
        return {}
    var = plan.new_vector(size)
    plan.after_losses(lambda overlap: emit_track(plan.program, means, variances, mean, var, size,
                                                 momentum, overlap=overlap))
    return {"var": var}


class BatchNorm(_Norm):
    """Batch normalisation (Ioffe & Szegedy 2015) over the batch axis.

    Arguments: features; momentum of the running statistics (running = momentum*running +
    (1-momentum)*batch); eps inside the root. Buffers "running_mean", "running_var" (biased).
    """

    def __init__(self, features: int, *, momentum: float = 0.9, eps: float = 1e-5,
                 dtype: Any = None, seed: int = 0) -> None:
        super().__init__(features, eps=eps, dtype=dtype, seed=seed)
        if not 0 <= momentum <= 1:
            raise ArgumentError(f"BatchNorm: momentum={momentum!r}", "a number from 0 to 1",
                                "0.9 is usual: running = momentum*running + (1-momentum)*batch")
        self.momentum = float(momentum)

    def buffer_list(self) -> dict[str, tuple[Shape, float]]:
        """The running statistics."""
        return {"running_mean": ((self.features,), 0.0), "running_var": ((self.features,), 1.0)}

    def config(self) -> dict[str, Any]:
        """As in `Layer.config`."""
        return {"features": self.features, "momentum": self.momentum, "eps": self.eps}

    def forward(self, x: np.ndarray) -> np.ndarray:
        """y; statistics of the batch while `training`, else the running ones."""
        y, self._saved = ops.batchnorm_forward(
            x, self.parameters["gamma"], self.parameters["beta"], self.buffers["running_mean"],
            self.buffers["running_var"], momentum=self.momentum, eps=self.eps,
            training=self.training)
        return y

    def backward(self, dy: np.ndarray) -> np.ndarray:
        """dx; gradients "gamma" and "beta"."""
        dx, dgamma, dbeta = ops.batchnorm_backward(dy, self._saved)
        set_gradients(self, gamma=dgamma, beta=dbeta)
        return dx

    def emit_forward(self, plan: Plan, node: int) -> None:
        """As in `Layer.emit_forward`."""
        x, y = plan.input_of(node), plan.new_value(node)
        mean, rstd = plan.new_vector(self.features), plan.new_vector(self.features)
        plan.saved[node] = (mean, rstd)
        emit_batchnorm_forward(
            plan.program, y, x, gamma=plan.address(self, "gamma"), beta=plan.address(self, "beta"),
            mean=mean, rstd=rstd, eps=self.eps, training=plan.training,
            **running_statistics(self, plan, mean, self.features, self.momentum))

    def emit_backward(self, plan: Plan, node: int, dy: Operand) -> None:
        """As in `Layer.emit_backward`."""
        mean, rstd = plan.saved[node]
        source = plan.source_of(node)
        dx = plan.new_gradient(source)
        emit_batchnorm_backward(
            plan.program, dx, dy, plan.input_of(node), dgamma=plan.gradient_address(self, "gamma"),
            dbeta=plan.gradient_address(self, "beta"), mean=mean, rstd=rstd,
            gamma=plan.address(self, "gamma"), training=plan.training)
        plan.add_gradient(source, dx)


class LayerNorm(_Norm):
    """Layer normalisation (Ba, Kiros & Hinton 2016) over the features of each sample."""

    row_local: ClassVar[bool] = True

    def config(self) -> dict[str, Any]:
        """As in `Layer.config`."""
        return {"features": self.features, "eps": self.eps}

    def forward(self, x: np.ndarray) -> np.ndarray:
        """y, of x's shape."""
        y, self._saved = ops.layernorm_forward(x, self.parameters["gamma"],
                                               self.parameters["beta"], eps=self.eps)
        return y

    def backward(self, dy: np.ndarray) -> np.ndarray:
        """dx; gradients "gamma" and "beta"."""
        dx, dgamma, dbeta = ops.layernorm_backward(dy, self._saved)
        set_gradients(self, gamma=dgamma, beta=dbeta)
        return dx

    def emit_forward(self, plan: Plan, node: int) -> None:
        """As in `Layer.emit_forward`."""
        x, y = plan.input_of(node), plan.new_value(node)
        mean, rstd = plan.new_vector(plan.rows), plan.new_vector(plan.rows)
        plan.saved[node] = (mean, rstd)
        emit_layernorm_forward(plan.program, y, x, gamma=plan.address(self, "gamma"),
                               beta=plan.address(self, "beta"), mean=mean, rstd=rstd, eps=self.eps)

    def emit_backward(self, plan: Plan, node: int, dy: Operand) -> None:
        """As in `Layer.emit_backward`."""
        mean, rstd = plan.saved[node]
        source = plan.source_of(node)
        dx = plan.new_gradient(source)
        emit_layernorm_backward(
            plan.program, dx, dy, plan.input_of(node), dgamma=plan.gradient_address(self, "gamma"),
            dbeta=plan.gradient_address(self, "beta"), mean=mean, rstd=rstd,
            gamma=plan.address(self, "gamma"))
        plan.add_gradient(source, dx)
