"""Ctrl-C and SIGTERM end a training, not the process: the model so far is kept."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """Within its `with` block both signals raise KeyboardInterrupt and are remembered.

    `signal` is the number of the last one, 0 if there was none. Handlers can only be set in the
    main thread; elsewhere the block changes nothing.
    """

    def __init__(self) -> None:
        self.signal = 0
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._handle) for number in _SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.signal = number
        raise KeyboardInterrupt

    @contextlib.contextmanager
    def absorbed(self) -> Iterator[None]:
        """KeyboardInterrupt inside ends the block only."""
        try:
            yield
        except KeyboardInterrupt:
            self.signal = self.signal or signal.SIGINT
