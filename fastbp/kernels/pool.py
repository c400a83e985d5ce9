"""Pooling: the largest or the mean element of every window of a plane, forward and backward.

    max:      y[o, q] = x at the first largest tap;  dx gets dy there
    average:  y[o, q] = sum over taps / count;       dx gets dy/count at each tap

A task owns whole planes (channels of samples). A plane, or some rows of outputs of it, is divided
into phases (_band.py), so that for each tap the elements of neighbouring outputs are neighbours,
whatever the stride. Max pooling keeps the number of the tap that won, in x's dtype. Gradients of
means are added into a band of zeros, tap by tap in order, and the band into dx; those of maxima go
where they belong one by one. Mathematics: docs/math.md#pooling.
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
def max_pool(y, which, band, table, taps, firsts, count):
    """y[i] = max_t band[table[t] + i], which[i] = the first t that has it; i < count.

    NaN wins, the first of several too. firsts[i]: the first tap inside the image, which has all of
    a window of -inf. Overwrites y and which.
    """
    for i in range(0, count, lanes(y)):
        n = count - i
        best, winner = splat(y, -np.inf), load(firsts, i, n)
        for t in range(taps):
            v = load(band, table[t] + i, n)
            better = (v > best) | ((v != v) & (best == best))
            best, winner = select(better, v, best), select(better, splat(y, t), winner)
        store(y, i, best, n)
        store(which, i, winner, n)


@kernel
def max_pool_gradient(dx, stride, dy, which, places, count):
    """dx[i*stride + places[which[i]]] += dy[i], i < count, in order.

    One by one: with masks of lanes, into a band, 2 x 2 took four times as long.
    """
    for i in range(count):
        dx[i * stride + places[int(which[i])]] += dy[i]


@kernel
def average_pool(y, band, table, taps, counts, count):
    """y[i] = sum_t band[table[t] + i] / counts[i], taps in order; i < count. Overwrites y."""
    for i in range(0, count, lanes(y)):
        n = count - i
        total = load(band, table[0] + i, n)
        for t in range(1, taps):
            total = total + load(band, table[t] + i, n)
        store(y, i, total / load(counts, i, None), n)


@kernel
def average_pool_gradient(band, dy, table, taps, counts, count):
    """band[table[t] + i] += dy[i] / counts[i]; i < count, taps in order."""
    for i in range(0, count, lanes(dy)):
        n = count - i
        share = load(dy, i, n) / load(counts, i, None)
        for t in range(taps):
            store(band, table[t] + i, load(band, table[t] + i, n) + share, n)


@kernel
def elements_inside(position, kernel, border, size):
    """Elements of a window at `position` (of its first, the border included) that are in x."""
    return min(size, position - border + kernel) - max(0, position - border)


@kernel
def fill_counts(counts, w, row):
    """counts[q] = elements that the window of output (row, q) is divided by; 1 behind the last."""
    fill(counts, (w[16] + lanes(counts) - 1) // lanes(counts) * lanes(counts), 1.0)
    down = w[7] if w[28] == AVERAGE else elements_inside(row * w[9], w[7], w[11], w[4])
    for q in range(w[16]):
        across = w[8] if w[28] == AVERAGE else elements_inside(q * w[10], w[8], w[12], w[5])
        counts[q] = scalar(counts, float(down * across))


@kernel
def fill_firsts(firsts, w, row):
    """firsts[q] = the first tap of the window of output (row, q) that is in the image."""
    begin = max(0, w[11] - row * w[9]) * w[8]
    for q in range(w[16]):
        firsts[q] = scalar(firsts, float(begin + max(0, w[12] - q * w[10])))


@kernel
def run_pool(w, r, task, step, slot, like):
    """Planes task*planes .. , some rows of outputs at a time."""
    table, _, _, aside = scratch_parts(w, slot, like)
    band = at(aside, (w[16] + 63) // 64 * 64)
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
            for o in range(rows):
                source = at(band, o * wide)
                if w[28] == MAX:
                    fill_firsts(aside, w, row + o)
                    max_pool(at(y, o * out_w), at(which, o * out_w), source, table, taps, aside,
                             out_w)
                else:
                    fill_counts(aside, w, row + o)
                    average_pool(at(y, o * out_w), source, table, taps, aside, out_w)


@kernel
def run_pool_gradient(w, r, task, step, slot, like):
    """Planes task*planes .. of dx: first 0, then every output gives its share."""
    for plane in range(task * w[27], min((task + 1) * w[27], w[2] * w[3])):
        sample, channel = plane // w[3], plane % w[3]
        place = channel * w[15] * w[16]
        dx = at(pointer(w[0], like), sample * w[1] + channel * w[4] * w[5])
        dy = at(pointer(w[23], like), sample * w[24] + place)
        fill(dx, w[4] * w[5], 0.0)
        if w[28] == MAX:
            places = scratch_parts(w, slot, like)[0]
            for t in range(w[7] * w[8]):
                places[t] = t // w[8] * w[5] + t % w[8]
            which = at(pointer(w[25], like), sample * w[26] + place)
            for o in range(w[15]):
                max_pool_gradient(at(dx, (o * w[9] - w[11]) * w[5] - w[12]), w[10],
                                  at(dy, o * w[16]), at(which, o * w[16]), places, w[16])
        else:
            average_plane_gradient(w, slot, like, dy, sample, channel)


@kernel
def average_plane_gradient(w, slot, like, dy, sample, channel):
    """dx of a plane += shares of dy, by bands of some rows of outputs."""
    table, _, _, counts = scratch_parts(w, slot, like)
    band = at(counts, (w[16] + 63) // 64 * 64)
    for row in range(0, w[15], w[19]):
        rows = min(w[19], w[15] - row)
        wide = band_extent(w, rows)[1]
        fill_table(table, w, 1, rows)
        fill(band, channel_step(w, 1, rows), 0.0)
        for o in range(rows):
            fill_counts(counts, w, row + o)
            average_pool_gradient(at(band, o * wide), at(dy, (row + o) * w[16]), table,
                                  w[7] * w[8], counts, w[16])
        add_band(band, w, like, sample, row, rows, channel)


INSTRUCTIONS = ((POOL, run_pool), (POOL_GRADIENT, run_pool_gradient))
