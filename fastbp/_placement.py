"""Which core a thread is on, and how others are kept off it.

A woken thread may land on the core of the thread that woke it, which is busy and stays so, while
the other core idles: Linux looks for an idle one only among cores that it knows to share a cache,
which virtual machines often do not tell. It then waits there until the other one's time is up, and
two threads that share a core for some milliseconds are slower than one. So whoever wakes it
says before that it may run anywhere else. Where the system offers no such calls, these
functions do nothing.
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


def address_of_call() -> int:
    """Address of the C function behind `current_cpu`, or 0."""
    return 0 if _getcpu is None else ctypes.cast(_getcpu, ctypes.c_void_p).value or 0  # type: ignore[arg-type]


def keep_off(thread: int, cpu: int) -> None:
    """Let another thread run on the caller's cores but this one, unless it is the only one.

    thread: as `threading.get_native_id` gives it.
    """
    if cpu >= 0:
        with contextlib.suppress(OSError):  # containers may forbid it
            allowed = os.sched_getaffinity(0)
            os.sched_setaffinity(thread, allowed - {cpu} or allowed)
