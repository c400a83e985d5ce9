"""Training steps on a fixed batch: forward, softmax cross-entropy, backward, update."""

from __future__ import annotations

from fastbp.benchmark.groups import GroupOptions
from fastbp.benchmark.rows import Row
from fastbp.benchmark.workloads import NETWORKS, step_flops

OPTIMIZERS = {"sgd": "SGD", "adam": "Adam"}
PEERS = ("numpy", "torch", "torch.compile", "jax")
TOLERANCES = {"sgd": (1e-3, 1e-3), "adam": (1e-3, 3e-2)}
"""Of five losses, and of what five steps change the first weights by. Rounding differs, and ReLU
turns it into a unit's being on or off; Adam moves a weight whose gradient is only rounding as far
as any other (wide: 7e-3 between fastbp and NumPy)."""


def rows(options: GroupOptions) -> list[Row]:
    """Every network with SGD + momentum and with Adam."""
    return [
        Row("step", f"{name} {label}", "step",
            {"widths": widths, "batch": batch, "optimizer": optimizer},
            flops=step_flops(widths, batch), items=batch, peers=PEERS,
            tolerances=TOLERANCES[optimizer])
        for name, (widths, batch) in NETWORKS.items()
        for optimizer, label in OPTIMIZERS.items()
    ]  # fmt: skip
