"""Bands: the part of an image that a task of a convolution reads, laid out so that every tap reads
runs of neighbours.

A band belongs to some output rows (`rows`) of some samples and to some channels. It holds the input
with its zero border, divided by what rows and columns leave modulo the stride (the *phase*):

    band[c, a, b, s, m, q] = x[s, c, row*sh - top + m*sh + a, b - left + q*sw]     0 outside x
    (channels, phases down, phases across, samples, high, wide), contiguous

so the element that tap (i, j) multiplies for output (row + o, q) is at [c, i*dh % sh, j*dw % sw,
s, o + i*dh//sh, q + j*dw//sw]: the same step from (o, q) for all outputs, looked up in a table.
high = rows + (HH-1)*dh//sh, wide = OW + (WW-1)*dw//sw; phases that no tap uses are left out.

Against testing borders at every tap the copy costs one write and one read of x, and strides and
dilations cost nothing afterwards.

All instructions about windows begin with the same words, GEOMETRY; its kernels take them as `w`.
"""

from __future__ import annotations

import numpy as np

from fastbp._jit import kernel
from fastbp._simd import (
    absolute,
    any_lane,
    at,
    lanes,
    load,
    pointer,
    pointer_to,
    splat,
    store,
    tile_rows,
)

# x: the images; channels, filters: of one group; top, left: border before the image (negative: the
# image is cropped); band_*: samples and output rows that a task takes at once. scratch: memory for
# each thread, slot_size bytes.
GEOMETRY = (
    "x x_sample samples channels height width filters kernel_h kernel_w stride_h stride_w top left "
    "dilation_h dilation_w out_h out_w groups band_samples band_rows channel_block scratch "
    "slot_size")


@kernel
def phases(w):
    """(phases down, phases across) that taps use."""
    return min(w[9], (w[7] - 1) * w[13] + 1), min(w[10], (w[8] - 1) * w[14] + 1)


@kernel
def band_extent(w, rows):
    """(high, wide): rows and columns of a phase of a sample, for `rows` output rows."""
    return rows + (w[7] - 1) * w[13] // w[9], w[16] + (w[8] - 1) * w[14] // w[10]


@kernel
def line_of(w, rows, line):
    """Where row `line` of outputs, counted through the samples, is in a band."""
    high, wide = band_extent(w, rows)
    s = line // rows
    return (s * high + line - s * rows) * wide


@kernel
def channel_step(w, samples, rows):
    """Elements between the channels of a band."""
    down, across = phases(w)
    high, wide = band_extent(w, rows)
    return down * across * samples * high * wide


@kernel
def fill_table(table, w, samples, rows):
    """table[i*WW + j] = where tap (i, j) of output (0, 0) is, from the beginning of a channel."""
    across = phases(w)[1]
    high, wide = band_extent(w, rows)
    for i in range(w[7]):
        for j in range(w[8]):
            phase = (i * w[13] % w[9]) * across + j * w[14] % w[10]
            shift = (i * w[13] // w[9]) * wide + j * w[14] // w[10]
            table[i * w[8] + j] = phase * samples * high * wide + shift


@kernel
def fill_band(band, w, like, group, first, samples, row, rows, channel, count, outside):
    """The band of `rows` output rows from `row` on of samples first .. and of `count` channels.

    band: layout above, overwritten; `outside` stands where x has no element. x (N, C, H, W),
    samples at their step, the rest contiguous.
    """
    height, width, sh, sw = w[4], w[5], w[9], w[10]
    down, across = phases(w)
    high, wide = band_extent(w, rows)
    fill(band, count * down * across * samples * high * wide, outside)
    out = band
    for c in range(channel, channel + count):
        for phase in range(down * across):
            a, b = phase // across, phase % across
            begin = b - w[12]
            low, end = inside(begin, sw, width, wide)
            for s in range(first, first + samples):
                image = at(pointer(w[0], like),
                           s * w[1] + (group * w[3] + c) * height * width + begin + low * sw)
                for m in range(high):
                    h = (row + m) * sh + a - w[11]
                    if h >= 0 and h < height:
                        copy_run(at(out, low), at(image, h * width), sw, end - low)
                    out = at(out, wide)


@kernel
def add_band(band, w, like, sample, row, rows, channel):
    """The transpose of `fill_band` for one plane: every element of the band is added where it came
    from; what was outside is dropped. Phases in order, which share no element.
    """
    height, width, sh, sw = w[4], w[5], w[9], w[10]
    down, across = phases(w)
    high, wide = band_extent(w, rows)
    source = band
    for phase in range(down * across):
        a, b = phase // across, phase % across
        begin = b - w[12]
        low, end = inside(begin, sw, width, wide)
        image = at(pointer(w[0], like),
                   sample * w[1] + channel * height * width + begin + low * sw)
        for m in range(high):
            h = (row + m) * sh + a - w[11]
            if h >= 0 and h < height:
                add_run(at(image, h * width), sw, at(source, low), end - low)
            source = at(source, wide)


@kernel
def inside(begin, step, width, wide):
    """(first, end) of the columns q of a phase for which 0 <= begin + q*step < width."""
    low = min(wide, max(0, (step - 1 - begin) // step))
    return low, max(low, min(wide, (width - begin + step - 1) // step))


@kernel
def all_finite(x, x_step, rows, cols):
    """Whether no x[i*x_step + j], i < rows, j < cols, is NaN or infinite."""
    zero = splat(x, 0.0)
    found = zero != zero
    for i in range(rows):
        for j in range(0, cols, lanes(x)):
            v = load(x, i * x_step + j, cols - j)
            found = found | (v != v) | (absolute(v) == np.inf)
    return not any_lane(found)


@kernel
def fill(out, count, value):
    """out[0 .. count-1] = value."""
    v, body = splat(out, value), count - count % lanes(out)
    for i in range(0, body, lanes(out)):
        store(out, i, v, None)
    if body < count:
        store(out, body, v, count - body)


@kernel
def copy_run(out, x, step, count):
    """out[i] = x[i*step], i < count."""
    if step == 1:
        body = count - count % lanes(out)
        for i in range(0, body, lanes(out)):
            store(out, i, load(x, i, None), None)
        if body < count:
            store(out, body, load(x, body, count - body), count - body)
    elif step == 2:  # with a step that the compiler knows it uses registers
        for i in range(count):
            out[i] = x[2 * i]
    else:
        for i in range(count):
            out[i] = x[i * step]


@kernel
def add_run(out, step, x, count):
    """out[i*step] += x[i], i < count."""
    if step == 1:
        for i in range(0, count, lanes(out)):
            n = count - i
            store(out, i, load(out, i, n) + load(x, i, n), n)
    elif step == 2:
        for i in range(count):
            out[2 * i] += x[i]
    else:
        for i in range(count):
            out[i * step] += x[i]


@kernel
def scratch_parts(w, slot, like):
    """A thread's own memory: (table of taps, a row of zeros, a tile, the rest).

    emit/conv.py knows how much the parts take.
    """
    own = w[21] + slot * w[22]
    width = 2 * lanes(like)
    zeros = at(pointer(own, like), table_size(w[7] * w[8]))
    fill(zeros, width, 0.0)
    tile = at(zeros, width)
    return pointer_to(own, np.int64), zeros, tile, at(tile, tile_rows(like) * width)


@kernel
def table_size(taps):
    """Elements that the table takes, whatever their type: int64 are two float32."""
    return (2 * taps + 63) // 64 * 64
