"""Training steps and whole fits."""

from __future__ import annotations

from typing import Any, ClassVar

import fastbp
from fastbp.datasets import load_digits

from .common import NETWORKS, OPTIMIZERS, network, seconds_per_call, trainer


class TrainStep:
    """`Trainer.train_step`: forward, softmax cross-entropy, backward, update."""

    params: ClassVar[list[Any]] = [list(NETWORKS), list(OPTIMIZERS)]
    param_names: ClassVar[list[str]] = ["network", "optimizer"]
    unit = "s"

    def setup(self, name: str, optimizer: str) -> None:
        self.trainer, self.x, self.y = trainer(name, optimizer)

    def track_step(self, name: str, optimizer: str) -> float:
        return seconds_per_call(lambda: self.trainer.train_step(self.x, self.y))


class Digits:
    """The bundled data through 64-128-10, batch 32."""

    unit = "s"
    epochs = 5

    def setup(self) -> None:
        self.x, self.y = load_digits()

    def fit(self) -> Any:
        made = fastbp.Trainer(
            network((64, 128, 10)), loss="softmax_cross_entropy", optimizer=fastbp.Adam(1e-3)
        )
        return made.fit(self.x, self.y, epochs=self.epochs, batch_size=32, progress=False)

    def track_epoch(self) -> float:
        return seconds_per_call(self.fit) / self.epochs

    def track_loss_after_training(self) -> float:
        """Not a time: a change that makes training faster must leave this where it is."""
        return float(self.fit().loss[-1])

    track_loss_after_training.unit = "loss"  # type: ignore[attr-defined]
