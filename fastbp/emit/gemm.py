"""Matrix multiply as instructions: what to pack, how to divide, when to split k."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from fastbp._arena import SAME_SETS
from fastbp._memory import SLOT_BYTES
from fastbp._program import Operand, Program
from fastbp._simd import machine
from fastbp._tuning import GEMM_BLOCKS
from fastbp.kernels.gemm import FROM_C, FROM_ROW, FROM_ZERO, GEMM, PACK, PLAIN, UPDATE
from fastbp.kernels.gemv import GEMV, ROW_PRODUCT

NO_FLOOR = float("-inf")


@dataclass(frozen=True)
class Finish:
    """What happens to finished tiles (kernels/gemm.py): the epilogue and its operands.

    other: where ACTIVATE writes y (None: over C), or the saved matrix that GRADIENT reads.
    sums: address of `row_groups` rows of n column sums, or 0. slots, hyper, rates: see
    kernels/update.py.
    """

    epilogue: int = PLAIN
    kind: int = 0
    slope: float = 0.0
    other: Operand | None = None
    sums: int = 0
    slots: tuple[int, int] = (0, 0)
    hyper: int = 0
    rates: int = 0


class Grid(NamedTuple):
    """Tasks of a product: groups of tiles down, groups of panels across."""

    row_groups: int
    col_groups: int


def registers(itemsize: int) -> tuple[int, int]:
    """(rows, columns) of the register tile."""
    return machine().tile_rows, 2 * machine().lanes(itemsize)


def task_panels(itemsize: int) -> int:
    """Panels of columns in a task at most."""
    return max(1, GEMM_BLOCKS.task_columns // registers(itemsize)[1])


def k_split(k: int, itemsize: int) -> int:
    """The k block of an ordinary product: k divided evenly into as few blocks as allowed."""
    most = min(GEMM_BLOCKS.k_most, _room(itemsize) // _packed_rows(itemsize))
    return max(1, -(-k // max(1, -(-k // most))))


def can_update_in_place(k: int, itemsize: int) -> bool:
    """True where a product of this k can run UPDATE: its tiles sum all of k at once."""
    return k * _packed_rows(itemsize) <= _room(itemsize)


def _packed_rows(itemsize: int) -> int:
    lanes = machine().lanes(itemsize)
    return -(-machine().tile_rows // lanes) * lanes


def _room(itemsize: int) -> int:
    """Elements for packed tiles of A that each thread has."""
    height, width = registers(itemsize)
    return SLOT_BYTES // itemsize - height * width


def tile_count(m: int, itemsize: int, halves: int = 1) -> int:
    """How many tiles m rows are cut into; from SHARED_TILES on a multiple of 4 where threads share
    rows only, not columns.

    19 tiles are 10 for one thread and 9 for another; 20, a little lower, are 10 each.
    """
    tiles = -(-m // registers(itemsize)[0])
    blocks = GEMM_BLOCKS
    if halves > 1 or tiles < blocks.even_tiles:
        return tiles
    share = 4 if tiles >= blocks.shared_tiles else 2
    return -(-tiles // share) * share


def column_halves(m: int, n: int, k: int, itemsize: int) -> int:
    """Into how many parts the columns of C and of a B that is packed go: two, so that of two
    threads each packs what it will read; one where A, which then both pack, is the larger one, and
    where there is little to pack: two threads that write halves of the same rows hinder each other.
    """
    panels = -(-n // registers(itemsize)[1])
    wide = panels >= GEMM_BLOCKS.halved_panels and k >= GEMM_BLOCKS.halved_least
    return 2 if wide and n >= m else 1


def grid(m: int, n: int, k: int, itemsize: int, k_block: int | None = None) -> Grid:
    """How an (m, n, k) product is divided into tasks, by its size alone."""
    blocks = GEMM_BLOCKS
    width = registers(itemsize)[1]
    tiles, panels = tile_count(m, itemsize), -(-n // width)
    halves = column_halves(m, n, k, itemsize)
    fit = _room(itemsize) // (_packed_rows(itemsize) * (k_block or k_split(k, itemsize)))
    least = -(-tiles // max(1, fit))
    # A panel takes its time however few columns it has, B's however few rows C has, and so do the
    # ends of a tile.
    flops = 2 * max(m, blocks.least_rows) * panels * width * (k + blocks.tile_ends)
    worth = max(1, min(flops // blocks.task_flops, blocks.tasks))
    most = task_panels(itemsize)
    if k * n * itemsize >= blocks.far_bytes:
        most = min(most, blocks.far_panels * (1 if m < blocks.far_rows else 2))
    across = min(max(halves, -(-panels // most)), worth)
    down = max(-(-tiles // blocks.task_tiles), -(-worth // across))
    if down * across > worth < blocks.tasks:
        down = max(1, worth // across)
    if down > 2 and across == 1:
        down = -(-down // 4) * 4  # which two threads and four finish together
    return Grid(max(least, min(down, tile_count(m, itemsize, halves))), across)


def emit_gemm(program: Program, c: Operand, a: Operand, b: Operand, *, bias: int = 0,
              add: bool = False, floor: float = NO_FLOOR, finish: Finish | None = None,
              overlap: bool = False, b_stands: bool = False) -> None:
    """C = finish(max(floor, C0 + A B)); C0 is the bias row at address `bias`, C itself (`add`), or
    0.

    c's columns must be contiguous. overlap: may run together with the instruction before. b_stands:
    B may be packed together with it.
    """
    if c.rows == 0 or c.cols == 0:
        return
    if c.col_step != 1 and c.cols > 1:
        raise ValueError("columns of C must be contiguous; transpose the product instead")
    finish = finish or Finish()
    start = FROM_C if add else (FROM_ROW if bias else FROM_ZERO)
    if finish.epilogue == PLAIN and a.cols >= GEMM_BLOCKS.dot_least:
        if c.cols == 1 and a.col_step == 1 and b.row_step == 1:
            _emit_gemv(program, c.address, c.row_step, a, b.address, start, bias, floor, overlap)
            return
        # A bias has an element for each column, and there is one for all rows of a vector.
        if c.rows == 1 and a.col_step == 1 and b.row_step == 1 and start != FROM_ROW:
            _emit_gemv(program, c.address, 1, b.transposed, a.address, start, bias, floor, overlap)
            return
        if c.rows == 1 and b.col_step == 1:
            _emit_row_product(program, c, a, b, start, bias, floor, overlap)
            return
    if (c.cols == 1 < c.rows and c.row_step == a.row_step == 1 and start != FROM_ROW
            and finish.epilogue in (PLAIN, UPDATE)):
        # A column, as a tile would have it, leaves all lanes but one empty: a row fills them.
        emit_gemm(program, c.transposed, b.transposed, a.transposed, add=add, floor=floor,
                  finish=finish, overlap=overlap)
        return
    most = max(1, GEMM_BLOCKS.packed_most // c.cols)
    parts = 1 if finish.epilogue == UPDATE else max(1, -(-a.cols // most))
    for part in range(parts):
        low, high = a.cols * part // parts, a.cols * (part + 1) // parts
        start = FROM_C if add or part else (FROM_ROW if bias else FROM_ZERO)
        last = part == parts - 1
        _emit_part(program, c, a.part(program.dtype, slice(0, a.rows), slice(low, high)),
                   b.part(program.dtype, slice(low, high), slice(0, b.cols)), start, bias,
                   floor if last else NO_FLOOR, finish if last else Finish(), overlap,
                   b_stands)


def _emit_gemv(program: Program, y: int, y_step: int, a: Operand, x: int, start: int, bias: int,
               floor: float, overlap: bool) -> None:
    """y = max(floor, y0 + A x); x contiguous, A's columns too."""
    block_rows = max(4, GEMM_BLOCKS.pack_task // a.cols)
    program.emit(GEMV, tasks=-(-a.rows // block_rows), overlap=overlap, y=y, y_step=y_step,
                 a=a.address, a_step=a.row_step, x=x, m=a.rows, k=a.cols, start_kind=start,
                 start=bias if start == FROM_ROW else program.zeros, block_rows=block_rows,
                 floor=floor)


def _emit_row_product(program: Program, c: Operand, a: Operand, b: Operand, start: int, bias: int,
                      floor: float, overlap: bool) -> None:
    """c = max(floor, c0 + a B) for one row a; B's columns contiguous."""
    strip, size = 4 * machine().lanes(program.dtype.itemsize), a.cols * c.cols
    # An even number of tasks, which two threads finish together, as wide as can be.
    tasks = 2 * max(1, size // (8 * GEMM_BLOCKS.pack_task)) if size >= GEMM_BLOCKS.pack_task else 1
    block_cols = -(-c.cols // (tasks * strip)) * strip
    program.emit(ROW_PRODUCT, tasks=-(-c.cols // block_cols), overlap=overlap, y=c.address,
                 x=a.address, x_step=a.col_step, b=b.address, b_step=b.row_step, n=c.cols,
                 k=a.cols, start_kind=start,
                 start=bias if start == FROM_ROW else program.zeros, block_cols=block_cols,
                 floor=floor)


def _emit_part(program: Program, c: Operand, a: Operand, b: Operand, start: int, bias: int,
               floor: float, finish: Finish, overlap: bool, b_stands: bool) -> None:
    """One k range, all of whose packed B exists at once."""
    m, n, k = c.rows, c.cols, a.cols
    itemsize = program.dtype.itemsize
    width = registers(itemsize)[1]
    k_block = max(k, 1) if finish.epilogue == UPDATE else k_split(k, itemsize)
    panels = -(-n // width)
    in_place = _reads_in_place(a, panels, itemsize)
    before = program.size
    b_base, b_panel, b_step = _columns(program, b, m, overlap or b_stands)
    down, across = grid(m, n, k, itemsize, k_block)
    halves = column_halves(m, n, k, itemsize)
    if across == halves and (program.size == before or program.in_strand):
        halves = across = 1  # no thread has a half of B, so A need not be packed for each
    tiles = tile_count(m, itemsize, halves)
    other = finish.other or c
    scratch, slot_size = program.scratch
    program.emit(
        GEMM, tasks=down * across, overlap=overlap and program.size == before,
        c=c.address, c_step=c.row_step, m=m, n=n, k=k,
        a=a.address, a_lane_step=a.row_step, a_k_step=a.col_step, a_in_place=int(in_place),
        b=b_base, b_panel=b_panel, b_step=b_step,
        row_groups=down, col_groups=across, k_block=k_block,
        start_kind=start, start=bias if start == FROM_ROW else program.zeros,
        epilogue=finish.epilogue, kind=finish.kind, other=other.address,
        other_step=other.row_step, sums=finish.sums, slot1=finish.slots[0], slot2=finish.slots[1],
        hyper=finish.hyper, rates=finish.rates, scratch=scratch, slot_size=slot_size, tiles=tiles,
        shared=program.shared_word if panels <= task_panels(itemsize) else 0,
        floor=floor, slope=finish.slope)


def _reads_in_place(a: Operand, panels: int, itemsize: int) -> bool:
    """True where A is not packed: its lanes are contiguous and it is small, or k is contiguous and
    long, or few panels read it.
    """
    blocks = GEMM_BLOCKS
    if a.row_step == 1:
        return panels <= blocks.direct_reuse or _is_small(a, itemsize)
    # Rows a multiple of a page apart share the sets of the first cache.
    shared_sets = a.row_step * itemsize % 4096 == 0 and a.cols * itemsize > 64
    is_worth_it = panels <= blocks.rows_reuse or a.cols >= blocks.rows_least
    return a.col_step == 1 and is_worth_it and not shared_sets


def _is_small(x: Operand, itemsize: int) -> bool:
    return x.cols * abs(x.col_step) * itemsize <= GEMM_BLOCKS.direct_bytes


def _is_near(b: Operand, itemsize: int) -> bool:
    """True for a B whose rows are found quickly where they lie, again and again."""
    blocks, step = GEMM_BLOCKS, abs(b.row_step) * itemsize
    apart = step % SAME_SETS != 0
    return b.rows * step <= (blocks.direct_b_bytes if apart else blocks.direct_bytes)


def reads_a_copy(m: int, b: Operand, itemsize: int) -> bool:
    """True where the product of m rows with B is one GEMM that reads B from where it was packed."""
    return (m > 1 < b.cols and b.rows * b.cols <= GEMM_BLOCKS.packed_most
            and not _is_read_in_place(m, b, itemsize))


def _is_read_in_place(m: int, b: Operand, itemsize: int) -> bool:
    lanes = machine().lanes(itemsize)
    # A last register that is not full is read to its end, unless it is masked (_simd/tile.py).
    is_masked = machine().has_masks and 0 < b.cols % (2 * lanes) <= lanes
    whole = b.cols % lanes == 0 or b.readable or is_masked
    is_worth_it = tile_count(m, itemsize) <= GEMM_BLOCKS.direct_reuse or _is_near(b, itemsize)
    return (b.col_step == 1 and whole and is_worth_it) or b.rows == 0


def _columns(program: Program, b: Operand, m: int, overlap: bool) -> tuple[int, int, int]:
    """(base, panel step, k step) of B for m rows of C: in place, or packed by an instruction."""
    itemsize = program.dtype.itemsize
    if _is_read_in_place(m, b, itemsize):
        return b.address, 0, b.row_step
    width = registers(itemsize)[1]
    panels = -(-b.cols // width)
    out = program.workspace(panels * width * b.rows)
    by_rows = b.col_step == 1
    halves = column_halves(m, b.cols, b.rows, itemsize) if by_rows else 1
    # Transposing takes three times as long as copying.
    units, unit = (b.rows, b.cols // halves) if by_rows else (panels, 3 * width * b.rows)
    share = max(1, GEMM_BLOCKS.pack_task // unit)
    program.emit(PACK, tasks=-(-units // share) * halves, overlap=overlap, out=out, x=b.address,
                 lane_step=b.col_step, k_step=b.row_step, lanes=b.cols, k=b.rows, share=share,
                 halves=halves)
    return out, width * b.rows, width
