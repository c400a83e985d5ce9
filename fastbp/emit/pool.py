"""Pooling as instructions: tasks of whole planes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fastbp._program import Operand, Program
from fastbp.emit._window import Axis, Plane, Window, room_of, scratch_for
from fastbp.emit.reduce import BLOCK
from fastbp.kernels import pool

KINDS = {"max": pool.MAX, "average": pool.AVERAGE, "average_inside": pool.AVERAGE_INSIDE}


@dataclass(frozen=True)
class Pool:
    """Pooling of images (channels, height, width); kind: one of KINDS."""

    kind: str
    channels: int
    height: int
    width: int
    window: Window

    @property
    def out(self) -> tuple[int, int]:
        """(OH, OW)."""
        return self.window.outputs(self.height, self.width)


def emit_pool_forward(program: Program, y: Operand, x: Operand, which: Operand | None, shape: Pool
                      ) -> None:
    """y (N, C*OH*OW) from x (N, C*H*W); which, like y, receives the winning taps of max pooling."""
    _emit(program, pool.POOL, x, shape, which, y=y.address, y_sample=y.row_step)


def emit_pool_backward(program: Program, dx: Operand, dy: Operand, which: Operand | None,
                       shape: Pool) -> None:
    """dx from dy and, for max pooling, the winning taps."""
    _emit(program, pool.POOL_GRADIENT, dx, shape, which, dy=dy.address, dy_sample=dy.row_step)


def _emit(program: Program, instruction: pool.Instruction, x: Operand, shape: Pool,
          which: Operand | None, **operands: Any) -> None:
    if x.rows == 0 or x.cols == 0:
        return
    window = shape.window
    down, across = (Axis(*numbers) for numbers in zip(
        (shape.height, shape.width), window.size, window.stride, window.padding, window.dilation,
        shape.out, strict=True))
    plane = Plane(down, across, x.rows, shape.channels, shape.channels, 1)
    counts = -(-across.outputs // 64) * 64
    rows, room = down.outputs, room_of(plane, program.dtype.itemsize) - counts
    while rows > 1 and plane.band(1, rows) > room:
        rows = -(-rows // 2)
    planes = max(1, BLOCK // (shape.height * shape.width))
    program.emit(instruction, tasks=-(-x.rows * shape.channels // planes), planes=planes,
                 which=which.address if which else 0, which_sample=which.row_step if which else 0,
                 kind=KINDS[shape.kind], **operands,
                 **plane.words(x.address, x.row_step, (1, rows, 1),
                               scratch_for(program, plane, counts + plane.band(1, rows))))
