"""Convolution as a matrix product whose right side is gathered from a band of the image.

    y[n, f, o, q] = max(floor, b[f] + sum_{c,i,j} W[f, (c,i,j)] * x[n, c, o*sh - top + i*dh,
                                                                  q*sw - left + j*dw])

x is 0 outside the image, filters and channels are those of one group.

Design
  * y[n] (F, OH*OW) = W (F, C*HH*WW) @ cols (C*HH*WW, OH*OW): rows of y lie as they come out. `cols`
    never exists: for a panel of two registers of outputs its rows are copied from the band
    (_band.py), where each is one run for each row of outputs, into L1.
  * A task has some samples or some output rows, and all filters of a group: a panel, once gathered,
    serves F filters. Channels are taken in blocks where a panel or W would leave L2.
  * W is packed by an instruction, once for all tasks: tile t of a group at t*MA*k, A[i, p] at
    p*MA + i. The bias is one more step of k, before the others, against a row of ones.
  * dx of an infinite or NaN weight: beside dy there are zeros, and 0 times it would be NaN. A tile
    of such filters (the packing marks it) is multiplied run by run of outputs that see the same
    taps inside dy, by these taps only: 2 to 12 times slower where all weights are NaN, the most
    for images of 8x8. Forward is not concerned: there the border belongs to the image.
  * Where a panel is not one run of y (several samples in it, or the steps of dx below) tiles go
    through private memory.

dx is the same instruction: with stride s the pixels h = a (mod s) are one convolution of dy with
stride 1 for each a, by the taps i with i*dh = a + padding (mod s) (docs/math.md#convolution). With
few channels tiles would be low and panels dear: then every tap of a window's row becomes a filter
of its own, the window a column, and CONV_FOLD adds the shares of the taps where they belong.
Every output is summed over k in order: its bits depend on nothing but its own window.
"""

from __future__ import annotations

import numpy as np

from fastbp._jit import kernel
from fastbp._simd import (
    at,
    counter,
    lanes,
    load,
    pointer,
    scalar,
    select,
    splat,
    store,
    tile_product,
    tile_rows,
)
from fastbp.kernels._band import (
    GEOMETRY,
    add_run,
    all_finite,
    channel_step,
    fill,
    fill_band,
    fill_table,
    inside,
    line_of,
    scratch_parts,
)
from fastbp.kernels._instruction import Instruction
from fastbp.kernels.gemm import cut, pack_panel, packed_rows

# A tile's share of packed W; *_step: between neighbours in W. Filter f is at f//inner*row_step +
# f%inner*inner_step. watch: behind the tile a row begins with 1 if it is not finite, else with 0.
CONV_PACK = Instruction(
    "conv_pack",
    "out w row_step group_step channel_step tap_row_step tap_col_step filters channels kernel_h "
    "kernel_w tiles bias inner inner_step watch")
# shares: of the taps of a window's row, (samples, channels*taps, height, shares_w) contiguous.
CONV_FOLD = Instruction(
    "conv_fold",
    "dx dx_sample shares samples channels height width taps shares_w stride left dilation planes")
CONV = Instruction(
    "conv", GEOMETRY + " y y_sample y_channel y_row y_col weights has_bias", "floor")


@kernel
def tiles_of(filters, like):
    """Tiles that the filters of a group are divided into evenly."""
    return (filters + tile_rows(like) - 1) // tile_rows(like)


@kernel
def run_conv_pack(w, r, task, step, slot, like):
    """Tile task % tiles of group task // tiles: bias (if any), then channels, tap rows, taps."""
    tiles = w[11]
    group, tile = task // tiles, task % tiles
    filters, channels, height, width = w[7], w[8], w[9], w[10]
    room = packed_rows(like)
    extra = 1 if w[12] != 0 else 0
    depth = extra + channels * height * width
    start = at(pointer(w[0], like), task * room * (depth + 1))
    out = start
    i = cut(filters, tiles, tile)
    count = cut(filters, tiles, tile + 1) - i
    if extra:
        bias = at(pointer(w[12], like), group * filters + i)
        for f in range(count):
            out[f] = bias[f]
        out = at(out, room)
    source = at(pointer(w[1], like), group * w[3] + i * w[2])
    if w[13] > 1:
        for f in range(count):
            source = at(pointer(w[1], like), group * w[3] + (i + f) // w[13] * w[2]
                        + (i + f) % w[13] * w[14])
            for c in range(channels):
                for a in range(height):
                    for b in range(width):
                        out[((c * height + a) * width + b) * room + f] = source[
                            c * w[4] + a * w[5] + b * w[6]]
    elif w[6] == 1 and w[5] == width and w[4] == height * width:
        pack_panel(out, room, source, w[2], 1, count, channels * height * width, room)
    else:
        for c in range(channels):
            for a in range(height):
                pack_panel(at(out, (c * height + a) * width * room), room,
                           at(source, c * w[4] + a * w[5]), w[2], w[6], count, width, room)
    marked = w[15] != 0 and not all_finite(start, room, depth, count)
    start[depth * room] = 1.0 if marked else 0.0


@kernel
def gather_run(out, band, table, taps, step, channels, first, run):
    """out[(c*taps + t)*NR + first + l] = band[c*step + table[t] + l], l < run <= one register.

    NR = two registers. A panel's first run (first = 0) is copied as a whole register: what it
    leaves behind its end is overwritten by the following ones, or never used.
    """
    p = first
    for c in range(channels):
        source = at(band, c * step)
        if first == 0:
            for t in range(taps):
                store(out, p, load(source, table[t], None), None)
                p += 2 * lanes(band)
        else:
            for t in range(taps):
                store(out, p, load(source, table[t], run), run)
                p += 2 * lanes(band)


@kernel
def gather_registers(out, band, table, taps, step, channels, a, b, n, d, e, m):
    """Rows of a panel whose registers have two runs each: n lanes from a on, the others as from b
    on; and m lanes from d, the others from e.

    Masks are cheaper than a masked store for each run: 16 x 28 x 28 by 3 x 3, F = 32: 9 cycles a
    tap against 4.
    """
    register = lanes(band)
    left, right = counter(band, 0) < n, counter(band, 0) < m
    p = 0
    for c in range(channels):
        source = at(band, c * step)
        for t in range(taps):
            o = table[t]
            one = select(left, load(source, a + o, None), load(source, b + o, None))
            two = select(right, load(source, d + o, None), load(source, e + o, None))
            store(out, p, one, None)
            store(out, p + register, two, None)
            p += 2 * register


@kernel
def exchange_tile(tile, y, w, first, row, rows, position, cols, filters, inward):
    """Columns of a tile that are not one run of y: from the tile to y, or `inward` back.

    tile (filters, cols), rows a panel apart; y: the tile's first filter; position: of the first
    column among the task's outputs (samples from `first`, output rows from `row`).
    """
    out_w, panel, done = w[16], 2 * lanes(tile), 0
    while done < cols:
        line = (position + done) // out_w
        q = position + done - line * out_w
        run = min(out_w - q, cols - done)
        s = line // rows
        out = at(y, (first + s) * w[24] + (row + line - s * rows) * w[26] + q * w[27])
        for f in range(filters):
            if w[27] != 1:
                for e in range(run):
                    if inward:
                        tile[f * panel + done + e] = out[f * w[25] + e * w[27]]
                    else:
                        out[f * w[25] + e * w[27]] = tile[f * panel + done + e]
            else:
                for e in range(0, run, lanes(tile)):
                    here, there = f * panel + done + e, f * w[25] + e
                    if inward:
                        store(tile, here, load(out, there, run - e), run - e)
                    else:
                        store(out, there, load(tile, here, run - e), run - e)
        done += run


@kernel
def run_conv(w, r, task, step, slot, like):
    """Some samples x some output rows of one group; see the module's equation and design."""
    bands = (w[15] + w[19] - 1) // w[19]
    group, number = task % w[17], task // w[17]
    first, row = number // bands * w[18], number % bands * w[19]
    samples, rows = min(w[18], w[2] - first), min(w[19], w[15] - row)
    taps = w[7] * w[8]
    width = 2 * lanes(like)
    table, zeros, tile, panel = scratch_parts(w, slot, like)
    band = at(panel, (1 + w[20] * taps) * width)
    fill_table(table, w, samples, rows)
    total = samples * rows * w[16]
    for channel in range(0, w[3], w[20]):
        count = min(w[20], w[3] - channel)
        fill_band(band, w, like, group, first, samples, row, rows, channel, count, 0.0)
        for position in range(0, total, width):
            cols = min(width, total - position)
            k = 0
            if channel == 0 and w[29] != 0:
                for i in range(0, width, lanes(like)):
                    store(panel, i, splat(panel, 1.0), None)
                k = 1
            gather_positions(at(panel, k * width), band, table, w, samples, rows, position, cols,
                             count)
            conv_tiles(w, r, like, zeros, tile, panel, group, first, samples, row, rows, channel,
                       k + count * taps, position, cols)


@kernel
def gather_positions(out, band, table, w, samples, rows, position, cols, channels):
    """The panel of outputs position .. position+cols-1 of a task."""
    taps, step = w[7] * w[8], channel_step(w, samples, rows)
    if w[16] >= lanes(band):
        total = samples * rows * w[16]
        a, b, n = two_runs(w, rows, position, total, lanes(band))
        d, e, m = two_runs(w, rows, position + lanes(band), total, lanes(band))
        gather_registers(out, band, table, taps, step, channels, a, b, n, d, e, m)
    else:
        done = 0
        while done < cols:
            line = (position + done) // w[16]
            q = position + done - line * w[16]
            run = min(w[16] - q, cols - done)
            gather_run(out, at(band, line_of(w, rows, line) + q), table, taps, step, channels, done,
                       run)
            done += run


@kernel
def two_runs(w, rows, position, total, register):
    """(a, b, n): the outputs of a register are n from a on, then the next line as if from b on."""
    line = position // w[16]
    q = position - line * w[16]
    a, b, n = 0, 0, register
    if position < total:
        a = line_of(w, rows, line) + q
        b, n = a, min(register, w[16] - q)
        if n < register and position + n < total:
            b = line_of(w, rows, line + 1) - n
    return a, b, n


@kernel
def run_inside(w, rows, row, position, most):
    """(n, tap, lines, steps): the outputs position .. position+n-1 (n <= most) see the same taps
    inside the image: `lines` times `steps` of them, from `tap` on and then a window's row further.
    """
    line = position // w[16]
    q = position - line * w[16]
    o = row + line - line // rows * rows
    top, bottom = inside(o * w[9] - w[11], w[13], w[4], w[7])
    left, right = inside(q * w[10] - w[12], w[14], w[5], w[8])
    n = 1
    while (n < min(most, w[16] - q)
           and inside((q + n) * w[10] - w[12], w[14], w[5], w[8]) == (left, right)):
        n += 1
    if top == bottom:
        return n, 0, 1, 0
    if right - left == w[8]:
        return n, top * w[8], 1, (bottom - top) * w[8]
    return n, top * w[8] + left, bottom - top, right - left


@kernel
def product_by_runs(c, c_step, a, panel, w, rows, row, position, channels, start, start_step,
                    count, cols):
    """`panel_product` without what lies outside the image: run by run, a few taps at a time."""
    room, width, nothing = packed_rows(c), 2 * lanes(c), scalar(c, -np.inf)
    done = 0
    while done < cols:
        n, tap, lines, steps = run_inside(w, rows, row, position + done, cols - done)
        target, before, before_step = at(c, done), at(start, done), start_step
        for channel in range(channels):
            for line in range(lines):
                p = channel * w[7] * w[8] + tap + line * w[8]
                panel_product(target, c_step, at(a, p * room), at(panel, p * width + done), steps,
                              before, before_step, nothing, count, n)
                before, before_step = target, c_step
        done += n


@kernel
def panel_product(c, c_step, a, panel, k, start, start_step, floor, rows, cols):
    """C = max(floor, C0 + A B) for a packed tile of filters and a panel; see `tile_product`.

    A function of its own with two callers, so that the variants of a tile are compiled once. One
    for the gradient of the weights too would save 4 s of 34, but its steps would be arguments: 7x7
    took 4-8 % longer. C alone is fetched, once: 1x1 filters 25 % faster (but see `dw_rows`).
    """
    tile_product(c, c_step, a, 1, packed_rows(c), panel, 2 * lanes(c), k, start, start_step, floor,
                 rows, cols, c, None, None, c_step, None)


@kernel
def conv_tiles(w, r, like, zeros, tile, panel, group, first, samples, row, rows, channel, k,
               position, cols):
    """All tiles of a group's filters over one panel: a k block is added, the last one applies the
    floor.
    """
    filters, width, room = w[6], 2 * lanes(like), packed_rows(like)
    image, taps = rows * w[16], w[7] * w[8]
    begin = 0 if channel == 0 else w[29] + channel * taps
    depth = w[29] + w[3] * taps
    floor = scalar(like, r[0]) if begin + k >= depth else scalar(like, -np.inf)
    s = position // image
    direct = w[27] == 1 and w[26] == w[16] and position + cols <= (s + 1) * image
    place = (first + s) * w[24] + row * w[26] + position - s * image
    tiles = tiles_of(filters, like)
    for number in range(tiles):
        i = cut(filters, tiles, number)
        count = cut(filters, tiles, number + 1) - i
        weights = at(pointer(w[28], like), (group * tiles + number) * (depth + 1) * room)
        a = at(weights, begin * room)
        y = at(pointer(w[23], like), (group * filters + i) * w[25])
        c, c_step = tile, width
        if direct:
            c, c_step = at(y, place), w[25]
        start, start_step = c, c_step
        if channel == 0:
            start, start_step = zeros, 0
        elif not direct:
            exchange_tile(tile, y, w, first, row, rows, position, cols, count, True)
        if weights[depth * room] == 0.0:
            panel_product(c, c_step, a, panel, k, start, start_step, floor, count, cols)
        else:
            product_by_runs(c, c_step, a, panel, w, rows, row, position, k // taps, start,
                            start_step, count, cols)
        if not direct:
            exchange_tile(tile, y, w, first, row, rows, position, cols, count, False)


@kernel
def run_conv_fold(w, r, task, step, slot, like):
    """dx[h, w] = sum_j shares[j, h, q] over q*stride - left + j*dilation = w, for planes
    task*planes .. ; j in order. Overwrites dx.
    """
    height, width, taps, wide, stride = w[5], w[6], w[7], w[8], w[9]
    for plane in range(task * w[12], min((task + 1) * w[12], w[3] * w[4])):
        n, c = plane // w[4], plane % w[4]
        dx = at(pointer(w[0], like), n * w[1] + c * height * width)
        fill(dx, height * width, 0.0)
        shares = at(pointer(w[2], like), plane * taps * height * wide)
        for j in range(taps):
            begin = j * w[11] - w[10]
            low, end = inside(begin, stride, width, wide)
            for h in range(height):
                add_run(at(dx, h * width + begin + low * stride), stride,
                        at(shares, (j * height + h) * wide + low), end - low)


INSTRUCTIONS = ((CONV_PACK, run_conv_pack), (CONV, run_conv), (CONV_FOLD, run_conv_fold))
