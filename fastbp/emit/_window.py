"""How a window moves over images: sizes, the numbers kernels want, and the scratch they need."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from fastbp import _pool
from fastbp._arena import padded
from fastbp._memory import SLOT_BYTES
from fastbp._program import Program
from fastbp.emit.gemm import registers

Pair = tuple[int, int]


@dataclass(frozen=True)
class Window:
    """How a window moves over images: sizes as (down, across)."""

    size: Pair
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)

    def outputs(self, height: int, width: int) -> Pair:
        """(OH, OW); below 1 where the window is larger than the padded image."""
        down, across = (
            (n + 2 * p - d * (k - 1) - 1) // s + 1
            for n, k, s, p, d in zip((height, width), self.size, self.stride, self.padding,
                                     self.dilation, strict=True))
        return down, across


class Axis(NamedTuple):
    """One direction of a convolution, as the kernels see it."""

    inputs: int
    kernel: int
    stride: int
    border: int
    dilation: int
    outputs: int

    @property
    def phases(self) -> int:
        """What taps leave modulo the stride (kernels/_band.py)."""
        return min(self.stride, (self.kernel - 1) * self.dilation + 1)

    def extent(self, outputs: int) -> int:
        """Rows or columns of a phase of the band."""
        return outputs + (self.kernel - 1) * self.dilation // self.stride


class Plane(NamedTuple):
    """Both directions, samples, and the sizes of a group."""

    down: Axis
    across: Axis
    samples: int
    channels: int
    filters: int
    groups: int

    @property
    def kernel(self) -> int:
        """Taps of one channel."""
        return self.down.kernel * self.across.kernel

    def band(self, samples: int, rows: int) -> int:
        """Elements of a channel's band."""
        return (self.down.phases * self.across.phases * samples * self.down.extent(rows)
                * self.across.extent(self.across.outputs))

    def places(self, samples: int, rows: int) -> int:
        """Places of one phase of it, up to the last output."""
        lines = (samples - 1) * self.down.extent(rows) + rows
        return lines * self.across.extent(self.across.outputs)

    def words(self, x: int, x_sample: int, blocks: tuple[int, int, int],
              scratch: tuple[int, int]) -> dict[str, Any]:
        """GEOMETRY. blocks: samples, output rows and channels of a task."""
        down, across = self.down, self.across
        return {"x": x, "x_sample": x_sample, "samples": self.samples, "channels": self.channels,
                "height": down.inputs, "width": across.inputs, "filters": self.filters,
                "kernel_h": down.kernel, "kernel_w": across.kernel, "stride_h": down.stride,
                "stride_w": across.stride, "top": down.border, "left": across.border,
                "dilation_h": down.dilation, "dilation_w": across.dilation,
                "out_h": down.outputs, "out_w": across.outputs, "groups": self.groups,
                "band_samples": blocks[0], "band_rows": blocks[1], "channel_block": blocks[2],
                "scratch": scratch[0], "slot_size": scratch[1]}


def fixed(plane: Plane, itemsize: int) -> int:
    """Elements of a thread's memory that are always the same: `scratch_parts` of _band.py."""
    height, width = registers(itemsize)
    return -(-2 * plane.kernel // 64) * 64 + (1 + height) * width


def room_of(plane: Plane, itemsize: int) -> int:
    """Elements of a thread's memory that are left."""
    return SLOT_BYTES // itemsize - fixed(plane, itemsize) - 2 * registers(itemsize)[1]


def scratch_for(program: Program, plane: Plane, count: int) -> tuple[int, int]:
    """(address, bytes for each thread) of scratch with `count` elements besides the fixed ones.

    Windows that do not fit in what every thread has get workspaces of their own.
    """
    itemsize = program.dtype.itemsize
    if count <= room_of(plane, itemsize):
        return program.scratch[0], SLOT_BYTES
    # Whole registers are read behind the end of a band.
    size = padded(fixed(plane, itemsize) + count + 2 * registers(itemsize)[1], program.dtype)
    return program.workspace(_pool.MOST_THREADS * size), size * itemsize
