"""Random layers for images, for the fuzzers of whole networks."""

from __future__ import annotations

import math

import numpy as np

import fastbp
from fastbp.layers import Layer
from fastbp.layers.base import Shape

FUSED = ("identity", "relu", "leaky_relu", "tanh", "gelu", "silu")


def image_shape(rng: np.random.Generator) -> Shape:
    """(C, H, W): mostly small and odd, now and then wider than two registers."""
    side = int(rng.choice([4, 9, 20]))
    wide = 40 if rng.random() < 0.2 else side
    return int(rng.integers(1, 7)), int(rng.integers(1, side + 1)), int(rng.integers(1, wide + 1))


def _divisor(rng: np.random.Generator, number: int) -> int:
    return int(rng.choice([d for d in range(1, number + 1) if number % d == 0]))


def _pair(rng: np.random.Generator, low: int, high: int) -> tuple[int, int]:
    return int(rng.integers(low, high + 1)), int(rng.integers(low, high + 1))


def _conv(rng: np.random.Generator, channels: int) -> Layer:
    groups = _divisor(rng, channels) if rng.random() < 0.4 else 1
    most = 40 if rng.random() < 0.5 else 6
    return fastbp.Conv2D(
        channels, groups * int(rng.integers(1, most // groups + 2)), _pair(rng, 1, 4),
        stride=_pair(rng, 1, 3) if rng.random() < 0.4 else 1, padding=_pair(rng, 0, 3),
        dilation=_pair(rng, 1, 2) if rng.random() < 0.3 else 1, groups=groups,
        activation=str(rng.choice(FUSED)), bias=bool(rng.integers(2)))


def _pool(rng: np.random.Generator) -> Layer:
    size = _pair(rng, 1, 4)
    stride = _pair(rng, 1, 4) if rng.random() < 0.5 else None
    padding = int(rng.integers(min(size)))
    if rng.random() < 0.5:
        return fastbp.MaxPool2D(size, stride=stride, padding=padding)
    return fastbp.AvgPool2D(size, stride=stride, padding=padding,
                            count_include_pad=bool(rng.integers(2)))


def _layer(rng: np.random.Generator, shape: Shape) -> Layer:
    channels = shape[0]
    kind = rng.choice(["conv", "pool", "norm", "other"], p=[0.45, 0.25, 0.15, 0.15])
    if kind == "conv":
        return _conv(rng, channels)
    if kind == "pool":
        return _pool(rng)
    if kind == "norm":
        return (fastbp.SpatialBatchNorm(channels) if rng.integers(2)
                else fastbp.GroupNorm(_divisor(rng, channels), channels))
    size = math.prod(shape)
    return (fastbp.ReLU(), fastbp.Tanh(), fastbp.GELU(), fastbp.LeakyReLU(), fastbp.Dropout(0.3),
            fastbp.BatchNorm(size), fastbp.LayerNorm(size))[rng.integers(7)]


def image_layers(rng: np.random.Generator, shape: Shape) -> tuple[list[Layer], Shape]:
    """(one to five layers, Flatten or not at their end; the shape that comes out).

    Windows that do not fit are drawn again.
    """
    found: list[Layer] = []
    wanted = int(rng.integers(1, 6))
    while len(found) < wanted:
        layer = _layer(rng, shape)
        try:
            shape = layer.output_shape(shape)
        except fastbp.FastbpError:
            continue
        found.append(layer)
    if rng.random() < 0.5:
        found.append(fastbp.Flatten())
        shape = found[-1].output_shape(shape)
    return found, shape
