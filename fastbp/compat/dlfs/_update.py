"""Optimizer steps on dictionaries of arrays: all arrays that kernels take in one program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from fastbp._arena import address_of
from fastbp._program import Program
from fastbp.compat.dlfs._arithmetic import is_real
from fastbp.emit.update import emit_update
from fastbp.kernels.update import HYPER, RATES, SLOTS
from fastbp.ops._plans import place, plan_for

# Where a step's numbers lie: its constants, its rates, and what the gradient is multiplied by.
_RATES_AT, _SCALE_AT, _NUMBERS = 8 * len(HYPER), 8 * (len(HYPER) + RATES), len(HYPER) + RATES + 1


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

    def numbers(self) -> list[float]:
        """In the order of HYPER (no decay), the rates (nothing to correct), the scale."""
        return [0.0, self.momentum, self.rho, self.beta1, self.beta2, self.eps,
                self.lr, 1.0, 1.0, 0.0, self.scale]  # fmt: skip


def update(steps: Sequence[Step], params: Mapping[Any, Any], grads: Mapping[Any, Any],
           *slots: Mapping[Any, Any]) -> list[Any]:
    """Take the steps, one after the other, on every entry whose arrays kernels can work on.

    Changes params and slots in place. A parameter, its gradient and its slots must be of one shape
    and dtype, apart from each other in memory, and C-ordered where they are written.
    Returns:
        the keys that are left for others to do: those of numbers, views, mixed dtypes.
    """
    left: list[Any] = []
    groups: dict[np.dtype, list[list[np.ndarray]]] = {}
    for key, w in params.items():
        arrays = _fitting(w, grads[key], [slot[key] for slot in slots])
        if arrays is None:
            left.append(key)
        else:
            groups.setdefault(w.dtype, []).append(arrays)
    for dtype, entries in groups.items():
        _run(steps, dtype, entries)
    return left


def _fitting(w: Any, g: Any, slots: list[Any]) -> list[np.ndarray] | None:
    """[g, w, slots ...] if kernels can work on them, else None."""
    if not (is_real(w) and type(g) is np.ndarray and g.dtype == w.dtype and g.shape == w.shape):
        return None
    if not (g.flags.c_contiguous and g.flags.aligned):
        g = np.array(g, order="C")
    begin, size = address_of(g), g.nbytes
    for array in (w, *slots):
        if not (type(array) is np.ndarray and array.dtype == w.dtype and array.shape == w.shape):
            return None
        flags = array.flags
        if not (flags.c_contiguous and flags.writeable and flags.aligned):
            return None
        if -size < address_of(array) - begin < size:
            return None
    return [g, w, *slots]


def _run(steps: Sequence[Step], dtype: np.dtype, entries: list[list[np.ndarray]]) -> None:
    sizes = tuple([arrays[0].size for arrays in entries])
    kinds = tuple([step.kind for step in steps])
    numbers = np.array([step.numbers() for step in steps])
    width = len(entries[0])

    def build(program: Program) -> None:
        for entry, size in enumerate(sizes):
            g, w, *slots = (place(1 + width * entry + i) for i in range(width))
            for step, kind in enumerate(kinds):
                cells = place(0) + 8 * _NUMBERS * step
                emit_update(program, kind, w, g, size, hyper=cells, rates=cells + _RATES_AT,
                            scale=cells + _SCALE_AT, slots=tuple(slots[: SLOTS[kind]]))

    plan_for((update, dtype, kinds, width, sizes), dtype, build).run(
        address_of(numbers), *(address_of(array) for arrays in entries for array in arrays))
