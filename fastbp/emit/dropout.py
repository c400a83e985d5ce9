"""Dropout as an instruction; forward and backward draw the same mask."""

from __future__ import annotations

from fastbp._program import Operand, Program
from fastbp.emit.reduce import blocks, contiguous
from fastbp.kernels.dropout import DROPOUT


def emit_dropout_forward(program: Program, y: Operand, x: Operand, rate: float, *, seed: int,
                         layer: int, base_step: int, first_row: int = 0,
                         overlap: bool = False) -> None:
    """y = x * mask / (1 - rate); y may be x.

    base_step: address of an int64, the number of the run's first step: step s of a run has the
    mask of (seed, base_step + s, layer). 0 <= rate < 1. first_row: where x begins in the
    larger matrix that has the mask.
    """
    contiguous("y", y)
    contiguous("x", x)
    if x.rows == 0 or x.cols == 0:
        return
    tasks, block_rows, block_cols = blocks(x.rows, x.cols)
    program.emit(DROPOUT, tasks=tasks, overlap=overlap, y=y.address, y_step=y.row_step,
                 x=x.address, x_step=x.row_step, rows=x.rows, cols=x.cols, block_rows=block_rows,
                 block_cols=block_cols, seed=_signed(seed), layer=layer, base_step=base_step,
                 threshold=min(round(rate * 2**32), 2**32 - 1), first_row=first_row,
                 factor=1.0 / (1.0 - rate))


def emit_dropout_backward(program: Program, dx: Operand, dy: Operand, rate: float, *, seed: int,
                          layer: int, base_step: int, first_row: int = 0,
                          overlap: bool = False) -> None:
    """dx = dy * mask / (1 - rate), with the mask of the forward pass; dx may be dy."""
    emit_dropout_forward(program, dx, dy, rate, seed=seed, layer=layer, base_step=base_step,
                         first_row=first_row, overlap=overlap)


def _signed(seed: int) -> int:
    """The lower 64 bits of a seed as a word holds them."""
    seed &= 2**64 - 1
    return seed - 2**64 if seed >= 2**63 else seed
