"""How many threads a fit uses: fits that run at the same time share the cores.

In a grid search of processes each of them has its share from joblib (OMP_NUM_THREADS, which fastbp
obeys); in one of threads every fit would use all cores, so running fits are counted.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from fastbp._runtime import thread_count, threads

_lock = threading.Lock()
_running = 0


@contextlib.contextmanager
def running() -> Iterator[None]:
    """Counts as one more fit inside the block."""
    global _running
    with _lock:
        _running += 1
    try:
        yield
    finally:
        with _lock:
            _running -= 1


@contextlib.contextmanager
def share_of_cores(n_threads: int | None) -> Iterator[None]:
    """At most `n_threads`, and the cores divided by the number of running fits."""
    available = thread_count()
    share = max(1, available // max(1, _running))
    wanted = share if n_threads is None else min(share, int(n_threads))
    if wanted == available:
        yield
        return
    with threads(wanted):
        yield
