"""Spatial BatchNorm and GroupNorm on arrays, forward and backward (docs/math.md#groupnorm)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastbp._arena import address_of
from fastbp._errors import ArgumentError, ShapeError
from fastbp._program import Operand, Program
from fastbp.emit.planes import Statistics, emit_spatial_backward, emit_spatial_forward
from fastbp.ops import _images
from fastbp.ops._check import as_real, same_dtype
from fastbp.ops._norm import running_statistics
from fastbp.ops._plans import run_over


@dataclass(frozen=True)
class Normalized:
    """What the backward passes need.

    x: (N, C, H, W), the input itself wherever possible: leave it unchanged until then. mean and
    rstd: (C,), or (N, groups).
    """

    x: np.ndarray
    given: tuple[int, ...]
    mean: np.ndarray
    rstd: np.ndarray
    gamma: np.ndarray
    groups: int
    data_format: str = "NCHW"
    training: bool = True

    @property
    def kind(self) -> str:
        """The operation's name."""
        return "groupnorm" if self.groups else "spatial_batchnorm"


def spatial_batchnorm_forward(x: Any, gamma: Any, beta: Any, running_mean: np.ndarray | None = None,
                              running_var: np.ndarray | None = None, *, momentum: float = 0.9,
                              eps: float = 1e-5, training: bool = True, data_format: str = "NCHW"
                              ) -> tuple[np.ndarray, Normalized]:
    """y = gamma * (x - mean) / sqrt(var + eps) + beta, mean and variance of each channel.

    Arguments:
        x: (N, C, H, W), or (N, H, W, C) with data_format="NHWC"; float32 or float64, any strides.
        gamma, beta: (C,).
        running_mean, running_var: (C,) arrays, or both None. In training they are changed in place:
            running = momentum*running + (1 - momentum)*batch, with the biased variance.
        training: normalise by the statistics of the batch; otherwise by the running ones.
    Returns:
        y of x's shape, and `saved` for `spatial_batchnorm_backward`, which keeps a reference to x.
    Raises:
        ShapeError, DTypeError, ArgumentError: for what does not fit; nothing has been changed then.
    """
    _images.check_format(data_format)
    images = _images.as_images("x", x, data_format)
    if not 0 <= momentum <= 1:
        raise ArgumentError(f"momentum={momentum!r}", "a number from 0 to 1",
                            "0.9 is usual: running = momentum*running + (1-momentum)*batch")
    vectors = _vectors(images, gamma, beta, eps)
    running = running_statistics(running_mean, running_var, vectors, training)
    if training and images.size == 0:
        raise ShapeError(f"x with shape {np.shape(x)}: no samples",
                         "at least one to take the mean of")
    moments = np.empty((2, images.shape[1]), images.dtype)
    saved = Normalized(images, np.shape(x), moments[0], moments[1], vectors[0], 0, data_format,
                       training)
    y = _forward(saved, vectors, running, momentum, eps)
    if training:
        for given, computed in zip((running_mean, running_var), running, strict=False):
            if given is not None and computed is not given:
                given[...] = computed
    return y, saved


def spatial_batchnorm_backward(dy: Any, saved: Normalized
                               ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(dx, dgamma, dbeta) of `spatial_batchnorm_forward`, in the mode it ran in.

    dy: of x's shape. dgamma, dbeta (C,): sums over the batch of what dy says, no 1/N.
    """
    return _backward(dy, saved, "spatial_batchnorm")


def groupnorm_forward(x: Any, gamma: Any, beta: Any, groups: int, *, eps: float = 1e-5
                      ) -> tuple[np.ndarray, Normalized]:
    """y = gamma * (x - mean) / sqrt(var + eps) + beta, mean and variance of each group of channels
    of each sample.

    Arguments:
        x: (N, C, ...), float32 or float64, any strides. gamma, beta: (C,).
        groups: number of groups; divides C.
    Returns:
        y of x's shape, and `saved` for `groupnorm_backward`, which keeps a reference to x.
    """
    array = as_real("x", x)
    if array.ndim < 2:
        raise ShapeError(f"x with shape {array.shape}", "(N, C, ...)")
    images = _images.by_sample(array.reshape(*array.shape[:2], 1, math.prod(array.shape[2:])))
    if not isinstance(groups, (int, np.integer)) or groups < 1 or images.shape[1] % groups:
        raise ArgumentError(f"groups={groups!r} for {images.shape[1]} channels",
                            "an integer of 1 or more that divides them")
    vectors = _vectors(images, gamma, beta, eps)
    moments = np.empty((2, len(images), int(groups)), images.dtype)
    saved = Normalized(images, array.shape, moments[0], moments[1], vectors[0], int(groups))
    return _forward(saved, vectors, [], 0.0, eps), saved


def groupnorm_backward(dy: Any, saved: Normalized) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(dx, dgamma, dbeta) of `groupnorm_forward`; dy of x's shape; dgamma, dbeta (C,)."""
    return _backward(dy, saved, "groupnorm")


def _vectors(images: np.ndarray, gamma: Any, beta: Any, eps: float) -> np.ndarray:
    """Copies of gamma and beta as rows; an optimizer may change gamma."""
    scale, shift = as_real("gamma", gamma), as_real("beta", beta)
    same_dtype(x=images, gamma=scale, beta=shift)
    channels = images.shape[1]
    for name, array in (("gamma", scale), ("beta", shift)):
        if array.shape != (channels,):
            raise ShapeError(f"{name} with shape {array.shape} for x with {channels} channels",
                             f"({channels},)")
    if not (eps >= 0 and math.isfinite(eps)):
        raise ArgumentError(f"eps={eps!r}", "a number of at least 0", "1e-5 is usual")
    return np.stack([scale, shift])


def _statistics(saved: Normalized) -> Statistics:
    _, c, h, w = saved.x.shape
    return Statistics(c, h * w, saved.groups)


def _forward(saved: Normalized, vectors: np.ndarray, running: list[np.ndarray], momentum: float,
             eps: float) -> np.ndarray:
    shape, images = _statistics(saved), saved.x
    target = _images.new(images.shape, images.dtype)
    places = [address_of(array) for array in running] or [0, 0]
    row = address_of(vectors)

    def build(program: Program, y: Operand, x: Operand, *addresses: int) -> None:
        names = ("gamma", "beta", "mean", "rstd", "running_mean", "running_var")
        emit_spatial_forward(program, y, x, shape, **dict(zip(names, addresses, strict=True)),
                             momentum=momentum, eps=eps, training=saved.training)

    run_over((_images.rows(target), _images.rows(images), row, row + vectors.strides[0],
              address_of(saved.mean), address_of(saved.rstd), *places),
             (_forward, shape, momentum, eps, saved.training), images.dtype, build)
    return _shaped(target, saved)


def _shaped(target: np.ndarray, saved: Normalized) -> np.ndarray:
    """A result (N, C, H, W) as the user's x lies."""
    if saved.data_format == "NHWC":
        return np.ascontiguousarray(target.transpose(0, 2, 3, 1))
    return target.reshape(saved.given)


def _backward(dy: Any, saved: Normalized, kind: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    if not isinstance(saved, Normalized) or saved.kind != kind:
        given = saved.kind if isinstance(saved, Normalized) else type(saved).__name__
        raise ArgumentError(f"saved of {given}", f"what {kind}_forward returned",
                            f"y, saved = {kind}_forward(...)")
    up = as_real("dy", dy)
    same_dtype(dy=up, x=saved.x)
    if up.shape != saved.given:
        raise ShapeError(f"dy with shape {up.shape}", f"x's shape {saved.given}")
    if saved.data_format == "NHWC":
        up = up.transpose(0, 3, 1, 2)
    up = _images.by_sample(up.reshape(saved.x.shape))
    shape = _statistics(saved)
    target, sums = _images.new(up.shape, up.dtype), np.empty((2, shape.channels), up.dtype)

    def build(program: Program, dx: Operand, dy: Operand, x: Operand, *addresses: int) -> None:
        names = ("dgamma", "dbeta", "mean", "rstd", "gamma")
        emit_spatial_backward(program, dx, dy, x, shape,
                              **dict(zip(names, addresses, strict=True)), training=saved.training)

    place = address_of(sums)
    run_over((_images.rows(target), _images.rows(up), _images.rows(saved.x), place,
              place + sums.strides[0], address_of(saved.mean), address_of(saved.rstd),
              address_of(saved.gamma)), (_backward, shape, saved.training), up.dtype, build)
    return _shaped(target, saved), sums[0], sums[1]
