"""The program of a training step: gather, forward, losses, backward, update."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from fastbp._arena import address_of
from fastbp._program import Operand
from fastbp.emit import losses as emit_losses
from fastbp.emit.losses import MEAN, Penalty, Reduction, Tally, emit_tally
from fastbp.emit.reduce import Source, emit_gather_labels, emit_gather_rows
from fastbp.kernels._instruction import Instruction
from fastbp.kernels.reduce import GATHER_LABELS, GATHER_ROWS
from fastbp.losses import Loss
from fastbp.planner import KINDS, Plan
from fastbp.sections import Sections, make_homes, section_count
from fastbp.strands import Strands, strand_count
from fastbp.targets import Target


class TrainingPlan:
    """A plan with losses and, where it has an update, the optimizer's step.

    step_losses: (outputs, steps) float64; step s of a run leaves its losses in column s.
    weighted: `set_batch` also says where a weight for each sample is.
    reduction: how a batch's losses become one number and one gradient.
    penalty: this times the weights' decay of the step (the last column of the update's rates)
    times the squared norm of the weights before the step joins the first output's loss.
    long_runs: the plan is worth being cut into sections. beside: a plan of the same fit for batches
    of another size; where that one has sections, so has this one, with the same homes.
    """

    def __init__(self, plan: Plan, losses: Sequence[Loss], targets: Sequence[Target],
                 step_losses: np.ndarray, *, weighted: bool = False,
                 reduction: Reduction = MEAN, penalty: float = 0.0,
                 long_runs: bool = False, beside: TrainingPlan | None = None) -> None:
        self.plan = plan
        self._losses, self._targets, self._step_losses = losses, targets, step_losses
        self._labels: list[np.ndarray] = []
        self._sources: list[list[Source]] = [[] for _ in targets]
        homes = beside and beside.plan.homes
        if long_runs and (count := section_count(plan)) > 1:
            homes = make_homes(plan, count)
        sections = homes and Sections(plan, homes)
        self._weights = self._emit_weights() if weighted else 0
        self._reduction = reduction
        self._norms = sections.penalty(penalty) if sections else self._emit_penalty(penalty)
        strands = strand_count(plan)
        # The mean's weights would have to be known before.
        if sections:
            self._emit_sections(sections)
        elif strands == 1 or (weighted and not reduction.denominator):
            self._emit_batch(plan)
            plan.emit_update()
        else:
            self._emit_strands(strands)
        self._is_labels = [target.is_labels for target in targets]

    def _emit_batch(self, plan: Plan, tallies: Sequence[Tally] = ()) -> None:
        """From the batch to all gradients, in a plan for all rows or for some."""
        plan.emit_inputs()
        batches = [self._emit_target(plan, number) for number in range(len(self._targets))]
        plan.emit_forward()
        gradients: dict[int, Operand] = {}
        for number, node in enumerate(plan.network.output_steps):
            gradients[node] = self._emit_loss(plan, number, plan.values[node], batches[number],
                                              tallies[number] if tallies else None)
        plan.emit_backward(gradients)

    def _emit_loss(self, plan: Plan, number: int, logits: Operand, batch: Operand | int,
                   tally: Tally | None = None) -> Operand:
        """The gradient of an output; its loss is emitted too."""
        loss, dlogits = self._losses[number], plan.new(logits.cols)
        emit = getattr(emit_losses, f"emit_{loss.name}")
        weights = self._weights and self._weights + plan.first_row * plan.dtype.itemsize
        emit(plan.program, dlogits, logits, batch, address_of(self._step_losses[number]),
             weights=weights, reduction=self._reduction,
             penalty=self._norms if number == 0 else None, tally=tally, **loss.settings)
        return dlogits

    def _emit_sections(self, sections: Sections) -> None:
        """The whole step in sections."""
        def emit_batch(part: Plan) -> Operand | int:
            part.emit_inputs()
            return self._emit_target(part, 0)

        def emit_loss(part: Plan, logits: Operand, batch: Operand | int) -> Operand:
            return self._emit_loss(part, 0, logits, batch)

        sections.emit(emit_batch, emit_loss, overlap=not self._weights)

    def _emit_strands(self, count: int) -> None:
        """The same in strands, then the update."""
        plan = self.plan
        tallies = [Tally(plan.program, plan.rows, plan.network.steps[node].size)
                   for node in plan.network.output_steps]
        strands = Strands(plan, count)
        # The weights' norm, which may stand before them, is for the update.
        for strand in strands.each(overlap=not self._weights):
            self._emit_batch(strand, tallies)

        def emit_losses() -> None:
            for number, tally in enumerate(tallies):
                emit_tally(plan.program, address_of(self._step_losses[number]), tally,
                           self._reduction, self._norms if number == 0 else None)

        strands.emit_update(emit_losses)

    def _emit_target(self, plan: Plan, number: int) -> Operand | int:
        """Where the batch's targets are: labels at an address, or a matrix."""
        target = self._targets[number]
        if target.is_labels:
            labels = plan.room.take(plan.rows, np.int64)
            self._labels.append(labels)
            emit_gather_labels(plan.program, address_of(labels), address_of(labels), plan.rows,
                               batch=plan.batch, overlap=True)
            place: Operand | int = address_of(labels)
        else:
            place = plan.new(target.array.shape[1])
            emit_gather_rows(plan.program, place, place, KINDS[plan.dtype], batch=plan.batch,
                             overlap=True)
        self._sources[number].append(
            Source(plan.program, plan.program.size - 1, plan.first_row))
        return place

    def _emit_weights(self) -> int:
        """Address of the batch's weights."""
        plan = self.plan
        weights = Operand(plan.new_vector(plan.rows), plan.rows, 1, 1)
        emit_gather_rows(plan.program, weights, weights, KINDS[plan.dtype], overlap=True)
        self._weight_source = plan.program, plan.program.size - 1
        return weights.address

    def _emit_penalty(self, factor: float) -> Penalty | None:
        """The squared norm of all weights that decay, taken while the batch is gathered."""
        plan, update = self.plan, self.plan.update
        if not factor or update is None:
            return None
        return emit_losses.emit_penalty(
            plan.program, address_of(plan.network.values), plan.network.decay_size,
            address_of(update.rates), factor, overlap=True)

    def set_batch(self, inputs: Sequence[np.ndarray], targets: Sequence[Target],
                  index: int = 0, weights: np.ndarray | None = None) -> None:
        """Where the next run takes its samples from, by the int64 index at an address (0: in
        order).

        It begins this thread's turn with the network, the run ends it. ConcurrencyError where
        another thread is at a step.
        weights: (N,) float32 or float64, in a plan that is `weighted`.
        """
        turn = self.plan.network.turn
        if not (turn.is_mine() or turn.take(False)):
            turn.ask()
        self.plan.set_inputs(inputs, index)
        if weights is not None:
            program, row = self._weight_source
            program.set(row, GATHER_ROWS, source=address_of(weights), index=index,
                        row_step=weights.strides[0] // weights.itemsize, col_step=1,
                        kind=KINDS[weights.dtype])
        self.plan.program.require_labels(0, 0, 0)  # `Target` has looked
        for sources, target in zip(self._sources, targets, strict=True):
            y = target.array
            for source in sources:
                if target.is_labels:
                    source.set(GATHER_LABELS, address_of(y), y.itemsize, index)
                else:
                    rows, cols = y.strides
                    source.set(GATHER_ROWS, address_of(y), rows, index, row_step=rows // y.itemsize,
                               col_step=cols // y.itemsize, kind=KINDS[y.dtype])

    def rebinder(self, inputs: Sequence[np.ndarray], targets: Sequence[Target]
                 ) -> Callable[[int, int], None] | None:
        """What `set_batch` has to do for other arrays of the same shapes, strides and dtypes.

        A function of the addresses of x and y, or None where a network has several of them or
        calls Python. Labels are then checked by the run itself.
        """
        if len(inputs) != 1 or len(targets) != 1 or not self.plan.is_compiled:
            return None
        program = self.plan.program
        words, is_labels = program.words(), self._is_labels[0]
        places_of_x = _places(self.plan.sources[0], GATHER_ROWS, inputs[0].strides[0])
        y = targets[0].array
        places_of_y = _places(self._sources[0], GATHER_LABELS if is_labels else GATHER_ROWS,
                              y.strides[0])
        count = self.plan.rows if is_labels else 0
        classes = self.plan.network.steps[self.plan.network.output_steps[0]].size

        turn = self.plan.network.turn
        is_mine, take, ask = turn.is_mine, turn.take, turn.ask

        def rebind(x: int, y: int) -> None:
            if not (is_mine() or take(False)):
                ask()
            for place, offset in places_of_x:
                words[place] = x + offset
            for place, offset in places_of_y:
                words[place] = y + offset
            program.require_labels(y, count, classes)

        return rebind


def _places(sources: Sequence[Source], instruction: Instruction, row_step: int
            ) -> list[tuple[int, int]]:
    """(word, bytes to add to the address of the batch) for consecutive rows."""
    return [(source.program.place(source.row, instruction, "source"), source.first_row * row_step)
            for source in sources]
