"""BatchNorm: every column of x (rows, cols) normalised over the rows, forward and backward.

    y  = gamma * (x - mean) * rstd + beta,    rstd = 1/sqrt(var + eps), var biased
    dx = gamma*rstd * (dy - dbeta/N - xhat*dgamma/N),    dgamma = sum dy*xhat,    dbeta = sum dy

Design
  * Two passes over blocks of the matrix, in tasks: moments (or sums) of a block, which a small
    instruction merges in order, then the elementwise pass, last block first: it is still in
    cache. Strips of columns over all rows, which read once from memory while a strip fits in L2,
    were no faster at any size and half as fast at 16384 x 1024 (rows at multiples of 4 KB share
    few sets of L2).
  * In a block, strips of four registers go CHUNK rows at a time, about a shift: the mean of the
    rows before (at the start, of the first PILOT rows). One read gives s = sum(x - shift) and q =
    sum (x - shift)^2, then q - s^2/n is the chunk's m2, and Chan's merge adds it. The shift's
    distance from the chunk's mean is part of the total variance, so what cancels is never more
    than what stays: the variance is off by some CHUNK*u of itself whatever the mean. A constant
    column has s = q = 0 and gives y = beta exactly.
  * The running statistics have an instruction of their own: in a training program it comes after
    the losses, where a run that a loss halts does not get to.
  * Means are kept as offsets from a first row, so merging does not round at the size of the mean.
Values whose distance from the mean is above 1e18 (float32) overflow the variance.
Mathematics: docs/math.md#batchnorm; merge: Chan, Golub & LeVeque 1983.
"""

from __future__ import annotations

from fastbp._jit import kernel
from fastbp._simd import at, fma, maximum, pointer, sqrt
from fastbp._simd.strip import load_strip, splat_strip, store_strip, stream_strip
from fastbp.kernels._instruction import Instruction
from fastbp.kernels._strips import CHUNK, block, over_strips

# Rows taken at a time where two matrices are read: as many streams as CHUNK rows of one.
PAIR = CHUNK // 2
# Rows whose mean is the first shift.
PILOT = 8

BATCHNORM_MOMENTS = Instruction(
    "batchnorm_moments", "mean m2 step x x_step rows cols block_rows block_cols")
BATCHNORM_FINISH = Instruction(
    "batchnorm_finish",
    "mean rstd var running_mean running_var means m2s step groups rows cols block_rows block_cols",
    "eps")
BATCHNORM_NORMALIZE = Instruction(
    "batchnorm_normalize",
    "y y_step x x_step mean rstd gamma beta rows cols block_rows block_cols blocks stream")
BATCHNORM_SUMS = Instruction(
    "batchnorm_sums",
    "dgamma dbeta step dy dy_step x x_step mean rstd rows cols block_rows block_cols")
BATCHNORM_DX = Instruction(
    "batchnorm_dx",
    "dx dx_step dy dy_step x x_step mean rstd gamma dgamma dbeta rows cols block_rows block_cols "
    "blocks stream training")
BATCHNORM_TRACK = Instruction(
    "batchnorm_track", "running_mean running_var mean var cols block_cols", "momentum")


# ---- forward -------------------------------------------------------------------------------------


@kernel
def _merge(x, offset, m2, delta, q, done, count):
    """Chan's merge: `count` rows with mean `offset + delta` and m2 `q` join `done` rows."""
    weight = count / (done + count)
    moved = fma(delta, splat_strip(x, weight), offset)
    return moved, m2 + fma(delta * delta, splat_strip(x, done * weight), q)


@kernel
def _pilot(x, x_step, count, i, n):
    """Mean of the first `count` rows, as an offset from the first."""
    origin, offset = load_strip(x, i, n), splat_strip(x, 0.0)
    for r in range(1, count):
        offset = offset + (load_strip(x, r * x_step + i, n) - origin)
    return offset * splat_strip(x, 1.0 / count)


@over_strips
def batchnorm_moments(start, end, i, n, mean, m2, x, x_step, rows):
    """mean and m2 = sum (x - mean)^2 of each column, chunks of at most CHUNK rows; rows >= 1.

    x (rows, cols), rows at x_step, columns contiguous; mean, m2 (cols,), overwritten; between
    chunks mean holds the offset from row 0. Accumulates in x's dtype. Source:
    docs/math.md#batchnorm.
    """
    zero, origin = splat_strip(x, 0.0), load_strip(x, i, n)
    if start == 0:
        offset, total = _pilot(x, x_step, min(end, PILOT), i, n), zero
    else:
        offset, total = load_strip(mean, i, n), load_strip(m2, i, n)
    shift, s, q, count = origin + offset, zero, zero, end - start
    for r in range(start, end):
        d = load_strip(x, r * x_step + i, n) - shift
        s = s + d
        q = fma(d, d, q)
    d = s * splat_strip(x, 1.0 / count)
    q = maximum(fma(-s, d, q), zero)
    offset, total = _merge(x, offset, total, ((shift - origin) + d) - offset, q, start, count)
    if end == rows:
        offset = origin + offset
    store_strip(mean, i, offset, n)
    store_strip(m2, i, total, n)


@over_strips
def batchnorm_finish(start, end, i, n, mean, rstd, var, wanted, running_mean, running_var, means,
                     m2s, step, groups, rows, block_rows, eps):
    """mean and rstd of the columns from the moments of `groups` blocks, merged in order.

    groups 0: from the running statistics. means, m2s (groups, cols), rows at step, of block_rows
    of the `rows` rows each; the others (cols,). Overwrites mean and rstd, which may be the first
    rows of means and m2s; var = the batch's biased variance where it is `wanted`.
    """
    if groups > 0:
        centre, m2 = load_strip(means, i, n), load_strip(m2s, i, n)
        origin, offset = centre, splat_strip(mean, 0.0)
        for g in range(1, groups):
            delta = (load_strip(means, g * step + i, n) - origin) - offset
            q, done = load_strip(m2s, g * step + i, n), g * block_rows
            offset, m2 = _merge(mean, offset, m2, delta, q, done, min(block_rows, rows - done))
        centre, spread = origin + offset, m2 * splat_strip(mean, 1.0 / rows)
        if wanted:
            store_strip(var, i, spread, n)
    else:
        centre, spread = load_strip(running_mean, i, n), load_strip(running_var, i, n)
    store_strip(mean, i, centre, n)
    store_strip(rstd, i, splat_strip(mean, 1.0) / sqrt(spread + splat_strip(mean, eps)), n)


@over_strips
def batchnorm_track(start, end, i, n, running_mean, running_var, mean, var, momentum):
    """running = momentum*running + (1 - momentum)*batch, of mean and (biased) variance.

    All (cols,), contiguous. Overwrites running_mean and running_var. Source:
    docs/math.md#batchnorm.
    """
    old, new = splat_strip(mean, momentum), splat_strip(mean, 1.0 - momentum)
    held = load_strip(running_mean, i, n), load_strip(running_var, i, n)
    store_strip(running_mean, i, fma(old, held[0], new * load_strip(mean, i, n)), n)
    store_strip(running_var, i, fma(old, held[1], new * load_strip(var, i, n)), n)


@over_strips
def batchnorm_normalize(start, end, i, n, y, y_step, x, x_step, mean, rstd, gamma, beta, stream):
    """y = (x - mean)*(gamma*rstd) + beta.

    y, x (rows, cols), rows at their steps, columns contiguous; the others (cols,). Overwrites y,
    which may be x. stream: y goes past the caches; its rows must lie on cache lines. Source:
    docs/math.md#batchnorm.
    """
    centre, shift = load_strip(mean, i, n), load_strip(beta, i, n)
    scale = load_strip(gamma, i, n) * load_strip(rstd, i, n)
    for r in range(start, end):
        value = fma(load_strip(x, r * x_step + i, n) - centre, scale, shift)
        stream_strip(y, r * y_step + i, value, n, stream)


# ---- backward ------------------------------------------------------------------------------------


@over_strips
def batchnorm_sums(start, end, i, n, dgamma, dbeta, dy, dy_step, x, x_step, mean, rstd, rows):
    """dbeta = sum dy, dgamma = sum dy*(x - mean) * rstd, a chunk at a time in order.

    dy, x (rows, cols), rows at their steps, columns contiguous; the others (cols,). Overwrites
    dgamma and dbeta. Accumulates in x's dtype. Source: docs/math.md#batchnorm.
    """
    centre, s, q = load_strip(mean, i, n), splat_strip(x, 0.0), splat_strip(x, 0.0)
    for r in range(start, end):
        g = load_strip(dy, r * dy_step + i, n)
        s = s + g
        q = fma(g, load_strip(x, r * x_step + i, n) - centre, q)
    if start > 0:
        s, q = s + load_strip(dbeta, i, n), q + load_strip(dgamma, i, n)
    if end == rows:
        q = q * load_strip(rstd, i, n)
    store_strip(dbeta, i, s, n)
    store_strip(dgamma, i, q, n)


@over_strips
def batchnorm_dx(start, end, i, n, dx, dx_step, dy, dy_step, x, x_step, mean, rstd, gamma, dgamma,
                 dbeta, part, stream):
    """dx = gamma*rstd * (dy - part*dbeta - (x - mean)*rstd*part*dgamma).

    part = 1/N in training, N the rows that dgamma and dbeta are sums over; 0 where mean and rstd
    were constants. dx, dy, x (rows, cols), rows at their steps, columns contiguous; the others
    (cols,). Overwrites dx, which may be dy or x. stream: dx goes past the caches; its rows must
    lie on cache lines. Source: docs/math.md#batchnorm.
    """
    share, inverse = splat_strip(x, part), load_strip(rstd, i, n)
    centre, scale = load_strip(mean, i, n), load_strip(gamma, i, n) * inverse
    shift = -(scale * (load_strip(dbeta, i, n) * share))
    slope = -(scale * (inverse * (load_strip(dgamma, i, n) * share)))
    for r in range(start, end):
        d = load_strip(x, r * x_step + i, n) - centre
        g = load_strip(dy, r * dy_step + i, n)
        stream_strip(dx, r * dx_step + i, fma(d, slope, fma(scale, g, shift)), n, stream)


# ---- instructions --------------------------------------------------------------------------------


@kernel
def run_batchnorm_moments(w, r, task, step, slot, like):
    """One block, into row g of mean and m2, g its row of blocks."""
    i, j, rows, cols = block(task, w[5], w[6], w[7], w[8])
    out = (i // w[7]) * w[2] + j
    x = at(pointer(w[3], like), i * w[4] + j)
    batchnorm_moments(rows, cols, CHUNK, x, w[4], at(pointer(w[0], like), out),
                      at(pointer(w[1], like), out), x, w[4], rows)


@kernel
def run_batchnorm_finish(w, r, task, step, slot, like):
    """Columns task*block_cols ..; var 0: it is not wanted."""
    j = task * w[12]
    mean = at(pointer(w[0], like), j)
    batchnorm_finish(
        1, min(w[12], w[10] - j), 1, mean, 0, mean, at(pointer(w[1], like), j),
        at(pointer(w[2], like), j), w[2] != 0, at(pointer(w[3], like), j),
        at(pointer(w[4], like), j), at(pointer(w[5], like), j), at(pointer(w[6], like), j), w[7],
        w[8], w[9], w[11], r[0])


@kernel
def run_batchnorm_track(w, r, task, step, slot, like):
    """Columns task*block_cols .. ."""
    j = task * w[5]
    running_mean = at(pointer(w[0], like), j)
    batchnorm_track(
        1, min(w[5], w[4] - j), 1, running_mean, 0, running_mean, at(pointer(w[1], like), j),
        at(pointer(w[2], like), j), at(pointer(w[3], like), j), r[0])


@kernel
def run_batchnorm_normalize(w, r, task, step, slot, like):
    """One block, the last first."""
    i, j, rows, cols = block(w[12] - 1 - task, w[8], w[9], w[10], w[11])
    y = at(pointer(w[0], like), i * w[1] + j)
    batchnorm_normalize(
        rows, cols, CHUNK, y, w[1], y, w[1],
        at(pointer(w[2], like), i * w[3] + j), w[3], at(pointer(w[4], like), j),
        at(pointer(w[5], like), j), at(pointer(w[6], like), j), at(pointer(w[7], like), j),
        w[13] != 0)


@kernel
def run_batchnorm_sums(w, r, task, step, slot, like):
    """One block, into row g of dgamma and dbeta, g its row of blocks."""
    i, j, rows, cols = block(task, w[9], w[10], w[11], w[12])
    out = (i // w[11]) * w[2] + j
    dy = at(pointer(w[3], like), i * w[4] + j)
    batchnorm_sums(
        rows, cols, PAIR, dy, w[4], at(pointer(w[0], like), out), at(pointer(w[1], like), out),
        dy, w[4], at(pointer(w[5], like), i * w[6] + j), w[6],
        at(pointer(w[7], like), j), at(pointer(w[8], like), j), rows)


@kernel
def run_batchnorm_dx(w, r, task, step, slot, like):
    """One block, the last first."""
    i, j, rows, cols = block(w[15] - 1 - task, w[11], w[12], w[13], w[14])
    part = 1.0 / w[11] if w[17] != 0 else 0.0
    dx = at(pointer(w[0], like), i * w[1] + j)
    batchnorm_dx(
        rows, cols, PAIR, dx, w[1], dx, w[1],
        at(pointer(w[2], like), i * w[3] + j), w[3], at(pointer(w[4], like), i * w[5] + j), w[5],
        at(pointer(w[6], like), j), at(pointer(w[7], like), j), at(pointer(w[8], like), j),
        at(pointer(w[9], like), j), at(pointer(w[10], like), j), part, w[16] != 0)


INSTRUCTIONS = (
    (BATCHNORM_MOMENTS, run_batchnorm_moments), (BATCHNORM_FINISH, run_batchnorm_finish),
    (BATCHNORM_NORMALIZE, run_batchnorm_normalize), (BATCHNORM_SUMS, run_batchnorm_sums),
    (BATCHNORM_DX, run_batchnorm_dx), (BATCHNORM_TRACK, run_batchnorm_track),
)
