"""What a helper process does (`_crew.py`): compile parts and hand over their object files."""

from __future__ import annotations

import gc
import importlib
import os
import threading

import numpy as np

from fastbp import _cache
from fastbp._compiler._crew import KEY


def answer(module: str, dtype: str, parts: list[str]) -> None:
    """Write the packed object files of `parts` to the standard output, and end the process.

    module: the one that knows of all parts when it has been imported.
    """
    output = os.dup(1)
    os.dup2(2, 1)  # what anything prints is no part of the answer
    threading.Thread(target=_end_with_parent, daemon=True).start()
    gc.disable()
    importlib.import_module(module)
    from fastbp._compiler._doors import part_code

    objects = {part: part_code(part, np.dtype(dtype)) for part in parts}
    content = _cache.pack({KEY: _cache.cache_key().encode(), **objects})
    with os.fdopen(output, "wb") as file:
        file.write(content)
    os._exit(0)  # nothing to tidy up, which would take a while


def _end_with_parent() -> None:
    """Nobody writes to the standard input: it ends when the parent ends, or wants no more."""
    os.read(0, 1)
    os._exit(1)
