"""The program of a training step: gather, forward, losses, backward, update."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastbp._arena import address_of, allocate
from fastbp._program import Operand
from fastbp.emit import losses as emit_losses
from fastbp.emit.reduce import emit_gather_labels, emit_gather_rows
from fastbp.kernels.reduce import GATHER_LABELS, GATHER_ROWS
from fastbp.losses import Loss
from fastbp.planner import KINDS, Plan
from fastbp.targets import Target


class TrainingPlan:
    """A plan with losses and, where it has an update, the optimizer's step.

    step_losses: (outputs, steps) float64; step s of a run leaves its losses in column s.
    """

    def __init__(self, plan: Plan, losses: Sequence[Loss], targets: Sequence[Target],
                 step_losses: np.ndarray) -> None:
        self.plan = plan
        self._step_losses = step_losses
        self._labels: list[np.ndarray] = []
        self._sources: list[tuple[Any, int, bool]] = []
        plan.emit_inputs()
        batches = [self._emit_target(t) for t in targets]
        plan.emit_forward()
        gradients: dict[int, Operand] = {}
        for number, loss in enumerate(losses):
            node = plan.network.output_steps[number]
            logits = plan.values[node]
            dlogits = plan.new(logits.cols)
            emit = getattr(emit_losses, f"emit_{loss.name}")
            emit(plan.program, dlogits, logits, batches[number],
                 address_of(step_losses[number]), **loss.settings)
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

    def set_batch(self, inputs: Sequence[np.ndarray], targets: Sequence[Target],
                  index: int = 0) -> None:
        """Where the next run takes its samples from, by the int64 index at an address (0: in
        order).

        It begins this thread's turn with the network, the run ends it. ConcurrencyError where
        another thread is at a step.
        """
        turn = self.plan.network.turn
        if not (turn.is_mine() or turn.take(False)):
            turn.ask()
        self.plan.set_inputs(inputs, index)
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
