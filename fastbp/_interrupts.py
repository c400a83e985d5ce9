"""Ctrl-C at the edges of steps: a signal that arrives inside a step waits for its end.

Python raises KeyboardInterrupt at any bytecode, also between a finished run of the program and
the line that counts its steps; parameters and counters would then disagree.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any


@contextlib.contextmanager
def deferred_interrupts() -> Iterator[Callable[[], None]]:
    """Hold SIGINT back inside the block; calling the yielded function lets it through.

    Only in the main thread, the only one that receives signals, and only where Python handles it.
    """
    previous: Any = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(previous):
        yield lambda: None
        return
    pending: list[tuple[int, FrameType | None]] = []

    def hold(number: int, frame: FrameType | None) -> None:
        pending.append((number, frame))

    def let_through() -> None:
        if pending:
            number, frame = pending.pop()
            previous(number, frame)

    signal.signal(signal.SIGINT, hold)
    try:
        yield let_through
    finally:
        signal.signal(signal.SIGINT, previous)
        let_through()
