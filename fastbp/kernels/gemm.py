"""Matrix multiply: packed panels, register tiles, and what happens to a tile while it is in L1.

    C = finish(C0 + A B)          A (m, k), B (k, n), C (m, n)

Design
  * Rows of C are cut into tiles of at most MR = tile_rows rows, divided evenly (13 and 14 rather
    than 14, 14, ..., 4) into a number of tiles that threads can share evenly; columns into panels
    of NR = 2 registers. `tile_product` computes one tile.
  * A task is a group of tiles x a group of panels, the same for any number of threads. Inside it
    the loops run k block - panel - tile: a panel of B stays near while tiles of A stream from L2,
    and each tile asks for its share of the next panel.
  * A is packed by the task that uses it, into its thread's own memory, so it is in that core's L2
    and no one waits: packing it for all by an instruction before cost 12-20 % of a 256x512x784
    product on two cores (a barrier, and lines that lie in the other core's cache). An instruction
    packs B for all tasks. A wide B goes by halves, and so do the columns of tasks: of two threads
    each packs what it reads, and both pack A, the smaller one.
        A: tile t at t*k*MA,   A[i, p] at p*MA + i   (MA = MR rounded up to whole registers)
        B: panel at NR*k,      B[p, j] at p*NR + j
    An operand whose lanes are contiguous (A transposed, B as it lies) is read in place if small,
    and so is A as it lies unless many panels read a short k, or rows share sets of the L1 cache.
  * A finished tile is in L1, mostly still in store buffers: bias comes in as C0, ReLU is `floor`,
    other epilogues read the tile back. Against keeping them in registers this costs 28 loads and
    stores a tile (3 % at k = 64, nothing at k = 512) and saves copies of all tile variants.

Every element is summed over p in order; with several k blocks, C holds the sum between them. So its
bits depend on k and the k block only: not on m, n, strides, packing or threads.
"""

from __future__ import annotations

import numpy as np

from fastbp._jit import kernel
from fastbp._simd import (
    at,
    lanes,
    load,
    pointer,
    pointer_to,
    scalar,
    splat,
    store,
    tile_product,
    tile_rows,
    transpose_block,
)
from fastbp.kernels._instruction import Instruction
from fastbp.kernels.activations import (
    IDENTITY,
    RELU,
    activate_block,
    activation_gradient_block,
    relu_gradient_sums,
)
from fastbp.kernels.update import update_block

# What C0 is.
FROM_ZERO, FROM_ROW, FROM_C = range(3)
# What is done with a finished tile.
PLAIN, ACTIVATE, GRADIENT, UPDATE = range(4)
# Rows packed of one panel before the next: 1 KiB of each panel.
PACK_ROWS = 8

PACK = Instruction("pack", "out x lane_step k_step lanes k share halves")
GEMM = Instruction(
    "gemm",
    "c c_step m n k a a_lane_step a_k_step a_in_place b b_panel b_step row_groups col_groups "
    "k_block start_kind start epilogue kind other other_step sums slot1 slot2 hyper rates "
    "scratch slot_size tiles shared",
    "floor slope",
)


@kernel
def cut(total, parts, number):
    """Where part `number` of `total` items begins when they are divided evenly into `parts`."""
    base = total // parts
    return begin_of(base, total - base * parts, number)


@kernel
def begin_of(base, extra, number):
    """Where part `number` begins when the first `extra` parts have `base` + 1 items, not `base`."""
    return number * base + min(number, extra)


@kernel
def packed_rows(like):
    """Rows of a packed tile of A: the tile's, rounded up to whole registers."""
    return (tile_rows(like) + lanes(like) - 1) // lanes(like) * lanes(like)


@kernel
def copy_lanes(out, out_step, x, x_step, count, k):
    """out[p*out_step + i] = x[p*x_step + i], p < k, i < count."""
    register = lanes(x)
    if count == 2 * register:
        for p in range(k):
            first, second = load(x, p * x_step, None), load(x, p * x_step + register, None)
            store(out, p * out_step, first, None)
            store(out, p * out_step + register, second, None)
    else:
        for i in range(0, count, register):
            for p in range(k):
                store(out, p * out_step + i, load(x, p * x_step + i, count - i), count - i)


@kernel
def pack_panel(out, out_step, x, lane_step, k_step, count, k, room):
    """out[p*out_step + i] = x[i*lane_step + p*k_step], p < k, i < count.

    Contiguous lanes are copied, contiguous k is transposed in registers, anything else goes
    element by element. Lanes count .. room-1 of out may be overwritten with anything finite.
    """
    register = lanes(x)
    if lane_step == 1:
        copy_lanes(out, out_step, x, k_step, count, k)
    elif k_step == 1:
        for i in range(0, count, register):
            for p in range(0, k, register):
                transpose_block(at(out, p * out_step + i), out_step,
                                at(x, i * lane_step + p), lane_step, count - i, k - p, room - i)
    else:
        for p in range(k):
            for i in range(count):
                out[p * out_step + i] = x[i * lane_step + p * k_step]


@kernel
def run_pack(w, r, task, step, slot, like):
    """One task's share of B's panels, or, where lanes are contiguous, some rows of all panels, or
    of half of them: what a thread packs first it will read first.

    Rows of all panels read the source once in its own order; panel by panel, 128 bytes of each
    row at a stride of 4 KiB took twice as long.
    """
    lane_step, k_step, total, k, share, halves = w[2], w[3], w[4], w[5], w[6], w[7]
    width = 2 * lanes(like)
    x, out = pointer(w[1], like), pointer(w[0], like)
    panels = (total + width - 1) // width
    if lane_step == 1:
        shares = (k + share - 1) // share
        half, begin = task // shares, task % shares * share
        first, last = cut(panels, halves, half), cut(panels, halves, half + 1)
        end = min(k, begin + share)
        for p in range(begin, end, PACK_ROWS):
            for panel in range(first, last):
                copy_lanes(at(out, (panel * k + p) * width), width,
                           at(x, panel * width + p * k_step), k_step,
                           min(width, total - panel * width), min(PACK_ROWS, end - p))
    else:
        for panel in range(task * share, min(panels, (task + 1) * share)):
            pack_panel(at(out, panel * k * width), width, at(x, panel * width * lane_step),
                       lane_step, k_step, min(width, total - panel * width), k, width)


@kernel
def run_gemm(w, r, task, step, slot, like):
    """One group of tiles x panels of C; see the module's equation and design."""
    n, k, k_block, tiles = w[3], w[4], w[14], w[28]
    panels = (n + 2 * lanes(like) - 1) // (2 * lanes(like))
    down, across, groups = task % w[12], task // w[12], w[13]
    if groups > 1 and w[29] != 0 and pointer_to(w[29], np.int64)[0] == 0:
        # One thread packs the tiles of A once, for all panels (unless they fill several tasks).
        if across > 0:
            return
        groups = 1
    # Not `cut`: the first half of the tasks, one thread's, has half of the tiles.
    first_tile, last_tile = tiles * down // w[12], tiles * (down + 1) // w[12]
    first_panel, last_panel = cut(panels, groups, across), cut(panels, groups, across + 1)
    for p in range(0, max(k, 1), k_block):
        if w[8] == 0:
            pack_tiles(w, slot, like, first_tile, last_tile, tiles, p)
        for panel in range(first_panel, last_panel):
            following, then = panel + 1, p
            if following == last_panel:
                following, then = first_panel, p + k_block if p + k_block < k else 0
            ahead = at(pointer(w[9], like), following * w[10] + then * w[11])
            gemm_panel(w, r, step, slot, like, first_tile, last_tile, panel, p, down, ahead)


@kernel
def pack_tiles(w, slot, like, first_tile, last_tile, tiles, p):
    """k block p of the task's tiles of A into the thread's own memory, behind its tile of C."""
    m, k, lane_step, k_step, k_block = w[2], w[4], w[6], w[7], w[14]
    rows = packed_rows(like)
    out = at(pointer(w[26], like), slot * w[27] + tile_rows(like) * 2 * lanes(like))
    count = min(k_block, k - p)
    for tile in range(first_tile, last_tile):
        i = cut(m, tiles, tile)
        pack_panel(at(out, (tile - first_tile) * rows * k_block), rows,
                   at(pointer(w[5], like), i * lane_step + p * k_step), lane_step, k_step,
                   cut(m, tiles, tile + 1) - i, count, rows)


@kernel
def gemm_panel(w, r, step, slot, like, first_tile, last_tile, panel, p, down, ahead):
    """Tiles first_tile .. last_tile-1 of a panel of C: k block p is added, after the last comes the
    epilogue. ahead: the panel of B that is read next; each tile asks for its share.
    """
    m, n, k, k_block, tiles, epilogue = w[2], w[3], w[4], w[14], w[28], w[17]
    height, width = tile_rows(like), 2 * lanes(like)
    j = panel * width
    cols, count = min(n - j, width), min(k_block, k - p)
    is_last = p + count >= k
    finishes = is_last and epilogue != PLAIN
    private = at(pointer(w[26], like), slot * w[27])
    # A's tiles begin a_tile elements apart (packed), or where their rows do.
    a, a_row, a_step, a_tile, a_rows = at(pointer(w[5], like), p * w[7]), w[6], w[7], 0, w[6]
    if w[8] == 0:
        a, a_row, a_step, a_rows = at(private, height * width), 1, packed_rows(like), 0
        a_tile = a_step * k_block
    b = at(pointer(w[9], like), (panel * w[10] if w[10] else j) + p * w[11])
    target, then, last = at(pointer(w[0], like), j), at(pointer(w[22], like), j), at(
        pointer(w[23], like), j)
    starts, zero_or_row = pointer(w[16], like), p == 0 and w[15] != FROM_C
    if w[15] == FROM_ROW:
        starts = at(starts, j)
    floor = scalar(like, r[0]) if is_last else scalar(like, -np.inf)
    base = m // tiles
    extra = m - base * tiles
    share = count * width // max(1, last_tile - first_tile)
    for tile in range(first_tile, last_tile):
        i, rows = begin_of(base, extra, tile), base + (1 if tile < extra else 0)
        place, number = i * w[1], tile - first_tile
        c, c_step, soon = at(target, place), w[1], at(target, place)
        second, third = soon, soon
        if epilogue == UPDATE:
            c, c_step, second, third = private, width, at(then, place), at(last, place)
        start, start_step = c, c_step
        if zero_or_row:
            start, start_step = starts, 0
        tile_product(c, c_step, at(a, number * a_tile + i * a_rows), a_row, a_step, b, w[11], count,
                     start, start_step, floor, rows, cols, soon, second, third, w[1],
                     at(ahead, number * share))
        if finishes:
            finish_tile(w, r, step, like, c, c_step, soon, i, j, rows, cols, down, number == 0)


@kernel
def add_column_sums(sums, x, x_step, rows, cols, first):
    """sums[j] (+)= sum_i x[i, j], i ascending; `first` overwrites instead of adding."""
    register = lanes(x)
    for j in range(0, cols, 2 * register):
        n = cols - j
        left = splat(x, 0.0) if first else load(sums, j, n)
        if n > register:  # two sums side by side: an addition takes four cycles
            rest = n - register
            right = splat(x, 0.0) if first else load(sums, j + register, rest)
            for i in range(rows):
                row = at(x, i * x_step + j)
                left, right = left + load(row, 0, None), right + load(row, register, rest)
            store(sums, j + register, right, rest)
        else:
            for i in range(rows):
                left = left + load(x, i * x_step + j, n)
        store(sums, j, left, n)


@kernel
def finish_tile(w, r, step, like, c, step_of_c, target, i, j, rows, cols, down, first):
    """The epilogue of a finished tile: activation, or its gradient and column sums, or the
    update.
    """
    epilogue, kind, c_step, n = w[17], w[18], w[1], w[3]
    other = at(pointer(w[19], like), i * w[20] + j)
    sums = at(pointer(w[21], like), down * n + j)
    if epilogue == ACTIVATE:
        activate_block(other, w[20], c, step_of_c, rows, cols, kind, r[1])
    elif epilogue == UPDATE:
        place = i * c_step + j
        update_block(kind, target, c_step, at(pointer(w[22], like), place), c_step,
                     at(pointer(w[23], like), place), c_step, c, step_of_c, rows, cols,
                     pointer_to(w[24], np.float64), at(pointer_to(w[25], np.float64), 4 * step))
    elif kind == RELU and w[21] != 0:
        relu_gradient_sums(sums, c, step_of_c, other, w[20], rows, cols, first)
    else:
        if kind != IDENTITY:
            activation_gradient_block(c, step_of_c, c, step_of_c, other, w[20], rows, cols, kind,
                                      r[1])
        if w[21] != 0:
            add_column_sums(sums, c, step_of_c, rows, cols, first)


INSTRUCTIONS = ((PACK, run_pack), (GEMM, run_gemm))
