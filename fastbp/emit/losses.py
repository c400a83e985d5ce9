"""Losses as instructions: `emit_<loss>(program, dx, x, target, losses, ...)`.

dx receives the gradient, with 1/N in it; losses: address of float64, of which element s receives
the mean loss of step s of a run. weights: address of one weight per row in the program's dtype, or
0. Labels are not checked.
"""

from __future__ import annotations

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
    SQUARED,
)
from fastbp.kernels.softmax import LABELS, PROBABILITIES, SOFTMAX, SOFTMAX_CROSS_ENTROPY


def emit_softmax(program: Program, y: Operand, x: Operand, *, overlap: bool = False) -> None:
    """y = softmax of each row of x; y may be x."""
    _contiguous(y=y, x=x)
    if x.rows == 0 or x.cols == 0:
        return
    tasks, block_rows = _row_blocks(x)
    program.emit(SOFTMAX, tasks=tasks, overlap=overlap, y=y.address, y_step=y.row_step,
                 x=x.address, x_step=x.row_step, rows=x.rows, cols=x.cols, block_rows=block_rows)


def emit_softmax_cross_entropy(program: Program, dx: Operand, x: Operand, target: Operand | int,
                               losses: int, *, weights: int = 0) -> None:
    """Mean over rows of -sum_j t_j log softmax(x)_j. target: address of int64 labels, or t itself.

    dx may not be x.
    """
    _contiguous(dx=dx, x=x)
    tasks, block_rows = _row_blocks(x)
    cell, factor = _factor(program, weights, x.rows, 1)
    partials = program.workspace(tasks, "float64")
    scratch, scratch_step = program.scratch
    is_matrix = isinstance(target, Operand)
    program.emit(SOFTMAX_CROSS_ENTROPY, tasks=tasks, partials=partials, dx=dx.address,
                 dx_step=dx.row_step, x=x.address, x_step=x.row_step,
                 target=target.address if isinstance(target, Operand) else target,
                 target_step=target.row_step if isinstance(target, Operand) else 0,
                 weights=weights, cell=cell, rows=x.rows, cols=x.cols, block_rows=block_rows,
                 kind=PROBABILITIES if is_matrix else LABELS, scratch=scratch,
                 scratch_step=scratch_step, factor=factor)
    _merge(program, losses, partials, tasks, cell, factor)


def emit_hinge(program: Program, dx: Operand, x: Operand, labels: int, losses: int, *,
               weights: int = 0) -> None:
    """Mean over rows of the multiclass hinge loss; labels: address of int64. dx may not be x."""
    _contiguous(dx=dx, x=x)
    tasks, block_rows = _row_blocks(x)
    cell, factor = _factor(program, weights, x.rows, 1)
    partials = program.workspace(tasks, "float64")
    program.emit(HINGE, tasks=tasks, partials=partials, dx=dx.address, dx_step=dx.row_step,
                 x=x.address, x_step=x.row_step, labels=labels, weights=weights, cell=cell,
                 rows=x.rows, cols=x.cols, block_rows=block_rows, factor=factor)
    _merge(program, losses, partials, tasks, cell, factor)


def emit_sigmoid_cross_entropy(program: Program, dx: Operand, x: Operand, target: Operand,
                               losses: int, *, weights: int = 0) -> None:
    """Mean over all elements of -t log sigmoid(x) - (1-t) log sigmoid(-x)."""
    _emit_elementwise(program, LOGISTIC, dx, x, target, losses, weights)


def emit_mean_squared_error(program: Program, dx: Operand, x: Operand, target: Operand,
                            losses: int, *, weights: int = 0) -> None:
    """Mean over all elements of (x - t)^2."""
    _emit_elementwise(program, SQUARED, dx, x, target, losses, weights)


def emit_mean_absolute_error(program: Program, dx: Operand, x: Operand, target: Operand,
                             losses: int, *, weights: int = 0) -> None:
    """Mean over all elements of |x - t|."""
    _emit_elementwise(program, ABSOLUTE, dx, x, target, losses, weights)


def emit_huber(program: Program, dx: Operand, x: Operand, target: Operand, losses: int, *,
               delta: float = 1.0, weights: int = 0) -> None:
    """Mean over all elements of d^2/2 where |d| <= delta, else delta*(|d| - delta/2); d = x - t."""
    _emit_elementwise(program, HUBER, dx, x, target, losses, weights, delta)


def _emit_elementwise(program: Program, kind: int, dx: Operand, x: Operand, target: Operand,
                      losses: int, weights: int, delta: float = 0.0) -> None:
    """A loss that is a mean over elements; as one long row where memory has no gaps."""
    _contiguous(dx=dx, x=x, target=target)
    cell, factor = _factor(program, weights, x.rows, x.cols)
    rows, cols = x.rows, x.cols
    if not weights and all(m.row_step == cols for m in (dx, x, target)):
        rows, cols = 1, rows * cols
    tasks, block_rows, block_cols = blocks(rows, cols)
    partials = program.workspace(tasks, "float64")
    program.emit(ELEMENT_LOSS, tasks=tasks, partials=partials, dx=dx.address, dx_step=dx.row_step,
                 x=x.address, x_step=x.row_step, target=target.address,
                 target_step=target.row_step, weights=weights, cell=cell, rows=rows, cols=cols,
                 block_rows=block_rows, block_cols=block_cols, kind=kind, factor=factor,
                 delta=delta)
    _merge(program, losses, partials, tasks, cell, factor)


def _factor(program: Program, weights: int, rows: int, cols: int) -> tuple[int, float]:
    """(cell, constant): 1/(cols * sum of the weights) in a cell, or 1/(cols * rows) as a number."""
    if not weights:
        return 0, 1.0 / max(1, rows * cols)
    cell = program.workspace(1, "float64")
    program.emit(LOSS_FACTOR, cell=cell, weights=weights, count=rows, scale=1.0 / max(1, cols))
    return cell, 0.0


def _merge(program: Program, losses: int, partials: int, count: int, cell: int,
           factor: float) -> None:
    program.emit(MERGE_LOSS, losses=losses, partials=partials, count=count, cell=cell,
                 halted=program.halted_word if program.halts else 0, factor=factor)


def _row_blocks(x: Operand) -> tuple[int, int]:
    """(tasks, rows of a task) for work on whole rows."""
    block_rows = max(1, min(x.rows, BLOCK // max(1, x.cols)))
    return -(-x.rows // block_rows), block_rows


def _contiguous(**operands: Operand) -> None:
    for name, x in operands.items():
        contiguous(name, x)
