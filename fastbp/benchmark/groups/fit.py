"""Whole fits of small networks: what a step costs when Python does not stand in between."""

from __future__ import annotations

import math

from fastbp.benchmark import workloads
from fastbp.benchmark.groups import GroupOptions
from fastbp.benchmark.rows import Row

SAMPLES = 1797
NETWORKS = {
    "digits 64-64-64-10": (64, 64, 64, 10),
    "digits 64-100-10": (64, 100, 10),
    "digits 64-256-128-10": (64, 256, 128, 10),
}
"""The tiny network of the training steps, scikit-learn's default, and one of some more neurons."""

ACCURACY_TOLERANCE = 0.03
"""Training accuracies after as many epochs, each contestant with its own order of samples."""


def rows(options: GroupOptions) -> list[Row]:
    """One call: ten epochs of the bundled digits, batch 32, Adam."""
    batch, epochs = workloads.DIGITS_BATCH, workloads.DIGITS_EPOCHS
    return [
        Row("fit", name, "fit", {"widths": widths, "batch": batch, "epochs": epochs},
            items=epochs * SAMPLES, steps=epochs * math.ceil(SAMPLES / batch),
            tolerances=(ACCURACY_TOLERANCE,))
        for name, widths in NETWORKS.items()
    ]  # fmt: skip
