"""The affine layer on rows of a CSR matrix, which never becomes dense.

    y = x W + b,    dW = x^T dz          x (rows, D) sparse, W (D, C), y, dz (rows, C)

CSR: row s has entries indptr[s] .. indptr[s+1]-1, each a column and a value; in any order, and
columns given twice count twice. Index arrays are int32 or int64, values float32, float64 or uint8:
what SciPy holds is read as it lies. Row r of a batch is row index[first + r], or first + r.

Design: of W only the rows that have an entry are read, C numbers next to each other in the column
layout. Forward, a task has some rows of x. Backward, a task has a range of features: it writes
those rows of dW and passes over all entries, which costs a comparison where they are not its own;
dividing dW by rows of x would need a dense partial sum for each task.
"""

from __future__ import annotations

import numpy as np

from fastbp._jit import kernel
from fastbp._simd import at, fma, lanes, load, pointer, pointer_to, scalar, splat, store
from fastbp._simd.strip import load_strip, splat_strip, store_strip, strip_lanes
from fastbp.kernels._instruction import Instruction
from fastbp.kernels.reduce import FLOAT32, FLOAT64

SPARSE_AFFINE = Instruction(
    "sparse_affine",
    "y y_step indptr indices values wide kind index rows w w_step w_lane bias cols block_rows")
SPARSE_WEIGHT = Instruction(
    "sparse_weight",
    "dw dw_step dw_lane dz dz_step indptr indices values wide kind index rows features cols "
    "block_features")


@kernel
def integer_at(address, wide, i):
    """Element i of int64 (wide) or int32 at an address."""
    if wide != 0:
        return pointer_to(address, np.int64)[i]
    return pointer_to(address, np.int32)[i] + 0


@kernel
def value_at(address, kind, i):
    """Element i of an array of a kind of kernels/reduce.py, as float64."""
    if kind == FLOAT32:
        return float(pointer_to(address, np.float32)[i])
    if kind == FLOAT64:
        return pointer_to(address, np.float64)[i]
    return float(pointer_to(address, np.uint8)[i])


@kernel
def row_at(index, first, r):
    """The row of the source that is row `r` of the batch."""
    if index != 0:
        return pointer_to(index, np.int64)[first + r]
    return first + r


@kernel
def sparse_row(y, indices, values, wide, kind, begin, end, w, w_step, w_lane, bias, biased, cols):
    """y = bias + sum over entries e of values[e] * W[indices[e]].

    y (cols,) contiguous; W[d, j] at d*w_step + j*w_lane; bias (cols,), read if biased. Overwrites
    y. Accumulates in y's dtype, entries in order. Source: docs/math.md#affine.
    """
    if w_lane == 1:
        for j in range(0, cols, strip_lanes(y)):
            n = cols - j
            total = load_strip(bias, j, n) if biased else splat_strip(y, 0.0)
            for e in range(begin, end):
                total = fma(splat_strip(y, value_at(values, kind, e)),
                            load_strip(w, integer_at(indices, wide, e) * w_step + j, n), total)
            store_strip(y, j, total, n)
    else:
        for j in range(cols):
            one = load(bias, j, 1) if biased else splat(y, 0.0)
            for e in range(begin, end):
                place = integer_at(indices, wide, e) * w_step + j * w_lane
                one = fma(splat(y, value_at(values, kind, e)), load(w, place, 1), one)
            store(y, j, one, 1)


@kernel
def run_sparse_affine(w, r, task, step, slot, like):
    """Rows task*block_rows .. of batch number `step`."""
    begin = task * w[14]
    for i in range(begin, min(w[8], begin + w[14])):
        row = row_at(w[7], step * w[8], i)
        sparse_row(at(pointer(w[0], like), i * w[1]), w[3], w[4], w[5], w[6],
                   integer_at(w[2], w[5], row), integer_at(w[2], w[5], row + 1),
                   pointer(w[9], like), w[10], w[11], pointer(w[12], like), w[12] != 0, w[13])


@kernel
def add_scaled(x, x_lane, z, factor, cols):
    """x += factor * z; x (cols,) at steps of x_lane, z (cols,) contiguous."""
    if x_lane == 1:
        for j in range(0, cols, strip_lanes(x)):
            n = cols - j
            store_strip(x, j, fma(splat_strip(x, factor), load_strip(z, j, n),
                                  load_strip(x, j, n)), n)
    else:
        for j in range(cols):
            store(x, j * x_lane, fma(splat(x, factor), load(z, j, 1), load(x, j * x_lane, 1)), 1)


@kernel
def clear(x, step, lane, rows, cols):
    """x[i, j] = 0."""
    for i in range(rows):
        if lane == 1:
            for j in range(0, cols, lanes(x)):
                store(x, i * step + j, splat(x, 0.0), min(cols - j, lanes(x)))
        else:
            for j in range(cols):
                x[i * step + j * lane] = scalar(x, 0.0)


@kernel
def run_sparse_weight(w, r, task, step, slot, like):
    """dW[d] = sum over rows i of x[i, d] * dz[i] for the features d of this task.

    dW[d, j] at d*dw_step + j*dw_lane, overwritten; dz (rows, cols) contiguous rows at dz_step.
    Accumulates in dz's dtype, rows and their entries in order. Source: docs/math.md#affine.
    """
    first, rows = task * w[14], w[11]
    last = min(w[12], first + w[14])
    dw, dz = pointer(w[0], like), pointer(w[3], like)
    clear(at(dw, first * w[1]), w[1], w[2], last - first, w[13])
    for i in range(rows):
        row = row_at(w[10], step * rows, i)
        for e in range(integer_at(w[5], w[8], row), integer_at(w[5], w[8], row + 1)):
            d = integer_at(w[6], w[8], e)
            if first <= d and d < last:
                add_scaled(at(dw, d * w[1]), w[2], at(dz, i * w[4]), value_at(w[7], w[9], e), w[13])


INSTRUCTIONS = ((SPARSE_AFFINE, run_sparse_affine), (SPARSE_WEIGHT, run_sparse_weight))
