"""Check 34: random trainings, interrupted and stopped at random, for as long as one likes.

    FASTBP_SOAK_SECONDS=86400 python -m pytest -m nightly tests/reliability/test_soak.py
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

SECONDS = float(os.environ.get("FASTBP_SOAK_SECONDS", "600"))
HERE = Path(__file__).parent
PATHS = os.pathsep.join(str(folder) for folder in (HERE.parents[1], HERE.parent, HERE))

pytestmark = pytest.mark.skipif(not Path("/proc/self/statm").exists(),
                                reason="what is in use is read from /proc")


def stop_and_go(process: subprocess.Popen[str], rng: random.Random) -> None:
    """Halt the process now and then until it ends."""
    while process.poll() is None:
        time.sleep(rng.random() * 2)
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGSTOP)
            time.sleep(rng.random() * 0.1)
            process.send_signal(signal.SIGCONT)


@pytest.mark.nightly
def test_trainings_interrupted_at_random_end_with_the_same_bits_and_leave_nothing(tmp_path):
    with subprocess.Popen([sys.executable, str(HERE / "soak.py"), str(tmp_path), str(SECONDS)],
                          stderr=subprocess.PIPE, text=True,
                          env={**os.environ, "PYTHONPATH": PATHS}) as process:
        stop_and_go(process, random.Random(0))
        _, err = process.communicate()
    assert process.returncode == 0, err
    assert [file.name for file in tmp_path.iterdir()] == ["seen"]
    seen = np.loadtxt(tmp_path / "seen")
    assert len(seen) > SECONDS / 10, "MISTRUSTED: hardly anything was trained"
    assert seen[:, 4].sum() > len(seen) / 2, "MISTRUSTED: hardly anything was interrupted"
    settled = seen[len(seen) // 4 :]
    assert np.ptp(settled[:, 2]) == 0, "files"
    assert np.ptp(settled[:, 3]) == 0, "threads"
    early, late = (part[:, 1].max() for part in np.array_split(settled, 3)[::2])
    assert late <= 1.01 * early + (1 << 20), f"memory: {early:.0f} -> {late:.0f} bytes"
