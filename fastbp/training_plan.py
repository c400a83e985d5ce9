"""The program of a training step: gather, forward, losses, backward, update."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastbp._arena import address_of, allocate
from fastbp._program import Operand
from fastbp.emit import losses as emit_losses
from fastbp.emit.losses import MEAN, Penalty, Reduction
from fastbp.emit.reduce import emit_gather_labels, emit_gather_rows
from fastbp.kernels.reduce import GATHER_LABELS, GATHER_ROWS
from fastbp.losses import Loss
from fastbp.planner import KINDS, Plan
from fastbp.targets import Target


class TrainingPlan:
    """A plan with losses and, where it has an update, the optimizer's step.

    step_losses: (outputs, steps) float64; step s of a run leaves its losses in column s.
    weighted: `set_batch` also says where a weight for each sample is.
    reduction: how a batch's losses become one number and one gradient.
    penalty: this times the weights' decay of the step (the last column of the update's rates)
    times the squared norm of the weights before the step joins the first output's loss.
    """

    def __init__(self, plan: Plan, losses: Sequence[Loss], targets: Sequence[Target],
                 step_losses: np.ndarray, *, weighted: bool = False,
                 reduction: Reduction = MEAN, penalty: float = 0.0) -> None:
        self.plan = plan
        self._step_losses = step_losses
        self._labels: list[np.ndarray] = []
        self._sources: list[tuple[Any, int, bool]] = []
        plan.emit_inputs()
        batches = [self._emit_target(t) for t in targets]
        weights = self._emit_weights() if weighted else 0
        norms = self._emit_penalty(penalty)
        plan.emit_forward()
        gradients: dict[int, Operand] = {}
        for number, loss in enumerate(losses):
            node = plan.network.output_steps[number]
            logits = plan.values[node]
            dlogits = plan.new(logits.cols)
            emit = getattr(emit_losses, f"emit_{loss.name}")
            emit(plan.program, dlogits, logits, batches[number],
                 address_of(step_losses[number]), weights=weights, reduction=reduction,
                 penalty=norms if number == 0 else None, **loss.settings)
            gradients[node] = dlogits
        plan.emit_backward(gradients)
        plan.emit_update()

    def _emit_target(self, target: Target) -> Operand | int:
        """Where the batch's targets are: labels at an address, or a matrix."""
        plan = self.plan
        if target.is_labels:
            labels = allocate(plan.rows, np.int64)
            self._labels.append(labels)
            emit_gather_labels(plan.program, address_of(labels), address_of(labels), plan.rows,
                               overlap=True)
            place: Operand | int = address_of(labels)
        else:
            place = plan.new(target.array.shape[1])
            emit_gather_rows(plan.program, place, place, KINDS[plan.dtype], overlap=True)
        self._sources.append((plan.program, plan.program.size - 1, target.is_labels))
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
        for (program, row, is_labels), target in zip(self._sources, targets, strict=True):
            y = target.array
            program.require_labels(0, 0, 0)  # `Target` has looked
            if is_labels:
                program.set(row, GATHER_LABELS, source=address_of(y), index=index)
            else:
                program.set(row, GATHER_ROWS, source=address_of(y), index=index,
                            row_step=y.strides[0] // y.itemsize,
                            col_step=y.strides[1] // y.itemsize, kind=KINDS[y.dtype])

    def rebinder(self, inputs: Sequence[np.ndarray], targets: Sequence[Target]
                 ) -> Callable[[int, int], None] | None:
        """What `set_batch` has to do for other arrays of the same shapes, strides and dtypes.

        A function of the addresses of x and y, or None where a network has several of them or
        calls Python. Labels are then checked by the run itself.
        """
        if len(inputs) != 1 or len(targets) != 1 or not self.plan.is_compiled:
            return None
        _, row_of_x = self.plan.sources[0]
        program, row_of_y, is_labels = self._sources[0]
        words = program.words()
        place_of_x = program.place(row_of_x, GATHER_ROWS, "source")
        place_of_y = program.place(row_of_y, GATHER_LABELS if is_labels else GATHER_ROWS, "source")
        count = self.plan.rows if is_labels else 0
        classes = self.plan.network.steps[self.plan.network.output_steps[0]].size

        turn = self.plan.network.turn
        is_mine, take, ask = turn.is_mine, turn.take, turn.ask

        def rebind(x: int, y: int) -> None:
            if not (is_mine() or take(False)):
                ask()
            words[place_of_x] = x
            words[place_of_y] = y
            program.require_labels(y, count, classes)

        return rebind
