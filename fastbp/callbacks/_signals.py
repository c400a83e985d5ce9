"""SIGTERM and SIGUSR1, as batch schedulers send them: save, and end or go on."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

from fastbp.callbacks._base import Callback, Steps
from fastbp.history import Row


class Signals(Callback):
    """Within its `with` block, and given to `fit`, signals take effect at edges of steps
    and of chunks of validation data.

    SIGTERM ends the fit (`Checkpoint` then saves); SIGUSR1 asks for a checkpoint and the fit goes
    on. Handlers only set a flag. They can be set in the main thread only; in others the block
    changes nothing.

        with Signals() as signals:
            trainer.fit(x, y, callbacks=[Checkpoint("saved"), signals], resume="saved")
        sys.exit(signals.status)
    """

    def __init__(self) -> None:
        self.terminated = False
        self._save = False
        self._previous: dict[int, Any] = {}

    @property
    def status(self) -> int:
        """The exit status to end with: 143 after SIGTERM, else 0."""
        return 128 + signal.SIGTERM if self.terminated else 0

    def __enter__(self) -> Signals:
        if threading.current_thread() is threading.main_thread():
            self._previous = {signal.SIGTERM: signal.signal(signal.SIGTERM, self._terminate)}
            if hasattr(signal, "SIGUSR1"):
                self._previous[signal.SIGUSR1] = signal.signal(signal.SIGUSR1, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _terminate(self, number: int, frame: FrameType | None) -> None:
        self.terminated = True

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self._save = True

    def on_steps(self, trainer: Any, steps: Steps) -> None:
        """Look at the flags."""
        self._look(trainer)

    def on_validation(self, trainer: Any) -> None:
        """Look at the flags: validation may take a while."""
        self._look(trainer)

    def on_epoch_end(self, trainer: Any, row: Row) -> None:
        """Look at the flags: so may what other callbacks do."""
        self._look(trainer)

    def _look(self, trainer: Any) -> None:
        if self.terminated:
            trainer.stop_now = True
        if self._save:
            self._save = False
            trainer.checkpoint_wanted = True
