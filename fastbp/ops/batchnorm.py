"""BatchNorm on arrays, forward and backward (docs/math.md#batchnorm)."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastbp._arena import address_of
from fastbp._errors import ArgumentError, ShapeError
from fastbp._program import Operand, Program
from fastbp.emit.batchnorm import emit_batchnorm_backward, emit_batchnorm_forward
from fastbp.ops._again import again, key_of, remember
from fastbp.ops._check import output
from fastbp.ops._norm import (
    LARGE_BYTES,
    Saved,
    inputs,
    operand,
    result,
    run_backward,
    running_statistics,
    saved_of,
    shaped,
)
from fastbp.ops._plans import run_over
from fastbp.ops._short import Short

_PLACES = ("gamma", "beta", "mean", "rstd", "running_mean", "running_var")
_forward = Short("batchnorm_forward")


def batchnorm_forward(x: Any, gamma: Any, beta: Any, running_mean: np.ndarray | None = None,
                      running_var: np.ndarray | None = None, *, momentum: float = 0.9,
                      eps: float = 1e-5, training: bool = True, out: np.ndarray | None = None
                      ) -> tuple[np.ndarray, Saved]:
    """y = gamma * (x - mean) / sqrt(var + eps) + beta, with mean and variance of each feature.

    Arguments:
        x: (N, ...) with D numbers a sample, float32 or float64, any strides.
        gamma, beta: (D,).
        running_mean, running_var: (D,) arrays, or both None. In training they are changed in place:
            running = momentum*running + (1 - momentum)*batch, with the biased variance of the
            batch.
        training: normalise by the statistics of the batch; otherwise by the running ones.
        out: array of x's shape for y; must not overlap x.
    Returns:
        y of x's shape, and `saved` for `batchnorm_backward`, which keeps a reference to x.
    Raises:
        ShapeError, DTypeError, ArgumentError: for what does not fit; nothing has been changed then.
    """
    done = _forward.call(x, gamma, beta, running_mean, running_var, momentum, eps, training, out)
    if done is not None:
        return done[0], saved_of("batchnorm", x, done[1], gamma, training)
    has_running = running_mean is not None or running_var is not None
    given = (x, gamma, beta, *((running_mean, running_var) if has_running else ()))
    key = key_of((batchnorm_forward, momentum, eps, training), given, out)
    done = again(key, given, out, short=_forward, arguments=(
        x, gamma, beta, running_mean, running_var, momentum, eps, training, out))
    if done is not None:
        return done[0], saved_of("batchnorm", x, done[1], gamma, training)
    rows, shape, scale, shift = inputs(x, gamma, beta, eps)
    if not 0 <= momentum <= 1:
        raise ArgumentError(f"momentum={momentum!r}", "a number from 0 to 1",
                            "0.9 is usual: running = momentum*running + (1-momentum)*batch")
    running = running_statistics(running_mean, running_var, rows, training)
    if training and len(rows) == 0:
        raise ShapeError(f"x with shape {shape}: no samples", "at least one to take the mean of")
    y = None if out is None else output(out, shape, rows.dtype)
    target = result(y, rows)
    statistics = np.empty((2, rows.shape[1]), rows.dtype)
    places = [address_of(array) for array in running] or [0, 0]
    moments, row = address_of(statistics), statistics.strides[0]

    def build(program: Program, y: Operand, x: Operand, *addresses: int) -> None:
        emit_batchnorm_forward(program, y, x, **dict(zip(_PLACES, addresses, strict=True)),
                               momentum=momentum, eps=eps, training=training)

    plan = run_over((operand(target), operand(rows), address_of(scale), address_of(shift), moments,
                     moments + row, *places), (batchnorm_forward, momentum, eps, training),
                    rows.dtype, build)
    if training:
        for kept, computed in zip((running_mean, running_var), running, strict=False):
            if kept is not None and computed is not kept:
                kept[...] = computed
    saved = Saved("batchnorm", rows, shape, statistics[0], statistics[1], scale.copy(), training)
    y = shaped(y, target, shape)
    if target.nbytes < LARGE_BYTES:
        remember(key, given, plan, [y, statistics], out=out,
                 changed=(3, 4) if running and training else (),
                 links=[(0, 0), (2, 0), (3, 0), (4, 0), (1, 0), (1, row), (5, 0), (6, 0)])
    return y, saved


def batchnorm_backward(dy: Any, saved: Saved, *, out: np.ndarray | None = None
                       ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(dx, dgamma, dbeta) of `batchnorm_forward`, in the mode it ran in.

    Arguments:
        dy: gradient of the loss by y, of x's shape. saved: as the forward pass returned it.
        out: array of x's shape for dx; must overlap neither dy nor x.
    Returns:
        dx of x's shape; dgamma, dbeta (D,): sums over the batch of what dy says, no 1/N.
    """
    return run_backward("batchnorm", emit_batchnorm_backward, dy, saved, out, "training")

