"""MNIST to 98 % of test accuracy: the recipe, and trainings by it in processes of their own.

How the recipe was found: docs/design/005-mnist-recipe.md.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastbp._errors import ArgumentError
from fastbp.benchmark import _mnist_run
from fastbp.benchmark.contestants import CONTESTANTS, environment_of
from fastbp.benchmark.rows import NotMeasured

CONTENDERS = tuple(name for name in _mnist_run.RUNNERS if name != "fastbp")
"""The peers that can follow the recipe, or (scikit-learn) come as close as they are able to."""

_TIMEOUT = 600


@dataclass(frozen=True)
class Recipe:
    """How the network is trained.

    Arguments:
        widths: of the layers; ReLU between them, He's initial weights, Glorot's in the last.
        accuracy: of the test set, which a training must reach by its end.
        epochs, batch_size: the last batch of an epoch is smaller.
        lr: peak of the one-cycle schedule; warmup, start_factor, final_factor: its shape
            (`schedules.OneCycle`). beta1, beta2, eps: Adam's.
        label_smoothing: share of each target that goes to all classes alike.
        sklearn: what scikit-learn, which has no such schedule, gets instead: its batch size, and
            a rate for each epoch until it is there.
    """

    widths: tuple[int, ...] = (784, 256, 128, 10)
    accuracy: float = 0.98
    epochs: int = 2
    batch_size: int = 256
    lr: float = 8e-3
    warmup: float = 0.2
    start_factor: float = 0.04
    final_factor: float = 4e-6
    beta1: float = 0.85
    beta2: float = 0.95
    eps: float = 1e-8
    label_smoothing: float = 0.1
    sklearn: dict[str, Any] = field(default_factory=lambda: {
        "batch_size": 256, "rates": (4e-3, 2.5e-3, 1e-3, 2e-4, 1e-4, 5e-5)
    })  # fmt: skip


RECIPE = Recipe()


@dataclass(frozen=True)
class Outcome:
    """A training: seconds on its own clock, accuracy at its end, epochs, seconds of its process."""

    seconds: float
    accuracy: float
    epochs: int
    process_seconds: float


def check_folder(folder: str) -> None:
    """Refuse a folder without the four files.

    Raises:
        ArgumentError: one of them is missing.
    """
    for name in _mnist_run.FILES:
        if not any(Path(folder, name + end).is_file() for end in ("", ".gz")):
            raise ArgumentError(f"--mnist {folder}: {name} is not there, nor {name}.gz",
                                "the four IDX files of MNIST")  # fmt: skip


def train(name: str, folder: str, seed: int, threads: int, recipe: Recipe = RECIPE) -> Outcome:
    """One training by a contestant, in a new process.

    Raises:
        NotMeasured: the process failed.
    """
    request = {"peer": name, "folder": folder, "seed": seed, "threads": threads,
               "recipe": dataclasses.asdict(recipe)}  # fmt: skip
    command = [sys.executable, "-P", "-W", "ignore", _mnist_run.__file__]
    begin = time.perf_counter()
    try:
        done = subprocess.run(command, input=json.dumps(request), check=False, text=True,
                              capture_output=True, timeout=_TIMEOUT,
                              env=environment_of(CONTESTANTS[name], threads))  # fmt: skip
    except subprocess.TimeoutExpired:
        raise NotMeasured(f"not done after {_TIMEOUT} s") from None
    seconds = time.perf_counter() - begin
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"status {done.returncode}"]
        raise NotMeasured(lines[-1])
    return Outcome(**json.loads(done.stdout.splitlines()[-1]), process_seconds=seconds)
