"""Other processes that compile parts side by side with this one.

They are new interpreters, not forks (there may be threads), which run `_helper.py` and nothing of
the program's: not its `__main__`. Each is given parts and answers with their object files on its
standard output, and with the cache's key, which says that it has the same sources and settings.
When its standard input ends, because this process has died or wants no more, it ends. What a
helper fails to hand over, for whatever reason, is compiled here.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from fastbp import _cache, _runtime
from fastbp._jit import PARTS

# Processes, this one included: beyond, the largest part is all one waits for.
MOST_PROCESSES = 4
# What the cache's key is called among the object files of an answer.
KEY = "key"
# Seconds that compiling the function itself takes, beside which this process has parts to do.
_DOOR_SECONDS = 0.7
# A helper may take so many times what this process took for its own share, and so much longer.
_PATIENCE, _PATIENCE_SECONDS = 3.0, 30.0

_PROGRAM = """
import sys
sys.path[:] = {path!r}
from fastbp._compiler._helper import answer
answer({module!r}, {dtype!r}, {parts!r})
"""


def shares(parts: list[str]) -> list[list[str]]:
    """Parts for each process that may run, this one first: the longest go to the least busy."""
    count = min(_runtime.thread_count(), MOST_PROCESSES) if _can_start() else 1
    given: list[list[str]] = [[] for _ in range(count)]
    seconds = [_DOOR_SECONDS, *[0.0] * (count - 1)]
    for part in sorted(parts, key=lambda part: -PARTS[part].seconds):
        least = seconds.index(min(seconds))
        given[least].append(part)
        seconds[least] += PARTS[part].seconds
    return [given[0], *filter(None, given[1:])]


def _can_start() -> bool:
    """False where `sys.executable` is another program (frozen, embedded), or code is bound to
    this process.
    """
    program = Path(sys.executable or "").name.lower()
    return _cache.ENABLED and program.startswith("python") and not getattr(sys, "frozen", False)


class Crew:
    """Helpers at work inside a `with` block; what they have not answered at its end is dropped."""

    def __init__(self, module: str, dtype: np.dtype, shares: list[list[str]]) -> None:
        self._start = time.monotonic()
        self._helpers: list[subprocess.Popen[bytes]] = []
        self._lifelines: list[Any] = []
        for parts in shares:
            path = [folder for folder in sys.path if isinstance(folder, str)]
            program = _PROGRAM.format(path=path, module=module, dtype=dtype.name, parts=parts)
            with contextlib.suppress(OSError):
                helper = subprocess.Popen(
                    [sys.executable, "-P", "-c", program], stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)  # fmt: skip
                self._helpers.append(helper)
                # Out of the sight of `communicate`, which would close it.
                self._lifelines.append(helper.stdin)
                helper.stdin = None

    def results(self) -> dict[str, bytes]:
        """The object files that helpers made, by part; to be called when this process's own
        share is done.
        """
        own = time.monotonic() - self._start
        end = time.monotonic() + (_PATIENCE - 1) * own + _PATIENCE_SECONDS
        found: dict[str, bytes] = {}
        for helper in self._helpers:
            with contextlib.suppress(subprocess.TimeoutExpired, OSError, ValueError):
                content, _ = helper.communicate(timeout=max(0.0, end - time.monotonic()))
                objects = _cache.unpack(content)
                if objects.pop(KEY, b"").decode() == _cache.cache_key():
                    found |= objects
        return found

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:  # fmt: skip
        for helper, lifeline in zip(self._helpers, self._lifelines, strict=True):
            helper.kill()
            lifeline.close()
            helper.wait()
            if helper.stdout is not None:
                helper.stdout.close()
