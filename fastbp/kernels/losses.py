"""Losses with their gradients in one pass; softmax-cross-entropy is in softmax.py.

    loss = sum_i w_i l_i / sum_i w_i,    l_i the loss of row i, w_i = 1 unless weights are given

The kernels apply `factor` = 1 / sum_i w_i to the gradient (and 1/cols, where l_i is a mean over the
columns); nothing else in the library divides by the batch. The loss is summed in float64: eight
registers in the data's dtype, their lanes, then float64 over the row, the rows and the tasks, in
order. A penalty on the weights joins it where the tasks' parts are added up. Mathematics:
docs/math.md#losses.
"""

from __future__ import annotations

import numpy as np

from fastbp._jit import kernel
from fastbp._simd import (
    absolute,
    at,
    counter,
    lane_sum,
    lanes,
    maximum,
    minimum,
    pointer,
    pointer_to,
    scalar,
    select,
    splat,
)
from fastbp._simd.elementary import constant
from fastbp.kernels._instruction import Instruction
from fastbp.kernels._registers import keep_upto, load_upto, store_upto
from fastbp.kernels._strips import block
from fastbp.kernels._vmath import exp, exp_nonpositive, log, sigmoid_from, softplus_from
from fastbp.kernels.update import RATES

SQUARED, ABSOLUTE, HUBER, LOGISTIC, POISSON, QUANTILE = range(6)
# Registers that are summed in the data's dtype.
CHAIN = 8

LOSS_FACTOR = Instruction("loss_factor", "cell weights count", "scale")
ELEMENT_LOSS = Instruction(
    "element_loss",
    "partials dx dx_step x x_step target target_step weights cell rows cols block_rows block_cols "
    "kind", "factor shape")
HINGE = Instruction(
    "hinge", "partials dx dx_step x x_step labels weights cell rows cols block_rows", "factor")
MERGE_LOSS = Instruction(
    "merge_loss", "losses partials count cell norms norm_count rates halted", "factor penalty")


@kernel
def loss_factor(cell, weights, count, scale):
    """cell[0] = scale / sum_i weights[i], or 0 where the weights sum to 0.

    cell: float64; weights (count,) contiguous. Sums in float64, i ascending.
    """
    total = 0.0
    for i in range(count):
        total += np.float64(weights[i])
    cell[0] = scale / total if total != 0.0 else 0.0


@kernel
def factor_of(cell_address, constant_factor):
    """What the gradient is multiplied by: what `loss_factor` left, or a constant (address 0)."""
    if cell_address != 0:
        return pointer_to(cell_address, np.float64)[0]
    return constant_factor


@kernel
def weight_of(weights, weighted, row):
    """w_i in float64; 1 where no weights are given."""
    return np.float64(weights[row]) if weighted else 1.0


# ---- elementwise: rule(x, t, a) -> (loss, its slope by x); a: the number that shapes it ----------


@kernel
def _squared(x, t, a):
    """d^2; d = x - t."""
    d = x - t
    return d * d, d + d


@kernel
def _absolute(x, t, a):
    """|d|, with the slope 0 at 0."""
    d = x - t
    one = constant(d, 1.0, 1.0)
    return absolute(d), select(d > 0.0, one, select(d < 0.0, -one, d))


@kernel
def _huber(x, t, a):
    """d^2/2 where |d| <= a, else a*(|d| - a/2)."""
    d = x - t
    size = absolute(d)
    value = select(size > a, a * (size - 0.5 * a), 0.5 * d * d)
    return value, maximum(minimum(d, a), -a)


@kernel
def _logistic(x, t, a):
    """-t*log(sigmoid(x)) - (1-t)*log(sigmoid(-x)) = log(1 + e^x) - x*t, reported as a at most.

    The slope, sigmoid(x) - t, is that of the whole loss.
    """
    e = exp_nonpositive(-absolute(x))
    return minimum(softplus_from(x, e) - x * t, a), sigmoid_from(x, e) - t


@kernel
def _poisson(x, t, a):
    """e^x - t*x + t*log(t) - t, half the deviance of a mean e^x; 0*log(0) = 0."""
    mean = exp(x)
    entropy = t * log(select(t == 0.0, constant(t, 1.0, 1.0), t))
    return (mean - t * x) + (entropy - t), mean - t


@kernel
def _quantile(x, t, a):
    """a*(t - x) where t > x, (1 - a)*(x - t) below, with the slope 0 at 0."""
    d = x - t
    above = 1.0 - a
    slope = select(d > 0.0, above, select(d < 0.0, -a, d))
    return maximum(above * d, -a * d), slope


def _sweep(rule):
    """The kernel that applies a rule to a block (a factory: see update.py)."""

    @kernel
    def sweep(dx, dx_step, x, x_step, target, target_step, weights, weighted, rows, cols, factor,
              shape):
        width = lanes(x)
        a = splat(x, shape)
        total = 0.0
        for r in range(rows):
            weight = weight_of(weights, weighted, r)
            f = splat(x, factor * weight)
            to, of, wanted = at(dx, r * dx_step), at(x, r * x_step), at(target, r * target_step)
            row_total = 0.0
            for first in range(0, cols, CHAIN * width):
                chain = splat(x, 0.0)
                for i in range(first, min(cols, first + CHAIN * width), width):
                    n = cols - i
                    value, slope = rule(load_upto(of, i, n), load_upto(wanted, i, n), a)
                    chain = chain + keep_upto(x, value, n, 0.0)
                    store_upto(to, i, slope * f, n)
                row_total += np.float64(lane_sum(chain))
            total += weight * row_total
        return total

    return sweep


_squared_block, _absolute_block = _sweep(_squared), _sweep(_absolute)
_huber_block, _logistic_block = _sweep(_huber), _sweep(_logistic)
_poisson_block, _quantile_block = _sweep(_poisson), _sweep(_quantile)


@kernel
def element_loss(dx, dx_step, x, x_step, target, target_step, weights, weighted, rows, cols,
                 factor, kind, shape):
    """dx = factor * w_i * l'(x, t); returns sum over the block of w_i * l(x, t) in float64.

    dx, x, target (rows, cols), rows at their steps, columns contiguous, one dtype; weights (rows,)
    of that dtype if `weighted`. Overwrites dx, which may be x. kind (and `shape`): SQUARED,
    ABSOLUTE, HUBER (its delta), LOGISTIC (x logits, targets 0 .. 1; the most an element is
    reported with), POISSON (x logarithms of means, targets of at least 0), QUANTILE (which one).
    NaN gives NaN in loss and gradient. Source: docs/math.md#losses.
    """
    if kind == SQUARED:
        return _squared_block(dx, dx_step, x, x_step, target, target_step, weights, weighted,
                              rows, cols, factor, shape)
    if kind == ABSOLUTE:
        return _absolute_block(dx, dx_step, x, x_step, target, target_step, weights, weighted,
                               rows, cols, factor, shape)
    if kind == HUBER:
        return _huber_block(dx, dx_step, x, x_step, target, target_step, weights, weighted,
                            rows, cols, factor, shape)
    if kind == POISSON:
        return _poisson_block(dx, dx_step, x, x_step, target, target_step, weights, weighted,
                              rows, cols, factor, shape)
    if kind == QUANTILE:
        return _quantile_block(dx, dx_step, x, x_step, target, target_step, weights, weighted,
                               rows, cols, factor, shape)
    return _logistic_block(dx, dx_step, x, x_step, target, target_step, weights, weighted,
                           rows, cols, factor, shape)


# ---- hinge ---------------------------------------------------------------------------------------


@kernel
def hinge(dx, dx_step, x, x_step, labels, weights, weighted, rows, cols, factor):
    """l_i = sum over j != y_i of max(0, x_ij - x_i,y_i + 1); returns sum_i w_i l_i in float64.

    dx = factor * w_i * (1 where the margin is violated, minus their number at y_i).
    dx, x (rows, cols), rows at their steps, columns contiguous; labels (rows,) int64 within
    0 .. cols-1. Overwrites dx, which may not be x. The slope at the kink is 0.
    Source: docs/math.md#losses.
    """
    width = lanes(x)
    zero = splat(x, 0.0)
    total = 0.0
    for r in range(rows):
        weight = weight_of(weights, weighted, r)
        step, label = splat(x, factor * weight), labels[r]
        to, of = at(dx, r * dx_step), at(x, r * x_step)
        own = splat(x, of[label])
        row_total, count = 0.0, 0.0
        for first in range(0, cols, CHAIN * width):
            chain, violated = zero, zero
            for i in range(first, min(cols, first + CHAIN * width), width):
                n = cols - i
                margin = (load_upto(of, i, n) - own) + 1.0
                margin = keep_upto(x, margin, n, 0.0)
                margin = select(counter(x, i) != label, margin, zero)
                chain = chain + maximum(margin, zero)
                inside = margin > 0.0
                violated = violated + select(inside, splat(x, 1.0), zero)
                store_upto(to, i, select(inside, step, zero), n)
            row_total += np.float64(lane_sum(chain))
            count += np.float64(lane_sum(violated))
        to[label] = scalar(x, -factor * weight * count)
        total += weight * row_total
    return total


# ---- instructions --------------------------------------------------------------------------------


@kernel
def run_loss_factor(w, r, task, step, slot, like):
    """One task: the sum has one order."""
    loss_factor(pointer_to(w[0], np.float64), pointer(w[1], like), w[2], r[0])


@kernel
def run_element_loss(w, r, task, step, slot, like):
    """One block; its part of the loss goes to partials[task]."""
    i, j, rows, cols = block(task, w[9], w[10], w[11], w[12])
    pointer_to(w[0], np.float64)[task] = element_loss(
        at(pointer(w[1], like), i * w[2] + j), w[2], at(pointer(w[3], like), i * w[4] + j), w[4],
        at(pointer(w[5], like), i * w[6] + j), w[6], at(pointer(w[7], like), i), w[7] != 0,
        rows, cols, factor_of(w[8], r[0]), w[13], r[1])


@kernel
def run_hinge(w, r, task, step, slot, like):
    """Some rows; their part of the loss goes to partials[task]."""
    i = task * w[10]
    pointer_to(w[0], np.float64)[task] = hinge(
        at(pointer(w[1], like), i * w[2]), w[2], at(pointer(w[3], like), i * w[4]), w[4],
        at(pointer_to(w[5], np.int64), i), at(pointer(w[6], like), i), w[6] != 0,
        min(w[10], w[8] - i), w[9], factor_of(w[7], r[0]))


@kernel
def sum_of(values, count):
    """sum_i values[i], i ascending; values (count,) float64."""
    total = 0.0
    for i in range(count):
        total += values[i]
    return total


@kernel
def run_merge_loss(w, r, task, step, slot, like):
    """losses[step] = factor * cell[0] * sum of the partials + penalty * decay * sum of the norms.

    Sums in order; without a cell (address 0) its factor is 1. norms: parts of a squared norm; decay
    is what multiplies the weight decay in this step's row of rates (update.py). halted: address of
    the word that ends the run where the loss is not finite, or 0. Where several tasks look at a
    loss all of them write it, before one ends the run for the others.
    """
    total = sum_of(pointer_to(w[1], np.float64), w[2]) * r[0] * factor_of(w[3], 1.0)
    if w[5] > 0:
        decay = pointer_to(w[6], np.float64)[RATES * step + 3]
        total += r[1] * decay * sum_of(pointer_to(w[4], np.float64), w[5])
    pointer_to(w[0], np.float64)[step] = total
    if w[7] != 0 and not total - total == 0.0:
        pointer_to(w[7], np.int64)[0] = 1


INSTRUCTIONS = ((LOSS_FACTOR, run_loss_factor), (ELEMENT_LOSS, run_element_loss),
                (HINGE, run_hinge), (MERGE_LOSS, run_merge_loss))
