"""Files that are whole or absent: written beside their place, then renamed into it."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastbp import checkpoint
from fastbp._errors import ArgumentError
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


def make_run_folder(out: str | None, name: str, *, resume: bool) -> Path:
    """Create the run folder and take away what an earlier run left in it.

    Arguments:
        out: the folder asked for, or None: a new one, runs/<name>-<timestamp>.
        resume: keep what is there, if it has checkpoints.

    Raises:
        ArgumentError: it cannot be created, or holds an unfinished training that would be lost.
    """
    folder = Path(out) if out is not None else _fresh(name)
    unfinished = bool(checkpoint_files(folder / CHECKPOINTS)) and not is_finished(folder)
    if unfinished and not resume:
        raise ArgumentError(f"--out {folder}: holds an unfinished training",
                            "--resume to go on with it, or another folder",
                            f"remove {folder / CHECKPOINTS} to begin anew")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not unfinished:
            old = [folder / file for file in (MODEL, METRICS, METRICS_CSV, CONFIG, RESULT, CURVES)]
            for file in (*old, *(folder / EVENTS).glob("events.out.tfevents.*")):
                file.unlink(missing_ok=True)
    except OSError as error:
        raise ArgumentError(f"--out {folder}: cannot be used as a folder ({error.strerror})",
                            "a folder that can be created or written") from None
    return folder


def _fresh(name: str) -> Path:
    base = Path("runs") / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
    folder, number = base, 2
    while folder.exists():
        folder, number = base.with_name(f"{base.name}-{number}"), number + 1
    return folder
