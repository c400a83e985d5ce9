"""What the benchmarks share: data, and the time of one call."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

import fastbp

REPEATS = 7
SAMPLE = 0.02
"""Seconds that one timed loop takes at least: a call of 1 µs is then made 20 000 times."""

NETWORKS = {
    "tiny": ((64, 64, 64, 10), 32),
    "small": ((784, 256, 128, 10), 128),
    "medium": ((784, 512, 512, 10), 256),
}
"""Widths and batch; names as in docs/design, so that tables compare."""

OPTIMIZERS: dict[str, Callable[[], Any]] = {
    "sgd": lambda: fastbp.SGD(0.01, momentum=0.9),
    "adam": lambda: fastbp.Adam(1e-3),
}


def seconds_per_call(function: Callable[[], Any]) -> float:
    """The median over `REPEATS` loops of the time of one call, after one call that is not timed."""
    function()
    loops, elapsed = 1, 0.0
    while (elapsed := _loop(function, loops)) < SAMPLE:
        loops = max(2 * loops, int(loops * SAMPLE / max(elapsed, 1e-9)))
    return float(np.median([elapsed / loops, *(_loop(function, loops) / loops
                                               for _ in range(REPEATS - 1))]))  # fmt: skip


def _loop(function: Callable[[], Any], loops: int) -> float:
    begin = time.perf_counter()
    for _ in range(loops):
        function()
    return time.perf_counter() - begin


def reals(*shape: int, dtype: Any = np.float32, seed: int = 0) -> NDArray[Any]:
    """Normal random numbers, the same every time."""
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def labels(count: int, classes: int, seed: int = 1) -> NDArray[np.int64]:
    """Random class labels, the same every time."""
    return np.random.default_rng(seed).integers(0, classes, count)


def network(widths: tuple[int, ...], dtype: str = "float32") -> fastbp.Sequential:
    """Affine layers with ReLU between them."""
    layers: list[Any] = []
    for fan_in, fan_out in itertools.pairwise(widths):
        layers += [fastbp.Affine(fan_in, fan_out), fastbp.ReLU()]
    return fastbp.Sequential(layers[:-1], dtype=dtype, seed=0)


def trainer(name: str, optimizer: str) -> tuple[fastbp.Trainer, NDArray[Any], NDArray[np.int64]]:
    """A trainer of one of `NETWORKS`, and a batch for it."""
    widths, batch = NETWORKS[name]
    made = fastbp.Trainer(
        network(widths), loss="softmax_cross_entropy", optimizer=OPTIMIZERS[optimizer]()
    )
    return made, reals(batch, widths[0]), labels(batch, widths[-1])
