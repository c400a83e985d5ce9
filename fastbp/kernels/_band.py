"""Bands: the part of an image that a task of a convolution reads, laid out so that every tap reads
runs of neighbours.

A band belongs to some output rows (`rows`) of some samples and to some channels. It holds the input
with its zero border, divided by what rows and columns leave modulo the stride (the *phase*):

    band[c, a, b, s, m, q] = x[s, c, row*sh - top + m*sh + a, b - left + q*sw]     0 outside x
    (channels, phases down, phases across, samples, high, wide), contiguous

so the element that tap (i, j) multiplies for output (row + o, q) is at [c, i*dh % sh, j*dw % sw,
s, o + i*dh//sh, q + j*dw//sw]: for all outputs the same step from (o, q), looked up in a table. high =
rows + (HH-1)*dh//sh and wide = OW + (WW-1)*dw//sw; phases that no tap uses are left out.

Against testing borders at every tap the copy costs one write and one read of x, and strides and
dilations cost nothing afterwards.

All instructions about windows begin with the same words, GEOMETRY; its kernels take them as `w`.
"""

from __future__ import annotations

import numpy as np

from fastbp._jit import kernel
from fastbp._simd import at, lanes, load, pointer, pointer_to, splat, store, tile_rows

# x: the image; channels, filters: of one group; top, left: border before the image (may be negative:
# the image is cropped); band_*: outputs and channels that a task takes at once. scratch: memory for
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
def fill_band(band, w, like, group, first, samples, row, rows, channel, count):
    """The band of `rows` output rows from `row` on of samples first .. and of `count` channels.

    band: layout above, overwritten. x (N, C, H, W), samples at their step, the rest contiguous.
    """
    height, width, sh, sw = w[4], w[5], w[9], w[10]
    down, across = phases(w)
    high, wide = band_extent(w, rows)
    clear(band, count * down * across * samples * high * wide)
    out = band
    for c in range(channel, channel + count):
        for phase in range(down * across):
            a, b = phase // across, phase % across
            begin = b - w[12]
            # The first and the last column that lie in x.
            low = min(wide, max(0, (sw - 1 - begin) // sw))
            end = max(low, min(wide, (width - begin + sw - 1) // sw))
            for s in range(first, first + samples):
                image = at(pointer(w[0], like),
                           s * w[1] + (group * w[3] + c) * height * width + begin + low * sw)
                for m in range(high):
                    h = (row + m) * sh + a - w[11]
                    if h >= 0 and h < height:
                        copy_run(at(out, low), at(image, h * width), sw, end - low)
                    out = at(out, wide)


@kernel
def clear(out, count):
    """out[0 .. count-1] = 0."""
    zero, body = splat(out, 0.0), count - count % lanes(out)
    for i in range(0, body, lanes(out)):
        store(out, i, zero, None)
    if body < count:
        store(out, body, zero, count - body)


@kernel
def copy_run(out, x, step, count):
    """out[i] = x[i*step], i < count."""
    if step == 1:
        body = count - count % lanes(out)
        for i in range(0, body, lanes(out)):
            store(out, i, load(x, i, None), None)
        if body < count:
            store(out, body, load(x, body, count - body), count - body)
    else:
        for i in range(count):
            out[i] = x[i * step]


@kernel
def scratch_parts(w, slot, like):
    """A thread's own memory: (table of taps, a row of zeros, a tile, the rest).

    emit/conv.py knows how much the parts take.
    """
    own = w[21] + slot * w[22]
    width = 2 * lanes(like)
    zeros = at(pointer(own, like), table_size(w[7] * w[8]))
    clear(zeros, width)
    tile = at(zeros, width)
    return pointer_to(own, np.int64), zeros, tile, at(tile, tile_rows(like) * width)


@kernel
def table_size(taps):
    """Elements that the table takes, whatever their type: int64 are two float32."""
    return (2 * taps + 63) // 64 * 64
