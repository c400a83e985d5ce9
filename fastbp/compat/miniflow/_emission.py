"""A pass over a graph as instructions: every value and every gradient has memory of its own.

Nothing is fused that a node would have to show: only the sigmoid is computed in the matmul
that makes its input, which is stored too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from fastbp._arena import ALIGNMENT, address_of, allocate
from fastbp._program import Operand, Program
from fastbp.compat.miniflow._nodes import MSE, Input, Linear, Node, Sigmoid
from fastbp.compat.miniflow._shapes import Shapes
from fastbp.emit.activations import emit_activation_backward, emit_activation_forward
from fastbp.emit.affine import (
    emit_affine_db,
    emit_affine_dw,
    emit_affine_dx,
    emit_affine_forward,
)
from fastbp.emit.losses import emit_mean_squared_error
from fastbp.emit.reduce import emit_add, emit_scale
from fastbp.kernels.activations import SIGMOID


class Emission:
    """Emits a pass into a program and remembers where everything is.

    Arguments:
        inputs: an operand for each `Input`'s value.
        losses: address of float64 for the costs of a run's steps, one of them an MSE.
    """

    def __init__(self, program: Program, nodes: Sequence[Node], shapes: Shapes,
                 inputs: Mapping[Node, Operand], losses: Mapping[Node, int]) -> None:
        self.program, self.nodes, self.shapes, self.losses = program, nodes, shapes, losses
        self.values: dict[Node, Operand] = dict(inputs)
        # The gradient by a value that one user of it contributes; its sum over all users.
        self.parts: dict[tuple[Node, Node], Operand] = {}
        self.totals: dict[Node, Operand] = {}
        self._arrays: dict[int, np.ndarray] = {}

    def new(self, shape: Sequence[int]) -> Operand:
        """Memory without gaps for an array of one or two dimensions.

        Behind it lies room to read two registers from any element (`Operand.readable`).
        """
        size = math.prod(shape)
        block = allocate(size + 2 * ALIGNMENT // self.program.dtype.itemsize, self.program.dtype)
        self._arrays[address_of(block)] = block[:size].reshape(shape)
        rows, cols = (1, *shape)[-2:]
        return Operand(address_of(block), rows, cols, cols, readable=True)

    def array(self, operand: Operand) -> np.ndarray:
        """The memory of an operand that `new` made."""
        return self._arrays[operand.address]

    # ---- forward ---------------------------------------------------------------------------------

    def emit_forward(self) -> None:
        """All values; an MSE's gradient, too, which is computed beside its value."""
        for node in self.nodes:
            if node in self.values or type(node) is Input:
                continue
            if type(node) is Linear:
                self._emit_linear(node)
            elif type(node) is Sigmoid:
                self._emit_sigmoid(node)
            else:
                self._emit_mse(node)

    def _emit_linear(self, node: Node) -> None:
        x, w, b = (self.values[source] for source in node.inbound_nodes)
        z = self.values[node] = self.new(self.shapes.of[node])
        followers = [user for user in node.outbound_nodes
                     if type(user) is Sigmoid and user in self.shapes.of]
        if not followers:
            emit_affine_forward(self.program, z, x, w, b.address, layout="column")
            return
        y = self.values[followers[0]] = self.new(self.shapes.of[node])
        emit_affine_forward(self.program, y, x, w, b.address, layout="column", kind=SIGMOID, z=z)

    def _emit_sigmoid(self, node: Node) -> None:
        y = self.values[node] = self.new(self.shapes.of[node])
        emit_activation_forward(self.program, y, self.values[node.inbound_nodes[0]], SIGMOID)

    def _emit_mse(self, node: Node) -> None:
        y, a = node.inbound_nodes
        rows = self.shapes.of[a][0]
        da = self.parts[node, a] = self.new((rows, 1))
        emit_mean_squared_error(self.program, da, _as_column(self.values[a], rows),
                                _as_column(self.values[y], rows), self.losses[node])

    # ---- backward --------------------------------------------------------------------------------

    def emit_backward(self) -> None:
        """All gradients, in the reverse order of the nodes."""
        for node in reversed(self.nodes):
            if type(node) is MSE:
                y, a = node.inbound_nodes
                dy = self.parts[node, y] = self.new((self.shapes.of[a][0], 1))
                emit_scale(self.program, dy, self.parts[node, a], -1.0)
                continue
            self.totals[node] = self._total(node)
            if type(node) is Linear:
                self._emit_linear_backward(node)
            elif type(node) is Sigmoid:
                x = node.inbound_nodes[0]
                dx = self.parts[node, x] = self.new(self.shapes.of[x])
                emit_activation_backward(self.program, dx, self.totals[node], self.values[node],
                                         SIGMOID)

    def _total(self, node: Node) -> Operand:
        """The sum over the node's users, in their order."""
        first, *others = (self.parts[user, node] for user in node.outbound_nodes)
        if not others:
            return first
        total = self.new(self.array(first).shape)
        emit_add(self.program, total, first, others[0])
        for other in others[1:]:
            emit_add(self.program, total, total, other)
        return total

    def _emit_linear_backward(self, node: Node) -> None:
        x, w, b = node.inbound_nodes
        dz = self.totals[node]
        dx, dw, db = (self.new(self.shapes.of[source]) for source in (x, w, b))
        self.parts[node, x], self.parts[node, w], self.parts[node, b] = dx, dw, db
        emit_affine_dx(self.program, dx, dz, self.values[w], layout="column")
        emit_affine_dw(self.program, dw, dz, self.values[x], layout="column")
        emit_affine_db(self.program, db.address, dz, None)


def _as_column(x: Operand, rows: int) -> Operand:
    """A vector's operand (one row) or a column's as a column."""
    if x.rows == rows and x.cols == 1:
        return Operand(x.address, rows, 1, x.row_step)
    return Operand(x.address, rows, 1, x.col_step)
