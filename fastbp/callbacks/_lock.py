"""One process at a time in a folder."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

from fastbp._errors import ConcurrencyError

if sys.platform != "win32":
    import fcntl


class FolderLock:
    """Held from `take` to `release`, or to the end of the process, however it ends.

    On Windows, and on file systems without locks, it keeps nobody out.
    """

    def __init__(self) -> None:
        self._handle = -1

    def __del__(self) -> None:
        self.release()

    def take(self, folder: Path) -> None:
        """Keep others out of an existing folder.

        Raises:
            ConcurrencyError: somebody is there.
        """
        self.release()
        if sys.platform == "win32":
            return
        self._handle = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.release()
            raise ConcurrencyError(f"{folder}: another training is under way there",
                                   "a folder for each training",
                                   "wait for its end, or name another folder") from None
        except OSError:
            self.release()

    def release(self) -> None:
        """Let others in; nothing where the lock is not held."""
        if self._handle >= 0:
            with contextlib.suppress(OSError):
                os.close(self._handle)
            self._handle = -1
