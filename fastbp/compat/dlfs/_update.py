"""Optimizer steps on dictionaries of arrays: all arrays that kernels take in one program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from fastbp._arena import address_of
from fastbp._program import Program
from fastbp.compat.dlfs._arithmetic import FLOAT32, FLOAT64
from fastbp.emit.update import emit_update
from fastbp.kernels.update import HYPER, RATES, SLOTS
from fastbp.ops._plans import place, plan_for

# Where a step's numbers lie, in bytes: its constants, its rates, the gradient's factor.
_RATES_AT, _SCALE_AT, _STEP = 8 * len(HYPER), 8 * (len(HYPER) + RATES), 8 * (len(HYPER) + RATES + 1)


class Step(NamedTuple):
    """One rule of `fastbp.kernels.update` (kind), with the gradient times `scale`."""

    kind: int
    lr: float
    scale: float = 1.0
    momentum: float = 0.0
    rho: float = 0.0
    beta1: float = 0.0
    beta2: float = 0.0
    eps: float = 0.0

    def numbers(self) -> tuple[float, ...]:
        """In the order of HYPER (no decay), the rates (nothing to correct), the scale."""
        return (0.0, self.momentum, self.rho, self.beta1, self.beta2, self.eps,
                self.lr, 1.0, 1.0, 0.0, self.scale)  # fmt: skip


def update(steps: Sequence[Step], params: Mapping[Any, Any], grads: Mapping[Any, Any],
           *slots: Mapping[Any, Any], least: int = 0) -> list[Any]:
    """Take the steps, one after the other, on every entry whose arrays kernels can work on.

    Changes params and slots in place. A parameter, its gradient and its slots must be of one shape
    and dtype, apart from each other in memory, C-ordered where they are written, and of `least`
    elements.
    Returns:
        the keys that are left for others to do: numbers, views, mixed dtypes, small arrays.
    """
    left: list[Any] = []
    groups: dict[np.dtype, list[list[np.ndarray]]] = {}
    for key, w in params.items():
        g = grads[key]  # also of what is left: a missing one is missed before anything has changed
        if getattr(w, "size", 0) >= least:
            arrays = [g, w, *[slot[key] for slot in slots]]
            if _fit(arrays):
                groups.setdefault(w.dtype, []).append(arrays)
                continue
        left.append(key)
    for dtype, entries in groups.items():
        _run(steps, dtype, entries)
    return left


def _fit(arrays: list[Any]) -> bool:
    """True if kernels can work on [g, w, slots ...]; g is copied where it lies otherwise."""
    g = arrays[0]
    if type(g) is not np.ndarray or g.dtype not in (FLOAT64, FLOAT32):
        return False
    if not (g.flags.c_contiguous and g.flags.aligned):
        g = arrays[0] = np.array(g, order="C")
    dtype, shape, size, begin = g.dtype, g.shape, g.nbytes, address_of(g)
    for array in arrays[1:]:
        if type(array) is not np.ndarray or array.dtype != dtype or array.shape != shape \
                or not array.flags.carray or -size < address_of(array) - begin < size:
            return False
    return True


def _run(steps: Sequence[Step], dtype: np.dtype, entries: list[list[np.ndarray]]) -> None:
    key = (update, dtype, tuple([step.kind for step in steps]), len(entries[0]),
           tuple([arrays[0].size for arrays in entries]))  # fmt: skip
    plan = plan_for(key, dtype, lambda program: _emit(program, key))
    plan.kept[:] = [step.numbers() for step in steps]
    plan.run(*[address_of(array) for arrays in entries for array in arrays])


def _emit(program: Program, key: tuple[Any, ...]) -> np.ndarray:
    """The updates of all entries; returns the table of the steps' numbers."""
    _, _, kinds, width, sizes = key
    numbers = np.zeros((len(kinds), _STEP // 8))
    for entry, size in enumerate(sizes):
        g, w, *slots = (place(width * entry + i) for i in range(width))
        for step, kind in enumerate(kinds):
            at = address_of(numbers) + _STEP * step
            emit_update(program, kind, w, g, size, hyper=at, rates=at + _RATES_AT,
                        scale=at + _SCALE_AT, slots=tuple(slots[: SLOTS[kind]]))
    return numbers
