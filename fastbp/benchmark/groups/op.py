"""Operations that memory limits: BatchNorm, softmax cross-entropy, Adam alone."""

from __future__ import annotations

import math

from fastbp.benchmark.groups import GroupOptions
from fastbp.benchmark.rows import Row
from fastbp.benchmark.workloads import ADAM_SIZES, BATCHNORM_SHAPES, LOSS_SHAPES

PEERS = ("numpy", "torch", "torch.compile", "jax")
_CACHED = 1 << 25
"""Bytes of traffic up to which caches may serve it: no share of the memory's speed then."""

_BATCHNORM_BYTES = 8 + 12
_LOSS_BYTES = 8
_ADAM_BYTES = 4 * (4 + 3)
"""Least traffic of a float32 element: forward reads x, writes y; backward reads x, dy, writes dx.
The loss reads the logits and writes their gradient. Adam reads w, g, m, v and writes w, m, v."""


def rows(options: GroupOptions) -> list[Row]:
    """Each in a size that caches hold and in one that they do not."""
    shapes: list[tuple[str, str, tuple[int, int], int, tuple[float, ...]]]
    shapes = [("BatchNorm", "batchnorm", shape, _BATCHNORM_BYTES, (1e-4,) * 4)
              for shape in BATCHNORM_SHAPES]  # fmt: skip
    shapes += [("softmax-CE", "softmax_cross_entropy", shape, _LOSS_BYTES, (1e-5, 1e-5))
               for shape in LOSS_SHAPES]  # fmt: skip
    found = [
        Row("op", f"{name} {'x'.join(map(str, shape))}", kind, {"shape": shape},
            bytes=_traffic(math.prod(shape) * per_element), tolerances=tolerances, peers=PEERS)
        for name, kind, shape, per_element, tolerances in shapes
    ]  # fmt: skip
    return found + [
        Row("op", f"Adam {size // 1000:,}k", "adam", {"size": size},
            bytes=_traffic(size * _ADAM_BYTES), tolerances=(1e-3,), peers=PEERS)
        for size in ADAM_SIZES
    ]  # fmt: skip


def _traffic(size: float) -> float:
    return float(size) if size > _CACHED else 0.0
