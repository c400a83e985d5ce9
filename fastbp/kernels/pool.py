"""Pooling: the largest or the mean element of every window of a plane, forward and backward.

    max:      y[o, q] = x at the first largest tap;  dx gets dy there
    average:  y[o, q] = sum over taps / count;       dx gets dy/count at each tap

A task owns whole planes (channels of samples). A plane, or some rows of outputs of it, is divided
into phases (_band.py), so that for each tap the elements of neighbouring outputs are neighbours,
for every stride. Max pooling keeps the number of the tap that won, as a number of x's dtype: masks
of lanes do the rest. Gradients are added into a band of zeros, tap by tap in order, and the band
into dx. Where all of a window is -inf the first tap wins, which the border may hold.
Mathematics: docs/math.md#pooling.
"""

from __future__ import annotations

import numpy as np

from fastbp._jit import kernel
from fastbp._simd import at, load, pointer, scalar, select, splat, store
from fastbp._simd.pointer import lanes
from fastbp.kernels._band import (
    GEOMETRY,
    add_band,
    band_extent,
    channel_step,
    fill,
    fill_band,
    fill_table,
    scratch_parts,
)
from fastbp.kernels._instruction import Instruction

# Kinds: AVERAGE counts the border, AVERAGE_INSIDE does not.
MAX, AVERAGE, AVERAGE_INSIDE = range(3)

# planes: of a task. which: the winning taps (MAX). In POOL_GRADIENT `x` is dx.
POOL = Instruction("pool", GEOMETRY + " y y_sample which which_sample planes kind")
POOL_GRADIENT = Instruction(
    "pool_gradient", GEOMETRY + " dy dy_sample which which_sample planes kind")


@kernel
def max_pool(y, which, band, table, taps, count):
    """y[i] = max_t band[table[t] + i], which[i] = the first t that has it; i < count.

    NaN wins, the first of several too. Overwrites y and which.
    """
    for i in range(0, count, lanes(y)):
        n = count - i
        best, winner = load(band, table[0] + i, n), splat(y, 0.0)
        for t in range(1, taps):
            v = load(band, table[t] + i, n)
            better = (v > best) | ((v != v) & (best == best))
            best, winner = select(better, v, best), select(better, splat(y, t), winner)
        store(y, i, best, n)
        store(which, i, winner, n)


@kernel
def max_pool_gradient(band, dy, which, table, taps, count):
    """band[table[t] + i] += dy[i] where which[i] = t; i < count, taps in order."""
    for i in range(0, count, lanes(dy)):
        n = count - i
        g, winner = load(dy, i, n), load(which, i, n)
        for t in range(taps):
            share = select(winner == splat(dy, t), g, splat(dy, 0.0))
            store(band, table[t] + i, load(band, table[t] + i, n) + share, n)


@kernel
def average_pool(y, band, table, taps, counts, count):
    """y[i] = sum_t band[table[t] + i] / counts[i], taps in order; i < count. Overwrites y."""
    for i in range(0, count, lanes(y)):
        n = count - i
        total = load(band, table[0] + i, n)
        for t in range(1, taps):
            total = total + load(band, table[t] + i, n)
        store(y, i, total / load(counts, i, n), n)


@kernel
def average_pool_gradient(band, dy, table, taps, counts, count):
    """band[table[t] + i] += dy[i] / counts[i]; i < count, taps in order."""
    for i in range(0, count, lanes(dy)):
        n = count - i
        share = load(dy, i, n) / load(counts, i, n)
        for t in range(taps):
            store(band, table[t] + i, load(band, table[t] + i, n) + share, n)


@kernel
def elements_inside(position, kernel, border, size):
    """Elements of a window at `position` (of its first, the border included) that are in x."""
    return min(size, position - border + kernel) - max(0, position - border)


@kernel
def fill_counts(counts, w, row):
    """counts[q] = elements that the window of output (row, q) divides by."""
    down = w[7] if w[28] == AVERAGE else elements_inside(row * w[9], w[7], w[11], w[4])
    for q in range(w[16]):
        across = w[8] if w[28] == AVERAGE else elements_inside(q * w[10], w[8], w[12], w[5])
        counts[q] = scalar(counts, float(down * across))


@kernel
def run_pool(w, r, task, step, slot, like):
    """Planes task*planes .. , some rows of outputs at a time."""
    table, _, _, counts = scratch_parts(w, slot, like)
    band = at(counts, (w[16] + 63) // 64 * 64)
    outside = -np.inf if w[28] == MAX else 0.0
    taps, out_w = w[7] * w[8], w[16]
    for plane in range(task * w[27], min((task + 1) * w[27], w[2] * w[3])):
        sample, channel = plane // w[3], plane % w[3]
        for row in range(0, w[15], w[19]):
            rows = min(w[19], w[15] - row)
            wide = band_extent(w, rows)[1]
            fill_table(table, w, 1, rows)
            fill_band(band, w, like, 0, sample, 1, row, rows, channel, 1, outside)
            place = channel * w[15] * out_w + row * out_w
            y = at(pointer(w[23], like), sample * w[24] + place)
            which = at(pointer(w[25], like), sample * w[26] + place)
            if w[28] == MAX and wide == out_w:
                max_pool(y, which, band, table, taps, rows * out_w)
            else:
                for o in range(rows):
                    source = at(band, o * wide)
                    if w[28] == MAX:
                        max_pool(at(y, o * out_w), at(which, o * out_w), source, table, taps, out_w)
                    else:
                        fill_counts(counts, w, row + o)
                        average_pool(at(y, o * out_w), source, table, taps, counts, out_w)


@kernel
def run_pool_gradient(w, r, task, step, slot, like):
    """Planes task*planes .. of dx: 0, then the bands of some rows of outputs after another."""
    table, _, _, counts = scratch_parts(w, slot, like)
    band = at(counts, (w[16] + 63) // 64 * 64)
    taps, out_w = w[7] * w[8], w[16]
    for plane in range(task * w[27], min((task + 1) * w[27], w[2] * w[3])):
        sample, channel = plane // w[3], plane % w[3]
        fill(at(pointer(w[0], like), sample * w[1] + channel * w[4] * w[5]), w[4] * w[5], 0.0)
        for row in range(0, w[15], w[19]):
            rows = min(w[19], w[15] - row)
            wide = band_extent(w, rows)[1]
            fill_table(table, w, 1, rows)
            fill(band, channel_step(w, 1, rows), 0.0)
            place = channel * w[15] * out_w + row * out_w
            dy = at(pointer(w[23], like), sample * w[24] + place)
            which = at(pointer(w[25], like), sample * w[26] + place)
            if w[28] == MAX and wide == out_w:
                max_pool_gradient(band, dy, which, table, taps, rows * out_w)
            else:
                for o in range(rows):
                    target = at(band, o * wide)
                    if w[28] == MAX:
                        max_pool_gradient(target, at(dy, o * out_w), at(which, o * out_w), table,
                                          taps, out_w)
                    else:
                        fill_counts(counts, w, row + o)
                        average_pool_gradient(target, at(dy, o * out_w), table, taps, counts, out_w)
            add_band(band, w, like, sample, row, rows, channel)


INSTRUCTIONS = ((POOL, run_pool), (POOL_GRADIENT, run_pool_gradient))
