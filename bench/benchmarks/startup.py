"""From the start of a process to what the user waits for."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from typing import Any, ClassVar

import numpy as np

IMPORT = "import fastbp"
STEP = """
import numpy as np, fastbp
net = fastbp.Sequential([fastbp.Affine(64, 32), fastbp.ReLU(), fastbp.Affine(32, 10)], seed=0)
trainer = fastbp.Trainer(net, loss="softmax_cross_entropy", optimizer=fastbp.Adam(1e-3))
trainer.train_step(np.ones((32, 64), np.float32), np.zeros(32, np.int64))
"""


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
