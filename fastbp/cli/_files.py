"""Files that are whole or absent: written beside their place, then renamed into it."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastbp._errors import ArgumentError

MODEL, METRICS, CONFIG, RESULT, CURVES = (
    "model.safetensors", "metrics.jsonl", "config.json", "result.json", "curves.png")
"""The files of a run folder."""


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
    """`record` as readable JSON."""
    text = json.dumps(record, indent=2) + "\n"
    write_whole(path, lambda part: part.write_text(text, encoding="utf-8"))


def make_run_folder(out: str | None, name: str) -> Path:
    """Create the run folder and take away what an earlier run left in it.

    Arguments:
        out: the folder asked for, or None: a new one, runs/<name>-<timestamp>.

    Raises:
        ArgumentError: it cannot be created.
    """
    folder = Path(out) if out is not None else _fresh(name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file in (MODEL, METRICS, CONFIG, RESULT, CURVES):
            (folder / file).unlink(missing_ok=True)
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
