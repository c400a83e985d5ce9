"""BatchNorm as instructions over blocks of the matrix."""

from __future__ import annotations

from typing import Any

from fastbp._arena import padded
from fastbp._program import Operand, Program
from fastbp.emit.reduce import (
    BLOCK,
    column_blocks,
    contiguous,
    emit_column_sums,
    emit_fill,
    streams,
)
from fastbp.kernels import batchnorm


def _partials(program: Program, groups: int, cols: int, first: int, second: int
              ) -> tuple[int, int, int]:
    """Addresses and row step of two (groups, cols) matrices; of one group, the results."""
    step = padded(cols, program.dtype)
    if groups == 1:
        return first, second, step
    block = program.workspace(2 * groups * step)
    return block, block + groups * step * program.dtype.itemsize, step


def emit_batchnorm_forward(program: Program, y: Operand, x: Operand, *, gamma: int, beta: int,
                           mean: int, rstd: int, running_mean: int = 0, running_var: int = 0,
                           momentum: float = 0.9, eps: float = 1e-5, training: bool = True,
                           var: int = 0) -> None:
    """y = gamma*(x - mean)*rstd + beta over the columns of x; y may be x.

    gamma, beta, mean, rstd and the running statistics are addresses of (cols,) vectors; mean and
    rstd are written (for the backward pass). training: statistics of the batch, which go into the
    running ones (addresses 0: there are none); else the running ones, which must exist. var: of a
    vector for the batch's variance, for an `emit_track` later; 0: none.
    """
    contiguous("y", y)
    contiguous("x", x)
    rows, cols = x.rows, x.cols
    if rows == 0 or cols == 0:
        return
    tasks, groups, blocks = column_blocks(rows, cols)
    means, m2s, step = _partials(program, groups, cols, mean, rstd)
    if training:
        program.emit(batchnorm.BATCHNORM_MOMENTS, tasks=tasks, mean=means, m2=m2s, step=step,
                     x=x.address, x_step=x.row_step, **blocks)
    tracks = emit_finish(program, mean=mean, rstd=rstd, var=var, running_mean=running_mean,
                         running_var=running_var, means=means, m2s=m2s, step=step, groups=groups,
                         rows=rows, cols=cols, block_rows=blocks["block_rows"], momentum=momentum,
                         eps=eps, training=training)
    program.emit(batchnorm.BATCHNORM_NORMALIZE, tasks=tasks, overlap=tracks, y=y.address,
                 y_step=y.row_step, x=x.address, x_step=x.row_step, mean=mean, rstd=rstd,
                 gamma=gamma, beta=beta, blocks=tasks, stream=streams(program, y), **blocks)


def emit_finish(program: Program, *, mean: int, rstd: int, var: int, running_mean: int,
                running_var: int, means: int, m2s: int, step: int, groups: int, rows: int,
                cols: int, block_rows: int, momentum: float, eps: float, training: bool) -> bool:
    """mean, rstd and var of `rows` rows from the moments of `groups` blocks of block_rows of them.

    As in `emit_batchnorm_forward`. True where what is emitted next may overlap with the last
    instruction.
    """
    tracks = training and running_mean != 0
    if tracks and not var:
        var = program.workspace(cols)
    block_cols = padded(max(1, BLOCK // groups), program.dtype)
    program.emit(batchnorm.BATCHNORM_FINISH, tasks=-(-cols // block_cols), mean=mean, rstd=rstd,
                 var=var, running_mean=running_mean, running_var=running_var, means=means, m2s=m2s,
                 step=step, groups=groups if training else 0, rows=rows, cols=cols,
                 block_rows=block_rows, block_cols=block_cols, eps=eps)
    if tracks:
        emit_track(program, running_mean, running_var, mean, var, cols, momentum)
    return tracks


def emit_track(program: Program, running_mean: int, running_var: int, mean: int, var: int,
               cols: int, momentum: float, *, overlap: bool = False) -> None:
    """running = momentum*running + (1 - momentum)*batch; addresses of (cols,) vectors."""
    program.emit(batchnorm.BATCHNORM_TRACK, tasks=-(-cols // BLOCK), overlap=overlap,
                 running_mean=running_mean, running_var=running_var, mean=mean, var=var, cols=cols,
                 block_cols=BLOCK, momentum=momentum)


def emit_batchnorm_backward(program: Program, dx: Operand, dy: Operand, x: Operand, *, dgamma: int,
                            dbeta: int, mean: int, rstd: int, gamma: int,
                            training: bool = True) -> None:
    """dx, dgamma (cols,) and dbeta (cols,) from dy and what the forward pass saved.

    dx may be dy or x. training as in the forward pass.
    """
    for name, operand in (("dx", dx), ("dy", dy), ("x", x)):
        contiguous(name, operand)
    rows, cols = x.rows, x.cols
    if cols == 0:
        return
    if rows == 0:
        emit_fill(program, Operand(dgamma, 1, cols, cols), 0.0)
        emit_fill(program, Operand(dbeta, 1, cols, cols), 0.0, overlap=True)
        return
    tasks, groups, blocks = column_blocks(rows, cols)
    first, second, step = _partials(program, groups, cols, dgamma, dbeta)
    shared: dict[str, Any] = {"dy": dy.address, "dy_step": dy.row_step, "x": x.address,
                              "x_step": x.row_step, "mean": mean, "rstd": rstd, **blocks}
    program.emit(batchnorm.BATCHNORM_SUMS, tasks=tasks, dgamma=first, dbeta=second, step=step,
                 **shared)
    if groups > 1:
        emit_column_sums(program, dgamma, Operand(first, groups, cols, step))
        emit_column_sums(program, dbeta, Operand(second, groups, cols, step), overlap=True)
    program.emit(batchnorm.BATCHNORM_DX, tasks=tasks, dx=dx.address, dx_step=dx.row_step,
                 gamma=gamma, dgamma=dgamma, dbeta=dbeta, blocks=tasks,
                 stream=streams(program, dx), training=int(training), **shared)
