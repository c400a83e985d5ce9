"""LayerNorm: every row of x (rows, cols) normalised over its features, forward and backward.

    y  = gamma * xhat + beta,    xhat = (x - mean) * rstd,    rstd = 1/sqrt(var + eps), var biased
    dx = rstd * (g - mean(g) - xhat*mean(g*xhat)),    g = gamma*dy
    dgamma = sum over rows of dy*xhat,    dbeta = sum over rows of dy

A row is read from memory once and then, twice more, from L1: mean, squared deviations, result.
The mean is taken about the row's first element, so it does not round at the size of the values,
and a constant row has deviations of exactly 0. Sums along a row run in a strip of four registers,
are joined by a tree and finished in float64. Mathematics: docs/math.md#layernorm.
"""

from __future__ import annotations

import math

from fastbp._jit import kernel
from fastbp._simd import at, fma, lane_sum, pointer
from fastbp._simd.strip import (
    keep_lanes,
    load_strip,
    splat_strip,
    store_strip,
    stream_strip,
    strip_lanes,
)
from fastbp.kernels._instruction import Instruction
from fastbp.kernels._strips import over_strips

# Rows whose share of dgamma and dbeta is summed in registers, while they are in L1.
FEW = 8

LAYERNORM = Instruction(
    "layernorm", "y y_step x x_step mean rstd gamma beta rows cols block_rows stream",
    "eps")
LAYERNORM_BACKWARD = Instruction(
    "layernorm_backward",
    "dx dx_step partials step dy dy_step x x_step mean rstd gamma rows cols block_rows stream")


@kernel
def _row_moments(x, cols):
    """(mean, biased variance) of a row, in float64; cols >= 1."""
    share = 1.0 / cols
    origin, zero = splat_strip(x, x[0]), splat_strip(x, 0.0)
    total = zero
    for i in range(0, cols, strip_lanes(x)):
        total = total + keep_lanes(load_strip(x, i, cols - i) - origin, cols - i)
    mean = float(x[0]) + float(lane_sum(total)) * share
    centre, total = splat_strip(x, mean), zero
    for i in range(0, cols, strip_lanes(x)):
        d = keep_lanes(load_strip(x, i, cols - i) - centre, cols - i)
        total = fma(d, d, total)
    return mean, float(lane_sum(total)) * share


@kernel
def layernorm_forward(y, y_step, x, x_step, mean, rstd, gamma, beta, rows, cols, eps, stream):
    """y = gamma*(x - mean)*rstd + beta with each row's own mean and rstd; cols >= 1.

    y, x (rows, cols), rows at their steps, columns contiguous; mean, rstd (rows,); gamma, beta
    (cols,). Overwrites y, mean and rstd; y may be x. Sums in x's dtype along a row. stream: y
    goes past the caches; its rows must lie on cache lines. Source: docs/math.md#layernorm.
    """
    for r in range(rows):
        row, out = at(x, r * x_step), at(y, r * y_step)
        middle, var = _row_moments(row, cols)
        mean[r], rstd[r] = middle, 1.0 / math.sqrt(var + eps)
        centre, scale = splat_strip(x, mean[r]), splat_strip(x, rstd[r])
        for i in range(0, cols, strip_lanes(x)):
            n = cols - i
            xhat = (load_strip(row, i, n) - centre) * scale
            value = fma(load_strip(gamma, i, n), xhat, load_strip(beta, i, n))
            stream_strip(out, i, value, n, stream)


@kernel
def _row_sums(dy, x, gamma, mean, rstd, cols):
    """(mean of g, mean of g*xhat) of a row, in float64."""
    centre, s, q = splat_strip(x, mean), splat_strip(x, 0.0), splat_strip(x, 0.0)
    for i in range(0, cols, strip_lanes(x)):
        n = cols - i
        g = load_strip(dy, i, n) * load_strip(gamma, i, n)
        s, q = s + g, fma(g, load_strip(x, i, n) - centre, q)
    return float(lane_sum(s)) / cols, float(lane_sum(q)) * rstd / cols


@over_strips
def layernorm_sums(start, end, i, n, dgamma, dbeta, dy, dy_step, x, x_step, mean, rstd, first):
    """dgamma (+)= sum dy*xhat, dbeta (+)= sum dy over rows; `first` overwrites instead of adding.

    dy, x (rows, cols), rows at their steps, columns contiguous; mean, rstd (rows,); dgamma, dbeta
    (cols,). Accumulates in x's dtype, rows in order. Source: docs/math.md#layernorm.
    """
    s, q = splat_strip(x, 0.0), splat_strip(x, 0.0)
    for r in range(start, end):
        up = load_strip(dy, r * dy_step + i, n)
        d = load_strip(x, r * x_step + i, n) - splat_strip(x, mean[r])
        s, q = s + up, fma(d, up * splat_strip(x, rstd[r]), q)
    if not first:
        s, q = s + load_strip(dbeta, i, n), q + load_strip(dgamma, i, n)
    store_strip(dbeta, i, s, n)
    store_strip(dgamma, i, q, n)


@kernel
def layernorm_backward(dx, dx_step, dgamma, dbeta, dy, dy_step, x, x_step, mean, rstd, gamma, rows,
                       cols, stream):
    """dx = rstd*(g - mean(g) - xhat*mean(g*xhat)), g = gamma*dy;
    dgamma = sum dy*xhat, dbeta = sum dy over rows.

    dx, dy, x (rows, cols), rows at their steps, columns contiguous; mean, rstd (rows,); the
    others (cols,); rows >= 1. Overwrites dx, dgamma and dbeta; dx may be dy or x. Sums in x's
    dtype: along a row, and over FEW rows at a time in order. stream: dx goes past the caches; its
    rows must lie on cache lines. Source: docs/math.md#layernorm.
    """
    for start in range(0, rows, FEW):
        count = min(FEW, rows - start)
        layernorm_sums(count, cols, count, dy, dy_step, dgamma, dbeta, at(dy, start * dy_step),
                       dy_step, at(x, start * x_step), x_step, at(mean, start), at(rstd, start),
                       start == 0)
        for r in range(start, start + count):
            up, row, out = at(dy, r * dy_step), at(x, r * x_step), at(dx, r * dx_step)
            s, q = _row_sums(up, row, gamma, mean[r], rstd[r], cols)
            centre, scale = splat_strip(x, mean[r]), splat_strip(x, rstd[r])
            shift, slope = splat_strip(x, -s), splat_strip(x, -q * rstd[r])
            for i in range(0, cols, strip_lanes(x)):
                n = cols - i
                g = fma(load_strip(up, i, n), load_strip(gamma, i, n), shift)
                d = load_strip(row, i, n) - centre
                stream_strip(out, i, fma(d, slope, g) * scale, n, stream)


@kernel
def run_layernorm(w, r, task, step, slot, like):
    """Rows task*block_rows .. ."""
    i = task * w[10]
    layernorm_forward(
        at(pointer(w[0], like), i * w[1]), w[1], at(pointer(w[2], like), i * w[3]), w[3],
        at(pointer(w[4], like), i), at(pointer(w[5], like), i), pointer(w[6], like),
        pointer(w[7], like), min(w[10], w[8] - i), w[9], r[0], w[11] != 0)


@kernel
def run_layernorm_backward(w, r, task, step, slot, like):
    """Rows task*block_rows ..; dgamma and dbeta go to rows 2*task and 2*task + 1 of partials."""
    i = task * w[13]
    dgamma = at(pointer(w[2], like), 2 * task * w[3])
    layernorm_backward(
        at(pointer(w[0], like), i * w[1]), w[1], dgamma, at(dgamma, w[3]),
        at(pointer(w[4], like), i * w[5]), w[5], at(pointer(w[6], like), i * w[7]), w[7],
        at(pointer(w[8], like), i), at(pointer(w[9], like), i), pointer(w[10], like),
        min(w[13], w[11] - i), w[12], w[14] != 0)


INSTRUCTIONS = ((LAYERNORM, run_layernorm), (LAYERNORM_BACKWARD, run_layernorm_backward))
