"""y = activation(x W + b), in either weight layout (docs/math.md#affine)."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from fastbp import initializers, ops
from fastbp._errors import ArgumentError, ShapeError
from fastbp.emit.activations import emit_activation_backward, emit_activation_forward
from fastbp.emit.affine import (
    are_apart,
    as_factor,
    emit_affine_db,
    emit_affine_dw,
    emit_affine_dx,
    emit_affine_forward,
    needs_input,
)
from fastbp.emit.reduce import is_one_step
from fastbp.emit.sparse import emit_sparse_affine, emit_sparse_weight
from fastbp.kernels.activations import IDENTITY, NAMES
from fastbp.kernels.sparse import SPARSE_AFFINE, SPARSE_WEIGHT
from fastbp.layers.base import Layer, Parameter, Shape, set_gradients

if TYPE_CHECKING:
    from fastbp._program import Operand
    from fastbp.planner import Plan

_LAYOUTS = ("column", "row")


class Affine(Layer):
    """A fully connected layer.

    Arguments:
        in_features, out_features: D and C.
        layout: "column": one neuron's weights are a column, w (D, C); "row": a row, w (C, D).
        activation: applied in the same pass: identity, relu, leaky_relu, sigmoid, tanh, gelu,
            softplus, silu.
        slope: of leaky_relu below zero.
        bias: False leaves b out.
        init: initialiser of w by name (he_normal, glorot_uniform, ...); b starts at 0.
        dtype, seed: for use alone; a network has its own.

    Parameters: "w", "b". Inputs (N, ...) with D numbers a sample; output (N, C).
    """

    row_local: ClassVar[bool] = True
    fuses_activation: ClassVar[bool] = True

    def __init__(self, in_features: int, out_features: int, *, layout: str = "column",
                 activation: str = "identity", slope: float = 0.01, bias: bool = True,
                 init: str | initializers.Initializer = "he_normal", dtype: Any = None,
                 seed: int = 0) -> None:
        super().__init__(dtype=dtype, seed=seed)
        for name, value in (("in_features", in_features), ("out_features", out_features)):
            if not isinstance(value, (int, np.integer)) or value < 1:
                raise ArgumentError(f"Affine: {name}={value!r}", "an integer of 1 or more")
        if layout not in _LAYOUTS:
            raise ArgumentError(f"Affine: layout={layout!r}", "'column' (D, C) or 'row' (C, D)")
        if activation not in NAMES:
            raise ArgumentError(f"Affine: activation={activation!r}", f"one of {', '.join(NAMES)}")
        initializers.get(init)
        self.in_features, self.out_features = int(in_features), int(out_features)
        self.layout, self.activation, self.slope = layout, activation, float(slope)
        self.bias, self.init = bool(bias), init
        self._saved: tuple[Any, ...] = ()

    @property
    def kind(self) -> int:
        """The activation's number (kernels/activations.py)."""
        return NAMES[self.activation]

    def parameter_list(self) -> list[Parameter]:
        """w, then b."""
        d, c = self.in_features, self.out_features
        shape = (d, c) if self.layout == "column" else (c, d)
        found = [Parameter("w", shape, self.init, d, c, decays=True)]
        if self.bias:
            found.append(Parameter("b", (c,), "zeros", d, c))
        return found

    def output_shape(self, *shapes: Shape) -> Shape:
        """(C,); any input shape with D numbers fits."""
        size = int(np.prod(shapes[0]))
        if size != self.in_features:
            raise ShapeError(f"Affine({self.in_features}, {self.out_features}) after a layer with "
                             f"{size} features {shapes[0]}", f"{self.in_features} features",
                             f"use Affine({size}, {self.out_features})")
        return (self.out_features,)

    def config(self) -> dict[str, Any]:
        """As in `Layer.config`."""
        return {"in_features": self.in_features, "out_features": self.out_features,
                "layout": self.layout, "activation": self.activation, "slope": self.slope,
                "bias": self.bias, "init": initializers.name_of(self.init)}

    def forward(self, x: np.ndarray) -> np.ndarray:
        """y (N, C) of x (N, ...)."""
        b = self.parameters.get("b")
        y = ops.affine_forward(x, self.parameters["w"], b, layout=self.layout,
                               activation=self.activation, slope=self.slope)
        self._saved = (x, y)
        return y

    def backward(self, dy: np.ndarray) -> np.ndarray:
        """dx of x's shape; gradients "w" and "b"."""
        x, y = self._saved
        dx, dw, db = ops.affine_backward(
            dy, x, self.parameters["w"], layout=self.layout, activation=self.activation, y=y,
            b=self.parameters.get("b"), slope=self.slope)
        set_gradients(self, w=dw)
        if self.bias:
            set_gradients(self, b=db)
        return dx

    def emit_forward(self, plan: Plan, node: int) -> None:
        """As in `Layer.emit_forward`; with the activation that follows, where it is fused."""
        kind, slope = plan.activation_of(node)
        y = plan.new_value(node)
        z = plan.new(y.cols) if plan.training and needs_input(kind) else None
        if plan.training:
            plan.saved[node] = z or y
        bias = plan.address(self, "b") if self.bias else 0
        sparse = plan.sparse_input_of(node)
        if sparse is not None:
            w = as_factor(plan.operand(self, "w"), self.layout)
            row = emit_sparse_affine(plan.program, z or y, sparse, w, bias)
            plan.reads_sparse(node, row, SPARSE_AFFINE)
            if kind != IDENTITY:
                emit_activation_forward(plan.program, y, z or y, kind, slope)
            return
        emit_affine_forward(plan.program, y, plan.input_of(node), plan.operand(self, "w"), bias,
                            layout=self.layout, kind=kind, slope=slope, z=z, w_stands=True)

    def emit_backward(self, plan: Plan, node: int, dy: Operand) -> None:
        """As in `Layer.emit_backward`; dx carries the gradient through the activation before it."""
        kind, slope = plan.activation_of(node)
        sums = plan.sums.pop(node, None)
        if sums is None and kind != IDENTITY:
            emit_activation_backward(plan.program, dy, dy, plan.saved[node], kind, slope)
        source, sparse = plan.source_of(node), plan.sparse_input_of(node)
        needs_dx, w = plan.needs_gradient(source), plan.operand(self, "w")
        if sparse is not None:
            row = emit_sparse_weight(
                plan.program, as_factor(plan.network.operand(self.gradients["w"]), self.layout), dy,
                sparse)
            plan.reads_sparse(node, row, SPARSE_WEIGHT)
        finish = plan.weight_finish(self, "w") if sparse is None else None
        dx = plan.new_gradient(source) if needs_dx else None
        apart = are_apart(plan.program, dy, w, layout=self.layout,
                          updates=needs_dx and finish is not None)
        partial, db_apart = None, self.bias and apart and is_one_step(sums or dy)
        with plan.program.side_by_side() if apart else contextlib.nullcontext():
            if dx is not None:
                partial = emit_affine_dx(plan.program, dx, dy, w, layout=self.layout,
                                         through=plan.producer_of(source), w_stands=True)
            if sparse is None:
                emit_affine_dw(plan.program, plan.weight_target(self, "w"), dy,
                               plan.input_of(node), layout=self.layout, finish=finish)
            if db_apart:
                emit_affine_db(plan.program, plan.gradient_address(self, "b"), dy, sums)
        if self.bias and not db_apart:
            emit_affine_db(plan.program, plan.gradient_address(self, "b"), dy, sums)
        if dx is not None:
            plan.add_gradient(source, dx, partial)
