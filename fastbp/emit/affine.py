"""The affine layer as instructions, in both weight layouts (docs/math.md#affine)."""

from __future__ import annotations

from fastbp._program import Operand, Program
from fastbp._tuning import GEMM_BLOCKS
from fastbp.emit.gemm import Finish, emit_gemm, grid, reads_a_copy
from fastbp.emit.reduce import emit_column_sums
from fastbp.kernels.activations import FROM_INPUT, IDENTITY, RELU
from fastbp.kernels.gemm import ACTIVATE, GRADIENT


def as_factor(w: Operand, layout: str) -> Operand:
    """W as the (D, C) factor of y = x W, whichever way it lies."""
    return w if layout == "column" else w.transposed


def emit_affine_forward(program: Program, y: Operand, x: Operand, w: Operand, bias: int, *,
                        layout: str, kind: int = IDENTITY, slope: float = 0.0,
                        z: Operand | None = None, overlap: bool = False,
                        w_stands: bool = False) -> None:
    """y = activation(x W + b). x (N, D), y (N, C); bias: address of (C,), or 0.

    z (N, C) receives x W + b where the backward pass needs it (FROM_INPUT kinds). w_stands: the
    instruction before does not write W.
    """
    factor = as_factor(w, layout)
    if kind == IDENTITY:
        emit_gemm(program, y, x, factor, bias=bias, overlap=overlap, b_stands=w_stands)
    elif kind == RELU:
        emit_gemm(program, y, x, factor, bias=bias, floor=0.0, overlap=overlap,
                  b_stands=w_stands)
    else:
        emit_gemm(program, z or y, x, factor, bias=bias, overlap=overlap, b_stands=w_stands,
                  finish=Finish(ACTIVATE, kind, slope, other=y))


class Producer:
    """What made the values whose gradient is wanted: an activation of an affine layer.

    kind, slope: the activation; saved: its y, or z for FROM_INPUT kinds.
    """

    def __init__(self, kind: int, slope: float, saved: Operand) -> None:
        self.kind, self.slope, self.saved = kind, slope, saved


def emit_affine_dx(program: Program, dx: Operand, dz: Operand, w: Operand, *, layout: str,
                   through: Producer | None = None, w_stands: bool = False) -> Operand | None:
    """dx = dz W^T; with `through`, the gradient before that activation, and its column sums.

    w_stands: the instruction before does not write W.
    Returns the partial column sums (rows to be added up), or None.
    """
    factor = as_factor(w, layout).transposed
    if through is None:
        emit_gemm(program, dx, dz, factor, b_stands=w_stands)
        return None
    rows = grid(dx.rows, dx.cols, dz.cols, program.dtype.itemsize).row_groups
    sums = Operand(program.workspace(rows * dx.cols), rows, dx.cols, dx.cols)
    emit_gemm(program, dx, dz, factor, b_stands=w_stands, finish=Finish(
        GRADIENT, through.kind, through.slope, other=through.saved, sums=sums.address))
    return sums


def emit_affine_dw(program: Program, dw: Operand, dz: Operand, x: Operand, *, layout: str,
                   finish: Finish | None = None, overlap: bool = False) -> None:
    """dW = x^T dz (column layout) or dz^T x (row layout), or what `finish` makes of it."""
    left, right = (x.transposed, dz) if layout == "column" else (dz.transposed, x)
    emit_gemm(program, dw, left, right, finish=finish, overlap=overlap)


def emit_affine_db(program: Program, db: int, dz: Operand, sums: Operand | None, *,
                   overlap: bool = False) -> None:
    """db = column sums of dz, from partial ones where there are any."""
    emit_column_sums(program, db, sums or dz, overlap=overlap)


def are_apart(program: Program, dz: Operand, w: Operand, *, layout: str, updates: bool) -> bool:
    """True where dx, dW and db may run `side_by_side`: one instruction each, behind packing.

    updates: dW's product changes W, which that of dx must then read from a copy.
    """
    factor = as_factor(w, layout)
    largest = max(dz.rows, factor.rows) * max(dz.cols, factor.rows)
    return largest <= GEMM_BLOCKS.packed_most and (
        not updates or reads_a_copy(dz.rows, factor.transposed, program.dtype.itemsize))


def needs_input(kind: int) -> bool:
    """True where the gradient of the activation is a function of z rather than y."""
    return kind in FROM_INPUT


