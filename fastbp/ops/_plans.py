"""Programs kept between calls: an operation's table is built once for its shapes.

Building a table takes tens of microseconds, several times what a small operation takes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from fastbp._arena import ALIGNMENT, address_of
from fastbp._memory import local_memory
from fastbp._program import Operand, Program
from fastbp.emit.reduce import STREAM_BYTES

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


def _place_of(word: int) -> tuple[int, bool, int]:
    """(number of the array, whether on a cache line, offset) of a word made from `place`."""
    index = (word - _PLACES + _RANGE // 2) // _RANGE
    number, aligned = index // 2, index % 2 == 0
    return number, aligned, word - place(number, aligned=aligned)


def _cell(cell: int, word: int) -> tuple[int, int, int]:
    """(cell, number of the array, offset from its address) of a word made from `place`."""
    number, _, offset = _place_of(word)
    return cell, number, offset


def placed_cells(program: Program) -> list[tuple[int, int, int]]:
    """(cell of `program.words()`, number of the array, offset) of every word made from `place`."""
    words = program.tables()[0].reshape(-1)
    return [_cell(int(cell), int(words[cell])) for cell in np.flatnonzero(words < _PLACES // 2)]


class Plan:
    """A program with places for the addresses of a call's arrays.

    All plans of a thread work in the same memory, one after the other; a plan that was built before
    that memory moved is `stale`.

    Attributes: kept (what the builder returned, for instance an array that the program writes its
    result to), words and cells (the program's table, and which of its words are addresses: (cell,
    number of the place, offset)), places (the numbers that are used), on_lines (those that
    are cache lines), labels (the place of the labels it requires, or None), at (the addresses of
    the last run).
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
        self.words, self.cells = program.words(), placed_cells(program)
        self.on_lines = {number for number, aligned, _ in
                         (_place_of(self.words[cell]) for cell, _, _ in self.cells) if aligned}
        address, self._count, self._classes = program.required_labels
        self.labels = _cell(0, address)[1] if self._count else None
        self.places = {number for _, number, _ in self.cells} | (
            set() if self.labels is None else {self.labels})
        self.at: tuple[int, ...] = ()

    @property
    def stale(self) -> bool:
        """True where the plan's workspace is no more."""
        return self._memory.generation != self._generation

    @property
    def is_parallel(self) -> bool:
        """True where threads can share its tasks."""
        return self._program.is_parallel

    @property
    def native(self) -> tuple[int, int, int, int, int]:
        """All that compiled code needs: addresses of the function that runs it, of the job, of
        `words`, of the word that tells `stale`; and what that holds while the plan is not.
        """
        return (*self._program.native, address_of(self._program.tables()[0]),
                self._memory.generation_word, self._generation)

    def run(self, *addresses: int) -> bool:
        """Run it over arrays at these addresses, in the order of their places.

        False, and nothing has run, where the program requires labels and one is no class.
        """
        words, self.at = self.words, addresses
        for cell, number, offset in self.cells:
            words[cell] = addresses[number] + offset
        return self.go(0 if self.labels is None else addresses[self.labels])

    def go(self, labels: int = 0, *, alone: bool = False) -> bool:
        """`run` where `words` are set; labels: where those lie that it requires.

        alone: on this thread only.
        """
        if labels:
            self._program.require_labels(labels, self._count, self._classes)
        return self._program.run(parallel=False) if alone else self._program.run()


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


def run_over(places: Sequence[Operand | int | None], key: Hashable, dtype: np.dtype,
             build: Callable[..., Any]) -> Plan:
    """Run what `build(program, *places)` emits; `key` holds all else that it depends on.

    places: operands, or addresses; None and the address 0 stay what they are.
    """
    def is_streamed(x: Operand) -> bool:
        large = x.rows * x.cols * dtype.itemsize >= STREAM_BYTES
        return large and x.address % ALIGNMENT == 0

    shapes = tuple((x.rows, x.cols, x.row_step, x.col_step, is_streamed(x))
                   if isinstance(x, Operand) else bool(x) for x in places)
    plan = plan_for((key, dtype, shapes), dtype, lambda program: build(program, *(
        replace(x, address=place(number, aligned=is_streamed(x)))
        if isinstance(x, Operand) else x and place(number) for number, x in enumerate(places))))
    plan.run(*(x.address if isinstance(x, Operand) else x or 0 for x in places))
    return plan
