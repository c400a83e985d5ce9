"""Normalisation of images: by channel (spatial BatchNorm) and by groups of channels (GroupNorm).

    y  = gamma[c] * xhat + beta[c],    xhat = (x - mean) * rstd,    rstd = 1/sqrt(var + eps)
    dx = rstd * (gamma[c]*dy - A - xhat*B),    A = mean(gamma*dy), B = mean(gamma*dy*xhat)

A plane is a channel of a sample: `size` contiguous elements. mean, rstd, A and B belong to a
channel over all samples (BatchNorm) or to a group of channels of a sample (GroupNorm): the
statistics of plane (n, c) are number n*stat_sample + c//per_stat.

Design
  * Every plane is read as it lies: no channel is ever gathered. Moments are taken of runs, a plane
    or all planes of a group, as of a row of LayerNorm: mean, then squared deviations, about the
    first element, while the run is in L1 or L2. BatchNorm's planes are then merged in the order of
    samples by BATCHNORM_FINISH (kernels/batchnorm.py), which knows nothing of planes.
  * Backward, sum dy and sum dy*xhat of each plane go to (N, C) matrices: their column sums are
    dbeta and dgamma, their sums over a group's channels A and B.
Mathematics: docs/math.md#groupnorm.
"""

from __future__ import annotations

import math

from fastbp._jit import kernel
from fastbp._simd import at, fma, lane_sum, pointer
from fastbp._simd.strip import load_strip, splat_strip, store_strip, strip_lanes
from fastbp.kernels._instruction import Instruction
from fastbp.kernels.layernorm import _row_moments

# rows: runs of `size` elements of a sample. finish: 1: m2 becomes 1/sqrt(m2/size + eps).
PLANE_MOMENTS = Instruction(
    "plane_moments", "mean m2 step x x_sample samples rows size block finish", "eps")
# stat_sample, per_stat: which statistics a plane has (above). block: planes of a task.
PLANE_NORMALIZE = Instruction(
    "plane_normalize",
    "y y_sample x x_sample mean rstd stat_sample per_stat gamma beta samples channels size block")
PLANE_SUMS = Instruction(
    "plane_sums",
    "dgammas dbetas step dy dy_sample x x_sample mean rstd stat_sample per_stat samples channels "
    "size block")
# dgammas, dbetas: what A and B are sums of, sums_sample from sample to sample (0: one row).
PLANE_DX = Instruction(
    "plane_dx",
    "dx dx_sample dy dy_sample x x_sample mean rstd stat_sample per_stat gamma dgammas dbetas "
    "sums_sample samples channels size block", "share")


# ---- forward -------------------------------------------------------------------------------------


@kernel
def run_plane_moments(w, r, task, step, slot, like):
    """Mean and m2 = sum (x - mean)^2, or rstd, of runs task*block .. ; see `_row_moments`.

    mean, m2 (samples, rows), rows at step, overwritten.
    """
    size = w[7]
    for number in range(task * w[8], min((task + 1) * w[8], w[5] * w[6])):
        n, row = number // w[6], number % w[6]
        mean, var = _row_moments(at(pointer(w[3], like), n * w[4] + row * size), size)
        place = n * w[2] + row
        pointer(w[0], like)[place] = mean
        second = 1.0 / math.sqrt(var + r[0]) if w[9] != 0 else var * size
        pointer(w[1], like)[place] = second


@kernel
def run_plane_normalize(w, r, task, step, slot, like):
    """y = (x - mean)*(gamma*rstd) + beta for planes task*block .. ; y may be x."""
    size = w[12]
    for plane in range(task * w[13], min((task + 1) * w[13], w[10] * w[11])):
        n, c = plane // w[11], plane % w[11]
        stat = n * w[6] + c // w[7]
        x = at(pointer(w[2], like), n * w[3] + c * size)
        y = at(pointer(w[0], like), n * w[1] + c * size)
        centre = splat_strip(x, pointer(w[4], like)[stat])
        scale = splat_strip(x, pointer(w[8], like)[c] * pointer(w[5], like)[stat])
        shift = splat_strip(x, pointer(w[9], like)[c])
        for i in range(0, size, strip_lanes(x)):
            value = fma(load_strip(x, i, size - i) - centre, scale, shift)
            store_strip(y, i, value, size - i)


# ---- backward ------------------------------------------------------------------------------------


@kernel
def plane_sums(dy, x, centre, size):
    """(sum dy, sum dy*(x - centre)) of a plane in x's dtype: a strip of sums, then a tree."""
    middle, s, q = splat_strip(x, centre), splat_strip(x, 0.0), splat_strip(x, 0.0)
    for i in range(0, size, strip_lanes(x)):
        g = load_strip(dy, i, size - i)
        s, q = s + g, fma(g, load_strip(x, i, size - i) - middle, q)
    return lane_sum(s), lane_sum(q)


@kernel
def run_plane_sums(w, r, task, step, slot, like):
    """dbetas[n, c] = sum dy, dgammas[n, c] = sum dy*xhat for planes task*block .. , overwritten."""
    size = w[13]
    for plane in range(task * w[14], min((task + 1) * w[14], w[11] * w[12])):
        n, c = plane // w[12], plane % w[12]
        stat = n * w[9] + c // w[10]
        s, q = plane_sums(at(pointer(w[3], like), n * w[4] + c * size),
                          at(pointer(w[5], like), n * w[6] + c * size),
                          pointer(w[7], like)[stat], size)
        pointer(w[1], like)[n * w[2] + c] = s
        pointer(w[0], like)[n * w[2] + c] = q * pointer(w[8], like)[stat]


@kernel
def run_plane_dx(w, r, task, step, slot, like):
    """dx = rstd*(gamma*dy - A - xhat*B) for planes task*block .. ; dx may be dy or x.

    A = share * sum gamma*dbetas, B = share * sum gamma*dgammas over the per_stat channels of the
    plane's statistics, in order; share = 1/(elements of a mean), or 0 where mean and rstd were
    constants.
    """
    size, gamma = w[16], pointer(w[10], like)
    for plane in range(task * w[17], min((task + 1) * w[17], w[14] * w[15])):
        n, c = plane // w[15], plane % w[15]
        begin = c // w[9] * w[9]
        stat = n * w[8] + c // w[9]
        a, b = 0.0, 0.0
        for other in range(begin, begin + w[9]):
            a += float(gamma[other]) * float(pointer(w[12], like)[n * w[13] + other])
            b += float(gamma[other]) * float(pointer(w[11], like)[n * w[13] + other])
        dy = at(pointer(w[2], like), n * w[3] + c * size)
        x = at(pointer(w[4], like), n * w[5] + c * size)
        dx = at(pointer(w[0], like), n * w[1] + c * size)
        inverse = float(pointer(w[7], like)[stat])
        centre = splat_strip(x, pointer(w[6], like)[stat])
        scale = splat_strip(x, float(gamma[c]) * inverse)
        shift = splat_strip(x, -a * r[0] * inverse)
        slope = splat_strip(x, -b * r[0] * inverse * inverse)
        for i in range(0, size, strip_lanes(x)):
            g = fma(scale, load_strip(dy, i, size - i), shift)
            value = fma(load_strip(x, i, size - i) - centre, slope, g)
            store_strip(dx, i, value, size - i)


INSTRUCTIONS = (
    (PLANE_MOMENTS, run_plane_moments), (PLANE_NORMALIZE, run_plane_normalize),
    (PLANE_SUMS, run_plane_sums), (PLANE_DX, run_plane_dx),
)
