"""Programs kept between calls: an operation's table is built once for its shapes.

Building a table takes tens of microseconds, several times what a small operation takes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from fastbp._arena import ALIGNMENT
from fastbp._program import Operand, Program, local_memory

# Words from _PLACES on stand for addresses of a call's arrays in a program that is being built: a
# range of _RANGE bytes for each array that lies on a cache line, and one for each that may not.
_PLACES, _RANGE = -(1 << 62), 1 << 50
# Plans of one thread; beyond that it starts afresh.
_MOST = 128


def place(number: int, *, aligned: bool = False) -> int:
    """What to build a program with in place of the address of array `number`.

    aligned: it will always lie on a cache line (the plan's key must say so).
    """
    return _PLACES + (2 * number + (not aligned)) * _RANGE + 8 * (not aligned)


def _cell(cell: int, word: int) -> tuple[int, int, int]:
    """(cell, number of the array, offset from its address) of a word made from `place`."""
    index = (word - _PLACES + _RANGE // 2) // _RANGE
    return cell, index // 2, word - place(index // 2, aligned=index % 2 == 0)


def placed_cells(program: Program) -> list[tuple[int, int, int]]:
    """(cell of `program.words()`, number of the array, offset) of every word made from `place`."""
    words = program.tables()[0].reshape(-1)
    return [_cell(int(cell), int(words[cell])) for cell in np.flatnonzero(words < _PLACES // 2)]


class Plan:
    """A program with places for the addresses of a call's arrays.

    All plans of a thread work in the same memory, one after the other; a plan that was built before
    that memory moved is `stale`. kept: what the builder returned, for instance an array that
    the program writes its result to.
    """

    def __init__(self, dtype: np.dtype, build: Callable[[Program], Any]) -> None:
        memory = local_memory()
        for _ in range(2):
            memory.reset()
            generation = memory.generation
            program = Program(dtype, memory)
            self.kept = build(program)
            if memory.generation == generation:  # else it lies in two blocks: now one is enough
                break
        else:  # more than memory keeps: good for one run
            generation = -1
        self._generation, self._memory, self._program = generation, memory, program
        self._cells = placed_cells(program)
        self._words = program.words()
        address, count, classes = program.required_labels
        self._labels = _cell(0, address)[1] if count else 0, count, classes

    @property
    def stale(self) -> bool:
        """True where the plan's workspace is no more."""
        return self._memory.generation != self._generation

    def run(self, *addresses: int) -> bool:
        """Run it over arrays at these addresses, in the order of their places.

        False, and nothing has run, where the program requires labels and one is no class.
        """
        words = self._words
        for cell, number, offset in self._cells:
            words[cell] = addresses[number] + offset
        labels, count, classes = self._labels
        if count:
            self._program.require_labels(addresses[labels], count, classes)
        return self._program.run()


class _Plans(threading.local):
    def __init__(self) -> None:
        self.known: dict[Hashable, Plan] = {}


_local = _Plans()


def plan_for(key: Hashable, dtype: np.dtype, build: Callable[[Program], Any]) -> Plan:
    """This thread's plan for `key` (which holds all that `build` depends on, the dtype too).

    `build(program)` emits instructions over the addresses place(0), place(1), ...
    """
    plan = _local.known.get(key)
    if plan is None or plan.stale:
        if len(_local.known) >= _MOST:
            _local.known.clear()
        plan = _local.known[key] = Plan(dtype, build)
    return plan


def known_plan(key: Hashable) -> Plan | None:
    """The plan that `plan_for` made for `key`, if it can still be used."""
    plan = _local.known.get(key)
    return None if plan is None or plan.stale else plan


def run_over(places: Sequence[Operand | int | None], key: Hashable, dtype: np.dtype,
             build: Callable[..., Any]) -> Plan:
    """Run what `build(program, *places)` emits; `key` holds all else that it depends on.

    places: operands, or addresses; None and the address 0 stay what they are.
    """
    shapes = tuple((x.rows, x.cols, x.row_step, x.col_step, x.address % ALIGNMENT == 0)
                   if isinstance(x, Operand) else bool(x) for x in places)
    plan = plan_for((key, dtype, shapes), dtype, lambda program: build(program, *(
        replace(x, address=place(number, aligned=x.address % ALIGNMENT == 0))
        if isinstance(x, Operand) else x and place(number) for number, x in enumerate(places))))
    plan.run(*(x.address if isinstance(x, Operand) else x or 0 for x in places))
    return plan
