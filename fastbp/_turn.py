"""One thread at a time works with a network.

Its programs have one set of buffers and one table that says where the batch lies: a second thread
would have its batch trained with the first one's, or its arrays read after they are gone.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from typing import Any

from fastbp._errors import ConcurrencyError

# How often training looks whether it was a prediction that had the turn.
_LOOKS = 100


class Turn:
    """Whose turn it is with a network: nobody's, or that of the thread that trains or predicts.

    Predictions (`with turn:`) wait for each other and for a training step. Training waits for a
    prediction, not for training: two threads that train one network make a result that depends on
    chance, so the second is refused.

    A training step does without Python functions in the usual case: `if not (turn.is_mine() or
    turn.take(False)): turn.ask()`, and at its end `turn.release()`. It is still mine where Ctrl-C
    came between a step's beginning and its run.
    """

    def __init__(self) -> None:
        lock: Any = threading.RLock()
        self.is_mine, self.take, self.release = lock._is_owned, lock.acquire, lock.release
        self._lock = lock
        self._predicts = False
        _turns.add(self)

    def __enter__(self) -> None:
        self.take()
        self._predicts = True

    def __exit__(self, *_: object) -> None:
        self._predicts = False
        self.release()

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies of a network, and pickled ones, begin with a turn that is nobody's."""
        return Turn, ()

    def ask(self) -> None:
        """Take the turn for training once no prediction has it.

        Raises ConcurrencyError where another thread is at a step.
        """
        for _ in range(_LOOKS):
            if self.take(self._predicts):
                return
            time.sleep(0)
        raise ConcurrencyError("a network that another thread is training", "one thread at a time",
                               "train a copy in each thread, or put a lock around the calls")


_turns: weakref.WeakSet[Turn] = weakref.WeakSet()


def _end_others() -> None:
    """The threads that had the turn when this process was forked off are not in it."""
    for turn in _turns:
        if not turn.is_mine():
            turn._lock._at_fork_reinit()
            turn._predicts = False


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_end_others)
