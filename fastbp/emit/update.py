"""An optimizer's step as instructions."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from fastbp._program import Program
from fastbp.emit.reduce import BLOCK
from fastbp.kernels import update

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Below this x, expm1(x) is -1: half a unit in its last place is e^-36.7.
_GONE = -40.0


def emit_update(program: Program, kind: int, w: int, g: int, size: int, *, hyper: int, rates: int,
                slots: tuple[int, ...] = (), scale: int = 0, overlap: bool = False) -> None:
    """One optimizer step on `size` contiguous parameters at address w with gradients at g.

    slots: addresses of the update.SLOTS[kind] slot vectors. hyper: address of update.HYPER
    float64; rates: of a float64 table with update.RATES columns, row `step` for each step of a
    run; scale: of a float64 that multiplies the gradient, or 0. A range of parameters has its own
    hyper, so a network emits one instruction per kind of decay, the later ones with `overlap`.
    """
    if len(slots) != update.SLOTS[kind]:
        raise ValueError(f"kind {kind} has {update.SLOTS[kind]} slots, not {len(slots)}")
    slot1, slot2 = (*slots, w, w)[:2]
    if size:
        program.emit(update.UPDATE, tasks=-(-size // BLOCK), overlap=overlap, kind=kind, w=w,
                     slot1=slot1, slot2=slot2, g=g, size=size, block=BLOCK, hyper=hyper,
                     rates=rates, scale=scale)


def hyper_row(**values: float) -> NDArray[np.float64]:
    """The constants in the order of update.HYPER; what is not named is 0."""
    unknown = sorted(set(values) - set(update.HYPER))
    if unknown:
        raise TypeError(f"unknown constants {unknown}; known are {update.HYPER}")
    return np.array([values.get(name, 0.0) for name in update.HYPER])


def rates_row(lr: float, step: int = 0, beta1: float = 0.0, beta2: float = 0.0
              ) -> NDArray[np.float64]:
    """lr, 1/(1 - beta1^step), 1/(1 - beta2^step), 1; corrections are 1 for step 0 or beta 0."""
    return np.array([lr, bias_correction(beta1, step), bias_correction(beta2, step), 1.0])


def bias_correction(beta: float, step: int) -> float:
    """1/(1 - beta^step), accurate where the power is close to 1; 1 for step 0 or beta 0."""
    return -1.0 / math.expm1(step * math.log(beta)) if step and beta else 1.0


def bias_corrections(beta: float, steps: range) -> list[float]:
    """`bias_correction` of each of some steps from 1 on, in a fifth of the time for each."""
    log, expm1 = math.log(beta) if beta else -math.inf, math.expm1
    if steps.start * log < _GONE:
        return [1.0] * len(steps)
    return [-1.0 / expm1(step * log) for step in steps]
