"""LayerNorm as instructions: blocks of rows, whose column sums are merged in order."""

from __future__ import annotations

from fastbp._arena import padded
from fastbp._program import Operand, Program
from fastbp.emit.reduce import (
    BLOCK,
    LEAST_ROWS,
    column_blocks,
    contiguous,
    emit_column_sums,
    emit_fill,
    streams,
)
from fastbp.kernels import layernorm


def emit_layernorm_forward(program: Program, y: Operand, x: Operand, *, gamma: int, beta: int,
                           mean: int, rstd: int, eps: float = 1e-5, overlap: bool = False) -> None:
    """y = gamma*(x - mean)*rstd + beta along the rows of x; y may be x.

    gamma, beta: addresses of (cols,) vectors; mean, rstd: of (rows,) vectors, written.
    """
    contiguous("y", y)
    contiguous("x", x)
    if x.rows == 0 or x.cols == 0:
        return
    block_rows = max(1, BLOCK // x.cols)
    program.emit(layernorm.LAYERNORM, tasks=-(-x.rows // block_rows), overlap=overlap,
                 y=y.address, y_step=y.row_step, x=x.address, x_step=x.row_step, mean=mean,
                 rstd=rstd, gamma=gamma, beta=beta, rows=x.rows, cols=x.cols,
                 block_rows=block_rows, stream=streams(program, y), eps=eps)


def emit_layernorm_backward(program: Program, dx: Operand, dy: Operand, x: Operand, *, dgamma: int,
                            dbeta: int, mean: int, rstd: int, gamma: int) -> None:
    """dx, dgamma (cols,) and dbeta (cols,) from dy and what the forward pass saved.

    dx may be dy or x.
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
    block_rows = max(LEAST_ROWS, column_blocks(rows, cols)[2]["block_rows"])
    tasks = -(-rows // block_rows)
    step = padded(cols, program.dtype)
    partials = program.workspace(2 * tasks * step)
    program.emit(layernorm.LAYERNORM_BACKWARD, tasks=tasks, dx=dx.address, dx_step=dx.row_step,
                 partials=partials, step=step, dy=dy.address, dy_step=dy.row_step, x=x.address,
                 x_step=x.row_step, mean=mean, rstd=rstd, gamma=gamma, rows=rows, cols=cols,
                 block_rows=block_rows, stream=streams(program, dx))
    second = partials + step * program.dtype.itemsize
    emit_column_sums(program, dgamma, Operand(partials, tasks, cols, 2 * step))
    emit_column_sums(program, dbeta, Operand(second, tasks, cols, 2 * step), overlap=True)
