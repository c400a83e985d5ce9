"""Convolution as instructions: how it is divided, and the sub-convolutions of dx."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from fastbp._arena import padded
from fastbp._memory import SLOT_BYTES
from fastbp._program import Operand, Program
from fastbp._simd import machine
from fastbp.emit._window import Axis, Pair, Plane, Window, room_of, scratch_for
from fastbp.emit.gemm import NO_FLOOR, registers
from fastbp.emit.reduce import BLOCK, emit_fill
from fastbp.kernels import conv, conv_weights

# A task below this many FLOPs costs more to hand out than it gains ...
TASK_FLOPS = 2_000_000
# ... and above this many per task a problem is divided into at least TASKS, if it can be.
TASKS = 32
# Longest k block of a panel, and elements of W that pass while a panel is in L1 (half a MB).
K_MOST, WEIGHTS_MOST = 1024, 1 << 17
# Samples that a task takes together where images are small.
SAMPLES_MOST = 32
# Places that dW sums at once: with shorter sums the ends of tiles show.
PLACES = 512
# Up to so many channels dx is computed by way of the shares of the taps, if these are not more
# elements than that (GFLOP/s of one core, 28 x 28, 3 x 3, F = 32: C = 8 55 -> 64, 16 71 -> 73,
# 32 91 -> 80; 5 x 5, C = 16: 87 -> 103).
FEW_CHANNELS, SHARES_MOST = 16, 1 << 24
# Elements that all partial dW take at most.
PARTIALS_MOST = 1 << 23


@dataclass(frozen=True)
class Conv:
    """A convolution of images (channels, height, width) to `filters` channels."""

    channels: int
    height: int
    width: int
    filters: int
    window: Window
    groups: int = 1

    @property
    def out(self) -> Pair:
        """(OH, OW)."""
        return self.window.outputs(self.height, self.width)

    @property
    def taps(self) -> int:
        """Weights of a filter: C/groups * HH * WW."""
        return self.channels // self.groups * math.prod(self.window.size)


def _plane(shape: Conv, samples: int) -> Plane:
    window = shape.window
    down, across = (Axis(*numbers) for numbers in zip(
        (shape.height, shape.width), window.size, window.stride, window.padding, window.dilation,
        shape.out, strict=True))
    return Plane(down, across, samples, shape.channels // shape.groups,
                  shape.filters // shape.groups, shape.groups)


# ---- forward -------------------------------------------------------------------------------------


def emit_conv2d_forward(program: Program, y: Operand, x: Operand, w: Operand, bias: int,
                        shape: Conv, *, floor: float = NO_FLOOR) -> None:
    """y = max(floor, conv(x, w) + bias).

    x (N, C*H*W) and y (N, F*OH*OW): an image a row; w (F, taps); bias: address of (F,), or 0.
    """
    plane, (oh, ow) = _plane(shape, x.rows), shape.out
    kernel_h, kernel_w = shape.window.size
    packed = _emit_pack(program, plane, w.address, bias, (
        w.row_step, plane.filters * w.row_step, kernel_h * kernel_w, kernel_w, 1))
    _emit_conv(program, plane, x, packed, bias, y.address, (y.row_step, oh * ow, ow, 1), floor)


def _emit_pack(program: Program, plane: Plane, w: int, bias: int,
               steps: tuple[int, int, int, int, int], *, inner: tuple[int, int] = (1, 0),
               watch: bool = False, overlap: bool = False) -> int:
    """Address of W in packed tiles. steps: between filters, groups, channels, tap rows, taps.

    inner: so many filters, at such a step, are one of those. watch: mark tiles that are not finite.
    """
    height, width = registers(program.dtype.itemsize)
    room = -(-height // (width // 2)) * (width // 2)
    tiles = -(-plane.filters // height)
    depth = plane.channels * plane.kernel + bool(bias)
    out = program.workspace(plane.groups * tiles * (depth + 1) * room)
    row, group, channel, tap_row, tap_col = steps
    program.emit(conv.CONV_PACK, tasks=plane.groups * tiles, overlap=overlap, out=out, w=w,
                 row_step=row, group_step=group, channel_step=channel, tap_row_step=tap_row,
                 tap_col_step=tap_col, filters=plane.filters, channels=plane.channels,
                 kernel_h=plane.down.kernel, kernel_w=plane.across.kernel, tiles=tiles, bias=bias,
                 inner=inner[0], inner_step=inner[1], watch=int(watch))
    return out


def _emit_conv(program: Program, plane: Plane, x: Operand, packed: int, bias: int, y: int,
               y_steps: tuple[int, int, int, int], floor: float, *, overlap: bool = False) -> None:
    """y_steps: between samples, channels, rows and columns of y."""
    itemsize = program.dtype.itemsize
    samples, rows, channels = blocks = _forward_blocks(plane, itemsize)
    panel = (1 + channels * plane.kernel) * registers(itemsize)[1]
    scratch = scratch_for(program, plane, panel + channels * plane.band(samples, rows))
    tasks = -(-plane.samples // samples) * -(-plane.down.outputs // rows) * plane.groups
    sample, channel, row, col = y_steps
    program.emit(conv.CONV, tasks=tasks, overlap=overlap, y=y, y_sample=sample, y_channel=channel,
                 y_row=row, y_col=col, weights=packed, has_bias=int(bias != 0), floor=floor,
                 **plane.words(x.address, x.row_step, blocks, scratch))


def _forward_blocks(plane: Plane, itemsize: int) -> tuple[int, int, int]:
    """(samples, output rows, channels) of a task, by the problem's size alone."""
    most = max(1, min(K_MOST, WEIGHTS_MOST // plane.filters) // plane.kernel)
    channels = _evenly(plane.channels, most)
    room = room_of(plane, itemsize) - (1 + channels * plane.kernel) * registers(itemsize)[1]
    rows = plane.down.outputs
    flops = 2 * plane.filters * plane.channels * plane.kernel * plane.across.outputs
    wanted = -(-TASKS // (plane.samples * plane.groups))
    rows = max(-(-rows // wanted), min(rows, -(-TASK_FLOPS // flops)))
    while rows > 1 and channels * plane.band(1, rows) > room:
        rows = -(-rows // 2)
    while channels > 1 and channels * plane.band(1, rows) > room:
        channels = -(-channels // 2)
    if rows < plane.down.outputs:
        return 1, rows, channels
    samples = min(SAMPLES_MOST, plane.samples, -(-TASK_FLOPS // (flops * rows)),
                  room // (channels * plane.band(1, rows)))
    return _evenly(plane.samples, max(1, samples)), rows, channels


def _evenly(total: int, most: int) -> int:
    """`total` divided into as few equal parts of at most `most` as possible: the size of one."""
    return -(-total // -(-total // most))


# ---- backward ------------------------------------------------------------------------------------


def emit_conv2d_dx(program: Program, dx: Operand, dy: Operand, w: Operand, shape: Conv) -> None:
    """dx = gradient of the convolution by x; operands as in the forward pass.

    Pixels h with h = a modulo the stride are one convolution of dy with stride 1, for each a; so
    are columns (docs/math.md#convolution).
    """
    if dx.rows == 0 or dx.cols == 0:
        return
    plane = _plane(shape, dx.rows)
    shares = plane.samples * shape.channels * plane.across.kernel * shape.height * shape.out[1]
    if plane.channels <= FEW_CHANNELS and plane.across.kernel > 1 and shares <= SHARES_MOST:
        _emit_folded_dx(program, plane, dx, dy, w, shape, shares)
        return
    steps = (dx.row_step, shape.height * shape.width, shape.width, 1)
    _emit_phases(program, plane, _phases(plane.across), dx.address, steps, dy, w)


def _emit_folded_dx(program: Program, plane: Plane, dx: Operand, dy: Operand, w: Operand,
                    shape: Conv, count: int) -> None:
    """dx by way of the shares of every tap of a window's row: C*WW filters of height HH."""
    across, ow = plane.across, shape.out[1]
    shares = program.workspace(count)
    alone = Axis(ow, 1, 1, 0, 1, ow)
    image = shape.height * ow
    _emit_phases(program, plane, [(0, _Phase(alone, 0, 1))], shares,
                 (shape.channels * across.kernel * image, image, ow, 1), dy, w,
                 inner=across.kernel)
    planes = max(1, BLOCK // (across.kernel * image))
    program.emit(conv.CONV_FOLD, tasks=-(-dx.rows * shape.channels // planes), dx=dx.address,
                 dx_sample=dx.row_step, shares=shares, samples=dx.rows, channels=shape.channels,
                 height=shape.height, width=shape.width, taps=across.kernel, shares_w=ow,
                 stride=across.stride, left=across.border, dilation=across.dilation, planes=planes)


def _emit_phases(program: Program, plane: Plane, columns: list[tuple[int, _Phase | None]], y: int,
                 steps: tuple[int, int, int, int], dy: Operand, w: Operand, *, inner: int = 1
                 ) -> None:
    """The convolutions of dy that make y, one for each phase of its rows and of its columns.

    steps: between samples, channels, rows and columns of y. inner: every channel of y stands for
    so many filters, the taps of a row of W.
    """
    itemsize, kernel_w = program.dtype.itemsize, plane.across.kernel
    parts = [(a, b) for a in _phases(plane.down) for b in columns]
    if any(down is None or across is None for (_, down), (_, across) in parts):
        size = steps[1] * plane.channels * plane.groups * inner
        emit_fill(program, Operand(y, plane.samples, size, steps[0]), 0.0)
    taps = plane.kernel
    w_steps = (taps, plane.filters * w.row_step, w.row_step)
    work: list[tuple[Plane, int, int, tuple[int, int, int, int]]] = []
    for (a, down), (b, across) in parts:
        if down is None or across is None:
            continue
        # Taps of the sub-convolution run backwards: its first is the window's last.
        first = down.last * kernel_w + across.last
        back = plane._replace(down=down.axis, across=across.axis, channels=plane.filters,
                              filters=plane.channels * inner)
        packed = _emit_pack(program, back, w.address + first * itemsize, 0,
                            (*w_steps, -down.step * kernel_w, -across.step), inner=(inner, 1),
                            watch=True, overlap=bool(work))
        sample, channel, row, col = steps
        strides = (sample, channel, plane.down.stride * row,
                   (plane.across.stride if inner == 1 else 1) * col)
        work.append((back, packed, y + (a * row + b * col) * itemsize, strides))
    for number, (back, packed, address, strides) in enumerate(work):
        _emit_conv(program, back, dy, packed, 0, address, strides, NO_FLOOR, overlap=number > 0)


class _Phase(NamedTuple):
    """The taps that reach the pixels of one phase, and their convolution of dy.

    Taps last, last - step, ... in this order.
    """

    axis: Axis
    last: int
    step: int


def _phases(axis: Axis) -> list[tuple[int, _Phase | None]]:
    """(a, what reaches the pixels a, a + stride, ...) for every a; None: no tap does.

    Tap i reaches pixel h from output (h + border - i*dilation)/stride where that is whole. With
    i = first + t*step that is h' + (a + border - first*dilation)/stride - t*dilation/common.
    """
    common = math.gcd(axis.stride, axis.dilation)
    step = axis.stride // common
    found: list[tuple[int, _Phase | None]] = []
    for a in range(min(axis.stride, axis.inputs)):
        first = next((i for i in range(min(step, axis.kernel))
                      if (a + axis.border - i * axis.dilation) % axis.stride == 0), None)
        if first is None:
            found.append((a, None))
            continue
        count = (axis.kernel - 1 - first) // step + 1
        last = first + (count - 1) * step
        nearest = (a + axis.border - last * axis.dilation) // axis.stride
        pixels = -(-(axis.inputs - a) // axis.stride)
        found.append((a, _Phase(Axis(axis.outputs, count, 1, -nearest, axis.dilation // common,
                                      pixels), last, step)))
    return found


def emit_conv2d_dw(program: Program, dw: Operand, db: int, dy: Operand, x: Operand,
                   shape: Conv) -> None:
    """dw (F, taps) and db (address of (F,), or 0: not wanted) from dy and x."""
    if x.rows == 0:
        emit_fill(program, dw, 0.0)
        if db:
            emit_fill(program, Operand(db, 1, shape.filters, shape.filters), 0.0)
        return
    plane, itemsize = _plane(shape, x.rows), program.dtype.itemsize
    width = registers(itemsize)[1]
    samples, rows, channels, panels = _weight_blocks(plane, itemsize)
    blocks = -(-plane.channels // channels) * -(-plane.filters // (panels * width))
    filter_step = padded(plane.filters, program.dtype)
    cells = (shape.taps + 1) * filter_step * plane.groups
    flops = 2 * plane.samples * math.prod(shape.out) * shape.taps * shape.filters
    parts = max(1, min(plane.samples, TASKS // 2 // (blocks * plane.groups) or 1,
                       -(-flops // TASK_FLOPS), PARTIALS_MOST // cells))
    partials = program.workspace(parts * cells)
    places = plane.places(samples, rows)
    scratch = scratch_for(program, plane,
                       panels * width * places + channels * plane.band(samples, rows))
    program.emit(conv_weights.CONV_DW, tasks=parts * blocks * plane.groups, partials=partials,
                 filter_step=filter_step, dy=dy.address, dy_sample=dy.row_step,
                 parts=parts, panel_block=panels, along=_along(plane, channels),
                 **plane.words(x.address, x.row_step, (samples, rows, channels), scratch))
    lanes = machine().lanes(itemsize)
    address, _ = program.scratch
    program.emit(conv_weights.CONV_MERGE, tasks=plane.groups * -(-(shape.taps + 1) // lanes),
                 dw=dw.address, dw_step=dw.row_step, db=db, partials=partials,
                 filter_step=filter_step, parts=parts, groups=plane.groups, taps=shape.taps,
                 filters=plane.filters, scratch=address, slot_size=SLOT_BYTES)


def _weight_blocks(plane: Plane, itemsize: int) -> tuple[int, int, int, int]:
    """(samples, output rows, channels, panels of filters) of a task's step of dW."""
    width = registers(itemsize)[1]
    rows, room = plane.down.outputs, room_of(plane, itemsize)
    while rows > 1 and plane.places(1, rows) > 2 * PLACES:
        rows = -(-rows // 2)
    while rows > 1 and plane.places(1, rows) * width + plane.band(1, rows) > room:
        rows = -(-rows // 2)
    samples = 1
    if rows == plane.down.outputs:
        samples = max(1, min(plane.samples, PLACES // plane.places(1, rows)))
    places = plane.places(samples, rows)
    # Half of the room for dy, half for the band.
    panels = _evenly(-(-plane.filters // width), max(1, room // 2 // (places * width)))
    rest = room - panels * places * width
    channels = _evenly(plane.channels, max(1, rest // plane.band(samples, rows)))
    return samples, rows, channels, panels


def _along(plane: Plane, channels: int) -> int:
    """What makes the highest tiles."""
    most = machine().tile_rows
    choices = [(conv_weights.CHANNELS, channels)]
    if plane.across.stride == 1:
        choices.append((conv_weights.TAP_COLS, plane.across.kernel))
    if plane.down.stride == 1:
        choices.append((conv_weights.TAP_ROWS, plane.down.kernel))
    return max(choices, key=lambda choice: _evenly(choice[1], most))[0]
