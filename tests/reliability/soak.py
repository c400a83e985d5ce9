"""Random trainings with random interruptions, one after the other: python soak.py FOLDER SECONDS.

Each is trained undisturbed once, then again in pieces: Ctrl-C, a stop, an exception in a callback,
a disk that fails; a new trainer goes on from the folder each time, on another number of threads.
At its end every bit must be that of the undisturbed one. Writes what the process has in use after
each training to FOLDER/seen: seconds, bytes of memory, files, threads, interruptions.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import fuzz_networks
import numpy as np
from test_memory import counts, resident
from trainings import outcome

import fastbp
from fastbp.callbacks import Callback, Checkpoint

SEEDS = 60
"""So many trainings, over and over: what is kept for sizes seen must not grow in a second round."""
EPOCHS = 5


class Break(Exception):
    """A callback's mistake."""


class At(Callback):
    """Does something at the edge after a step."""

    def __init__(self, step: int, action: Any) -> None:
        self.next_step, self.action = step, action

    def on_steps(self, trainer: Any, steps: Any) -> None:
        if trainer.step_count == self.next_step:
            self.action(trainer)


class Training:
    """One random training, in a folder of its own."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.seed, self.folder = seed, folder

    def fit(self, *hooks: Callback, threads: int = 1, **settings: Any) -> list[Any]:
        """The outcome of a fit of a new trainer."""
        rng = np.random.Generator(np.random.PCG64(self.seed))
        net = fuzz_networks.network(rng, self.seed, str(rng.choice(["float32", "float64"])))
        loss = str(rng.choice(fuzz_networks.LOSSES))
        x, y = fuzz_networks.samples(rng, net, loss)
        with fastbp.threads(threads, oversubscribe=True):
            trainer = fastbp.Trainer(net, loss=loss, optimizer=fuzz_networks.optimizer(rng),
                                     seed=self.seed)
            history = trainer.fit(x, y, epochs=EPOCHS, batch_size=int(rng.integers(1, 20)),
                                  callbacks=hooks, **settings)
            if not trainer.finished:
                raise KeyboardInterrupt
            return outcome(trainer, history)

    def piece(self, rng: np.random.Generator, steps: int, seconds: float) -> list[Any]:
        """Go on from the folder; KeyboardInterrupt, Break or OSError where it is interrupted."""
        kind = str(rng.choice(["signal", "stop", "break", "disk", "none"]))
        hooks: list[Callback] = [Checkpoint(self.folder, every_epochs=None,
                                            every_steps=int(rng.integers(1, steps + 1)))]
        timer, fault = None, contextlib.nullcontext()
        at = int(rng.integers(1, steps + 1))
        if kind == "signal":
            timer = threading.Timer(rng.random() * seconds, signal.pthread_kill,
                                    (threading.get_ident(), signal.SIGINT))
            timer.start()
        elif kind == "stop":
            hooks.insert(0, At(at, lambda trainer: setattr(trainer, "stop_now", True)))
        elif kind == "break":
            hooks.append(At(at, _break))
        elif kind == "disk":
            fault = failing_disk(int(rng.integers(1, 5)))
        try:
            with fault:
                return self.fit(*hooks, threads=int(rng.integers(1, 4)), resume=self.folder)
        finally:
            if timer is not None:
                timer.cancel()
                timer.join()
                time.sleep(0)  # a Ctrl-C that came late is raised here, not after the caller's try


def _break(trainer: Any) -> None:
    raise Break


@contextlib.contextmanager
def failing_disk(number: int) -> Any:
    """That fsync from now on fails once."""
    real, left = os.fsync, [number]

    def fsync(handle: int) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise OSError(28, "No space left on device")
        real(handle)

    os.fsync = fsync
    try:
        yield
    finally:
        os.fsync = real


def one(seed: int, rng: np.random.Generator, folder: Path) -> int | None:
    """How often the training was interrupted; None where it diverges undisturbed."""
    training, begin = Training(seed, folder), time.perf_counter()
    try:
        expected = training.fit()
    except fastbp.NonFiniteError:
        return None
    seconds, steps = time.perf_counter() - begin, max(1, expected[0])
    for interruptions in range(1000):
        try:
            found = training.piece(rng, steps, seconds)
        except (KeyboardInterrupt, Break, OSError):
            continue
        assert found == expected, f"training {seed} after {interruptions} interruptions"
        shutil.rmtree(folder, ignore_errors=True)
        return interruptions
    raise AssertionError(f"training {seed} never ends")


def main(folder: Path, seconds: float) -> None:
    # A rename whose folder could not be synced is a file all the same.
    warnings.simplefilter("ignore", fastbp.DurabilityWarning)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    rng = np.random.Generator(np.random.PCG64(0))
    x = np.ones((2, 1, 3, 3))
    for dtype in ("float32", "float64"):  # compiling, if need be, does not count
        fastbp.ops.conv2d_forward(x.astype(dtype), x[:1].astype(dtype), np.ones(1, dtype))
    begin, number = time.monotonic(), 0
    with (folder / "seen").open("w", buffering=1) as seen:
        while (now := time.monotonic() - begin) < seconds:
            interruptions = one(number % SEEDS, rng, folder / "saved")
            number += 1
            if interruptions is not None:
                files, threads, _ = counts()
                seen.write(f"{now:.1f} {resident()} {files} {threads} {interruptions}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]))
