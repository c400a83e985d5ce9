"""Running one task of one instruction of a program, with nothing around it.

The executor claims tasks through words in memory (kernels/program.py). Here a control block of our
own says that all of them are taken but one, so that a helper does exactly that one.
"""

from __future__ import annotations

import numpy as np

from fastbp import _pool
from fastbp._arena import address_of
from fastbp._program import Program
from fastbp.kernels import program as executor
from fastbp.kernels._instruction import FIRST, TASKS

_JOB = 1  # odd: open


class SingleTasks:
    """The tasks of a program, to be run one by one; `rows` are its instructions."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.code = program.tables()[0]
        self.rows = len(self.code)
        self._control = np.zeros(executor.CONTROL, np.int64)
        # As of threads among others: alone, a task may do another one's part with its own.
        program._job[executor.SHARED] = 1

    def tasks(self, row: int) -> int:
        return int(self.code[row, TASKS])

    def run(self, row: int, task: int, slot: int = 1) -> None:
        """Run task `task` of instruction `row` as the thread of that slot (1 or more)."""
        threads = int(max(self.code[:, TASKS].max(), slot + 1))  # a part has one task at most
        # Each part has claimed more tasks than there are, in turn 1, a run's first step.
        words = executor.claims_of(self.rows)
        claims = np.full((threads, words), 2 << executor.STEP_BIT | 1 << 20, np.int64)
        claims[task, row] = 0  # with as many parts as tasks, part `task` is that task
        control = self._control
        control[:] = 0
        control[executor.JOB] = _JOB
        control[executor.DONE] = self.code[row, FIRST]
        control[executor.PROGRAM] = address_of(self.program._job)
        control[executor.STEPS], control[executor.THREADS] = 1, threads
        control[executor.CLAIMS] = address_of(claims)
        work, kind = _pool.door(int(self.program._job[executor.KIND]))
        work(address_of(control), kind, 1, slot, 1)
        done = sum(control[executor.DONE :: executor.APART]) - self.code[row, FIRST]
        assert done == 1, f"MISTRUSTED: {done} tasks of row {row} were run, not one"
