"""The row by row part of a step in strands: tasks that take some rows through all layers.

A small network's products are too small to be divided, and handing each layer's values from core to
core costs as much as computing them. Where no layer looks at other samples, the whole step is
emitted once for each of a few runs of rows, as strands (kernels/program.py) that leave a gradient
each; their sum and the update follow. Numbers: docs/design/011-strands.md.
"""

from __future__ import annotations

from collections.abc import Iterator

from fastbp._arena import ALIGNMENT, address_of, allocate
from fastbp._program import Operand
from fastbp._tuning import STRANDS
from fastbp.emit.affine import as_factor
from fastbp.emit.gemm import prepare_columns
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
    values = plan.rows * sum(step.size for step in steps)
    # What strands save is moving values between cores; what they cost is gradients to add up.
    count = min(6 * plan.rows * weights // STRANDS.task_flops, plan.rows // STRANDS.least_rows,
                (4 * values + weights) // (4 * max(1, weights)), STRANDS.most) // 2 * 2
    return -(-plan.rows // -(-plan.rows // count)) if count else 1


class Strands:
    """All strands of a training plan: matrices of which each has its rows, and their gradients."""

    def __init__(self, plan: Plan, count: int) -> None:
        self.plan, self.count = plan, count
        self.size = -(-plan.rows // count)
        # What a strand leaves of the parameters' gradients: a row as long as their arena.
        size = plan.network.layout.size
        self.gradients = plan.program.keep(allocate(count * size, plan.dtype)).reshape(count, size)
        self._matrices: list[Operand] = []

    def each(self) -> Iterator[Strand]:
        """Each strand in turn, to emit into; behind them the plan knows the whole values."""
        self._prepare_weights()
        with self.plan.program.strands(self.count) as numbers:
            for number in numbers:
                strand = Strand(self, number)
                yield strand
                self.plan.read_by([source for sources in strand.sources for source in sources])
                if number == 0:
                    first = strand
        # A matrix begins where its first rows do.
        whole = {matrix.address: matrix for matrix in self._matrices}
        self.plan.values = {node: whole[part.address] for node, part in first.values.items()}

    def matrix(self, number: int, cols: int) -> Operand:
        """The matrix, all rows of it, that each strand asks for as its `number`-th."""
        if number == len(self._matrices):
            self._matrices.append(self.plan.new(cols))
        return self._matrices[number]

    def _prepare_weights(self) -> None:
        """Pack what each strand would pack for itself."""
        plan, overlap = self.plan, False
        for node, step in enumerate(plan.network.steps):
            if isinstance(step.layer, Affine):
                factors = [as_factor(plan.operand(step.layer, "w"), step.layer.layout)]
                if plan.needs_gradient(plan.source_of(node)):
                    factors.append(factors[0].transposed)
                for factor in factors:
                    overlap |= prepare_columns(plan.program, factor, self.size, overlap=overlap)

    def emit_update(self) -> None:
        """Behind the strands: the sums of their gradients, and the optimizer's step."""
        plan, item = self.plan, self.plan.dtype.itemsize
        sums, size = address_of(plan.network.gradient_values), plan.network.layout.size
        clips = plan.update is not None and plan.update.clip_norm is not None
        tasks = max(1, min(self.gradients.size // STRANDS.update_task, STRANDS.most) // 2 * 2)
        block = -(-size // tasks // ALIGNMENT) * ALIGNMENT
        with plan.program.strands(-(-size // block)) as numbers:
            for number in numbers:
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

    def __init__(self, strands: Strands, number: int) -> None:
        plan, first = strands.plan, number * strands.size
        super().__init__(plan.network, min(strands.size, plan.rows - first), training=True,
                         program=plan.program)
        self.first_row, self.batch = first, plan.rows
        self._strands, self._matrix_count = strands, 0
        self._gradient_views = self.network.layout.views(strands.gradients[number])

    @property
    def step_cell(self) -> int:
        """As in `Plan.step_cell`."""
        return self._strands.plan.step_cell

    def new(self, cols: int) -> Operand:
        """This strand's rows of the next matrix."""
        whole = self._strands.matrix(self._matrix_count, cols)
        self._matrix_count += 1
        rows = slice(self.first_row, self.first_row + self.rows)
        return whole.part(self.dtype, rows, slice(0, cols))

    def new_vector(self, size: int) -> int:
        """As in `Plan.new_vector`; whoever divided the batch keeps it."""
        return self._strands.plan.new_vector(size)

    def gradient_address(self, layer: Layer, name: str) -> int:
        """Where this strand's part of a parameter's gradient belongs."""
        return address_of(self._gradient_views[f"{layer.name}.{name}"])

    def weight_target(self, layer: Layer, name: str) -> Operand:
        """The same of a weight, as a matrix."""
        return self.network.operand(self._gradient_views[f"{layer.name}.{name}"])
