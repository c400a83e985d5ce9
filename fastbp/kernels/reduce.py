"""Sums over rows, norms, and the plain moves: gather, add, scale, fill.

Tasks are blocks of a matrix (`_strips.block`), whose sizes emit/reduce.py chooses.
"""

from __future__ import annotations

import math

import numpy as np

from fastbp._jit import kernel
from fastbp._simd import at, fma, lane_sum, lanes, load_as, pointer, pointer_to, splat, store
from fastbp._simd.strip import load_strip, splat_strip, store_strip, strip_lanes
from fastbp.kernels._instruction import Instruction
from fastbp.kernels._strips import CHUNK, block, over_strips

# Element types of a data source.
FLOAT32, FLOAT64, UINT8 = range(3)

COLUMN_SUMS = Instruction(
    "column_sums", "out out_step x x_step rows cols block_rows block_cols")
GATHER_ROWS = Instruction(
    "gather_rows",
    "out out_step source row_step col_step index rows cols block_rows kind batch", "scale")
GATHER_LABELS = Instruction("gather_labels", "out source source_step index rows batch")
SQUARED_NORM = Instruction("squared_norm", "out x size block")
CLIP_SCALE = Instruction("clip_scale", "cell partials count", "max_norm")
COMBINE = Instruction(
    "combine", "kind out out_step a a_step b b_step rows cols block_rows block_cols", "factor")
# Kinds of COMBINE.
ADD, SCALE, FILL, COPY = range(4)


# ---- sums ----------------------------------------------------------------------------------------


@over_strips
def column_sums(start, end, i, n, out, x, x_step):
    """out[j] = sum_i x[i, j].

    out (cols,), x (rows, cols) with rows at x_step, columns contiguous, one dtype. Overwrites out.
    Accumulates in x's dtype, the rows of a chunk in order, then the chunks: error at most
    (chunk + rows/chunk)*u*sum|x|. Source: docs/math.md#affine.
    """
    total = load_strip(x, start * x_step + i, n)
    for r in range(start + 1, end):
        total = total + load_strip(x, r * x_step + i, n)
    if start > 0:
        total = load_strip(out, i, n) + total
    store_strip(out, i, total, n)


@kernel
def run_column_sums(w, r, task, step, slot, like):
    """One block; its row of blocks gives the row of out, merged by the same instruction."""
    i, j, rows, cols = block(task, w[4], w[5], w[6], w[7])
    x = at(pointer(w[2], like), i * w[3] + j)
    column_sums(rows, cols, CHUNK, x, w[3], at(pointer(w[0], like), (i // w[6]) * w[1] + j), x,
                w[3])


@kernel
def squared_norm(x, size, wide):
    """sum_i x[i]^2 in float64.

    x (size,) contiguous, any float dtype; wide: any float64 pointer. Four registers of partial
    sums, then their tree: error at most (size/(4*lanes) + 8) u of the result, u of float64.
    Source: docs/math.md#optimizers.
    """
    width = lanes(wide)
    body = size - size % (4 * width)
    a, b, c, d = splat(wide, 0.0), splat(wide, 0.0), splat(wide, 0.0), splat(wide, 0.0)
    for i in range(0, body, 4 * width):
        p = load_as(x, i, None, wide)
        q = load_as(x, i + width, None, wide)
        s = load_as(x, i + 2 * width, None, wide)
        t = load_as(x, i + 3 * width, None, wide)
        a, b, c, d = fma(p, p, a), fma(q, q, b), fma(s, s, c), fma(t, t, d)
    for i in range(body, size, width):
        p = load_as(x, i, size - i, wide)
        a = fma(p, p, a)
    return lane_sum((a + b) + (c + d))


@kernel
def run_squared_norm(w, r, task, step, slot, like):
    """Elements task*block .. into out[task] (float64)."""
    out = pointer_to(w[0], np.float64)
    begin = task * w[3]
    out[task] = squared_norm(at(pointer(w[1], like), begin), min(w[3], w[2] - begin), out)


@kernel
def clip_scale(cell, partials, count, max_norm):
    """cell[0] = min(1, max_norm/(norm + 1e-6)), cell[1] = norm = sqrt(sum_i partials[i]).

    All float64; i ascending. NaN gradients give NaN, an infinite norm 0. Source:
    docs/math.md#optimizers.
    """
    total = 0.0
    for i in range(count):
        total += partials[i]
    norm = math.sqrt(total)
    scale = max_norm / (norm + 1e-6)
    cell[0] = min(scale, 1.0)
    cell[1] = norm


@kernel
def run_clip_scale(w, r, task, step, slot, like):
    """One task; `cell` is what UPDATE takes as `scale`."""
    clip_scale(pointer_to(w[0], np.float64), pointer_to(w[1], np.float64), w[2], r[0])


# ---- gather --------------------------------------------------------------------------------------


@kernel
def gather_rows(out, out_step, source, row_step, col_step, index, indexed, first, rows, cols,
                scale):
    """out[r, j] = scale * source[row, j], row = index[first + r] if indexed else first + r.

    out (rows, cols), rows at out_step, columns contiguous. source: any strides in elements,
    float32, float64 or uint8, converted to out's dtype before the product. Overwrites out. index:
    int64 (first + rows,).
    """
    factor, width = splat(out, scale), lanes(out)
    body = cols - cols % width
    for r in range(rows):
        row = first + r
        if indexed:
            row = index[row]
        x, y = at(source, row * row_step), at(out, r * out_step)
        if col_step == 1:
            for j in range(0, body, width):
                store(y, j, load_as(x, j, None, out) * factor, None)
            if body < cols:
                store(y, body, load_as(x, body, cols - body, out) * factor, cols - body)
        else:
            for j in range(cols):
                store(y, j, load_as(x, j * col_step, 1, out) * factor, 1)


@kernel
def run_gather_rows(w, r, task, step, slot, like):
    """Rows task*block_rows .. of those at step*batch; index 0: consecutive rows."""
    begin = task * w[8]
    count, first = min(w[8], w[6] - begin), step * w[10] + begin
    out, index = at(pointer(w[0], like), begin * w[1]), pointer_to(w[5], np.int64)
    if w[9] == FLOAT32:
        gather_rows(out, w[1], pointer_to(w[2], np.float32), w[3], w[4], index, w[5] != 0, first,
                    count, w[7], r[0])
    elif w[9] == FLOAT64:
        gather_rows(out, w[1], pointer_to(w[2], np.float64), w[3], w[4], index, w[5] != 0, first,
                    count, w[7], r[0])
    else:
        gather_rows(out, w[1], pointer_to(w[2], np.uint8), w[3], w[4], index, w[5] != 0, first,
                    count, w[7], r[0])


@kernel
def gather_labels(out, source, source_step, index, indexed, first, rows):
    """out[r] = source[index[first + r] if indexed else first + r]; all int64. Overwrites out."""
    for r in range(rows):
        row = first + r
        if indexed:
            row = index[row]
        out[r] = source[row * source_step]


@kernel
def run_gather_labels(w, r, task, step, slot, like):
    """All labels of those at step*batch in one task; index 0: consecutive labels."""
    gather_labels(pointer_to(w[0], np.int64), pointer_to(w[1], np.int64), w[2],
                  pointer_to(w[3], np.int64), w[3] != 0, step * w[5], w[4])


# ---- elementwise ---------------------------------------------------------------------------------


@kernel
def combine(kind, out, out_step, a, a_step, b, b_step, rows, cols, factor):
    """out = a + factor*b (ADD), factor*b (SCALE), factor (FILL) or b (COPY).

    All (rows, cols), rows at their steps, columns contiguous, one dtype; what a kind does not
    name is not read. Overwrites out, which may be a or b. ADD with factor 1 is the correctly
    rounded sum.
    """
    scale = splat_strip(out, factor)
    for r in range(rows):
        y, p, q = at(out, r * out_step), at(a, r * a_step), at(b, r * b_step)
        for j in range(0, cols, strip_lanes(out)):
            n = cols - j
            value = scale
            if kind == ADD:
                value = fma(scale, load_strip(q, j, n), load_strip(p, j, n))
            elif kind == SCALE:
                value = scale * load_strip(q, j, n)
            elif kind == COPY:  # bit by bit: a product may take subnormal numbers as zero
                value = load_strip(q, j, n)
            store_strip(y, j, value, n)


@kernel
def run_combine(w, r, task, step, slot, like):
    """One block."""
    i, j, rows, cols = block(task, w[7], w[8], w[9], w[10])
    combine(w[0], at(pointer(w[1], like), i * w[2] + j), w[2],
            at(pointer(w[3], like), i * w[4] + j), w[4],
            at(pointer(w[5], like), i * w[6] + j), w[6], rows, cols, r[0])


INSTRUCTIONS = (
    (COLUMN_SUMS, run_column_sums), (GATHER_ROWS, run_gather_rows),
    (GATHER_LABELS, run_gather_labels), (SQUARED_NORM, run_squared_norm),
    (CLIP_SCALE, run_clip_scale), (COMBINE, run_combine),
)
