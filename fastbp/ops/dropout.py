"""Inverted dropout on arrays (docs/math.md#dropout)."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastbp._arena import address_of
from fastbp._errors import ArgumentError, ShapeError
from fastbp._program import Operand, Program
from fastbp.emit.dropout import emit_dropout_backward, emit_dropout_forward
from fastbp.ops._again import again, key_of, recall, remember
from fastbp.ops._check import as_matrix, output, target_of
from fastbp.ops._plans import place, plan_for
from fastbp.ops._short import Short

# Below it a float tells all whole numbers apart.
_WHOLE = 1 << 53
_short = Short("dropout", numbers=1, whole=True)


class DropoutMask(NamedTuple):
    """What `dropout_backward` needs: the mask is a function of these numbers. rate 0: no mask."""

    rate: float
    seed: int
    step: int
    shape: tuple[int, ...]


def dropout_forward(x: Any, rate: float, *, seed: int, step: int = 0, training: bool = True,
                    out: np.ndarray | None = None) -> tuple[np.ndarray, DropoutMask]:
    """(y, saved): y = x/(1 - rate) with probability 1 - rate, else 0; y = x unless `training`.

    The mask depends on (seed, step, element) only: not on threads, dtype or strides. out: C-ordered
    array of x's shape; may be x.
    """
    if not 0 <= rate < 1:
        raise ArgumentError(f"rate={rate!r}", "a number from 0 up to, not including, 1",
                            "the rate is the share of numbers that are dropped")
    saved = DropoutMask(float(rate) if training else 0.0, int(seed), int(step), np.shape(x))
    return _apply(emit_dropout_forward, "x", x, saved, out), saved


def dropout_backward(dy: Any, saved: DropoutMask, *, out: np.ndarray | None = None) -> np.ndarray:
    """dx = dy through the mask of `dropout_forward`."""
    if np.shape(dy) != saved.shape:
        raise ShapeError(f"dy with shape {np.shape(dy)}", f"{saved.shape}, that of x")
    return _apply(emit_dropout_backward, "dy", dy, saved, out)


def _apply(emitter: Any, name: str, x: Any, mask: DropoutMask, out: np.ndarray | None
           ) -> np.ndarray:
    short, arguments = None, (emitter, mask.rate, mask.seed, x, out)
    if abs(mask.step) < _WHOLE:
        short, arguments = _short, (*arguments, float(mask.step))  # type: ignore[assignment]
        result = _short.call(*arguments)
        if result is not None:
            return result
    key = key_of((_apply, mask.rate, mask.seed), (x,), out)
    known = recall(key)
    if known is not None:
        known.plan.kept[0] = mask.step
        done = again(key, (x,), out, short=short, arguments=arguments)
        if done is not None:
            return done[0]
    matrix, shape = as_matrix(name, x)
    y = output(out, shape, matrix.dtype)
    if mask.rate == 0:
        y[...] = matrix.reshape(shape)
        return y
    target = target_of(y, out, matrix)
    if matrix.size:
        rows, cols, step = *matrix.shape, matrix.strides[0] // matrix.itemsize

        def build(program: Program) -> np.ndarray:
            number = np.zeros(1, np.int64)
            y, x = Operand(place(0), rows, cols, cols), Operand(place(1), rows, cols, step)
            emitter(program, y, x, mask.rate, seed=mask.seed, layer=0, base_step=address_of(number))
            return number

        plan = plan_for((_apply, y.dtype, rows, cols, step, mask.rate, mask.seed), y.dtype, build)
        plan.kept[0] = mask.step
        plan.run(address_of(target), address_of(matrix))
        remember(key, (x,), plan, [y], out=out, elementwise=True)
    if target is not y:
        y[...] = target
    return y
