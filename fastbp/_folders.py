"""Folders that only this user can write, for files that will be run."""

from __future__ import annotations

import contextlib
import functools
import os
import stat
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


def candidates() -> Iterator[Path]:
    """Where compiled code may be kept, the best place first."""
    asked = os.environ.get("FASTBP_CACHE_DIR") or os.environ.get("NUMBA_CACHE_DIR")
    if asked:
        yield Path(asked)
    home = os.environ.get("XDG_CACHE_HOME")
    if home:
        yield Path(home) / "fastbp"
    with contextlib.suppress(RuntimeError):  # no home directory
        yield Path.home() / ".cache" / "fastbp"
    user = os.getuid() if hasattr(os, "getuid") else "user"
    with contextlib.suppress(OSError):  # no temporary directory
        yield Path(tempfile.gettempdir()) / f"fastbp-{user}"


def own_subfolder(base: Path, name: str) -> Path | None:
    """`base/name`, made with mode 0700 if need be; None where it cannot be written or trusted."""
    folder = base / name
    try:
        base.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        if not _is_trusted(base) or not is_private(folder.lstat()):
            warn_once(f"fastbp: {folder} belongs to another user, or others may write there; "
                      "compiled code is not kept in it: set FASTBP_CACHE_DIR to a folder of yours")
            return None
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError:
        return None


def is_private(status: os.stat_result) -> bool:
    """True for a file or folder of this user's that no other user may write."""
    if not hasattr(os, "getuid"):
        return True
    return (status.st_uid == os.getuid() and not status.st_mode & _WRITABLE_BY_OTHERS
            and not stat.S_ISLNK(status.st_mode))


def _is_trusted(base: Path) -> bool:
    """True where no stranger can put another folder in a subfolder's place.

    A group may: many systems give every user a group of their own, and what is read is checked
    once more, file by file.
    """
    if not hasattr(os, "getuid"):
        return True
    status = base.stat()
    open_to_all = status.st_mode & stat.S_IWOTH and not status.st_mode & stat.S_ISVTX
    return status.st_uid in (0, os.getuid()) and not open_to_all


@functools.cache
def warn_once(message: str) -> None:
    """A RuntimeWarning, once for each message."""
    warnings.warn(message, RuntimeWarning, stacklevel=3)
