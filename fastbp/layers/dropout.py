"""Dropout with counter-based random numbers (docs/math.md#dropout)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from fastbp import ops
from fastbp._errors import ArgumentError
from fastbp.emit.dropout import emit_dropout_backward, emit_dropout_forward
from fastbp.layers.base import Layer

if TYPE_CHECKING:
    from fastbp._program import Operand
    from fastbp.planner import Plan


class Dropout(Layer):
    """Each number is 0 with probability `rate`, else divided by 1 - rate; nothing in test mode.

    The mask is a function of the network's seed, the step, the layer and the element, so it
    is the same for every number of threads and for a resumed run.
    """

    row_local: ClassVar[bool] = True

    def __init__(self, rate: float = 0.5, *, dtype: Any = None, seed: int = 0) -> None:
        super().__init__(dtype=dtype, seed=seed)
        if not 0 <= rate < 1:
            raise ArgumentError(f"Dropout: rate={rate!r}", "a number from 0 to below 1",
                                "the rate is the share of numbers that are dropped")
        self.rate = float(rate)
        self._step = 0
        self._saved: Any = None

    def config(self) -> dict[str, Any]:
        """As in `Layer.config`."""
        return {"rate": self.rate}

    def forward(self, x: np.ndarray) -> np.ndarray:
        """y of x's shape; a new mask at each call while `training`."""
        y, self._saved = ops.dropout_forward(x, self.rate, seed=self.seed, step=self._step,
                                             training=self.training)
        self._step += 1
        return y

    def backward(self, dy: np.ndarray) -> np.ndarray:
        """dy through the same mask."""
        return ops.dropout_backward(dy, self._saved)

    def emit_forward(self, plan: Plan, node: int) -> None:
        """As in `Layer.emit_forward`; in test mode the input itself is the value."""
        if not plan.training or self.rate == 0:
            plan.values[node] = plan.input_of(node)
            return
        y = plan.new_value(node)
        emit_dropout_forward(plan.program, y, plan.input_of(node), self.rate, seed=plan.seed,
                             layer=node, base_step=plan.step_cell, first_row=plan.first_row)

    def emit_backward(self, plan: Plan, node: int, dy: Operand) -> None:
        """As in `Layer.emit_backward`; the mask is drawn again, not stored."""
        source = plan.source_of(node)
        if not plan.needs_gradient(source):
            return
        if not plan.training or self.rate == 0:
            plan.add_copy(source, dy)
            return
        dx = plan.new_gradient(source)
        emit_dropout_backward(plan.program, dx, dy, self.rate, seed=plan.seed, layer=node,
                              base_step=plan.step_cell, first_row=plan.first_row)
        plan.add_gradient(source, dx)
