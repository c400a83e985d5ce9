"""Networks of `fastbp.compat.nielsen` beside their per-sample NumPy twins, and data for both.

Bound: each step sums at most 49 products a number; a few dozen steps with learning rates up to 3
multiply an error by some thousand at most, so 1e-9 of the largest element is far above n*u.
"""
# ruff: noqa: NPY002 - the book draws from the global generators

import random

import numpy as np

from fastbp.benchmark._peers import _numpy_nielsen as twin
from fastbp.compat.nielsen import network, network2


def close(ours, wanted, bound=1e-9):
    for mine, theirs in zip(ours, wanted, strict=True):
        assert mine.dtype == np.float64
        assert mine.shape == theirs.shape
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=bound * np.abs(theirs).max())


def make_data(n, sizes, dtype=np.float32, seed=0):
    rng = np.random.default_rng(seed)
    x = (rng.random((n, sizes[0], 1)) * (255 if dtype == np.uint8 else 1)).astype(dtype)
    if dtype == np.uint8:
        x //= 100
    labels = rng.integers(0, sizes[-1], n)
    return [(column, np.eye(sizes[-1])[:, [label]])
            for column, label in zip(x, labels, strict=True)]


def pair(sizes, kind="network", **settings):
    nets = []
    makers = {"network": (network.Network, twin.Network1),
              "network2": (network2.Network, twin.Network)}[kind]
    for make in makers:
        np.random.seed(5)
        nets.append(make(sizes, **settings))
    return nets


def seeded(function, *arguments, **settings):
    random.seed(9)
    return function(*arguments, **settings)
