"""Activations as instructions."""

from __future__ import annotations

from fastbp._program import Operand, Program
from fastbp.emit.reduce import blocks, contiguous
from fastbp.kernels.activations import ACTIVATE, ACTIVATION_GRADIENT


def emit_activation_forward(program: Program, y: Operand, z: Operand, kind: int,
                            slope: float = 0.0, *, overlap: bool = False) -> None:
    """y = f(z), elementwise; y may be z. kind: see kernels/activations.py."""
    for name, x in (("y", y), ("z", z)):
        contiguous(name, x)
    if y.rows == 0 or y.cols == 0:
        return
    (y, z), rows, cols = _flat(y, z)
    tasks, block_rows, block_cols = blocks(rows, cols)
    program.emit(ACTIVATE, tasks=tasks, overlap=overlap, y=y.address, y_step=y.row_step,
                 z=z.address, z_step=z.row_step, rows=rows, cols=cols, block_rows=block_rows,
                 block_cols=block_cols, kind=kind, slope=slope)


def emit_activation_backward(program: Program, dz: Operand, dy: Operand, saved: Operand, kind: int,
                             slope: float = 0.0, *, overlap: bool = False) -> None:
    """dz = dy * f'(z), elementwise; dz may be dy. saved: z for FROM_INPUT kinds, else y."""
    for name, x in (("dz", dz), ("dy", dy), ("saved", saved)):
        contiguous(name, x)
    if dz.rows == 0 or dz.cols == 0:
        return
    (dz, dy, saved), rows, cols = _flat(dz, dy, saved)
    tasks, block_rows, block_cols = blocks(rows, cols)
    program.emit(ACTIVATION_GRADIENT, tasks=tasks, overlap=overlap, dz=dz.address,
                 dz_step=dz.row_step, dy=dy.address, dy_step=dy.row_step, saved=saved.address,
                 saved_step=saved.row_step, rows=rows, cols=cols, block_rows=block_rows,
                 block_cols=block_cols, kind=kind, slope=slope)


def _flat(*operands: Operand) -> tuple[tuple[Operand, ...], int, int]:
    """The operands as one row each where none has gaps: long rows have no remainders."""
    rows, cols = operands[0].rows, operands[0].cols
    if all(x.row_step == cols or rows == 1 for x in operands):
        rows, cols = 1, rows * cols
    return operands, rows, cols
