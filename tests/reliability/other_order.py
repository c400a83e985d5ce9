"""Programs whose instructions that may run together run in the opposite order.

With several threads any order may happen, but it happens rarely; here it always does, so that an
instruction that should have waited for another gives other bits each time.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from typing import Any
from unittest import mock

from fastbp._program import Program
from fastbp.kernels._instruction import FIRST, HEADER, OP, TASKS, WAIT
from fastbp.kernels.program import STRANDS


def opposite(waits: list[Any]) -> list[int]:
    """Old numbers of rows in their new order: those that wait for the same go backwards."""
    groups = itertools.groupby(range(len(waits)), waits.__getitem__)
    return [row for _, rows in groups for row in reversed(list(rows))]


def _entries(rows: list[list[int]]) -> list[list[list[int]]]:
    """For each entry the row numbers of its strands; an instruction has one, itself."""
    found, row = [], 0
    while row < len(rows):
        strands = [[row]]
        if rows[row][OP] == STRANDS:
            starts = rows[row][HEADER : HEADER + rows[row][TASKS] + 1]
            strands += [list(range(*ends)) for ends in itertools.pairwise(starts)]
        found.append(strands)
        row = strands[-1][-1] + 1
    return found


def _reorder(program: Program) -> dict[int, int]:
    """Put the rows of a program that has not run yet in the other order; new numbers of old.

    Strands of one entry go backwards, too.
    """
    rows = program._rows
    entries = _entries(rows)
    closing = program._body[0] if program._body else len(rows)

    def part(row: int) -> int:
        """What opens a run, a step, what closes it: each counts its tasks from 0."""
        return (row >= program._opening[0]) + (row >= closing)

    order: list[int] = []
    ticket, before = 0, 0
    firsts = [strands[0][0] for strands in entries]
    for number in opposite([(part(row), rows[row][WAIT]) for row in firsts]):
        [[entry], *strands] = entries[number]
        if part(entry) != before:
            ticket, before = 0, part(entry)
        order.append(entry)
        rows[entry][FIRST], ticket = ticket, ticket + rows[entry][TASKS]
        for place, strand in enumerate(reversed(strands)):
            rows[entry][HEADER + place] = len(order)
            order += strand
        if strands:
            rows[entry][HEADER + len(strands)] = len(order)
    program._rows = [rows[old] for old in order]
    program._reals = [program._reals[old] for old in order]
    return {old: new for new, old in enumerate(order)}


@contextlib.contextmanager
def overlaps_reversed() -> Iterator[list[int]]:
    """Of programs that run for the first time inside; gives how many rows have moved, for each."""
    tables, change, place = Program.tables, Program.set, Program.place
    moved: list[int] = []

    def other_tables(self: Program) -> Any:
        if self._finished is None:
            self._numbers = _reorder(self)  # type: ignore[attr-defined]
            moved.append(sum(old != new for old, new in self._numbers.items()))
        return tables(self)

    def other_set(self: Program, row: int, *args: Any, **operands: Any) -> None:
        self.tables()
        change(self, self._numbers[row], *args, **operands)

    def other_place(self: Program, row: int, *args: Any) -> int:
        self.tables()
        return place(self._numbers[row], *args)

    with (mock.patch.object(Program, "tables", other_tables),
          mock.patch.object(Program, "set", other_set),
          mock.patch.object(Program, "place", other_place)):
        yield moved
