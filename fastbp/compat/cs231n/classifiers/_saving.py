"""Where and how classifiers keep their parameters: a pickled dict in a file of NumPy's format."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np


def save(fname: str, params: dict[str, Any]) -> None:
    """Write the arrays to the folder of saved models, and say so."""
    path = _folder() / fname
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, params)  # type: ignore[arg-type]  # becomes an array with one object
    print(fname, "saved.")  # noqa: T201 - as the course's


def load(fname: str) -> dict[str, Any] | None:
    """Read what `save` wrote, None if there is no such file, and say which."""
    path = _folder() / fname
    if not path.exists():
        print(fname, "not available.")  # noqa: T201 - as the course's
        return None
    params: dict[str, Any] = np.load(path, allow_pickle=True).item()
    print(fname, "loaded.")  # noqa: T201 - as the course's
    return params


def _folder() -> Path:
    """`saved` in the course's own package, or in the working directory where that is not loaded."""
    course = getattr(sys.modules.get("cs231n"), "__file__", None)
    if course is None or Path(course).is_relative_to(Path(__file__).parents[1]):
        return Path("saved")
    return Path(course).parent / "saved"
