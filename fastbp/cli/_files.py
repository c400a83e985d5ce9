"""Files that are whole or absent: written beside their place, then renamed into it."""

from __future__ import annotations

import contextlib
import json
import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from fastbp import checkpoint
from fastbp._errors import ArgumentError
from fastbp.callbacks._lock import FolderLock
from fastbp.training_state import files as checkpoint_files

MODEL, METRICS, METRICS_CSV, CONFIG, RESULT, CURVES = (
    "model.safetensors", "metrics.jsonl", "metrics.csv", "config.json", "result.json",
    "curves.png")
"""The files of a run folder."""

CHECKPOINTS, EVENTS = "checkpoints", "tensorboard"
"""Folders in it."""


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file in the same folder and rename it to `path`.

    If `write` fails, the temporary file goes and an older `path` stays.
    """
    part = path.with_name(f".{secrets.token_hex(4)}.{path.name}")
    try:
        write(part)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def write_json(path: Path, record: dict[str, Any]) -> None:
    """`record` as readable JSON, on the disk when this returns."""
    checkpoint.write(path, (json.dumps(record, indent=2) + "\n").encode())


def read_json(path: Path) -> dict[str, Any]:
    """What `write_json` wrote; nothing where there is no such file.

    Raises:
        ArgumentError: it is damaged.
    """
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return record
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise ArgumentError(f"{path}: damaged ({error})", "the file as fastbp wrote it") from None


def is_finished(folder: Path) -> bool:
    """Whether a run folder holds a training that came to its end."""
    return bool(read_json(folder / RESULT).get("finished"))


@contextlib.contextmanager
def run_folder(out: str | None, name: str, *, resume: bool) -> Iterator[Path]:
    """Create the run folder, take away what an earlier run left in it, and keep others out.

    Arguments:
        out: the folder asked for, or None: a new one, runs/<name>-<timestamp>.
        resume: keep what is there, if it has checkpoints.

    Raises:
        ArgumentError: it cannot be created, or holds an unfinished training that would be lost.
        ConcurrencyError: another process trains there.
    """
    folder, lock = Path(out) if out is not None else _fresh(name), FolderLock()
    try:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock.take(folder)
            _clear(folder, resume)
        except OSError as error:
            raise ArgumentError(f"--out {folder}: cannot be used as a folder ({error.strerror})",
                                "a folder that can be created or written") from None
        yield folder
    finally:
        lock.release()


def _clear(folder: Path, resume: bool) -> None:
    """Take away what an earlier run left, but for what is to be resumed."""
    checkpoints = checkpoint_files(folder / CHECKPOINTS)
    unfinished = bool(checkpoints) and not is_finished(folder)
    if unfinished and not resume:
        raise ArgumentError(f"--out {folder}: holds an unfinished training",
                            "--resume to go on with it, or another folder",
                            f"remove {folder / CHECKPOINTS} to begin anew")
    if unfinished:
        return
    # Checkpoints go first: without a result they would be those of an unfinished run.
    old = [folder / file for file in (MODEL, METRICS, METRICS_CSV, CONFIG, RESULT, CURVES)]
    for file in (*checkpoints, *old, *(folder / EVENTS).glob("events.out.tfevents.*")):
        file.unlink(missing_ok=True)


def _fresh(name: str) -> Path:
    base = Path("runs") / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
    folder, number = base, 2
    while folder.exists():
        folder, number = base.with_name(f"{base.name}-{number}"), number + 1
    return folder
