"""Spatial BatchNorm and GroupNorm on arrays, forward and backward (docs/math.md#groupnorm)."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastbp._arena import address_of
from fastbp._errors import ArgumentError, ShapeError
from fastbp._program import Operand, Program
from fastbp.emit.planes import Statistics, emit_spatial_backward, emit_spatial_forward
from fastbp.ops import _images
from fastbp.ops._again import again, key_of, remember
from fastbp.ops._check import as_real, same_dtype
from fastbp.ops._norm import running_statistics
from fastbp.ops._plans import Plan, run_over
from fastbp.ops._short import Short

_spatial, _grouped = Short("spatial_batchnorm_forward"), Short("groupnorm_forward")
_upstream = Short("planes_backward")


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
    arguments = (x, gamma, beta, running_mean, running_var, momentum, eps, training, data_format)
    done = _spatial.call(*arguments)
    if done is not None:
        return done[0], _saved(x, done[1], gamma, 0, data_format, training)
    has_running = running_mean is not None or running_var is not None
    given = (x, gamma, beta, *((running_mean, running_var) if has_running else ()))
    key = key_of((spatial_batchnorm_forward, momentum, eps, training, data_format), given)
    known = again(key, given, short=_spatial, arguments=arguments)
    if known is not None:
        return known[0], _saved(x, known[1], gamma, 0, data_format, training)
    _images.check_format(data_format)
    images = _images.as_images("x", x, data_format)
    if not 0 <= momentum <= 1:
        raise ArgumentError(f"momentum={momentum!r}", "a number from 0 to 1",
                            "0.9 is usual: running = momentum*running + (1-momentum)*batch")
    vectors = _vectors(images, gamma, beta, eps)
    running = running_statistics(running_mean, running_var, vectors[0][None], training)
    if training and images.size == 0:
        raise ShapeError(f"x with shape {np.shape(x)}: no samples",
                         "at least one to take the mean of")
    moments = np.empty((2, images.shape[1]), images.dtype)
    saved = Normalized(images, np.shape(x), moments[0], moments[1], vectors[0].copy(), 0,
                       data_format, training)
    y, plan = _forward(saved, vectors, running, momentum, eps)
    if training:
        for kept, computed in zip((running_mean, running_var), running, strict=False):
            if kept is not None and computed is not kept:
                kept[...] = computed
    _remember(key, given, plan, y, moments, (3, 4) if running and training else ())
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
    done = _grouped.call(x, gamma, beta, groups, eps)
    if done is not None:
        return done[0], _saved(x, done[1], gamma, groups)
    key = key_of((groupnorm_forward, groups, type(groups), eps), (x, gamma, beta))
    known = again(key, (x, gamma, beta), short=_grouped, arguments=(x, gamma, beta, groups, eps))
    if known is not None:
        return known[0], _saved(x, known[1], gamma, int(groups))
    array = as_real("x", x)
    if array.ndim < 2:
        raise ShapeError(f"x with shape {array.shape}", "(N, C, ...)")
    images = _images.by_sample(_planes(array))
    if not isinstance(groups, (int, np.integer)) or groups < 1 or images.shape[1] % groups:
        raise ArgumentError(f"groups={groups!r} for {images.shape[1]} channels",
                            "an integer of 1 or more that divides them")
    vectors = _vectors(images, gamma, beta, eps)
    moments = np.empty((2, len(images), int(groups)), images.dtype)
    saved = Normalized(images, array.shape, moments[0], moments[1], vectors[0].copy(),
                       int(groups))
    y, plan = _forward(saved, vectors, [], 0.0, eps)
    _remember(key, (x, gamma, beta), plan, y, moments, ())
    return y, saved


def groupnorm_backward(dy: Any, saved: Normalized) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(dx, dgamma, dbeta) of `groupnorm_forward`; dy of x's shape; dgamma, dbeta (C,)."""
    return _backward(dy, saved, "groupnorm")


def _planes(x: np.ndarray) -> np.ndarray:
    """x (N, C, ...) as images of one row."""
    return x.reshape(*x.shape[:2], 1, math.prod(x.shape[2:]))


def _saved(x: np.ndarray, moments: np.ndarray, gamma: np.ndarray, groups: int,
           data_format: str = "NCHW", training: bool = True) -> Normalized:
    """What a repeated forward call has to save; an optimizer may change gamma."""
    return Normalized(_planes(x) if groups else x, x.shape, moments[0], moments[1], gamma.copy(),
                      groups, data_format, training)


def _remember(key: Hashable, given: tuple[np.ndarray, ...], plan: Plan, y: np.ndarray,
              moments: np.ndarray, changed: Sequence[int]) -> None:
    """Keep a forward call; places: y, x, gamma, beta, mean, rstd, running statistics."""
    if y.nbytes < _images.LARGE_BYTES:
        row = moments.strides[0]
        remember(key, given, plan, [y, moments], changed=changed,
                 links=[(0, 0), (2, 0), (3, 0), (4, 0), (1, 0), (1, row), (5, 0), (6, 0)])


def _vectors(images: np.ndarray, gamma: Any, beta: Any, eps: float
             ) -> tuple[np.ndarray, np.ndarray]:
    """Contiguous gamma and beta, checked."""
    scale, shift = as_real("gamma", gamma), as_real("beta", beta)
    same_dtype(x=images, gamma=scale, beta=shift)
    channels = images.shape[1]
    for name, array in (("gamma", scale), ("beta", shift)):
        if array.shape != (channels,):
            raise ShapeError(f"{name} with shape {array.shape} for x with {channels} channels",
                             f"({channels},)")
    if not (eps >= 0 and math.isfinite(eps)):
        raise ArgumentError(f"eps={eps!r}", "a number of at least 0", "1e-5 is usual")
    return np.ascontiguousarray(scale), np.ascontiguousarray(shift)


def _statistics(saved: Normalized) -> Statistics:
    _, c, h, w = saved.x.shape
    return Statistics(c, h * w, saved.groups)


def _forward(saved: Normalized, vectors: tuple[np.ndarray, np.ndarray],
             running: list[np.ndarray], momentum: float, eps: float) -> tuple[np.ndarray, Plan]:
    shape, images = _statistics(saved), saved.x
    target = _images.new(images.shape, images.dtype)
    places = [address_of(array) for array in running] or [0, 0]

    def build(program: Program, y: Operand, x: Operand, *addresses: int) -> None:
        names = ("gamma", "beta", "mean", "rstd", "running_mean", "running_var")
        emit_spatial_forward(program, y, x, shape, **dict(zip(names, addresses, strict=True)),
                             momentum=momentum, eps=eps, training=saved.training)

    plan = run_over((_images.rows(target), _images.rows(images), *map(address_of, vectors),
                     address_of(saved.mean), address_of(saved.rstd), *places),
                    (_forward, shape, momentum, eps, saved.training), images.dtype, build)
    return _shaped(target, saved), plan


def _shaped(target: np.ndarray, saved: Normalized) -> np.ndarray:
    """A result (N, C, H, W) as the user's x lies."""
    if saved.data_format == "NHWC":
        return np.ascontiguousarray(target.transpose(0, 2, 3, 1))
    return target.reshape(saved.given)


def _backward(dy: Any, saved: Normalized, kind: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    if not isinstance(saved, Normalized) or saved.kind != kind:
        of = saved.kind if isinstance(saved, Normalized) else type(saved).__name__
        raise ArgumentError(f"saved of {of}", f"what {kind}_forward returned",
                            f"y, saved = {kind}_forward(...)")
    short, given = None, (dy, saved.x, saved.mean, saved.rstd, saved.gamma)
    arguments = (saved.training, saved.groups, *given)
    if (type(dy) is np.ndarray and dy.shape == saved.given and saved.data_format == "NCHW"):
        short = _upstream
        done = _upstream.call(*arguments)
        if done is not None:
            return done[0], done[1][0], done[1][1]
    key = key_of((_backward, saved.given, saved.training, saved.groups, saved.data_format), given)
    known = again(key, given, short=short, arguments=arguments)
    if known is not None:
        return known[0], known[1][0], known[1][1]
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
    row = sums.strides[0]
    plan = run_over((_images.rows(target), _images.rows(up), _images.rows(saved.x), place,
                     place + row, address_of(saved.mean), address_of(saved.rstd),
                     address_of(saved.gamma)), (_backward, shape, saved.training), up.dtype, build)
    dx = _shaped(target, saved)
    if dx.nbytes < _images.LARGE_BYTES:
        remember(key, given, plan, [dx, sums],
                 links=[(0, 0), (2, 0), (3, 0), (1, 0), (1, row), (4, 0), (5, 0), (6, 0)])
    return dx, sums[0], sums[1]
