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
from fastbp.kernels._instruction import FIRST, TASKS, WAIT


def opposite(waits: list[int]) -> list[int]:
    """Old numbers of rows in their new order: those that wait for the same go backwards."""
    groups = itertools.groupby(range(len(waits)), waits.__getitem__)
    return [row for _, rows in groups for row in reversed(list(rows))]


def _reorder(program: Program) -> dict[int, int]:
    """Put the rows of a program that has not run yet in the other order; new numbers of old."""
    order = opposite([row[WAIT] for row in program._rows])
    program._rows = [program._rows[old] for old in order]
    program._reals = [program._reals[old] for old in order]
    ticket = 0
    for row in program._rows:
        row[FIRST], ticket = ticket, ticket + row[TASKS]
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
