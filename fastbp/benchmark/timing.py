"""The time of one call: warm, in batches long enough for the clock, median of several."""

from __future__ import annotations

import gc
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fastbp.benchmark.rows import Case


@dataclass(frozen=True)
class Budget:
    """How long a measure takes: seconds of warming up, seconds on the clock, batches."""

    warm: float = 0.03
    timed: float = 0.1
    batches: int = 5


FULL = Budget()
QUICK = Budget(warm=0.005, timed=0.01, batches=3)


def seconds_per_call(case: Case, budget: Budget = FULL) -> float:
    """The median over the batches of a call's time.

    Warming up brings threads, clock and caches to where a long run has them, and says how many
    calls make a batch. A call that fills the budget alone is made once.
    """
    if case.measure is not None:
        return case.measure()
    once = _alone if case.prepare is not None else _together
    gc.collect()
    collecting = gc.isenabled()
    gc.disable()
    try:
        estimate = _warm_up(case, once, budget.warm)
        calls = max(1, round(budget.timed / budget.batches / estimate))
        batches = max(1, min(budget.batches, math.ceil(budget.timed / (calls * estimate))))
        return statistics.median(once(case, calls) for _ in range(batches))
    finally:
        if collecting:
            gc.enable()


Once = Callable[[Case, int], float]


def _warm_up(case: Case, once: Once, seconds: float) -> float:
    """Run for `seconds` at least; what a call of the last batch took, its preparation included."""
    calls, spent = 1, 0.0
    while True:
        begin = time.perf_counter()
        once(case, calls)
        batch = time.perf_counter() - begin
        spent += batch
        estimate = max(batch / calls, 1e-9)
        if spent >= seconds:
            return estimate
        calls = max(1, min(4 * calls, math.ceil((seconds - spent) / estimate)))


def _together(case: Case, calls: int) -> float:
    """Seconds per call of `calls` calls on one clock."""
    run: Callable[[], Any] = case.run
    begin = time.perf_counter()
    for _ in range(calls):
        run()
    return (time.perf_counter() - begin) / calls


def _alone(case: Case, calls: int) -> float:
    """The same, with what prepares each call off the clock."""
    total = 0.0
    for _ in range(calls):
        assert case.prepare is not None
        case.prepare()
        begin = time.perf_counter()
        case.run()
        total += time.perf_counter() - begin
    return total / calls


def quantile_after_pause(case: Case, pause: float, calls: int, share: float) -> float:
    """The quantile `share` of the times of `calls` single calls, each after `pause` seconds."""
    case.run()
    times = []
    for _ in range(calls):
        time.sleep(pause)
        begin = time.perf_counter()
        case.run()
        times.append(time.perf_counter() - begin)
    return sorted(times)[min(calls - 1, int(share * calls))]
