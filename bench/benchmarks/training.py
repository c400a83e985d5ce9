"""What training arrives at: fast but wrong does not count."""

from __future__ import annotations

from typing import Any

from fastbp.benchmark._peers.fastbp_ import trainer
from fastbp.benchmark.workloads import CHECKED_STEPS, DIGITS_BATCH, NETWORKS, digits, training_batch


class Loss:
    """Not a time: a change that makes training faster must leave these where they are."""

    unit = "loss"

    def track_digits_after_five_epochs(self) -> float:
        made: Any = trainer((64, 128, 10), "adam")
        history = made.fit(*digits(), epochs=5, batch_size=DIGITS_BATCH)
        return float(history.loss[-1])

    def track_small_step(self) -> float:
        widths, batch = NETWORKS["small"]
        made, data = trainer(widths, "sgd"), training_batch(widths, batch)
        return [made.train_step(*data) for _ in range(CHECKED_STEPS)][-1]
