"""Which core a thread is on, and how it gets off one.

A woken thread may land on the core of the thread that woke it, which is busy and stays so, while
the other core idles: Linux looks for an idle one only among cores that it knows to share a cache,
which virtual machines often do not tell. Balancing moves it after milliseconds, a whole training
step. Where the system offers no such calls, these functions do nothing.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Callable


def _system_call() -> Callable[[], int] | None:
    if not (hasattr(os, "sched_setaffinity") and hasattr(os, "sched_getaffinity")):
        return None
    with contextlib.suppress(OSError, AttributeError):
        call: Callable[[], int] = ctypes.CDLL(None).sched_getcpu
        return call
    return None


_getcpu = _system_call()


def current_cpu() -> int:
    """The core that the calling thread is on, or -1 where it cannot be told."""
    return _getcpu() if _getcpu is not None else -1


def leave_cpu(cpu: int) -> None:
    """Move the calling thread off a core, if it is there and may run on another."""
    if cpu < 0 or current_cpu() != cpu:
        return
    allowed = os.sched_getaffinity(0)
    if len(allowed) > 1 and cpu in allowed:
        with contextlib.suppress(OSError):  # containers may forbid it
            os.sched_setaffinity(0, allowed - {cpu})
            os.sched_setaffinity(0, allowed)
