"""The gradient of a convolution by its weights, and by its bias.

    dW[f, (c,i,j)] = sum_{n,o,q} dy[n, f, o, q] * x[n, c, o*sh - top + i*dh, q*sw - left + j*dw]
    db[f] = sum_{n,o,q} dy[n, f, o, q]

Design
  * Computed transposed, dW^T (C*HH*WW, F) = cols (C*HH*WW, P) @ dy^T (P, F): the rows of cols are
    runs of the band (_band.py) as it lies, so nothing is gathered, and dy^T is transposed once
    for all taps. P counts the places of the band, rows of `wide` and not of OW places: where
    there is no output dy^T is 0. What these cost, wide/OW, is less than short sums would.
  * The rows of a tile must be evenly spaced: they are channels at one tap, or the taps of a row or
    of a column of the window, whichever makes the highest tiles (`along`).
  * A task has some samples, a block of channels and a block of filters; its partial dW^T and,
    behind it, db lie in a workspace; CONV_MERGE adds the parts in order and transposes them.
  * Where x is infinite or NaN a place without output would give 0*x = NaN to taps that never meet
    it. So a part that is not finite is summed again, one row of outputs at a time: the same
    sums in the same order, without those places. Both together take twice the time.

Mathematics: docs/math.md#convolution.
"""

from __future__ import annotations

import numpy as np

from fastbp._jit import kernel
from fastbp._simd import (
    at,
    lanes,
    load,
    pointer,
    scalar,
    splat,
    store,
    tile_product,
    tile_rows,
    transpose_block,
)
from fastbp.kernels._band import (
    GEOMETRY,
    all_finite,
    band_extent,
    channel_step,
    fill,
    fill_band,
    fill_table,
    line_of,
    scratch_parts,
)
from fastbp.kernels._instruction import Instruction
from fastbp.kernels.gemm import add_column_sums, cut, pack_panel

# What the rows of a tile are.
CHANNELS, TAP_COLS, TAP_ROWS = range(3)

CONV_DW = Instruction(
    "conv_dw", GEOMETRY + " partials filter_step dy dy_sample parts panel_block along")
CONV_MERGE = Instruction(
    "conv_merge", "dw dw_step db partials filter_step parts groups taps filters scratch slot_size")


@kernel
def transpose_dy(out, w, like, group, first, samples, row, rows, panel, panels):
    """out[p, f] = dy[s, f, o, q] at places p = (s*high + o)*wide + q, 0 at all other p.

    Panels of two registers of filters one behind the other, rows of a panel side by side.
    """
    width, out_w = 2 * lanes(like), w[16]
    high, wide = band_extent(w, rows)
    image = w[15] * out_w
    for number in range(panel, panel + panels):
        f = number * width
        count = min(width, w[6] - f)
        for s in range(samples):
            source = at(pointer(w[25], like), (first + s) * w[26]
                        + (group * w[6] + f) * image + row * out_w)
            if wide == out_w:
                pack_panel(out, width, source, image, 1, count, rows * out_w, width)
            else:
                for o in range(rows):
                    pack_panel(at(out, o * wide * width), width, at(source, o * out_w), image, 1,
                               count, out_w, width)
                    fill(at(out, (o * wide + out_w) * width), (wide - out_w) * width, 0.0)
            out = at(out, rows * wide * width)
            if s + 1 < samples:
                fill(out, (high - rows) * wide * width, 0.0)
                out = at(out, (high - rows) * wide * width)


@kernel
def run_conv_dw(w, r, task, step, slot, like):
    """Part of the samples x a block of channels x a block of panels of filters, of one group."""
    for attempt in range(2):
        if dw_part(w, task, slot, like, attempt == 1):
            return


@kernel
def dw_part(w, task, slot, like, by_rows):
    """The sums of a task, over places or by rows of outputs; whether no NaN came from elsewhere."""
    width = 2 * lanes(like)
    panels_all = (w[6] + width - 1) // width
    channel_blocks = (w[3] + w[20] - 1) // w[20]
    panel_blocks = (panels_all + w[28] - 1) // w[28]
    group, rest = task % w[17], task // w[17]
    channel, rest = rest % channel_blocks * w[20], rest // channel_blocks
    panel, part = rest % panel_blocks * w[28], rest // panel_blocks
    count, panels = min(w[20], w[3] - channel), min(w[28], panels_all - panel)
    taps = w[7] * w[8]
    out = at(pointer(w[23], like), (part * w[17] + group) * (w[3] * taps + 1) * w[24])
    table, zeros, _, dys = scratch_parts(w, slot, like)
    is_first, end = True, cut(w[2], w[27], part + 1)
    for first in range(cut(w[2], w[27], part), end, w[18]):
        samples = min(w[18], end - first)
        for row in range(0, w[15], w[19]):
            rows = min(w[19], w[15] - row)
            high, wide = band_extent(w, rows)
            places = ((samples - 1) * high + rows) * wide
            band = at(dys, panels * places * width)
            fill_table(table, w, samples, rows)
            fill_band(band, w, like, group, first, samples, row, rows, channel, count, 0.0)
            transpose_dy(dys, w, like, group, first, samples, row, rows, panel, panels)
            k = places - (wide - w[16])
            for number in range(panels):
                f = (panel + number) * width
                cols = min(width, w[6] - f)
                b = at(dys, number * places * width)
                if channel == 0:
                    add_column_sums(at(out, w[3] * taps * w[24] + f), b, width, k, cols, is_first)
                for line in range(samples * rows if by_rows else 1):
                    place = line_of(w, rows, line)
                    dw_tiles(at(out, channel * taps * w[24] + f), w, at(band, place), table, zeros,
                             channel_step(w, samples, rows), wide, count, at(b, place * width),
                             w[16] if by_rows else k, cols, is_first and line == 0)
            is_first = False
    # What is not finite in x is met by every filter, so one of them tells.
    return by_rows or taps == 1 or all_finite(
        at(out, channel * taps * w[24] + panel * width), w[24], count * taps, 1)


@kernel
def dw_tiles(out, w, band, table, zeros, step, wide, channels, b, k, cols, is_first):
    """out (channels*HH*WW, cols) (+)= cols @ B, tile by tile; rows of out are filter_step apart."""
    height, across, f = w[7], w[8], w[24]
    if w[29] == CHANNELS:
        for t in range(height * across):
            dw_rows(at(out, t * f), height * across * f, at(band, table[t]), step, channels, zeros,
                    b, k, cols, is_first)
    elif w[29] == TAP_COLS:
        for c in range(channels):
            for i in range(height):
                dw_rows(at(out, (c * height + i) * across * f), f,
                        at(band, c * step + table[i * across]), w[14], across, zeros, b, k, cols,
                        is_first)
    else:
        for c in range(channels):
            for j in range(across):
                dw_rows(at(out, (c * height * across + j) * f), across * f,
                        at(band, c * step + table[j]), w[13] * wide, height, zeros, b, k, cols,
                        is_first)


@kernel
def dw_rows(out, out_step, a, a_row, rows, zeros, b, k, cols, is_first):
    """out[i, j] (+)= sum_p a[i*a_row + p] * b[p, j], j < cols; `is_first` overwrites.

    Rows of out are cold: fetched once instead of three times, 128 channels of 8x8 took 8 % longer.
    """
    tiles = (rows + tile_rows(out) - 1) // tile_rows(out)
    width, nothing = 2 * lanes(out), scalar(out, -np.inf)
    for tile in range(tiles):
        i = cut(rows, tiles, tile)
        target = at(out, i * out_step)
        start, start_step = target, out_step
        if is_first:
            start, start_step = zeros, 0
        tile_product(target, out_step, at(a, i * a_row), a_row, 1, b, width, k, start, start_step,
                     nothing, cut(rows, tiles, tile + 1) - i, cols, target, None, None,
                     out_step, None)


@kernel
def run_conv_merge(w, r, task, step, slot, like):
    """dW and db: the parts added in order and transposed, one register of rows of dW^T at a time.

    partials (parts, groups, taps + 1, filter_step): dW^T and db of a part. Overwrites dw (groups*F,
    taps), rows at dw_step, and db (0: none). taps: those of all channels of a group.
    """
    register, taps, filters, f_step = lanes(like), w[7], w[8], w[4]
    blocks = (taps + 1 + register - 1) // register
    group, t = task // blocks, task % blocks * register
    count = min(register, taps - t)
    sums = pointer(w[9] + slot * w[10], like)
    source = at(pointer(w[3], like), (group * (taps + 1) + t) * f_step)
    part_step = w[6] * (taps + 1) * f_step
    dw = at(pointer(w[0], like), group * filters * w[1] + t)
    for f in range(0, filters, register):
        n = min(register, filters - f)
        for e in range(min(register, taps + 1 - t)):
            total = splat(like, 0.0)
            for part in range(w[5]):
                total = total + load(source, part * part_step + e * f_step + f, n)
            if t + e < taps:
                store(sums, e * register, total, None)
            elif w[2] != 0:
                store(pointer(w[2], like), group * filters + f, total, n)
        if count > 0:
            transpose_block(at(dw, f * w[1]), w[1], sums, register, count, n, count)


INSTRUCTIONS = ((CONV_DW, run_conv_dw), (CONV_MERGE, run_conv_merge))
