"""What the initialisers draw from: variance and, for the uniform ones, the limit.

docs/math.md#initialization; Glorot & Bengio 2010, He et al. 2015, LeCun et al. 1998.
"""

from __future__ import annotations

import math


def variance(name: str, fan_in: int, fan_out: int) -> float:
    """Variance of one weight under `name`, e.g. "he_normal" or "glorot_uniform"."""
    family, shape = name.split("_")
    assert shape in ("normal", "uniform"), name
    return {
        "glorot": 2 / (fan_in + fan_out),
        "he": 2 / fan_in,
        "lecun": 1 / fan_in,
    }[family]


def uniform_limit(name: str, fan_in: int, fan_out: int) -> float:
    """The limit a of U(-a, a), whose variance is a^2/3."""
    return math.sqrt(3 * variance(name, fan_in, fan_out))


INITIALIZERS = tuple(
    f"{family}_{shape}" for family in ("glorot", "he", "lecun") for shape in ("uniform", "normal")
)
"""The names, as the public API spells them."""
