"""Products with a vector: matrix times column, row times matrix, where the matrix lies by rows.

A column as a matmul would fill one lane of a register; here k runs along the lanes, one dot product
a row. A row as a tile would have two chains of sums and read the matrix 128 bytes at a time; here
it has eight, and 512 bytes. Both take the time of reading the matrix.
"""

from __future__ import annotations

from fastbp._jit import kernel
from fastbp._simd import at, fma, lane_sum, lanes, load, maximum, pointer, scalar, splat
from fastbp._simd.strip import load_strip, splat_strip, store_strip, strip_lanes
from fastbp.kernels._instruction import Instruction
from fastbp.kernels.gemm import FROM_C, FROM_ROW

# Rows whose sums run side by side: four chains of multiply-adds, and x is loaded once for them.
ROWS = 4

GEMV = Instruction("gemv", "y y_step a a_step x m k start_kind start block_rows", "floor")
ROW_PRODUCT = Instruction(
    "row_product", "y x x_step b b_step n k start_kind start block_cols", "floor")


@kernel
def dot_rows(y, y_step, a, a_step, x, k, rows, start_kind, start, floor):
    """y[i] = max(floor, y0[i] + sum_k a[i, k] x[k]), i < rows <= ROWS.

    y: step y_step; a: rows at a_step, columns contiguous; x (k,) contiguous; one dtype. y0 is y
    itself, start[0] or 0. Overwrites y. Each lane sums every lanes-th product in order, then the
    lanes are added by halves: error at most (k/lanes + log2(lanes) + 2) u |a||x|. The bits of y[i]
    depend on its own row only. Source: docs/math.md#affine.
    """
    width = lanes(x)
    # Rows past the end read the last one again.
    a1, a2, a3 = at(a, min(1, rows - 1) * a_step), at(a, min(2, rows - 1) * a_step), at(
        a, min(3, rows - 1) * a_step)
    s0, s1, s2, s3 = splat(x, 0.0), splat(x, 0.0), splat(x, 0.0), splat(x, 0.0)
    body = k - k % width
    for p in range(0, body, width):
        v = load(x, p, None)
        s0, s1 = fma(load(a, p, None), v, s0), fma(load(a1, p, None), v, s1)
        s2, s3 = fma(load(a2, p, None), v, s2), fma(load(a3, p, None), v, s3)
    if body < k:
        n = k - body
        v = load(x, body, n)
        s0, s1 = fma(load(a, body, n), v, s0), fma(load(a1, body, n), v, s1)
        s2, s3 = fma(load(a2, body, n), v, s2), fma(load(a3, body, n), v, s3)
    for i in range(rows):
        total = lane_sum(s0)
        if i == 1:
            total = lane_sum(s1)
        elif i == 2:
            total = lane_sum(s2)
        elif i == 3:
            total = lane_sum(s3)
        if start_kind == FROM_ROW:
            total = total + start[0]
        elif start_kind == FROM_C:
            total = total + y[i * y_step]
        y[i * y_step] = max(total, floor)


@kernel
def run_gemv(w, r, task, step, slot, like):
    """Rows task*block_rows ... of y."""
    y, a, x = pointer(w[0], like), pointer(w[2], like), pointer(w[4], like)
    end = min(w[5], (task + 1) * w[9])
    for i in range(task * w[9], end, ROWS):
        dot_rows(at(y, i * w[1]), w[1], at(a, i * w[3]), w[3], x, w[6], min(ROWS, end - i), w[7],
                 pointer(w[8], like), scalar(like, r[0]))


@kernel
def row_product(y, x, x_step, b, b_step, k, cols, start_kind, start, floor):
    """y[j] = max(floor, y0[j] + sum_p x[p] b[p, j]), j < cols.

    y (cols,) contiguous; x (k,) at steps of x_step; b (k, cols), rows at b_step, columns
    contiguous; one dtype. y0 is y itself, start (cols,) or 0. Overwrites y. Each element is summed
    over p in order, as a tile of kernels/gemm.py does, in registers: where sums went to y and back
    with every four rows, two threads took each other the line of y in which their columns meet, and
    1x784x512 twice as long. Source: docs/math.md#affine.
    """
    width, most = strip_lanes(y), splat_strip(y, floor)
    j = 0
    while j < cols:
        n = cols - j
        left = first_of(y, start_kind, start, j, n)
        if n >= 2 * width:
            right = first_of(y, start_kind, start, j + width, width)
            for p in range(k):
                one, row = splat_strip(y, x[p * x_step]), at(b, p * b_step + j)
                left = fma(one, load_strip(row, 0, width), left)
                right = fma(one, load_strip(row, width, width), right)
            store_strip(y, j + width, maximum(right, most), width)
        else:
            for p in range(k):
                left = fma(splat_strip(y, x[p * x_step]), load_strip(b, p * b_step + j, n), left)
        store_strip(y, j, maximum(left, most), n)
        j += 2 * width if n >= 2 * width else width


@kernel
def first_of(y, start_kind, start, j, n):
    """The strip from j on, of n lanes, of what the sums begin with."""
    if start_kind == FROM_ROW:
        return load_strip(start, j, n)
    if start_kind == FROM_C:
        return load_strip(y, j, n)
    return splat_strip(y, 0.0)


@kernel
def run_row_product(w, r, task, step, slot, like):
    """Columns task*block_cols ... of y."""
    j = task * w[9]
    row_product(at(pointer(w[0], like), j), pointer(w[1], like), w[2], at(pointer(w[3], like), j),
                w[4], w[6], min(w[9], w[5] - j), w[7], at(pointer(w[8], like), j),
                scalar(like, r[0]))


INSTRUCTIONS = ((GEMV, run_gemv), (ROW_PRODUCT, run_row_product))
