"""Two-dimensional convolution (docs/math.md#convolution)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp import initializers, ops
from fastbp._arena import address_of
from fastbp._errors import ArgumentError, ShapeError
from fastbp._program import Operand
from fastbp.emit.activations import emit_activation_backward, emit_activation_forward
from fastbp.emit.affine import needs_input
from fastbp.emit.conv import Conv, emit_conv2d_dw, emit_conv2d_dx, emit_conv2d_forward
from fastbp.emit.gemm import NO_FLOOR
from fastbp.kernels.activations import IDENTITY, NAMES, RELU
from fastbp.layers.base import Layer, Parameter, Shape, set_gradients
from fastbp.ops._images import outputs, window
from fastbp.ops.activations import activation_backward, activation_forward

if TYPE_CHECKING:
    from fastbp.planner import Plan


def image_shape(kind: str, shape: Shape) -> tuple[int, int, int]:
    """A sample's shape as (C, H, W), or a ShapeError."""
    if len(shape) != 3:
        raise ShapeError(f"{kind} after a layer with samples of shape {shape}", "(C, H, W)",
                         "give input_shape=(C, H, W) to the network")
    return shape[0], shape[1], shape[2]


class Conv2D(Layer):
    """A convolution of images (C, H, W) with filters.

    Arguments:
        in_channels, out_channels: C and F. size: of the window, (HH, WW).
        stride, padding, dilation: as in `ops.conv2d_forward`; like size an integer, or a pair.
        groups: filters of a group see the channels of that group only; divides C and F.
        activation: applied in the same pass (identity, relu) or right after it (the others of
            `Affine`, with `slope` for leaky_relu).
        bias: False leaves b out.
        init: initialiser of w by name; fan_in is C/groups*HH*WW. b starts at 0.
        dtype, seed: for use alone; a network has its own.

    Parameters: "w" (F, C/groups, HH, WW), "b" (F,). Output (F, OH, OW).
    """

    takes_images = True
    fuses_activation = True

    def __init__(self, in_channels: int, out_channels: int, size: Any, *, stride: Any = 1,
                 padding: Any = 0, dilation: Any = 1, groups: int = 1,
                 activation: str = "identity", slope: float = 0.01, bias: bool = True,
                 init: str | initializers.Initializer = "he_normal", dtype: Any = None,
                 seed: int = 0) -> None:
        super().__init__(dtype=dtype, seed=seed)
        for name, value in (("in_channels", in_channels), ("out_channels", out_channels),
                            ("groups", groups)):
            if not isinstance(value, (int, np.integer)) or value < 1:
                raise ArgumentError(f"Conv2D: {name}={value!r}", "an integer of 1 or more")
        if in_channels % groups or out_channels % groups:
            raise ArgumentError(f"Conv2D: groups={groups} for {in_channels} and {out_channels} "
                                "channels", "a number that divides both")
        if activation not in NAMES:
            raise ArgumentError(f"Conv2D: activation={activation!r}", f"one of {', '.join(NAMES)}")
        initializers.get(init)
        self.in_channels, self.out_channels = int(in_channels), int(out_channels)
        self.window, self.groups = window(size, stride, padding, dilation), int(groups)
        self.activation, self.slope = activation, float(slope)
        self.bias, self.init = bool(bias), init
        self._saved: tuple[Any, ...] = ()

    @property
    def kind(self) -> int:
        """The activation's number (kernels/activations.py)."""
        return NAMES[self.activation]

    def parameter_list(self) -> list[Parameter]:
        """w, then b."""
        area = math.prod(self.window.size)
        shape = (self.out_channels, self.in_channels // self.groups, *self.window.size)
        fans = shape[1] * area, self.out_channels // self.groups * area
        found = [Parameter("w", shape, self.init, *fans, decays=True)]
        if self.bias:
            found.append(Parameter("b", (self.out_channels,), "zeros", *fans))
        return found

    def output_shape(self, *shapes: Shape) -> Shape:
        """(F, OH, OW)."""
        channels, height, width = image_shape("Conv2D", shapes[0])
        if channels != self.in_channels:
            raise ShapeError(f"Conv2D({self.in_channels}, {self.out_channels}) after a layer with "
                             f"{channels} channels {shapes[0]}", f"{self.in_channels} channels",
                             f"use Conv2D({channels}, {self.out_channels}, ...)")
        return (self.out_channels, *outputs(self.window, height, width))

    def config(self) -> dict[str, Any]:
        """As in `Layer.config`."""
        return {"in_channels": self.in_channels, "out_channels": self.out_channels,
                "size": self.window.size, "stride": self.window.stride,
                "padding": self.window.padding, "dilation": self.window.dilation,
                "groups": self.groups, "activation": self.activation, "slope": self.slope,
                "bias": self.bias, "init": initializers.name_of(self.init)}

    @property
    def _settings(self) -> dict[str, Any]:
        w = self.window
        return {"stride": w.stride, "padding": w.padding, "dilation": w.dilation,
                "groups": self.groups}

    def forward(self, x: np.ndarray) -> np.ndarray:
        """y (N, F, OH, OW) of x (N, C, H, W)."""
        z = ops.conv2d_forward(x, self.parameters["w"], self.parameters.get("b"),
                               **self._settings)
        y = z
        if self.kind != IDENTITY:
            y = activation_forward(self.activation, z, slope=self.slope)
        self._saved = (x, z if needs_input(self.kind) else y)
        return y

    def backward(self, dy: np.ndarray) -> np.ndarray:
        """dx of x's shape; gradients "w" and "b"."""
        x, kept = self._saved
        if self.kind != IDENTITY:
            dy = activation_backward(self.activation, dy, kept, slope=self.slope)
        dx, dw, db = ops.conv2d_backward(dy, x, self.parameters["w"], **self._settings)
        assert dx is not None
        set_gradients(self, w=dw)
        if self.bias:
            set_gradients(self, b=db)
        return dx

    def _shape(self, plan: Plan, node: int) -> Conv:
        _, height, width = plan.shape_of(plan.source_of(node))
        return Conv(self.in_channels, height, width, self.out_channels, self.window, self.groups)

    def emit_forward(self, plan: Plan, node: int) -> None:
        """As in `Layer.emit_forward`; with the activation that follows, where it is fused."""
        kind, slope = plan.activation_of(node)
        y = plan.new_value(node)
        z = plan.new(y.cols) if plan.training and needs_input(kind) else y
        plan.saved[node] = z
        bias = plan.address(self, "b") if self.bias else 0
        emit_conv2d_forward(plan.program, z, plan.input_of(node), _matrix(self.parameters["w"]),
                            bias, self._shape(plan, node),
                            floor=0.0 if kind == RELU else NO_FLOOR)
        if kind not in (IDENTITY, RELU):
            emit_activation_forward(plan.program, y, z, kind, slope)

    def emit_backward(self, plan: Plan, node: int, dy: Operand) -> None:
        """As in `Layer.emit_backward`."""
        kind, slope = plan.activation_of(node)
        if kind != IDENTITY:
            emit_activation_backward(plan.program, dy, dy, plan.saved[node], kind, slope)
        source, shape = plan.source_of(node), self._shape(plan, node)
        if plan.needs_gradient(source):
            dx = plan.new_gradient(source)
            emit_conv2d_dx(plan.program, dx, dy, _matrix(self.parameters["w"]), shape)
            plan.add_gradient(source, dx)
        emit_conv2d_dw(plan.program, _matrix(self.gradients["w"]),
                       plan.gradient_address(self, "b") if self.bias else 0, dy,
                       plan.input_of(node), shape)


def _matrix(w: np.ndarray) -> Operand:
    """A network's filters as rows."""
    return Operand(address_of(w), len(w), w[0].size, w.strides[0] // w.itemsize)
