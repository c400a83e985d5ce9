"""Programs kept between calls: an operation's table is built once for a shape.

A loss of 256x10 numbers takes 13 us instead of 32 where the table is there already.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from fastbp._program import Memory, Operand, Program, local_program

# Where the address of array number k of a call will be, in a program that is being built.
PLACE = -(1 << 62)
# Numbers in all operands of a plan that is kept: a workspace of a megabyte at the most.
_KEPT_ELEMENTS = 1 << 17
# Plans of one thread; beyond that it starts afresh.
_MOST = 128


class Plan:
    """A program with places for the addresses of a call's arrays.

    kept: what the builder returned, for instance an array that the program writes its result to.
    """

    def __init__(self, program: Program, build: Callable[[Program], Any]) -> None:
        self.kept = build(program)
        self._program = program
        self._words = program.tables()[0].reshape(-1)
        places = np.flatnonzero(self._words < PLACE + 64)
        self._cells = [(int(cell), int(self._words[cell]) - PLACE) for cell in places]

    def run(self, *addresses: int) -> None:
        """Run it over arrays at these addresses, in the order of their places."""
        for cell, number in self._cells:
            self._words[cell] = addresses[number]
        self._program.run()


class _Plans(threading.local):
    def __init__(self) -> None:
        self.memory = Memory()
        self.known: dict[Hashable, Plan] = {}


_local = _Plans()


def plan_for(key: Hashable, dtype: np.dtype, build: Callable[[Program], Any]) -> Plan:
    """This thread's plan for `key` (which holds all that `build` depends on, the dtype too).

    `build(program)` emits instructions over the addresses PLACE, PLACE + 1, ...
    """
    plan = _local.known.get(key)
    if plan is None:
        if len(_local.known) >= _MOST:
            _local.known.clear()
            _local.memory.reset()
        plan = _local.known[key] = Plan(Program(dtype, _local.memory), build)
    return plan


def run_over(operands: Sequence[Operand | None], key: Hashable, dtype: np.dtype,
             build: Callable[..., Any]) -> None:
    """Run what `build(program, *operands)` emits; `key` holds all else that it depends on.

    The plan is kept where its workspace is small, so that a call costs microseconds; a large one
    is made anew, which is nothing beside the work.
    """
    size = sum(x.rows * x.cols for x in operands if x is not None)
    if size > _KEPT_ELEMENTS:
        program = local_program(dtype)
        build(program, *operands)
        program.run()
        return
    shapes = tuple(x and (x.rows, x.cols, x.row_step, x.col_step) for x in operands)
    plan = plan_for((key, dtype, shapes), dtype, lambda program: build(program, *(
        x and replace(x, address=PLACE + number) for number, x in enumerate(operands))))
    plan.run(*(x.address if x is not None else 0 for x in operands))
