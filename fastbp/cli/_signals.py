"""Ctrl-C and SIGTERM end a training, not the process: the model so far is kept."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any


class Interrupts:
    """Within its `with` block both signals raise KeyboardInterrupt and are remembered.

    `signal` is the number of the first one, 0 if there was none. SIGTERM goes through
    whatever handles SIGINT at that moment: a trainer holds it back until the edge of a step.
    Handlers can only be set in the main thread; elsewhere the block changes nothing.
    """

    def __init__(self) -> None:
        self.signal = 0
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            self._previous = {
                signal.SIGINT: signal.signal(signal.SIGINT, self._interrupt),
                signal.SIGTERM: signal.signal(signal.SIGTERM, self._terminate),
            }
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        self.signal = self.signal or number
        raise KeyboardInterrupt

    def _terminate(self, number: int, frame: FrameType | None) -> None:
        self.signal = self.signal or number
        handler = signal.getsignal(signal.SIGINT)
        if callable(handler):
            handler(signal.SIGINT, frame)

    @contextlib.contextmanager
    def absorbed(self) -> Iterator[None]:
        """KeyboardInterrupt inside ends the block only."""
        try:
            yield
        except KeyboardInterrupt:
            self.signal = self.signal or signal.SIGINT
