"""A job as a scheduler starts it: python job.py FOLDER EPOCHS LIMIT CPU.

Trains on files mapped into memory, saves in the middle of epochs, goes on where it was. No file may
be longer than LIMIT bytes, as on a full disk (0: any may), and only that CPU is used (-1: all are).
Leaves FOLDER/outcome at its end.
"""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path
from typing import Any

import numpy as np
from trainings import outcome

import fastbp
from fastbp.callbacks import Callback, Checkpoint, JSONLogger, Signals

ROWS, FEATURES, CLASSES, BATCH = 2000, 64, 10, 50


class Begun(Callback):
    """Says that training has begun."""

    def on_fit_begin(self, trainer: Any) -> None:
        print("begun", flush=True)


def write_data(folder: Path) -> None:
    rng = np.random.Generator(np.random.PCG64(0))
    x = rng.normal(size=(ROWS, FEATURES)).astype(np.float32)
    np.save(folder / "x.npy", x)
    np.save(folder / "y.npy", x[:, :CLASSES].argmax(axis=1))


def main(folder: Path, epochs: int, limit: int, cpu: int) -> int:
    if cpu >= 0:
        os.sched_setaffinity(0, {cpu})
    x = np.load(folder / "x.npy", mmap_mode="r")
    y = np.load(folder / "y.npy", mmap_mode="r")
    network = fastbp.Sequential(
        [fastbp.Affine(FEATURES, 300), fastbp.BatchNorm(300), fastbp.ReLU(), fastbp.Dropout(0.2),
         fastbp.Affine(300, 300), fastbp.ReLU(), fastbp.Affine(300, CLASSES)], seed=1)
    trainer = fastbp.Trainer(network, optimizer="adam", schedule=fastbp.schedules.OneCycle())
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    with Signals() as signals:
        history = trainer.fit(
            x, y, epochs=epochs, batch_size=BATCH, resume=folder / "saved",
            callbacks=[Begun(), JSONLogger(folder / "log.jsonl"), signals,
                       Checkpoint(folder / "saved", every_steps=210, every_epochs=None)])
    if trainer.finished:
        (folder / "outcome").write_text(repr(outcome(trainer, history)))
        return 0
    return signals.status


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), *map(int, sys.argv[2:])))
