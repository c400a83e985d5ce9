"""What the classifiers do with all their parameters: draw them, and keep the weights small."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

# OpenBLAS wakes its threads for longer vectors, and on busy cores waits for them.
_PART = 8192


def affine_params(sizes: Sequence[int], weight_scale: float, dtype: Any = np.float64
                  ) -> dict[str, Any]:
    """W1, b1, W2, b2, ... for layers between these sizes, their random numbers in that order."""
    params: dict[str, Any] = {}
    for layer, (d, m) in enumerate(itertools.pairwise(sizes), start=1):
        w = weight_scale * np.random.randn(d, m)  # noqa: NPY002 - the course's random numbers
        params[f"W{layer}"], params[f"b{layer}"] = w.astype(dtype), np.zeros(m, dtype)
    return params


def penalty(params: dict[str, Any], grads: dict[str, np.ndarray], reg: float) -> float:
    """reg/2 * the sum of all squared weights (not biases); its gradient is added to `grads`."""
    if reg == 0:
        return 0.0
    total = 0.0
    for name, w in params.items():
        if name.startswith("W"):
            total += _sum_of_squares(w.reshape(-1))
            grads[name] += reg * w
    return 0.5 * reg * total


def _sum_of_squares(x: np.ndarray) -> float:
    """The sum of x*x, x (size,): in float64 over parts that are summed in x's dtype."""
    parts = (x[begin : begin + _PART] for begin in range(0, x.size, _PART))
    return sum(float(np.dot(part, part)) for part in parts)
