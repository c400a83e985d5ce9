"""Normalisation of images as instructions: spatial BatchNorm and GroupNorm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fastbp._arena import padded
from fastbp._program import Operand, Program
from fastbp.emit.batchnorm import emit_finish
from fastbp.emit.reduce import BLOCK, emit_column_sums, emit_fill
from fastbp.kernels import planes


@dataclass(frozen=True)
class Statistics:
    """Planes of `size` elements, `channels` of them a sample, and what they are normalised over.

    groups: of channels of a sample (GroupNorm), or 0: a channel over all samples (BatchNorm).
    """

    channels: int
    size: int
    groups: int = 0

    @property
    def words(self) -> dict[str, Any]:
        """Where a plane's mean and rstd are."""
        return {"stat_sample": self.groups,
                "per_stat": self.channels // self.groups if self.groups else 1}


def _tasks(planes: int, size: int) -> tuple[int, int]:
    """(tasks, planes of a task)."""
    block = max(1, BLOCK // max(1, size))
    return -(-planes // block), block


def emit_spatial_forward(program: Program, y: Operand, x: Operand, shape: Statistics, *, gamma: int,
                         beta: int, mean: int, rstd: int, running_mean: int = 0,
                         running_var: int = 0, momentum: float = 0.9, eps: float = 1e-5,
                         training: bool = True, var: int = 0) -> None:
    """y = gamma*(x - mean)*rstd + beta over images, a row of x and y each; y may be x.

    mean and rstd are written: addresses of (N, groups) or, for BatchNorm, (C,). The running
    statistics and var as in `emit_batchnorm_forward`.
    """
    if x.rows == 0 or x.cols == 0:
        return
    n, c, size, tracks = x.rows, shape.channels, shape.size, False
    if shape.groups:
        tasks, block = _tasks(n * shape.groups, x.cols // shape.groups)
        program.emit(planes.PLANE_MOMENTS, tasks=tasks, mean=mean, m2=rstd, step=shape.groups,
                     x=x.address, x_sample=x.row_step, samples=n, rows=shape.groups,
                     size=x.cols // shape.groups, block=block, finish=1, eps=eps)
    else:
        step = padded(c, program.dtype)
        means = program.workspace(2 * n * step) if training else mean
        m2s = means + n * step * program.dtype.itemsize
        tasks, block = _tasks(n * c, size)
        if training:
            program.emit(planes.PLANE_MOMENTS, tasks=tasks, mean=means, m2=m2s, step=step,
                         x=x.address, x_sample=x.row_step, samples=n, rows=c, size=size,
                         block=block, finish=0, eps=eps)
        tracks = emit_finish(program, mean=mean, rstd=rstd, var=var, running_mean=running_mean,
                             running_var=running_var, means=means, m2s=m2s, step=step, groups=n,
                             rows=n * size, cols=c, block_rows=size, momentum=momentum, eps=eps,
                             training=training)
    tasks, block = _tasks(n * c, size)
    program.emit(planes.PLANE_NORMALIZE, tasks=tasks, overlap=tracks, y=y.address,
                 y_sample=y.row_step, x=x.address, x_sample=x.row_step, mean=mean, rstd=rstd,
                 gamma=gamma, beta=beta, samples=n, channels=c, size=size, block=block,
                 **shape.words)


def emit_spatial_backward(program: Program, dx: Operand, dy: Operand, x: Operand,
                          shape: Statistics, *, dgamma: int, dbeta: int, mean: int, rstd: int,
                          gamma: int, training: bool = True) -> None:
    """dx, dgamma (C,) and dbeta (C,) from dy and what the forward pass saved; dx may be dy or x."""
    n, c, size = x.rows, shape.channels, shape.size
    if n == 0 or x.cols == 0:
        emit_fill(program, Operand(dgamma, 1, c, c), 0.0)
        emit_fill(program, Operand(dbeta, 1, c, c), 0.0, overlap=True)
        return
    step = padded(c, program.dtype)
    dgammas = program.workspace(2 * n * step)
    dbetas = dgammas + n * step * program.dtype.itemsize
    tasks, block = _tasks(n * c, size)
    shared: dict[str, Any] = {
        "dy": dy.address, "dy_sample": dy.row_step, "x": x.address, "x_sample": x.row_step,
        "mean": mean, "rstd": rstd, "samples": n, "channels": c, "size": size, "block": block,
        **shape.words}
    program.emit(planes.PLANE_SUMS, tasks=tasks, dgammas=dgammas, dbetas=dbetas, step=step,
                 **shared)
    emit_column_sums(program, dgamma, Operand(dgammas, n, c, step))
    emit_column_sums(program, dbeta, Operand(dbetas, n, c, step), overlap=True)
    if shape.groups:
        sums, share = (dgammas, dbetas, step), shape.groups / x.cols
    else:
        sums, share = (dgamma, dbeta, 0), 1.0 / (n * size) if training else 0.0
    program.emit(planes.PLANE_DX, tasks=tasks, dx=dx.address, dx_sample=dx.row_step, gamma=gamma,
                 dgammas=sums[0], dbetas=sums[1], sums_sample=sums[2], share=share, **shared)
