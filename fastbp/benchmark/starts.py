"""Rows whose measure is a whole process: it starts, does something once and ends."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable

from fastbp.benchmark.contestants import CONTESTANTS, environment_of
from fastbp.benchmark.rows import Measurement, NotMeasured, Row
from fastbp.benchmark.session import Session

_TIMEOUT = 600


def measure_starts(session: Session, row: Row, seconds: Callable[[str, int], float]) -> Measurement:
    """Every contestant in turn, after one process of each that is not counted.

    seconds: how long a contestant's process takes with so many threads.
    """
    found = Measurement(row)
    ready = []
    for name in session.contestants(row):
        try:
            seconds(name, session.threads)
            ready.append(name)
        except NotMeasured as reason:
            found.reasons[name] = str(reason)
    for number in range(session.rounds):
        turn = number % max(len(ready), 1)
        for name in ready[turn:] + ready[:turn]:
            found.values.setdefault(name, []).append(seconds(name, session.threads))
    found.values = {name: found.values[name] for name in ready}
    return found


def process_seconds(code: str, name: str, threads: int, **environment: str) -> float:
    """How long a Python process takes that runs `code` as a contestant.

    Raises:
        NotMeasured: it failed.
    """
    full = environment_of(CONTESTANTS[name], threads) | environment
    begin = time.perf_counter()
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=False,
                          capture_output=True, text=True, env=full, timeout=_TIMEOUT)  # fmt: skip
    seconds = time.perf_counter() - begin
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"status {done.returncode}"]
        raise NotMeasured(lines[-1])
    return seconds
