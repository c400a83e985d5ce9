"""A contestant's process: `python -m fastbp.benchmark._worker PEER FD`.

It answers requests that arrive over the connection with number FD (`multiprocessing.connection`:
pickled tuples), one at a time, until that closes. An answer is ("ok", value), ("none", reason)
where the contestant has no number to give, or ("error", message). What libraries print goes to
standard error, so nothing can come between two answers.
"""

from __future__ import annotations

import importlib
import os
import sys
import time
import traceback
from multiprocessing.connection import Connection
from typing import Any

from fastbp.benchmark.rows import Case, NotMeasured
from fastbp.benchmark.timing import Budget, quantile_after_pause, seconds_per_call

_CALM, _LOOK, _PATIENCE = 0.1, 0.01, 1.0
"""Threads are asleep when they use less than this share of one CPU, looked at so often (seconds),
for so long at most."""


class Worker:
    """The requests a contestant answers; each method is one."""

    def __init__(self, peer: str) -> None:
        self._module = importlib.import_module(f"fastbp.benchmark._peers.{peer}_")
        self._case: Case | None = None

    def build(self, kind: str, spec: dict[str, Any]) -> None:
        """Make the row's work ready, in place of the row before."""
        self._case = None
        if kind not in self._module.CASES:
            raise NotMeasured("has nothing like it")
        self._case = self._module.CASES[kind](spec)

    def result(self) -> list[Any] | None:
        """The arrays to be compared, or None where a row has none."""
        assert self._case is not None
        return None if self._case.result is None else self._case.result()

    def measure(self, budget: Budget) -> float:
        """The row's number."""
        assert self._case is not None
        return seconds_per_call(self._case, budget)

    def after_pause(self, pause: float, calls: int, share: float) -> float:
        """The quantile `share` of the times of single calls, each after `pause` idle seconds."""
        assert self._case is not None
        return quantile_after_pause(self._case, pause, calls, share)

    def settle(self) -> float:
        """Wait until this process's threads have stopped spinning; the seconds that took."""
        begin = time.perf_counter()
        while (now := time.perf_counter()) - begin < _PATIENCE:
            used = time.process_time()
            time.sleep(_LOOK)
            if time.process_time() - used < _CALM * (time.perf_counter() - now):
                break
        return time.perf_counter() - begin

    def forget(self) -> None:
        """Free the row's memory."""
        self._case = None

    def machine(self, budget: Budget) -> dict[str, float]:
        """The machine's limits, measured (fastbp's own process is asked for this)."""
        from fastbp.benchmark.machine import limits

        return limits(budget)


def _answer(worker: Worker, name: str, arguments: tuple[Any, ...]) -> tuple[str, Any]:
    try:
        return "ok", getattr(worker, name)(*arguments)
    except NotMeasured as reason:
        return "none", str(reason)
    except Exception as error:
        traceback.print_exc()
        return "error", _one_line(error)


def _one_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def serve(peer: str, connection: Connection) -> None:
    """Answer until the other side hangs up."""
    try:
        worker = Worker(peer)
    except Exception as error:
        connection.send(("error", _one_line(error)))
        return
    connection.send(("ok", None))
    while True:
        try:
            name, arguments = connection.recv()
        except EOFError:
            return
        connection.send(_answer(worker, name, arguments))


if __name__ == "__main__":
    os.dup2(2, 1)
    serve(sys.argv[1], Connection(int(sys.argv[2])))

