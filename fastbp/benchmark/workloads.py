"""Sizes and data of all benchmarks: the one home of both, also for asv (bench/).

Data are the same in every process: NumPy's PCG64 with fixed seeds. Sizes stay what they are; what
measures something else gets another name.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

NETWORKS: dict[str, tuple[tuple[int, ...], int]] = {
    "tiny": ((64, 64, 64, 10), 32),
    "small": ((784, 256, 128, 10), 128),
    "medium": ((784, 512, 512, 10), 256),
    "wide": ((1024, 1024, 1024, 1024, 10), 512),
    "large": ((4096, 4096, 1000), 512),
}
"""Widths and batch of the training steps."""

SGD_RATE, MOMENTUM, ADAM_RATE = 0.01, 0.9, 1e-3
BETA1, BETA2, ADAM_EPS = 0.9, 0.999, 1e-8
CHECKED_STEPS = 5
"""Steps whose losses, and whose change of the first weights, are compared."""

BATCHNORM_EPS, BATCHNORM_MOMENTUM = 1e-5, 0.9
BATCHNORM_SHAPES = ((256, 512), (16384, 1024))
LOSS_SHAPES = ((256, 10), (8192, 1000))
ADAM_SIZES = (670_000, 16_000_000)
ADAM_CHECKED_STEPS = 3

DIGITS_BATCH, DIGITS_EPOCHS = 32, 10


def reals(*shape: int, dtype: Any = np.float32, seed: int = 0) -> Array:
    """Normal random numbers."""
    generator = np.random.default_rng(seed)
    kind = np.dtype(dtype)
    if kind == np.float32:
        return generator.standard_normal(shape, np.float32)
    return generator.standard_normal(shape).astype(kind)


def labels(count: int, classes: int, seed: int = 1) -> NDArray[np.int64]:
    """Random class labels."""
    return np.random.default_rng(seed).integers(0, classes, count)


def matrices(spec: dict[str, Any]) -> tuple[Array, Array]:
    """The operands of a product: a (M, K), b (K, N), as views of their transposes where asked."""
    m, k, n, dtype = spec["m"], spec["k"], spec["n"], spec["dtype"]
    a = reals(k, m, dtype=dtype).T if spec.get("transpose_a") else reals(m, k, dtype=dtype)
    b = (reals(n, k, dtype=dtype, seed=1).T if spec.get("transpose_b")
         else reals(k, n, dtype=dtype, seed=1))  # fmt: skip
    return a, b


def weights(widths: tuple[int, ...], seed: int = 2) -> list[Array]:
    """Initial weights (in, out) of each layer, He's deviation; biases start at 0."""
    return [
        reals(fan_in, fan_out, seed=seed + i) * np.float32(np.sqrt(2.0 / fan_in))
        for i, (fan_in, fan_out) in enumerate(itertools.pairwise(widths))
    ]


def training_batch(widths: tuple[int, ...], batch: int) -> tuple[Array, NDArray[np.int64]]:
    """A batch in which every sample appears twice, with different labels.

    So no number of timed steps can drive the loss to 0, where gradients become denormal numbers
    and every package slows down by its own amount.
    """
    half, classes = (batch + 1) // 2, widths[-1]
    x, y = reals(half, widths[0]), labels(half, classes)
    return np.concatenate([x, x])[:batch], np.concatenate([y, (y + 1) % classes])[:batch]


def step_flops(widths: tuple[int, ...], batch: int) -> float:
    """2 N in out for forward, dW and dX of each layer; the first layer needs no dX."""
    products = [fan_in * fan_out for fan_in, fan_out in itertools.pairwise(widths)]
    return float(2 * batch * (3 * sum(products) - products[0]))


def batchnorm_data(shape: tuple[int, int]) -> tuple[Array, Array, Array, Array]:
    """x, upstream gradient, gamma, beta."""
    columns = shape[1]
    gamma = np.linspace(0.5, 1.5, columns, dtype=np.float32)
    return reals(*shape) + np.float32(0.5), reals(*shape, seed=1), gamma, reals(columns, seed=3)


def loss_data(shape: tuple[int, int]) -> tuple[Array, NDArray[np.int64]]:
    """Logits and labels."""
    return reals(*shape), labels(*shape)


def adam_data(size: int) -> tuple[Array, Array]:
    """Parameters and their gradient."""
    return reals(size), reals(size, seed=1) * np.float32(0.1)


def digits() -> tuple[Array, NDArray[np.int64]]:
    """The bundled digits: float32 (1797, 64) in [0, 1], labels (1797,)."""
    from fastbp.datasets import load_digits

    return load_digits()
