"""Which column of a row is the largest: predictions of classes.

One comparison after the other, which for rows of a register or two is as fast as sums over lanes
would be: 10 columns take some 7 ns. Wide rows are NumPy's to do.
"""

from __future__ import annotations

import numpy as np

from fastbp._jit import kernel
from fastbp._simd import at, pointer, pointer_to
from fastbp.kernels._instruction import Instruction

LARGEST = Instruction("largest", "out x x_step rows cols block_rows")


@kernel
def largest(out, x, x_step, rows, cols):
    """out[i] = the first j with x[i, j] = max_j x[i, j]; NaN counts as the largest number.

    out (rows,) int64, x (rows, cols) with rows at x_step, columns contiguous, cols >= 1.
    Overwrites out. Source: `numpy.argmax`.
    """
    for r in range(rows):
        row = at(x, r * x_step)
        best, place = row[0], 0
        for j in range(1, cols):
            value = row[j]
            if not value <= best and best == best:
                best, place = value, j
        out[r] = place


@kernel
def run_largest(w, r, task, step, slot, like):
    """Some rows."""
    i = task * w[5]
    largest(at(pointer_to(w[0], np.int64), i), at(pointer(w[1], like), i * w[2]), w[2],
            min(w[5], w[3] - i), w[4])


INSTRUCTIONS = ((LARGEST, run_largest),)
