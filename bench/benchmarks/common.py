"""What the benchmarks share: the time of one call, and a trainer of the digits.

Sizes and data are `fastbp.benchmark.workloads`: those of `fastbp bench`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastbp.benchmark.rows import Case
from fastbp.benchmark.timing import Budget, seconds_per_call

BUDGET = Budget(warm=0.01, timed=0.07, batches=7)
"""A call of 1 µs is made 10 000 times in each of the seven loops."""


def seconds(function: Callable[[], Any]) -> float:
    """The time of one call: median of the loops, after warming up."""
    return seconds_per_call(Case(function), BUDGET)
