"""What the machine is, and what it can do at most: the peak of multiply-adds, reads of memory.

Both limits are measured with all of a run's threads, as the best of several short bursts.
"""

from __future__ import annotations

import os
import platform
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from fastbp._arena import address_of, allocate
from fastbp._native import Native
from fastbp._runtime import _processor, thread_count
from fastbp._simd.machine import machine as vector_unit
from fastbp.benchmark.timing import Budget
from fastbp.kernels._peak import CHAINS, multiply_adds, read_all

_MULTIPLY_ADDS, _READ_ALL = Native(multiply_adds), Native(read_all)
_BURSTS = 10
_READS = 4
_READ_BYTES = 1 << 30
"""Far more than caches hold, even where a virtual machine is shown the whole host's."""

_MEMORY_SHARE = 4
"""At most one part in so many of the free memory."""


def limits(budget: Budget) -> dict[str, float]:
    """FLOP/s of float32 and float64, bytes/s of reading, and the bytes that were read for it."""
    count = thread_count()
    size = read_bytes()
    return {
        "float32": peak(np.float32, count, budget.timed / 4),
        "float64": peak(np.float64, count, budget.timed / 4),
        "read": bandwidth(size, count),
        "read_bytes": float(size),
    }


def peak(dtype: Any, threads: int, seconds: float) -> float:
    """FLOP/s of multiply-adds on registers: the best burst of `seconds`."""
    call = _MULTIPLY_ADDS(np.dtype(dtype))
    factors = [np.array([1.0, 1e-9], dtype) for _ in range(threads)]
    lanes = call(address_of(factors[0]), 1)

    def burst(turns: int, count: int) -> float:
        return _together([partial(call, address_of(f), turns) for f in factors[:count]])

    turns = 1000
    while (spent := burst(turns, 1)) < seconds / 8:
        turns *= 2
    turns = max(1, int(turns * seconds / spent))
    best = min(burst(turns, threads) for _ in range(_BURSTS))
    return 2.0 * CHAINS * lanes * turns * threads / best


def bandwidth(size: int, threads: int) -> float:
    """Bytes/s of reading `size` bytes of memory, each thread its own part: the best of a few."""
    call = _READ_ALL(np.dtype(np.float32))
    values = allocate(size // 4, np.float32)
    values[...] = 1.0  # memory that was never written to is one page of zeros
    totals = np.zeros((threads, 16), np.float32)
    parts = np.array_split(values, threads)
    jobs = [partial(call, address_of(part), len(part), address_of(total))
            for part, total in zip(parts, totals, strict=True)]  # fmt: skip
    return size / min(_together(jobs) for _ in range(_READS))


def read_bytes() -> int:
    """How much `bandwidth` reads here: a multiple of what threads and registers divide it by."""
    free = next((int(line.split()[1]) * 1024 for line in _lines("/proc/meminfo")
                 if line.startswith("MemAvailable")), 4 * _READ_BYTES)  # fmt: skip
    unit = 4096 * thread_count()
    return min(_READ_BYTES, free // _MEMORY_SHARE) // unit * unit


def _together(jobs: Sequence[Callable[[], Any]]) -> float:
    """Run each job in a thread of its own, at the same time; seconds until the last is done."""
    gate = threading.Barrier(len(jobs) + 1)

    def work(job: Callable[[], Any]) -> None:
        gate.wait()
        job()
        gate.wait()

    for job in jobs:
        threading.Thread(target=work, args=(job,), daemon=True).start()
    gate.wait()
    begin = time.perf_counter()
    gate.wait()
    return time.perf_counter() - begin


def describe(threads: int) -> dict[str, Any]:
    """The machine and the date, for every report."""
    unit = vector_unit()
    return {
        "cpu": _processor(),
        "cpus": os.cpu_count() or 1,
        "vectors": unit.name,
        "threads": threads,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
    }


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
