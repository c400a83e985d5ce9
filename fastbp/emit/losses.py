"""Losses as instructions: `emit_<loss>(program, dx, x, target, losses, ...)`.

dx receives the gradient, with 1/N in it; losses: address of float64, of which element s receives
the mean loss of step s of a run. weights: address of one weight per row in the program's dtype, or
0. Labels are not checked.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from fastbp._program import Operand, Program
from fastbp.emit.reduce import BLOCK, blocks, contiguous
from fastbp.kernels.losses import (
    ABSOLUTE,
    ELEMENT_LOSS,
    HINGE,
    HUBER,
    LOGISTIC,
    LOSS_FACTOR,
    MERGE_LOSS,
    POISSON,
    QUANTILE,
    SQUARED,
)
from fastbp.kernels.reduce import SQUARED_NORM
from fastbp.kernels.softmax import LABELS, PROBABILITIES, SOFTMAX, SOFTMAX_CROSS_ENTROPY


@dataclass(frozen=True)
class Reduction:
    """How the losses of a batch become one number, where that is not their mean.

    gradient, value: what multiplies the gradient and the reported loss: the number of columns
    makes sums over an element loss's columns of what are means. denominator: divides in place of
    the sum of the weights (of the number of rows) where it is not 0.
    """

    gradient: float = 1.0
    value: float = 1.0
    denominator: float = 0.0


MEAN = Reduction()


@dataclass(frozen=True)
class Penalty:
    """A squared norm in parts, whose multiple is added to the reported loss.

    partials: address of `count` float64. The norm is multiplied by `factor` and by the last column
    of the step's row of `rates` (kernels/update.py).
    """

    partials: int
    count: int
    rates: int
    factor: float


class Tally:
    """The parts of one batch's loss that strands leave behind; `emit_tally` adds them up.

    A loss that is given one writes its parts there and does not merge them. rows, cols: of the
    whole batch.
    """

    def __init__(self, program: Program, rows: int, cols: int) -> None:
        self.rows, self.count, self.factor = rows, 0, 0.0
        # No task has less than a row, or BLOCK of a row's columns.
        self.most = rows * -(-cols // BLOCK)
        self.partials = program.workspace(self.most, "float64")

    def take(self, count: int) -> int:
        """Address of the next `count` parts."""
        self.count += count
        if self.count > self.most:
            raise ValueError(f"{self.count} parts of a loss in a tally of {self.most}")
        return self.partials + 8 * (self.count - count)


def emit_tally(program: Program, losses: int, tally: Tally, reduction: Reduction = MEAN,
               penalty: Penalty | None = None) -> None:
    """What a loss emits at its end: the parts' sum, in the order in which they were taken."""
    parts = _Parts(tally.partials, tally.count, 0, tally.factor)
    _merge(program, losses, parts, reduction, penalty)


class _Parts(NamedTuple):
    """Where a loss's parts are, and what multiplies the slopes: a cell at an address, or a
    number.
    """

    partials: int
    tasks: int
    cell: int
    factor: float


def emit_penalty(program: Program, w: int, size: int, rates: int, factor: float, *,
                 overlap: bool = False) -> Penalty | None:
    """The penalty factor * decay * |w|^2 of `size` contiguous parameters at address w."""
    tasks = norm_tasks(size)
    if not tasks:
        return None
    partials = program.workspace(tasks, "float64")
    emit_norm(program, partials, w, size, overlap=overlap)
    return Penalty(partials, tasks, rates, factor)


def norm_tasks(size: int) -> int:
    """How many parts the squared norm of `size` numbers has."""
    return -(-size // BLOCK)


def emit_norm(program: Program, partials: int, w: int, size: int, *, overlap: bool = False) -> None:
    """The parts of the squared norm of `size` contiguous parameters at address w."""
    program.emit(SQUARED_NORM, tasks=norm_tasks(size), overlap=overlap, out=partials, x=w,
                 size=size, block=BLOCK)


def emit_softmax(program: Program, y: Operand, x: Operand, *, overlap: bool = False) -> None:
    """y = softmax of each row of x; y may be x."""
    _contiguous(y=y, x=x)
    if x.rows == 0 or x.cols == 0:
        return
    tasks, block_rows = _row_blocks(x)
    program.emit(SOFTMAX, tasks=tasks, overlap=overlap, y=y.address, y_step=y.row_step,
                 x=x.address, x_step=x.row_step, rows=x.rows, cols=x.cols, block_rows=block_rows)


def emit_softmax_cross_entropy(program: Program, dx: Operand, x: Operand, target: Operand | int,
                               losses: int, *, weights: int = 0, most: float = math.inf,
                               reduction: Reduction = MEAN, penalty: Penalty | None = None,
                               tally: Tally | None = None) -> None:
    """Mean over rows of -sum_j t_j log softmax(x)_j. target: address of int64 labels, or t itself.

    dx may not be x. most: what a row is reported with at most.
    """
    _contiguous(dx=dx, x=x)
    tasks, block_rows = _row_blocks(x)
    parts = _parts(program, tasks, weights, x.rows, 1, reduction, tally)
    scratch, scratch_step = program.scratch
    is_matrix = isinstance(target, Operand)
    program.emit(SOFTMAX_CROSS_ENTROPY, tasks=tasks, partials=parts.partials, dx=dx.address,
                 dx_step=dx.row_step, x=x.address, x_step=x.row_step,
                 target=target.address if isinstance(target, Operand) else target,
                 target_step=target.row_step if isinstance(target, Operand) else 0,
                 weights=weights, cell=parts.cell, rows=x.rows, cols=x.cols, block_rows=block_rows,
                 kind=PROBABILITIES if is_matrix else LABELS, scratch=scratch,
                 scratch_step=scratch_step, factor=parts.factor, most=most)
    if tally is None:
        _merge(program, losses, parts, reduction, penalty)


def emit_hinge(program: Program, dx: Operand, x: Operand, labels: int, losses: int, *,
               weights: int = 0, reduction: Reduction = MEAN, penalty: Penalty | None = None,
               tally: Tally | None = None) -> None:
    """Mean over rows of the multiclass hinge loss; labels: address of int64. dx may not be x."""
    _contiguous(dx=dx, x=x)
    tasks, block_rows = _row_blocks(x)
    parts = _parts(program, tasks, weights, x.rows, 1, reduction, tally)
    program.emit(HINGE, tasks=tasks, partials=parts.partials, dx=dx.address, dx_step=dx.row_step,
                 x=x.address, x_step=x.row_step, labels=labels, weights=weights,
                 cell=parts.cell, rows=x.rows, cols=x.cols, block_rows=block_rows,
                 factor=parts.factor)
    if tally is None:
        _merge(program, losses, parts, reduction, penalty)


def emit_sigmoid_cross_entropy(program: Program, dx: Operand, x: Operand, target: Operand,
                               losses: int, *, most: float = math.inf, weights: int = 0,
                               reduction: Reduction = MEAN, penalty: Penalty | None = None,
                               tally: Tally | None = None) -> None:
    """Mean over all elements of -t log sigmoid(x) - (1-t) log sigmoid(-x).

    most: what an element is reported with at most.
    """
    _emit_elementwise(program, LOGISTIC, dx, x, target, losses, weights, reduction, penalty, tally,
                      most)


def emit_mean_squared_error(program: Program, dx: Operand, x: Operand, target: Operand,
                            losses: int, *, weights: int = 0, reduction: Reduction = MEAN,
                            penalty: Penalty | None = None, tally: Tally | None = None) -> None:
    """Mean over all elements of (x - t)^2."""
    _emit_elementwise(program, SQUARED, dx, x, target, losses, weights, reduction, penalty, tally)


def emit_mean_absolute_error(program: Program, dx: Operand, x: Operand, target: Operand,
                             losses: int, *, weights: int = 0, reduction: Reduction = MEAN,
                             penalty: Penalty | None = None, tally: Tally | None = None) -> None:
    """Mean over all elements of |x - t|."""
    _emit_elementwise(program, ABSOLUTE, dx, x, target, losses, weights, reduction, penalty, tally)


def emit_huber(program: Program, dx: Operand, x: Operand, target: Operand, losses: int, *,
               delta: float = 1.0, weights: int = 0, reduction: Reduction = MEAN,
               penalty: Penalty | None = None, tally: Tally | None = None) -> None:
    """Mean over all elements of d^2/2 where |d| <= delta, else delta*(|d| - delta/2); d = x - t."""
    _emit_elementwise(program, HUBER, dx, x, target, losses, weights, reduction, penalty, tally,
                      delta)


def emit_poisson_deviance(program: Program, dx: Operand, x: Operand, target: Operand, losses: int,
                          *, weights: int = 0, reduction: Reduction = MEAN,
                          penalty: Penalty | None = None, tally: Tally | None = None) -> None:
    """Mean over all elements of e^x - t*x + t*log(t) - t; x: logarithms of the means."""
    _emit_elementwise(program, POISSON, dx, x, target, losses, weights, reduction, penalty, tally)


def emit_pinball(program: Program, dx: Operand, x: Operand, target: Operand, losses: int, *,
                 quantile: float = 0.5, weights: int = 0, reduction: Reduction = MEAN,
                 penalty: Penalty | None = None, tally: Tally | None = None) -> None:
    """Mean over all elements of quantile*(t - x) where t > x, (1 - quantile)*(x - t) elsewhere."""
    _emit_elementwise(program, QUANTILE, dx, x, target, losses, weights, reduction, penalty, tally,
                      quantile)


def _emit_elementwise(program: Program, kind: int, dx: Operand, x: Operand, target: Operand,
                      losses: int, weights: int, reduction: Reduction, penalty: Penalty | None,
                      tally: Tally | None, shape: float = 0.0) -> None:
    """A loss that is a mean over elements; as one long row where memory has no gaps."""
    _contiguous(dx=dx, x=x, target=target)
    rows, cols = x.rows, x.cols
    if not weights and all(m.row_step == cols for m in (dx, x, target)):
        rows, cols = 1, rows * cols
    tasks, block_rows, block_cols = blocks(rows, cols)
    parts = _parts(program, tasks, weights, x.rows, x.cols, reduction, tally)
    program.emit(ELEMENT_LOSS, tasks=tasks, partials=parts.partials, dx=dx.address,
                 dx_step=dx.row_step, x=x.address, x_step=x.row_step, target=target.address,
                 target_step=target.row_step, weights=weights, cell=parts.cell, rows=rows,
                 cols=cols, block_rows=block_rows, block_cols=block_cols, kind=kind,
                 factor=parts.factor, shape=shape)
    if tally is None:
        _merge(program, losses, parts, reduction, penalty)


def _parts(program: Program, tasks: int, weights: int, rows: int, cols: int, reduction: Reduction,
           tally: Tally | None) -> _Parts:
    """Where the tasks' losses go, and what multiplies the slopes.

    1/(cols * sum of the weights) in a cell, or 1/(cols * rows) as a number, each times the
    reduction's factor.
    """
    partials = program.workspace(tasks, "float64") if tally is None else tally.take(tasks)
    if not weights or reduction.denominator:
        total = (reduction.denominator or max(1, tally.rows if tally else rows)) * max(1, cols)
        parts = _Parts(partials, tasks, 0, reduction.gradient / total)
        if tally is not None:
            tally.factor = parts.factor
        return parts
    if tally is not None:
        raise ValueError("a weighted mean needs the sum of all weights before its first part")
    cell = program.workspace(1, "float64")
    program.emit(LOSS_FACTOR, cell=cell, weights=weights, count=rows,
                 scale=reduction.gradient / max(1, cols))
    return _Parts(partials, tasks, cell, 0.0)


def _merge(program: Program, losses: int, parts: _Parts, reduction: Reduction,
           penalty: Penalty | None) -> None:
    """The sum of the tasks' losses; the factor of the slopes is turned into that of the values."""
    value = (1.0 if parts.cell else parts.factor) * (reduction.value / reduction.gradient)
    norms = penalty or Penalty(0, 0, 0, 0.0)
    program.emit(MERGE_LOSS, losses=losses, partials=parts.partials, count=parts.tasks,
                 cell=parts.cell, norms=norms.partials, norm_count=norms.count, rates=norms.rates,
                 halted=program.halted_word if program.halts else 0, factor=value,
                 penalty=norms.factor)


def _row_blocks(x: Operand) -> tuple[int, int]:
    """(tasks, rows of a task) for work on whole rows."""
    block_rows = max(1, min(x.rows, BLOCK // max(1, x.cols)))
    return -(-x.rows // block_rows), block_rows


def _contiguous(**operands: Operand) -> None:
    for name, x in operands.items():
        contiguous(name, x)
