"""A training to stop and to go on with, and what must be the same afterwards."""

from __future__ import annotations

from typing import Any

import numpy as np

import fastbp
from fastbp import callbacks, schedules

OPTIMIZERS = {
    "sgd": fastbp.SGD(0.05),
    "momentum": fastbp.SGD(0.05, momentum=0.9, weight_decay=1e-3),
    "nesterov": fastbp.SGD(0.05, momentum=0.9, nesterov=True),
    "adagrad": fastbp.AdaGrad(0.02),
    "rmsprop": fastbp.RMSprop(1e-3),
    "adam": fastbp.Adam(1e-3, weight_decay=1e-3),
    "adamw": fastbp.AdamW(1e-3),
}
ROWS, EPOCHS, BATCH = 310, 4, 32
STEPS = EPOCHS * -(-ROWS // BATCH)


def data() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.Generator(np.random.PCG64(5))
    x = rng.normal(size=(ROWS + 60, 20)).astype(np.float32)
    return x, (x[:, :4] + 0.3 * rng.normal(size=(len(x), 4))).argmax(axis=1)


def trainer(optimizer: str = "adam", schedule: Any = None, **settings: Any) -> fastbp.Trainer:
    """BatchNorm and dropout, whose state and masks must go on, too."""
    network = fastbp.Sequential(
        [fastbp.Affine(20, 40), fastbp.BatchNorm(40), fastbp.ReLU(), fastbp.Dropout(0.2),
         fastbp.Affine(40, 4)], seed=3)
    return fastbp.Trainer(network, optimizer=OPTIMIZERS[optimizer],
                          schedule=schedule or schedules.OneCycle(), seed=7, **settings)


class StopAt(callbacks.Callback):
    """Ends the fit at the edge after a certain step of the trainer."""

    def __init__(self, step: int) -> None:
        self.next_step = step

    def on_steps(self, trainer: Any, steps: Any) -> None:
        if trainer.step_count == self.next_step:
            trainer.stop_now = True


def fit(trainer: fastbp.Trainer, *hooks: callbacks.Callback, **settings: Any) -> fastbp.History:
    x, y = data()
    return trainer.fit(x[:ROWS], y[:ROWS], epochs=EPOCHS, batch_size=BATCH,
                       validation_data=(x[ROWS:], y[ROWS:]), callbacks=hooks, **settings)


def outcome(trainer: fastbp.Trainer, history: fastbp.History) -> list[Any]:
    """All that must be the same, in bits: arena with padding, slots, statistics, history."""
    rows = [{k: v for k, v in row.items() if k not in ("seconds", "samples_per_second")}
            for row in history]
    arrays = [trainer.network.values, *trainer.slots, *trainer.network.buffers.values()]
    return [trainer.step_count, rows, *(array.tobytes() for array in arrays)]
