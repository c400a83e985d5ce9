"""Sums, norms and moves as instructions: how they are divided into tasks."""

from __future__ import annotations

from typing import Any, NamedTuple

from fastbp._arena import ALIGNMENT, padded
from fastbp._program import Operand, Program
from fastbp.kernels import reduce
from fastbp.kernels._instruction import Instruction

# Elements of a task: some 2-5 us of memory traffic, against 0.1 us to hand it out.
BLOCK = 1 << 14
# Work down the columns is divided into this many tasks where they are neither below BLOCK nor above
# 16 BLOCK elements.
TASKS = 16
# Rows of such a task at least (its row of partial sums is then 3 % of the traffic) ...
LEAST_ROWS = 32
# ... and columns at most. Tasks are wide: two cores that write strips of the same rows
# fetch each other's lines ahead (256 x 512: 65 us with blocks of 64 columns, 41 with whole rows).
MOST_COLS = 1 << 12
# Bytes of a result beyond which it is written past the caches: half the time on 64 MB.
STREAM_BYTES = 1 << 24


def blocks(rows: int, cols: int) -> tuple[int, int, int]:
    """(tasks, block_rows, block_cols) for elementwise work on a (rows, cols) matrix."""
    block_cols = max(1, min(cols, BLOCK))
    block_rows = max(1, min(rows, BLOCK // block_cols))
    return -(-rows // block_rows) * -(-cols // block_cols), block_rows, block_cols


def column_blocks(rows: int, cols: int) -> tuple[int, int, dict[str, Any]]:
    """For work down the columns: (tasks, groups of rows, words).

    words: rows, cols, block_rows and block_cols.
    """
    size = max(BLOCK, min(rows * cols // TASKS, 16 * BLOCK))
    block_cols = min(cols, MOST_COLS)
    block_rows = min(rows, max(LEAST_ROWS, size // block_cols))
    groups = -(-rows // block_rows)
    words = {"rows": rows, "cols": cols, "block_rows": block_rows, "block_cols": block_cols}
    return groups * -(-cols // block_cols), groups, words


def is_one_step(x: Operand) -> bool:
    """True where `emit_column_sums` of x is a single instruction."""
    return x.rows > 0 and column_blocks(x.rows, x.cols)[1] == 1


def emit_column_sums(program: Program, out: int, x: Operand, *, overlap: bool = False) -> None:
    """out (cols,) at an address = sums down the columns of x; partial rows are merged in order."""
    contiguous("x", x)
    if x.cols == 0:
        return
    if x.rows == 0:
        emit_fill(program, Operand(out, 1, x.cols, x.cols), 0.0, overlap=overlap)
        return
    tasks, groups, words = column_blocks(x.rows, x.cols)
    step = padded(x.cols, program.dtype)
    target = out if groups == 1 else program.workspace(groups * step)
    program.emit(reduce.COLUMN_SUMS, tasks=tasks, overlap=overlap, out=target, out_step=step,
                 x=x.address, x_step=x.row_step, **words)
    if groups > 1:
        emit_column_sums(program, out, Operand(target, groups, x.cols, step))


class Source(NamedTuple):
    """An instruction that takes rows of a batch from the caller's memory."""

    program: Program
    row: int
    first_row: int

    def set(self, instruction: Instruction, address: int, stride: int, index: int,
            **words: int) -> None:
        """Tell it where the batch is: rows at an address, stride bytes apart, or numbered by the
        int64 at the address `index`.
        """
        skipped = self.first_row * (8 if index else stride)
        self.program.set(self.row, instruction, source=address + (0 if index else skipped),
                         index=index and index + skipped, **words)


def emit_gather_rows(program: Program, out: Operand, source: Operand, kind: int, *, index: int = 0,
                     scale: float = 1.0, batch: int = 0, overlap: bool = False) -> None:
    """out = scale * rows of source, converted from `kind` (reduce.FLOAT32, FLOAT64, UINT8).

    Step s of a run takes rows index[s*batch + r], or s*batch + r where the address `index` is 0;
    batch: the number of rows of `out` unless told.
    """
    contiguous("out", out)
    if out.rows == 0 or out.cols == 0:
        return
    block_rows = max(1, min(out.rows, BLOCK // out.cols))
    program.emit(reduce.GATHER_ROWS, tasks=-(-out.rows // block_rows), overlap=overlap,
                 out=out.address, out_step=out.row_step, source=source.address,
                 row_step=source.row_step, col_step=source.col_step, index=index, rows=out.rows,
                 cols=out.cols, block_rows=block_rows, kind=kind, batch=batch or out.rows,
                 scale=scale)


def emit_gather_labels(program: Program, out: int, source: int, rows: int, *, source_step: int = 1,
                       index: int = 0, batch: int = 0, overlap: bool = False) -> None:
    """out (rows,) int64 at an address = labels of the rows that `emit_gather_rows` takes."""
    if rows:
        program.emit(reduce.GATHER_LABELS, overlap=overlap, out=out, source=source,
                     source_step=source_step, index=index, rows=rows, batch=batch or rows)


def emit_clip_scale(program: Program, cell: int, gradient: int, size: int, max_norm: float) -> None:
    """cell (2,) float64 at an address = min(1, max_norm/norm), norm of a contiguous vector."""
    tasks = max(1, -(-size // BLOCK))
    partials = program.workspace(tasks, "float64")
    program.emit(reduce.SQUARED_NORM, tasks=tasks, out=partials, x=gradient, size=size, block=BLOCK)
    program.emit(reduce.CLIP_SCALE, cell=cell, partials=partials, count=tasks, max_norm=max_norm)


def emit_add(program: Program, out: Operand, a: Operand, b: Operand, *, factor: float = 1.0,
             overlap: bool = False) -> None:
    """out = a + factor*b; out may be a or b."""
    _combine(program, reduce.ADD, out, a, b, factor, overlap)


def emit_scale(program: Program, out: Operand, x: Operand, factor: float, *,
               overlap: bool = False) -> None:
    """out = factor*x; out may be x."""
    _combine(program, reduce.SCALE, out, out, x, factor, overlap)


def emit_copy(program: Program, out: Operand, x: Operand, *, overlap: bool = False) -> None:
    """out = x, bit by bit."""
    _combine(program, reduce.COPY, out, out, x, 0.0, overlap)


def emit_fill(program: Program, out: Operand, value: float, *, overlap: bool = False) -> None:
    """out = value."""
    _combine(program, reduce.FILL, out, out, out, value, overlap)


def _combine(program: Program, kind: int, out: Operand, a: Operand, b: Operand, factor: float,
             overlap: bool) -> None:
    for name, x in (("out", out), ("a", a), ("b", b)):
        contiguous(name, x)
    tasks, block_rows, block_cols = blocks(out.rows, out.cols)
    if tasks:
        program.emit(reduce.COMBINE, tasks=tasks, overlap=overlap, kind=kind, out=out.address,
                     out_step=out.row_step, a=a.address, a_step=a.row_step, b=b.address,
                     b_step=b.row_step, rows=out.rows, cols=out.cols, block_rows=block_rows,
                     block_cols=block_cols, factor=factor)


def streams(program: Program, out: Operand) -> int:
    """1 where a result is large and its rows lie on cache lines: it may go past the caches."""
    step = out.row_step * program.dtype.itemsize
    large = out.rows * out.cols * program.dtype.itemsize >= STREAM_BYTES
    return int(large and step % ALIGNMENT == 0 and out.address % ALIGNMENT == 0)


def contiguous(name: str, x: Operand) -> None:
    """Refuse an operand whose columns are not next to each other."""
    if x.col_step != 1 and x.cols > 1:
        raise ValueError(f"{name}: columns must be contiguous, not {x.col_step} elements apart")
