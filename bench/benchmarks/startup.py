"""From the start of a process to what the user waits for."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from typing import Any, ClassVar

import numpy as np

from fastbp.benchmark.groups.start import FIRST_STEP

IMPORT = "import fastbp"
STEP = FIRST_STEP["fastbp"]


def process_seconds(code: str, **environment: str) -> float:
    """How long a Python process takes that runs `code`."""
    begin = time.perf_counter()
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], check=True, env={**os.environ, **environment}
    )
    return time.perf_counter() - begin


class Warm:
    """Everything is in the compile cache."""

    params: ClassVar[list[Any]] = [["import", "first step"]]
    param_names: ClassVar[list[str]] = ["until"]
    unit = "s"

    def setup(self, until: str) -> None:
        process_seconds(STEP)

    def track_process(self, until: str) -> float:
        code = {"import": IMPORT, "first step": STEP}[until]
        return float(np.median([process_seconds(code) for _ in range(5)]))


class Cold:
    """The first start ever: every kernel is compiled."""

    unit = "s"
    timeout = 300

    def track_first_step(self) -> float:
        with tempfile.TemporaryDirectory() as folder:
            return process_seconds(STEP, FASTBP_CACHE_DIR=folder)
