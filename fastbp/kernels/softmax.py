"""Softmax of rows, and softmax-cross-entropy with its gradient.

    p_ij = exp(x_ij - m_i) / S_i,   m_i = max_j x_ij,   S_i = sum_j exp(x_ij - m_i)
    l_i  = sum_j t_ij (m_i - x_ij) + (sum_j t_ij) log S_i,   dl_i/dx_ij = (sum_j t_ij) p_ij - t_ij

with t_ij = 1 for the label of row i and 0 elsewhere, or any distribution. Subtracting the maximum
keeps exp from overflowing; S_i >= 1 keeps its logarithm from being of a tiny number. Mathematics:
docs/math.md#softmax.

Design: a row of up to four registers would spend most of its time in sums over lanes. So as many
rows as a register has lanes are transposed, worked on one row a lane, and transposed back: 256x10
in 1.8 us instead of 2.7. A longer row is read three times, from L1 after the first: maximum,
exponentials into dx, scaling of dx. The logarithms are taken afterwards, for a register of rows at
a time: m_i - x_i,label and S_i wait in scratch memory. Writing dx past the caches brought nothing
(8192x1000: 5.1 ms against 4.7 with one thread, 5.0 against 4.9 with two).
"""

from __future__ import annotations

import numpy as np

from fastbp._jit import kernel
from fastbp._simd import (
    at,
    lane_max,
    lane_sum,
    lanes,
    load,
    load_as,
    maximum,
    minimum,
    pointer,
    pointer_to,
    scalar,
    select,
    splat,
    store,
    transpose_block,
)
from fastbp._simd.strip import load_strip, splat_strip, store_strip, strip_lanes
from fastbp.kernels._instruction import Instruction
from fastbp.kernels._registers import keep_upto, load_upto, store_upto
from fastbp.kernels._vmath import exp_nonpositive, log
from fastbp.kernels.losses import factor_of, weight_of

LABELS, PROBABILITIES = range(2)
# Registers whose sum is one chain of additions; chains are added up in turn.
CHAIN = 16
# Registers of columns up to which rows are transposed, to be worked on one row a lane.
NARROW = 4

SOFTMAX = Instruction("softmax", "y y_step x x_step rows cols block_rows")
SOFTMAX_CROSS_ENTROPY = Instruction(
    "softmax_cross_entropy",
    "partials dx dx_step x x_step target target_step weights cell rows cols block_rows kind "
    "scratch scratch_step", "factor most")


# ---- a row ---------------------------------------------------------------------------------------


@kernel
def _row_max(x, cols):
    """The largest of x[0 .. cols-1]; NaN may or may not show. Four chains hide the latency."""
    width = lanes(x)
    body = cols - cols % (4 * width)
    a = splat(x, -np.inf)
    b, c, d = a, a, a
    for i in range(0, body, 4 * width):
        a, b = maximum(a, load(x, i, None)), maximum(b, load(x, i + width, None))
        c = maximum(c, load(x, i + 2 * width, None))
        d = maximum(d, load(x, i + 3 * width, None))
    for i in range(body, cols, width):
        n = cols - i
        a = maximum(a, keep_upto(x, load_upto(x, i, n), n, -np.inf))
    return lane_max(maximum(maximum(a, b), maximum(c, d)))


@kernel
def _row_exponentials(e, x, cols, highest):
    """e[j] = exp(x[j] - highest); returns their sum."""
    width = lanes(x)
    m = splat(x, highest)
    total = splat(x, 0.0)
    for first in range(0, cols, CHAIN * width):
        chain = splat(x, 0.0)
        for i in range(first, min(cols, first + CHAIN * width), width):
            n = cols - i
            value = exp_nonpositive(keep_upto(x, load_upto(x, i, n) - m, n, -np.inf))
            store_upto(e, i, value, n)
            chain = chain + value
        total = total + chain
    return lane_sum(total)


@kernel
def _scale_row(y, cols, factor):
    """y *= factor."""
    f = splat_strip(y, factor)
    for i in range(0, cols, strip_lanes(y)):
        n = cols - i
        store_strip(y, i, load_strip(y, i, n) * f, n)


@kernel
def softmax_rows(y, y_step, x, x_step, rows, cols):
    """y_ij = exp(x_ij) / sum_j exp(x_ij).

    y, x (rows, cols), rows at their steps, columns contiguous, one dtype; y may be x. Overwrites y.
    The sum runs over chains of 16 registers in x's dtype. A row with NaN or +inf, or of -inf only,
    is NaN.
    """
    for r in range(rows):
        to, of = at(y, r * y_step), at(x, r * x_step)
        if cols <= lanes(x):
            v = keep_upto(x, load(of, 0, cols), cols, -np.inf)
            e = exp_nonpositive(v - lane_max(v))
            store(to, 0, e * splat(x, 1.0 / np.float64(lane_sum(e))), cols)
        else:
            total = _row_exponentials(to, of, cols, _row_max(of, cols))
            _scale_row(to, cols, 1.0 / np.float64(total))


# ---- cross-entropy: dx and, in scratch, three numbers a row --------------------------------------


@kernel
def _group_by_label(dx, dx_step, x, x_step, labels, weights, weighted, rows, cols, factor, gaps,
                    totals, masses, tile):
    """Up to a register of rows, one row a lane; tile: cols registers of scratch."""
    width = lanes(x)
    for c in range(0, cols, width):
        transpose_block(at(tile, c * width), width, at(x, c), x_step, rows, cols - c, width)
    label = load_as(labels, 0, rows, x)
    zero = splat(x, 0.0)
    highest, own, total = load(tile, 0, None), zero, zero
    for c in range(cols):
        v = load(tile, c * width, None)
        highest = maximum(highest, v)
        own = select(label == splat(x, c), v, own)
    for c in range(cols):
        e = exp_nonpositive(load(tile, c * width, None) - highest)
        total = total + e
        store(tile, c * width, e, None)
    f = splat(x, factor)
    if weighted:
        f = f * load(weights, 0, rows)
    scale = f / total
    for c in range(cols):
        hit = select(label == splat(x, c), f, zero)
        store(tile, c * width, load(tile, c * width, None) * scale - hit, None)
    for c in range(0, cols, width):
        transpose_block(at(dx, c), dx_step, at(tile, c * width), width, min(cols - c, width), rows,
                        min(cols - c, width))
    store(gaps, 0, highest - own, rows)
    store(totals, 0, total, rows)
    store(masses, 0, splat(x, 1.0), rows)


@kernel
def _row_by_label(dx, x, label, cols, f, gap, total, mass):
    highest = _row_max(x, cols)
    gap[0] = highest - x[label]
    s = _row_exponentials(dx, x, cols, highest)
    total[0], mass[0] = s, scalar(x, 1.0)
    dx[label] = dx[label] - s
    _scale_row(dx, cols, f / np.float64(s))


@kernel
def _row_by_target(dx, x, target, cols, f, gap, total, mass):
    highest = _row_max(x, cols)
    share, own = _row_mass_and_gap(x, target, cols, highest)
    s = _row_exponentials(dx, x, cols, highest)
    gap[0], total[0], mass[0] = scalar(x, own), s, scalar(x, share)
    scale, weight = splat(x, f * share / np.float64(s)), splat(x, f)
    for i in range(0, cols, lanes(x)):
        n = cols - i
        e, t = load_upto(dx, i, n), load_upto(target, i, n)
        store_upto(dx, i, e * scale - t * weight, n)


@kernel
def _row_mass_and_gap(x, target, cols, highest):
    """(sum_j t_j, sum_j t_j (highest - x_j)) in float64; t_j = 0 leaves out x_j = -inf."""
    width = lanes(x)
    m, zero = splat(x, highest), splat(x, 0.0)
    mass, gap = 0.0, 0.0
    for first in range(0, cols, CHAIN * width):
        masses, gaps = zero, zero
        for i in range(first, min(cols, first + CHAIN * width), width):
            n = cols - i
            t = load_upto(target, i, n)
            masses = masses + t
            gaps = gaps + select(t != 0.0, t * (m - load_upto(x, i, n)), zero)
        mass += np.float64(lane_sum(masses))
        gap += np.float64(lane_sum(gaps))
    return mass, gap


@kernel
def cross_entropy_sum(gaps, totals, masses, weights, weighted, rows, most, wide):
    """sum_i w_i l_i in float64, lane by lane; overwrites gaps by l_i.

    l_i = gap_i + mass_i log S_i, `most` at most. gaps, totals, masses, weights (rows,) contiguous;
    wide: any float64 pointer.
    """
    highest = splat(gaps, most)
    for i in range(0, rows, lanes(gaps)):
        n = rows - i
        value = load(gaps, i, n) + load(masses, i, n) * log(load(totals, i, n))
        store(gaps, i, minimum(value, highest), n)
    total = splat(wide, 0.0)
    for i in range(0, rows, lanes(wide)):
        value = load_as(gaps, i, rows - i, wide)
        if weighted:
            value = value * load_as(weights, i, rows - i, wide)
        total = total + value
    return lane_sum(total)


@kernel
def cross_entropy_by_label(dx, dx_step, x, x_step, labels, weights, weighted, rows, cols, factor,
                           gaps, totals, masses, tile):
    """dx = factor * w_i * (softmax(x_i) - 1 at the label), and what `cross_entropy_sum` needs.

    dx, x (rows, cols), rows at their steps, columns contiguous, one dtype; labels (rows,) int64
    within 0 .. cols-1; weights (rows,) if `weighted`; gaps, totals, masses: scratch of `rows`
    elements each, tile: of NARROW registers' square. Overwrites dx, which may not be x.
    """
    width = lanes(x)
    if cols <= NARROW * width:
        for r in range(0, rows, width):
            _group_by_label(at(dx, r * dx_step), dx_step, at(x, r * x_step), x_step, at(labels, r),
                            at(weights, r), weighted, min(width, rows - r), cols, factor,
                            at(gaps, r), at(totals, r), at(masses, r), tile)
    else:
        for r in range(rows):
            _row_by_label(at(dx, r * dx_step), at(x, r * x_step), labels[r], cols,
                          factor * weight_of(weights, weighted, r), at(gaps, r), at(totals, r),
                          at(masses, r))


@kernel
def cross_entropy_by_target(dx, dx_step, x, x_step, target, target_step, weights, weighted, rows,
                            cols, factor, gaps, totals, masses):
    """As `cross_entropy_by_label` with t_ij = target[i, j] (rows at target_step)."""
    for r in range(rows):
        _row_by_target(at(dx, r * dx_step), at(x, r * x_step), at(target, r * target_step), cols,
                       factor * weight_of(weights, weighted, r), at(gaps, r), at(totals, r),
                       at(masses, r))


# ---- instructions --------------------------------------------------------------------------------


@kernel
def run_softmax(w, r, task, step, slot, like):
    """Some rows."""
    i = task * w[6]
    softmax_rows(at(pointer(w[0], like), i * w[1]), w[1], at(pointer(w[2], like), i * w[3]), w[3],
                 min(w[6], w[4] - i), w[5])


@kernel
def run_softmax_cross_entropy(w, r, task, step, slot, like):
    """Some rows; their part of the loss goes to partials[task].

    Scratch: a tile, then 3 * block_rows elements.
    """
    i, cols = task * w[11], w[10]
    rows = min(w[11], w[9] - i)
    partials = pointer_to(w[0], np.float64)
    dx, x = at(pointer(w[1], like), i * w[2]), at(pointer(w[3], like), i * w[4])
    weights, weighted = at(pointer(w[7], like), i), w[7] != 0
    tile = at(pointer(w[13], like), slot * w[14])
    gaps = at(tile, NARROW * lanes(like) * lanes(like))
    totals, masses = at(gaps, w[11]), at(gaps, 2 * w[11])
    factor = factor_of(w[8], r[0])
    if w[12] == LABELS:
        labels = at(pointer_to(w[5], np.int64), i)
        cross_entropy_by_label(dx, w[2], x, w[4], labels, weights, weighted, rows, cols, factor,
                               gaps, totals, masses, tile)
    else:
        target = at(pointer(w[5], like), i * w[6])
        cross_entropy_by_target(dx, w[2], x, w[4], target, w[6], weights, weighted, rows, cols,
                                factor, gaps, totals, masses)
    partials[task] = cross_entropy_sum(gaps, totals, masses, weights, weighted, rows, r[1],
                                       partials)


INSTRUCTIONS = ((SOFTMAX, run_softmax), (SOFTMAX_CROSS_ENTROPY, run_softmax_cross_entropy))
