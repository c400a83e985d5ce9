"""The row by row part of a step in strands: tasks that take some rows through all layers.

A small network's products are too small to be divided, and handing each layer's values from core to
core costs as much as computing them. Where no layer looks at other samples, the whole step is
emitted once for each of a few runs of rows, as strands (kernels/program.py) that leave a gradient
each; their sum and the update follow. Numbers: docs/design/011-strands.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import ClassVar

from fastbp._arena import ALIGNMENT, address_of, allocate
from fastbp._program import Operand
from fastbp._tuning import STRANDS
from fastbp.emit.reduce import emit_column_sums
from fastbp.layers import Affine, Layer
from fastbp.planner import Plan


def strand_count(plan: Plan) -> int:
    """How many strands a training batch is divided into, by its size alone; 1: none."""
    steps = plan.network.steps
    layers = [step.layer for step in steps if step.layer is not None]
    if any(plan.sparse) or not all(layer.row_local for layer in layers):
        return 1
    weights = sum(layer.in_features * layer.out_features for layer in layers
                  if isinstance(layer, Affine))
    flops, values = 6 * plan.rows * weights, plan.rows * sum(step.size for step in steps)
    if flops < STRANDS.least_flops:
        return 1
    # What strands save is moving values between cores; what they cost is gradients to add up.
    count = min(flops // STRANDS.task_flops, plan.rows // STRANDS.least_rows,
                (4 * values + weights) // (4 * weights), STRANDS.most) // 2 * 2
    return -(-plan.rows // -(-plan.rows // count)) if count else 1


class Strands:
    """All strands of a training plan, and their gradients."""

    def __init__(self, plan: Plan, count: int) -> None:
        self.plan, self.count = plan, count
        self.size = -(-plan.rows // count)
        # What a strand leaves of the parameters' gradients: a row as long as their arena, whose
        # padding is 0, since norms run over it.
        size = plan.network.layout.size
        self.gradients = plan.program.keep(allocate(count * size, plan.dtype)).reshape(count, size)

    def each(self, *, overlap: bool = False) -> Iterator[Plan]:
        """Each strand in turn, to emit into; the plan keeps them as its parts.

        overlap: they read nothing of what the instruction before them writes.
        """
        with self.plan.program.strands(self.count, overlap=overlap) as numbers:
            self.plan.parts = [Strand(self, number) for number in range(self.count)]
            for number in numbers:
                strand = self.plan.parts[number]
                yield strand
                self.plan.read_by([source for sources in strand.sources for source in sources])

    def emit_update(self, emit_losses: Callable[[], None]) -> None:
        """Behind the strands: the sums of their gradients, and the optimizer's step.

        emit_losses: emits the batch's loss, which may halt the run.
        """
        plan, item = self.plan, self.plan.dtype.itemsize
        sums, size = address_of(plan.network.gradient_values), plan.network.layout.size
        clips = plan.update is not None and plan.update.clip_norm is not None
        tasks = max(1, min(self.gradients.size // STRANDS.update_task, STRANDS.most) // 2 * 2)
        block = -(-size // tasks // ALIGNMENT) * ALIGNMENT
        with plan.program.strands(-(-size // block)) as numbers:
            for number in numbers:
                # Each finds out for itself whether the run halts, instead of waiting for one.
                emit_losses()
                begin, end = number * block, min(size, (number + 1) * block)
                parts = Operand(address_of(self.gradients) + begin * item, self.count, end - begin,
                                size)
                emit_column_sums(plan.program, sums + begin * item, parts)
                if not clips:
                    plan.emit_update_of(begin, end)
        if clips:
            plan.emit_update()


class Strand(Plan):
    """A plan for some rows of another's batch, in its program, with gradients of its own."""

    # What is fetched ahead of a matrix's end must not be what another core is writing.
    rows_apart: ClassVar[int] = 16

    def __init__(self, strands: Strands, number: int) -> None:
        plan, first = strands.plan, number * strands.size
        super().__init__(plan.network, min(strands.size, plan.rows - first), training=True,
                         program=plan.program, wiring=plan.wiring, room=plan.room)
        self.first_row, self.batch = first, plan.rows
        self._plan = plan
        # From a gradient of the network to this strand's part of it, in bytes.
        self._shift = (address_of(strands.gradients) - address_of(plan.network.gradient_values)
                       + number * strands.gradients.strides[0])

    @property
    def step_cell(self) -> int:
        """As in `Plan.step_cell`."""
        return self._plan.step_cell

    def gradient_address(self, layer: Layer, name: str) -> int:
        """Where this strand's part of a parameter's gradient belongs."""
        return super().gradient_address(layer, name) + self._shift

    def weight_target(self, layer: Layer, name: str) -> Operand:
        """The same of a weight, as a matrix."""
        return super().weight_target(layer, name).shifted(self._shift)
