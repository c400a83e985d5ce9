"""Worker threads: ordinary daemon Python threads that sit in a nogil kernel.

Between jobs a worker spins for a moment, then waits on a lock. A caller that finds the pool busy
(another Python thread is using it) runs its program alone, with the same bits. After a fork the
child starts with no workers and makes its own when it first needs them.
"""

from __future__ import annotations

import os
import threading
from typing import Any

import numpy as np

from fastbp import _runtime
from fastbp._arena import allocate
from fastbp.kernels._instruction import REALS
from fastbp.kernels.program import CONTROL, JOB, ROW, work

# Idle turns of a worker before it sleeps: about 250 microseconds of pause instructions.
SPINS = 20_000
_ELEMENTS = {4: np.zeros(1, np.float32), 8: np.zeros(1, np.float64)}


_NO_CODE, _NO_REALS = np.zeros((0, ROW), np.int64), np.zeros((0, REALS))


class _Worker:
    """One thread and the lock it sleeps on."""

    def __init__(self, pool: Pool, slot: int) -> None:
        self.pool, self.slot = pool, slot
        self.itemsize = 4
        self.asleep = True
        self.bell = threading.Lock()
        self.bell.acquire()
        thread = threading.Thread(target=self._work, name=f"fastbp-{slot}", daemon=True)
        thread.start()

    def _work(self) -> None:
        control = self.pool.control
        while True:
            self.bell.acquire()
            while not self.pool.closed:
                other = work(control, _NO_CODE, _NO_REALS, 0, 0, SPINS, 1, self.slot,
                             _ELEMENTS[self.itemsize])
                if other:
                    self.itemsize = int(other)
                    continue
                self.asleep = True
                if control[JOB] & 1 == 0:
                    break
                self.asleep = False
            if self.pool.closed:
                return

    def wake(self, itemsize: int) -> None:
        """Let the worker look for a job (called by the holder of the pool)."""
        if self.asleep:
            self.itemsize = itemsize
            self.asleep = False
            self.bell.release()


class Pool:
    """Up to `threads - 1` workers that help one caller at a time."""

    def __init__(self) -> None:
        self.control = allocate(CONTROL, np.int64)
        self.busy = threading.Lock()
        self.closed = False
        self.workers: list[_Worker] = []

    def run(self, code: Any, reals: Any, tickets: int, steps: int, element: Any,
            threads: int) -> None:
        """Run a program with up to `threads` threads (the caller's own among them)."""
        share = threads > 1 and self.busy.acquire(blocking=False)
        try:
            if share:
                while len(self.workers) < threads - 1:
                    self.workers.append(_Worker(self, len(self.workers) + 1))
                for worker in self.workers[: threads - 1]:
                    worker.wake(element.itemsize)
            work(self.control, code, reals, len(code), tickets, steps, threads if share else 1, 0,
                 element)
        finally:
            if share:
                self.busy.release()


_pool = Pool()


def run(code: Any, reals: Any, tickets: int, steps: int, dtype: np.dtype, parallel: bool) -> None:
    """Run the tables of a program; see `Program.run`."""
    threads = _runtime.thread_count() if parallel and tickets > len(code) else 1
    _pool.run(code, reals, tickets, steps, _ELEMENTS[dtype.itemsize], threads)


def _renew() -> None:
    """Workers do not survive a fork, and a lock may have been held: start afresh."""
    global _pool
    _pool = Pool()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)
