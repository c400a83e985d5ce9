"""Ctrl-C at the edges of steps: a signal that arrives inside a step waits for its end.

Python raises KeyboardInterrupt at any bytecode, also between a finished run of the program and
the line that counts its steps; parameters and counters would then disagree.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any

PATIENCE = 0.9
"""Seconds after which a second Ctrl-C no longer waits: a callback may hang."""


class Deferral:
    """SIGINT held back; calling the object at an edge lets it through.

    `rude` becomes True when somebody did not wait for an edge: what was under way is half done.
    """

    def __init__(self, previous: Any) -> None:
        self.rude = False
        self._previous = previous
        self._pending: list[tuple[int, FrameType | None]] = []
        self._since = 0.0
        self._open = False
        self._raised: tuple[int, FrameType | None] | None = None

    def hold(self, number: int, frame: FrameType | None) -> None:
        """The handler of SIGINT meanwhile."""
        if self._open:
            self._raised = number, frame
            self._previous(number, frame)
            self._raised = None
        elif not self._pending:
            self._pending.append((number, frame))
            self._since = time.monotonic()
        elif time.monotonic() - self._since > PATIENCE:
            self._pending.clear()
            self.rude = True
            self._previous(number, frame)

    def __call__(self) -> None:
        """An edge: a signal that has arrived takes effect."""
        if self._pending:
            number, frame = self._pending.pop()
            self._previous(number, frame)

    @contextlib.contextmanager
    def lifted(self) -> Iterator[None]:
        """Within the block signals act at once.

        Python drops what is raised while it calls a destructor: such a signal acts at the next
        edge.
        """
        self()
        self._open = True
        try:
            yield
        except Exception:  # of the block itself: what was dropped before still waits
            raise
        except BaseException:
            self._raised = None
            raise
        finally:
            self._open = False
            if self._raised is not None:
                self._pending.append(self._raised)
                self._raised = None

    @contextlib.contextmanager
    def lowered(self) -> Iterator[None]:
        """Within `lifted`: signals wait for the end of this block."""
        self._open = False
        try:
            yield
        finally:
            self._open = True
        self()


@contextlib.contextmanager
def deferred_interrupts() -> Iterator[Deferral]:
    """Hold SIGINT back inside the block; calling what it yields lets it through.

    Only in the main thread, the only one that receives signals, and only where Python handles it.
    """
    previous: Any = signal.getsignal(signal.SIGINT)
    deferral = Deferral(previous)
    if threading.current_thread() is not threading.main_thread() or not callable(previous):
        yield deferral
        return
    signal.signal(signal.SIGINT, deferral.hold)
    try:
        yield deferral
    finally:
        signal.signal(signal.SIGINT, previous)
        deferral()
