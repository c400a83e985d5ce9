"""How weights start: random arrays whose variance suits the size of a layer.

Every function has the signature `(rng, shape, fan_in, fan_out, dtype)`. Numbers are drawn as
float64 from `np.random.Generator(np.random.PCG64(seed))` in C order and then rounded, so both
dtypes start from the same numbers, whatever the number of threads.
Derivations: docs/math.md#initialization.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from fastbp._errors import ArgumentError

__all__ = [
    "get",
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "lecun_normal",
    "lecun_uniform",
    "name_of",
    "normal",
    "ones",
    "zeros",
]

Initializer = Callable[[np.random.Generator, tuple[int, ...], int, int, Any], np.ndarray]


def _uniform(
    rng: np.random.Generator, shape: tuple[int, ...], variance: float, dtype: Any
) -> np.ndarray:
    """U(-a, a) with a = sqrt(3*variance)."""
    limit = math.sqrt(3.0 * variance)
    return rng.uniform(-limit, limit, shape).astype(dtype)


def _gauss(
    rng: np.random.Generator, shape: tuple[int, ...], variance: float, dtype: Any
) -> np.ndarray:
    return (math.sqrt(variance) * rng.standard_normal(shape)).astype(dtype)


def glorot_uniform(
    rng: np.random.Generator, shape: tuple[int, ...], fan_in: int, fan_out: int, dtype: Any
) -> np.ndarray:
    """U(-a, a), a = sqrt(6 / (fan_in + fan_out)); Glorot & Bengio 2010, eq. 16."""
    return _uniform(rng, shape, 2.0 / max(fan_in + fan_out, 1), dtype)


def glorot_normal(
    rng: np.random.Generator, shape: tuple[int, ...], fan_in: int, fan_out: int, dtype: Any
) -> np.ndarray:
    """N(0, 2 / (fan_in + fan_out)); Glorot & Bengio 2010, eq. 12."""
    return _gauss(rng, shape, 2.0 / max(fan_in + fan_out, 1), dtype)


def he_uniform(
    rng: np.random.Generator, shape: tuple[int, ...], fan_in: int, fan_out: int, dtype: Any
) -> np.ndarray:
    """U(-a, a), a = sqrt(6 / fan_in): the variance 2/fan_in of He et al. 2015, eq. 10."""
    return _uniform(rng, shape, 2.0 / max(fan_in, 1), dtype)


def he_normal(
    rng: np.random.Generator, shape: tuple[int, ...], fan_in: int, fan_out: int, dtype: Any
) -> np.ndarray:
    """N(0, 2 / fan_in); He et al. 2015, eq. 10: for ReLU, which halves the variance."""
    return _gauss(rng, shape, 2.0 / max(fan_in, 1), dtype)


def lecun_uniform(
    rng: np.random.Generator, shape: tuple[int, ...], fan_in: int, fan_out: int, dtype: Any
) -> np.ndarray:
    """U(-a, a), a = sqrt(3 / fan_in): the variance 1/fan_in of LeCun et al. 1998, eq. 16."""
    return _uniform(rng, shape, 1.0 / max(fan_in, 1), dtype)


def lecun_normal(
    rng: np.random.Generator, shape: tuple[int, ...], fan_in: int, fan_out: int, dtype: Any
) -> np.ndarray:
    """N(0, 1 / fan_in); LeCun et al. 1998, eq. 16."""
    return _gauss(rng, shape, 1.0 / max(fan_in, 1), dtype)


def zeros(
    rng: np.random.Generator, shape: tuple[int, ...], fan_in: int, fan_out: int, dtype: Any
) -> np.ndarray:
    """All 0: biases, and the shift of a normalisation."""
    return np.zeros(shape, dtype)


def ones(
    rng: np.random.Generator, shape: tuple[int, ...], fan_in: int, fan_out: int, dtype: Any
) -> np.ndarray:
    """All 1: the scale of a normalisation."""
    return np.ones(shape, dtype)


def normal(std: float) -> Initializer:
    """The initializer N(0, std^2), whatever the layer's size; its name is "normal(<std>)"."""
    if not 0 <= std < math.inf:
        raise ArgumentError(f"normal(std={std!r})", "a standard deviation of 0 or more")

    def draw(
        rng: np.random.Generator, shape: tuple[int, ...], fan_in: int, fan_out: int, dtype: Any
    ) -> np.ndarray:
        return _gauss(rng, shape, std * std, dtype)

    draw.__name__ = f"normal({float(std)!r})"
    return draw


_BY_NAME: dict[str, Initializer] = {
    function.__name__: function
    for function in (
        glorot_uniform,
        glorot_normal,
        he_uniform,
        he_normal,
        lecun_uniform,
        lecun_normal,
        zeros,
        ones,
    )
}
NAMES = tuple(_BY_NAME)


def get(name: str | Initializer) -> Initializer:
    """The initializer of that name ("he_normal", "normal(0.01)"); a function is its own."""
    if callable(name):
        return name
    if name in _BY_NAME:
        return _BY_NAME[name]
    match = re.fullmatch(r"normal\((\d+(?:\.\d*)?(?:[eE][+-]?\d+)?)\)", str(name))
    if match is None:
        raise ArgumentError(f"initializer {name!r}", f"one of {', '.join(NAMES)}, normal(<std>)")
    return normal(float(match[1]))


def name_of(initializer: str | Initializer) -> str:
    """The name under which `get` finds it again (a user's own function: its `__name__`)."""
    return initializer if isinstance(initializer, str) else initializer.__name__
