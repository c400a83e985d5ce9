"""The largest column of each row as an instruction."""

from __future__ import annotations

from fastbp._program import Operand, Program
from fastbp.emit.reduce import BLOCK, contiguous
from fastbp.kernels.largest import LARGEST


def emit_largest(program: Program, out: int, x: Operand, *, overlap: bool = False) -> int:
    """int64 `out` (rows,) at an address = the first largest column of each row of x.

    Returns the instruction's row number.
    """
    contiguous("x", x)
    block_rows = max(1, BLOCK // max(1, x.cols) // 4)
    return program.emit(LARGEST, tasks=-(-x.rows // block_rows), overlap=overlap, out=out,
                        x=x.address, x_step=x.row_step, rows=x.rows, cols=x.cols,
                        block_rows=block_rows)
