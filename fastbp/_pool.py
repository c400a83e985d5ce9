"""Worker threads: ordinary daemon Python threads that sit in a nogil kernel.

Between jobs a worker spins for a moment, then waits on a lock. A caller that finds the pool busy
(another Python thread is using it) runs its program alone, with the same bits. After a fork the
child starts with no workers and makes its own when it first needs them.

Compiled code that holds the GIL may give workers that are spinning a program without asking here
(kernels/calls.py). It marks the pool TAKEN until they are done; ASKED and the GIL keep both ways
apart: here ASKED is set before TAKEN is read, there both are read and TAKEN is set in one go.
"""

from __future__ import annotations

import ctypes
import os
import threading
import time
from collections.abc import Callable

import numpy as np

from fastbp import _runtime
from fastbp._arena import address_of, allocate, flat_view
from fastbp._native import Native
from fastbp._placement import current_cpu, keep_off
from fastbp.kernels import program

work, work_with_images = Native(program.work), Native(program.work_with_images)
# Threads that may take part in a program: each has scratch memory of its own (`_memory.Memory`).
MOST_THREADS = 64
# Idle turns of a worker before it sleeps: about 250 microseconds of pause instructions.
SPINS = 20_000
# How long the caller works alone after another process had taken a worker's core: at first, and at
# most; each stall doubles it, and so much time in company without one halves it.
ALONE_SECONDS, MOST_ALONE_SECONDS, TRUST_SECONDS = 0.002, 0.25, 0.05
# A run of so few tasks that comes so long after the one before is over before a worker that was
# asleep is of use: waking it takes the caller 0.1 ms and more, and it finds cold caches.
FEW_TASKS, PAUSE_SECONDS = 8, 0.001
_DTYPES = {4: np.dtype(np.float32), 8: np.dtype(np.float64)}
_doors: dict[int, tuple[Callable[..., int], int]] = {}


def door(kind: int) -> tuple[Callable[..., int], int]:
    """(the compiled function that runs programs of a kind, the kind that it is for).

    Once the one with instructions for images is there it runs the others too: loading the smaller
    one, or even compiling it, would be time for nothing.
    """
    found = _doors.get(kind)
    if found is None:
        dtype = _DTYPES[kind & ~program.IMAGES]
        if kind & program.IMAGES:
            found = _doors[kind - program.IMAGES] = work_with_images(dtype), kind
        else:
            found = work(dtype), kind
        _doors[kind] = found
    return found


def address_of_door(kind: int) -> int:
    """Address of the compiled function that runs programs of a kind."""
    return ctypes.cast(door(kind)[0], ctypes.c_void_p).value or 0  # type: ignore[arg-type]


class _Worker:
    """One thread and the lock it sleeps on."""

    def __init__(self, pool: Pool, slot: int) -> None:
        self.pool, self.slot = pool, slot
        self.kind = 4
        self.asleep = True
        self._off = -1  # the core that it is kept off: the caller's
        self.bell = threading.Lock()
        self.bell.acquire()
        self._thread = threading.Thread(target=self._work, name=f"fastbp-{slot}", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        control = self.pool.control
        while True:
            self.bell.acquire()
            while True:
                help_out, kind = door(self.kind)
                other = help_out(self.pool.address, kind, 1, self.slot, SPINS)
                if other:
                    self.kind = other
                    continue
                self.asleep = True
                if control[program.JOB] & 1 == 0:
                    break
                self.asleep = False

    def wake(self, kind: int, cpu: int) -> None:
        """Let the worker look for a job, anywhere but on this core (called by the holder of the
        pool).
        """
        if cpu != self._off:
            self._off = cpu
            keep_off(self._thread.native_id or 0, cpu)
        if self.asleep:
            self.kind = kind
            self.asleep = False
            self.bell.release()


class Pool:
    """Up to `threads - 1` workers that help one caller at a time."""

    def __init__(self) -> None:
        self.control = allocate(program.CONTROL, np.int64)
        self.address = address_of(self.control)
        self._make_claims(1 << 10)
        self.busy = threading.Lock()
        self.control_words = flat_view(self.control)
        self.control_words[program.KEPT_OFF] = -1
        self.alone_until, self.alone_seconds = 0.0, ALONE_SECONDS
        self.last_begin = 0.0
        self.workers: list[_Worker] = []
        self.most_threads = MOST_THREADS

    def _hire(self, threads: int) -> int:
        """Start workers until there are `threads - 1`; how many threads there are now, at most.

        Where the system starts no more (a limit of processes, of memory), those at hand do it all.
        """
        while len(self.workers) < threads - 1:
            try:
                self.workers.append(_Worker(self, len(self.workers) + 1))
            except RuntimeError:
                self.most_threads = threads = len(self.workers) + 1
        return threads

    def _make_claims(self, count: int) -> None:
        """Words for the executor, one for each thread and instruction."""
        self.claims = allocate(count, np.int64)
        self.control[program.CLAIMS], self.control[program.ROOM] = address_of(self.claims), count

    def run(self, job: int, rows: int, tasks: int, steps: int, kind: int, threads: int) -> int:
        """Run a program of so many instructions with up to `threads` threads, the caller's too.

        tasks: of all steps.
        """
        run, threads = door(kind)[0], min(threads, self.most_threads)
        control = self.control_words
        begin, before = time.perf_counter(), self.last_begin
        self.last_begin = begin
        if (threads == 1 or begin < self.alone_until
                or (tasks <= FEW_TASKS and begin - before > PAUSE_SECONDS)
                or not self.busy.acquire(blocking=False)):
            return run(self.address, job, 1, 0, steps)
        try:
            control[program.ASKED] = 1
            if control[program.TAKEN]:  # and whoever comes now sees ASKED
                return run(self.address, job, 1, 0, steps)
            threads = self._hire(threads)
            words = threads * program.claims_of(rows)
            if words > len(self.claims):
                self._make_claims(2 * words)
            cpu = current_cpu()
            for worker in self.workers[: threads - 1]:
                worker.wake(kind, cpu)
            control[program.KEPT_OFF] = cpu
            result = run(self.address, job, threads, 0, steps)
            if control[program.STALLS]:
                control[program.STALLS] = 0
                self.alone_until = time.perf_counter() + self.alone_seconds
                self.alone_seconds = min(2 * self.alone_seconds, MOST_ALONE_SECONDS)
            elif self.alone_seconds > ALONE_SECONDS:
                trust = 0.5 ** ((time.perf_counter() - begin) / TRUST_SECONDS)
                self.alone_seconds = max(trust * self.alone_seconds, ALONE_SECONDS)
            control[program.WARY] = self.alone_seconds > ALONE_SECONDS
            return result
        finally:
            control[program.ASKED] = 0
            self.busy.release()


_pool = Pool()
where = allocate(1, np.int64)
"""Address of the pool's control block, for callers that do not ask Python (kernels/calls.py)."""
where[0] = _pool.address


def run(job: int, rows: int, tasks: int, steps: int, kind: int) -> bool:
    """Run a program of a kind (`kernels.program.KIND`) `steps` times; see `Program.run`.

    job: address of its JOB_WORDS. rows: how many instructions it has; tasks: those of all steps.
    """
    return _pool.run(job, rows, tasks, steps, kind, _runtime.thread_count()) != program.REFUSED


def run_alone(job: int, steps: int, kind: int) -> bool:
    """`run` on the calling thread; the pool is not asked."""
    return door(kind)[0](0, job, 1, 0, steps) != program.REFUSED


def _renew() -> None:
    """Workers do not survive a fork, and a lock may have been held: start afresh."""
    global _pool
    _pool = Pool()
    where[0] = _pool.address


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)
