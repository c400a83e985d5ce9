"""A job from end to end: killed, terminated, out of disk, on one CPU; the same bits at its end."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import job
import pytest

import fastbp
from fastbp import training_state

HERE = Path(__file__).parent
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(
    [str(Path(fastbp.__file__).parents[1]), str(HERE)])}
EPOCHS_A_KILL = 8  # about 0.1 s; a process trains for a quarter of that on average

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="affinity, limits, signals")


class Job:
    """A folder, and processes that train in it."""

    def __init__(self, folder: Path, epochs: int) -> None:
        self.folder, self.epochs = folder, epochs
        folder.mkdir()
        job.write_data(folder)

    def start(self, *, limit: int = 0, cpu: int = -1) -> subprocess.Popen[str]:
        numbers = map(str, (self.epochs, limit, cpu))
        command = [sys.executable, str(HERE / "job.py"), str(self.folder), *numbers]
        return subprocess.Popen(command, text=True, env=ENVIRONMENT, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE)

    def finish(self) -> str:
        with self.start() as process:
            _, err = process.communicate(timeout=900)
        assert process.returncode == 0, err
        return (self.folder / "outcome").read_text()

    @property
    def steps(self) -> int:
        """Of the newest checkpoint, which must be whole, without one passed over."""
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            saved = training_state.find(self.folder / "saved")
        return saved.step if saved else 0

    def parts(self) -> int:
        return len(list((self.folder / "saved").glob(".*")))


def wait_for_training(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n", process.stderr and process.stderr.read()


def kill(running: Job, rng: random.Random, cpu: int) -> None:
    with running.start(cpu=cpu) as process:
        if rng.random() < 0.8:
            wait_for_training(process)
            time.sleep(rng.random() * 0.05)
        else:
            time.sleep(rng.random() * 0.4)
        process.kill()
    assert process.returncode == -signal.SIGKILL, "finished before all kills: make it longer"
    assert running.parts() <= 1  # what was being written; the next start takes it away


def run_out_of_disk(running: Job) -> None:
    before = running.steps
    with running.start(limit=100_000) as process:
        _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "OSError: [Errno 27] File too large" in err
    assert running.steps == before
    assert running.parts() == 0


def terminate(running: Job) -> None:
    before = running.steps
    with running.start() as process:
        wait_for_training(process)
        process.terminate()
        begin = time.monotonic()
        process.communicate(timeout=60)
    assert process.returncode == 143
    assert time.monotonic() - begin < 5  # on a machine with other work; 0.1 s on an idle one
    assert running.steps > before
    assert running.parts() == 0


@pytest.mark.parametrize("kills", [20, pytest.param(200, marks=pytest.mark.nightly)])
def test_a_job_that_is_killed_ends_with_the_bits_of_an_undisturbed_one(tmp_path, kills):
    rng, cpus = random.Random(1), sorted(os.sched_getaffinity(0))
    epochs = EPOCHS_A_KILL * kills
    expected = Job(tmp_path / "undisturbed", epochs).finish()
    running = Job(tmp_path / "killed", epochs)
    for number in range(kills):
        kill(running, rng, cpus[number % len(cpus)] if number % 2 else -1)
        if number == 10:
            run_out_of_disk(running)
        if number == 15:
            terminate(running)
    assert running.steps > 0
    assert running.finish() == expected
    logged = [json.loads(line)["epoch"] for line in
              (running.folder / "log.jsonl").read_text().splitlines()]
    assert logged == list(range(1, epochs + 1))  # no line twice, none missing


SAVER = """
import os, random, signal, sys, time
import numpy as np
from pathlib import Path
from fastbp import checkpoint
folder, kills, rng = Path(sys.argv[1]), int(sys.argv[2]), random.Random(0)
path, seen = folder / "state.safetensors", set()
checkpoint.save(path, {"x": np.zeros(20_000)})
for number in range(kills):
    begun, at_work = os.pipe()
    child = os.fork()
    if child == 0:
        for value in range(number + 1, number + 10**6):
            checkpoint.save(path, {"x": np.full(20_000, float(value))})
            os.write(at_work, b".")
    os.read(begun, 1)
    time.sleep(rng.random() * 0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(begun)
    os.close(at_work)
    x = checkpoint.load(path)[0]["x"]  # raises if it is not whole
    assert (x == x[0]).all()
    seen.add(x[0])
    parts = [name for name in os.listdir(folder) if name != path.name]
    assert len(parts) <= 1, parts
    for name in parts:
        os.unlink(folder / name)
print(len(seen))
"""


@pytest.mark.parametrize("kills", [60, pytest.param(2000, marks=pytest.mark.nightly)])
def test_a_saver_that_is_killed_leaves_the_old_file_or_the_new_one(tmp_path, kills):
    result = subprocess.run([sys.executable, "-c", SAVER, str(tmp_path), str(kills)], text=True,
                            capture_output=True, timeout=600, check=False, env=ENVIRONMENT)
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) > kills // 2  # so that it was killed while it saved
