"""Making the compiled kernels ready before anything is timed."""

from __future__ import annotations

import time

import numpy as np

import fastbp
from fastbp._native import announce_compilation

DTYPES = ("float32", "float64")
"""Each has compiled code of its own."""

_ROWS, _FEATURES, _CLASSES = 64, 8, 3


def make_ready(dtype: str) -> float:
    """Compile the kernels of `dtype`, saying so, or load them from the cache; the seconds it took.

    Compiled code is the same for every network without images, so one training step and one
    prediction of a small one go through all of it.
    """
    announce_compilation(True)
    start = time.perf_counter()
    rng = np.random.default_rng(0)
    x = rng.standard_normal((_ROWS, _FEATURES)).astype(dtype)
    y = rng.integers(0, _CLASSES, _ROWS)
    network = fastbp.Sequential([fastbp.Affine(_FEATURES, _CLASSES)], dtype=dtype, seed=0)
    trainer = fastbp.Trainer(network, loss="softmax_cross_entropy", optimizer=fastbp.Adam(1e-3))
    trainer.train_step(x, y)
    network.predict(x)
    return time.perf_counter() - start


def make_images_ready(dtype: str) -> float:
    """`make_ready` for the kernels of convolution and pooling."""
    announce_compilation(True)
    start = time.perf_counter()
    image = np.ones((1, 1, 2, 2), dtype)
    fastbp.ops.conv2d_forward(image, image)
    return time.perf_counter() - start
