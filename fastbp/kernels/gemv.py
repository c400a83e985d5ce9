"""Matrix times vector, where the matrix lies by rows: one dot product a row.

As a matmul with one column it would fill one lane of a register; here k runs along the lanes, and
the speed is that of reading the matrix.
"""

from __future__ import annotations

from fastbp._jit import kernel
from fastbp._simd import at, fma, lane_sum, lanes, load, pointer, scalar, splat
from fastbp.kernels._instruction import Instruction
from fastbp.kernels.gemm import FROM_C, FROM_ROW

# Rows whose sums run side by side: four chains of multiply-adds, and x is loaded once for them.
ROWS = 4

GEMV = Instruction("gemv", "y y_step a a_step x m k start_kind start block_rows", "floor")


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


INSTRUCTIONS = ((GEMV, run_gemv),)
