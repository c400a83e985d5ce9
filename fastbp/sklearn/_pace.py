"""Whether a step is so small that one thread is faster than several.

Handing the tasks of an 80 us step to a second core moves its data between the cores' caches, which
can take longer than it saves (digits, batches of 200: 110 us instead of 87). Results have the same
bits either way, so the first calls try both. Their sums are compared, not the best of them: what
several threads take varies more.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from fastbp._runtime import thread_count, threads

# Calls of each kind that are timed, in turn, after a first one that is not.
_TRIES = 4
# From this many seconds a step on, several threads are always worth while.
_LONG_STEP = 1e-3


class Pace:
    """The choice for one program: `with pace.chosen(steps): run`."""

    def __init__(self) -> None:
        self._calls = 0
        self._seconds = [0.0, 0.0]  # of a step, summed over the tries: several threads, one
        self._alone: bool | None = None

    @contextlib.contextmanager
    def chosen(self, steps: int) -> Iterator[None]:
        """Runs the block, which makes `steps` steps, with as many threads as are best."""
        if thread_count() == 1 or self._alone is False:
            yield
            return
        alone = self._calls % 2 == 1 if self._alone is None else True
        begin = time.perf_counter()
        with threads(1) if alone else contextlib.nullcontext():
            yield
        if self._alone is None:
            self._note(alone, (time.perf_counter() - begin) / steps)

    def _note(self, alone: bool, seconds: float) -> None:
        self._calls += 1
        if self._calls == 1:  # memory was touched for the first time
            return
        self._seconds[alone] += seconds
        if not alone and seconds > _LONG_STEP:
            self._alone = False
        elif self._calls > 2 * _TRIES:
            self._alone = self._seconds[True] < self._seconds[False]
