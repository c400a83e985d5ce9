"""LayerNorm on arrays, forward and backward (docs/math.md#layernorm)."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastbp._arena import address_of
from fastbp._errors import ShapeError
from fastbp._program import Operand, Program
from fastbp.emit.layernorm import emit_layernorm_backward, emit_layernorm_forward
from fastbp.ops._again import again, key_of, remember
from fastbp.ops._check import output
from fastbp.ops._norm import (
    LARGE_BYTES,
    Saved,
    inputs,
    operand,
    result,
    run_backward,
    saved_of,
    shaped,
)
from fastbp.ops._plans import run_over
from fastbp.ops._short import Short

_forward = Short("layernorm_forward")


def layernorm_forward(x: Any, gamma: Any, beta: Any, *, eps: float = 1e-5,
                      out: np.ndarray | None = None) -> tuple[np.ndarray, Saved]:
    """y = gamma * (x - mean) / sqrt(var + eps) + beta, with mean and variance of each sample.

    Arguments:
        x: (N, ...) with D numbers a sample, float32 or float64, any strides.
        gamma, beta: (D,).
        out: array of x's shape for y; must not overlap x.
    Returns:
        y of x's shape, and `saved` for `layernorm_backward`, which keeps a reference to x.
    """
    done = _forward.call(x, gamma, beta, eps, out)
    if done is not None:
        return done[0], saved_of("layernorm", x, done[1], gamma)
    key = key_of((layernorm_forward, eps), (x, gamma, beta), out)
    known = again(key, (x, gamma, beta), out, short=_forward,
                  arguments=(x, gamma, beta, eps, out))
    if known is not None:
        return known[0], saved_of("layernorm", x, known[1], gamma)
    rows, shape, scale, shift = inputs(x, gamma, beta, eps)
    if len(shape) < 2:
        raise ShapeError(f"x with shape {shape}", "(N, D): samples by features",
                         "for a single sample pass x[None, :]")
    y = None if out is None else output(out, shape, rows.dtype)
    target = result(y, rows)
    statistics = np.empty((2, len(rows)), rows.dtype)
    moments, row = address_of(statistics), statistics.strides[0]

    def build(program: Program, y: Operand, x: Operand, *addresses: int) -> None:
        gamma, beta, mean, rstd = addresses
        emit_layernorm_forward(program, y, x, gamma=gamma, beta=beta, mean=mean, rstd=rstd,
                               eps=eps)

    plan = run_over((operand(target), operand(rows), address_of(scale), address_of(shift), moments,
                     moments + row), (layernorm_forward, eps), rows.dtype, build)
    saved = Saved("layernorm", rows, shape, statistics[0], statistics[1], scale.copy())
    y = shaped(y, target, shape)
    if target.nbytes < LARGE_BYTES:
        remember(key, (x, gamma, beta), plan, [y, statistics], out=out,
                 links=[(0, 0), (2, 0), (3, 0), (4, 0), (1, 0), (1, row)])
    return y, saved


def layernorm_backward(dy: Any, saved: Saved, *, out: np.ndarray | None = None
                       ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(dx, dgamma, dbeta) of `layernorm_forward`.

    Arguments:
        dy: gradient of the loss by y, of x's shape. saved: as the forward pass returned it.
        out: array of x's shape for dx; must overlap neither dy nor x.
    Returns:
        dx of x's shape; dgamma, dbeta (D,): sums over the batch of what dy says, no 1/N.
    """
    return run_backward("layernorm", emit_layernorm_backward, dy, saved, out)
