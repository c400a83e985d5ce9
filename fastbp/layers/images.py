"""Normalising layers for images (docs/math.md#groupnorm)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp import ops
from fastbp._errors import ArgumentError, ShapeError
from fastbp.emit.planes import Statistics, emit_spatial_backward, emit_spatial_forward
from fastbp.layers.base import Layer, Parameter, Shape, set_gradients
from fastbp.layers.norm import running_statistics

if TYPE_CHECKING:
    from fastbp._program import Operand
    from fastbp.planner import Plan


class _ImageNorm(Layer):
    """Scale "gamma" and shift "beta", one number a channel."""

    takes_images = True

    def __init__(self, channels: int, *, eps: float, dtype: Any, seed: int) -> None:
        super().__init__(dtype=dtype, seed=seed)
        kind = type(self).__name__
        if not isinstance(channels, (int, np.integer)) or channels < 1:
            raise ArgumentError(f"{kind}: channels={channels!r}", "an integer of 1 or more")
        if not eps > 0:
            raise ArgumentError(f"{kind}: eps={eps!r}", "a number above 0", "1e-5 is usual")
        self.channels, self.eps = int(channels), float(eps)
        self._saved: Any = None

    def parameter_list(self) -> list[Parameter]:
        """gamma (ones), beta (zeros); weight decay leaves both alone."""
        n = self.channels
        return [Parameter("gamma", (n,), "ones", n, n), Parameter("beta", (n,), "zeros", n, n)]

    def output_shape(self, *shapes: Shape) -> Shape:
        """The input's shape."""
        if shapes[0][0] != self.channels:
            raise ShapeError(f"{self!r} after a layer with samples of shape {shapes[0]}",
                             f"{self.channels} channels, the first number")
        return shapes[0]

    def _statistics(self, plan: Plan, node: int, groups: int) -> Statistics:
        return Statistics(self.channels, math.prod(plan.shape_of(node)[1:]), groups)

    def _backward(self, plan: Plan, node: int, dy: Operand, groups: int) -> None:
        mean, rstd = plan.saved[node]
        source = plan.source_of(node)
        dx = plan.new_gradient(source)
        emit_spatial_backward(
            plan.program, dx, dy, plan.input_of(node), self._statistics(plan, node, groups),
            dgamma=plan.gradient_address(self, "gamma"), dbeta=plan.gradient_address(self, "beta"),
            mean=mean, rstd=rstd, gamma=plan.address(self, "gamma"), training=plan.training)
        plan.add_gradient(source, dx)


class SpatialBatchNorm(_ImageNorm):
    """Batch normalisation of images: each channel over all pixels of all samples.

    Arguments: channels; momentum of the running statistics (running = momentum*running +
    (1-momentum)*batch); eps inside the root. Buffers "running_mean", "running_var" (biased).
    """

    def __init__(self, channels: int, *, momentum: float = 0.9, eps: float = 1e-5,
                 dtype: Any = None, seed: int = 0) -> None:
        super().__init__(channels, eps=eps, dtype=dtype, seed=seed)
        if not 0 <= momentum <= 1:
            raise ArgumentError(f"SpatialBatchNorm: momentum={momentum!r}", "a number from 0 to 1",
                                "0.9 is usual: running = momentum*running + (1-momentum)*batch")
        self.momentum = float(momentum)

    def buffer_list(self) -> dict[str, tuple[Shape, float]]:
        """The running statistics."""
        return {"running_mean": ((self.channels,), 0.0), "running_var": ((self.channels,), 1.0)}

    def config(self) -> dict[str, Any]:
        """As in `Layer.config`."""
        return {"channels": self.channels, "momentum": self.momentum, "eps": self.eps}

    def forward(self, x: np.ndarray) -> np.ndarray:
        """y; statistics of the batch while `training`, else the running ones."""
        y, self._saved = ops.spatial_batchnorm_forward(
            x, self.parameters["gamma"], self.parameters["beta"], self.buffers["running_mean"],
            self.buffers["running_var"], momentum=self.momentum, eps=self.eps,
            training=self.training)
        return y

    def backward(self, dy: np.ndarray) -> np.ndarray:
        """dx; gradients "gamma" and "beta"."""
        dx, dgamma, dbeta = ops.spatial_batchnorm_backward(dy, self._saved)
        set_gradients(self, gamma=dgamma, beta=dbeta)
        return dx

    def emit_forward(self, plan: Plan, node: int) -> None:
        """As in `Layer.emit_forward`."""
        x, y = plan.input_of(node), plan.new_value(node)
        mean, rstd = plan.saved[node] = plan.new_vector(self.channels), plan.new_vector(
            self.channels)
        emit_spatial_forward(
            plan.program, y, x, self._statistics(plan, node, 0),
            gamma=plan.address(self, "gamma"), beta=plan.address(self, "beta"), mean=mean,
            rstd=rstd, eps=self.eps, training=plan.training,
            **running_statistics(self, plan, mean, self.channels, self.momentum))

    def emit_backward(self, plan: Plan, node: int, dy: Operand) -> None:
        """As in `Layer.emit_backward`."""
        self._backward(plan, node, dy, 0)


class GroupNorm(_ImageNorm):
    """Group normalisation (Wu & He 2018): each group of channels of each sample.

    Arguments: groups, which divides channels; eps inside the root.
    """

    def __init__(self, groups: int, channels: int, *, eps: float = 1e-5, dtype: Any = None,
                 seed: int = 0) -> None:
        super().__init__(channels, eps=eps, dtype=dtype, seed=seed)
        if not isinstance(groups, (int, np.integer)) or groups < 1 or channels % groups:
            raise ArgumentError(f"GroupNorm: groups={groups!r} for {channels} channels",
                                "an integer of 1 or more that divides them")
        self.groups = int(groups)

    def config(self) -> dict[str, Any]:
        """As in `Layer.config`."""
        return {"groups": self.groups, "channels": self.channels, "eps": self.eps}

    def forward(self, x: np.ndarray) -> np.ndarray:
        """y, of x's shape."""
        y, self._saved = ops.groupnorm_forward(x, self.parameters["gamma"],
                                               self.parameters["beta"], self.groups, eps=self.eps)
        return y

    def backward(self, dy: np.ndarray) -> np.ndarray:
        """dx; gradients "gamma" and "beta"."""
        dx, dgamma, dbeta = ops.groupnorm_backward(dy, self._saved)
        set_gradients(self, gamma=dgamma, beta=dbeta)
        return dx

    def emit_forward(self, plan: Plan, node: int) -> None:
        """As in `Layer.emit_forward`."""
        x, y = plan.input_of(node), plan.new_value(node)
        count = plan.rows * self.groups
        mean, rstd = plan.saved[node] = plan.new_vector(count), plan.new_vector(count)
        emit_spatial_forward(plan.program, y, x, self._statistics(plan, node, self.groups),
                             gamma=plan.address(self, "gamma"), beta=plan.address(self, "beta"),
                             mean=mean, rstd=rstd, eps=self.eps)

    def emit_backward(self, plan: Plan, node: int, dy: Operand) -> None:
        """As in `Layer.emit_backward`."""
        self._backward(plan, node, dy, self.groups)
