"""Inverted dropout: y = x/(1-rate) where a random bit keeps x, else 0; backward is the same.

The bit of an element is a hash of (seed, step, layer, element), so it depends on no generator's
state: every thread count, every order of tasks and a resumed run see the same mask, and the
backward pass draws it again instead of reading it from memory. Mathematics: docs/math.md#dropout.

The hash of the element's number is the 32-bit mixer "lowbias32" (C. Wellons, Hash Prospector, 2018:
two multiplications) with one half of a 64-bit key before it and one
between its rounds; the key is made from the other numbers by the same mixer. 9 instructions for a
register.
"""

from __future__ import annotations

import numpy as np

from fastbp._jit import kernel
from fastbp._simd import at, counter, lanes, pointer, pointer_to, select, splat
from fastbp.kernels._instruction import Instruction
from fastbp.kernels._registers import load_upto, store_upto
from fastbp.kernels._strips import block

DROPOUT = Instruction(
    "dropout",
    "y y_step x x_step rows cols block_rows block_cols seed layer base_step threshold first_row",
    "factor")

_WORD = 0xFFFFFFFF
_FIRST, _SECOND = 0x7FEB352D, 0x846CA68B
# Where the two halves of a key start: digits of the golden ratio and of sqrt(2).
_SALTS = (0x9E3779B9, 0x6A09E667)


@kernel
def _mix(h):
    """The mixer on one number of 32 bits (in 64, so that plain Python agrees)."""
    h = ((h ^ (h >> 16)) * _FIRST) & _WORD
    h = ((h ^ (h >> 15)) * _SECOND) & _WORD
    return h ^ (h >> 16)


@kernel
def mask_key(salt, seed, step, layer, high):
    """32 bits from 64-bit seed and step, the layer, and the upper half of the element's number."""
    h = _mix(salt ^ (seed & _WORD))
    h = _mix((h + ((seed >> 32) & _WORD)) & _WORD)
    h = _mix((h + (step & _WORD)) & _WORD)
    h = _mix((h + ((step >> 32) & _WORD)) & _WORD)
    h = _mix((h + (layer & _WORD)) & _WORD)
    return _mix((h + (high & _WORD)) & _WORD)


@kernel
def dropout(y, y_step, x, x_step, rows, cols, row, col, all_cols, seed, step, layer, threshold,
            factor):
    """y = x * factor where hash(seed, step, layer, element) >= threshold, else 0.

    y, x (rows, cols): the block at (row, col) of a matrix with all_cols columns, rows at their
    steps, columns contiguous, one dtype; y may be x. Overwrites y. Element (i, j) of the matrix has
    the number i*all_cols + j. threshold: rate * 2^32; factor: 1/(1 - rate). A dropped NaN is 0.
    """
    zero, f = splat(x, 0.0), splat(x, factor)
    high, before, between = -1, 0, 0
    for r in range(rows):
        first = (row + r) * all_cols
        if first >> 32 != high:
            high = first >> 32
            before = mask_key(_SALTS[0], seed, step, layer, high)
            between = mask_key(_SALTS[1], seed, step, layer, high)
        to, of = at(y, r * y_step), at(x, r * x_step)
        for i in range(0, cols, lanes(x)):
            n = cols - i
            h = counter(x, first + col + i) ^ before
            h = ((h ^ (h >> 16)) * _FIRST) ^ between
            h = (h ^ (h >> 15)) * _SECOND
            h = h ^ (h >> 16)
            store_upto(to, i, select(h >= threshold, load_upto(of, i, n) * f, zero), n)


@kernel
def run_dropout(w, r, task, step, slot, like):
    """One block of the matrix; base_step is the address of the number of the run's first step.

    first_row: which row of the whole matrix y's first is.
    """
    i, j, rows, cols = block(task, w[4], w[5], w[6], w[7])
    number = pointer_to(w[10], np.int64)[0] + step
    y, x = at(pointer(w[0], like), i * w[1] + j), at(pointer(w[2], like), i * w[3] + j)
    dropout(y, w[1], x, w[3], rows, cols, w[12] + i, j, w[5], w[8], number, w[9], w[11], r[0])


INSTRUCTIONS = ((DROPOUT, run_dropout),)
