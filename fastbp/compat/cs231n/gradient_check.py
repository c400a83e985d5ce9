"""Gradients by central differences, (f(x + h) - f(x - h)) / 2h, one element at a time.

Every function changes the array it is given in place while f runs, and restores it element by
element. `fastbp.gradcheck` tests all elements of a network at once.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

__all__ = [
    "eval_numerical_gradient",
    "eval_numerical_gradient_array",
    "eval_numerical_gradient_blobs",
    "eval_numerical_gradient_net",
    "grad_check_sparse",
    "np",
]


def eval_numerical_gradient(f: Callable[[np.ndarray], Any], x: np.ndarray, verbose: bool = True,
                            h: float = 1e-5) -> np.ndarray:
    """The gradient, of x's shape and dtype, of f (array -> number); verbose prints each element."""
    grad = np.zeros_like(x)
    for place, above, below in _differences(lambda: f(x), x, h):
        grad[place] = (above - below) / (2 * h)
        if verbose:
            print(place, grad[place])  # noqa: T201 - asked for
    return grad


def eval_numerical_gradient_array(f: Callable[[np.ndarray], Any], x: np.ndarray, df: Any,
                                  h: float = 1e-5) -> np.ndarray:
    """The gradient, of x's shape, of sum(f(x) * df) for f (array -> array)."""
    grad = np.zeros_like(x)
    for place, above, below in _differences(lambda: np.copy(f(x)), x, h):
        grad[place] = np.sum((above - below) * df) / (2 * h)
    return grad


def eval_numerical_gradient_blobs(f: Callable[..., Any], inputs: tuple[Any, ...], output: Any,
                                  h: float = 1e-5) -> list[np.ndarray]:
    """The gradient by each of `inputs` of sum(output.vals * output.diffs).

    f(*inputs, output) writes output.vals; blobs have arrays `vals` and `diffs`.
    """
    def run() -> np.ndarray:
        f(*inputs, output)
        return np.copy(output.vals)

    found = []
    for blob in inputs:
        diffs = np.zeros_like(blob.diffs)
        for place, above, below in _differences(run, blob.vals, h):
            diffs[place] = np.sum((above - below) * output.diffs) / (2 * h)
        found.append(diffs)
    return found


def eval_numerical_gradient_net(net: Any, inputs: tuple[Any, ...], output: Any, h: float = 1e-5
                                ) -> list[np.ndarray]:
    """`eval_numerical_gradient_blobs` where net.forward() writes output.vals."""
    return eval_numerical_gradient_blobs(lambda *blobs: net.forward(), inputs, output, h=h)


def grad_check_sparse(f: Callable[[np.ndarray], Any], x: np.ndarray, analytic_grad: np.ndarray,
                      num_checks: int = 10, h: float = 1e-5) -> None:
    """Print numeric and analytic gradient, and their relative error, at random elements of x.

    The elements are drawn with `random.randrange`, one draw an axis.
    """
    for _ in range(num_checks):
        place = tuple(random.randrange(size) for size in x.shape)
        above, below = _around(lambda: f(x), x, place, h)
        numerical, analytic = (above - below) / (2 * h), analytic_grad[place]
        error = abs(numerical - analytic) / (abs(numerical) + abs(analytic))
        print(f"numerical: {numerical:f} analytic: {analytic:f}, "  # noqa: T201 - its result
              f"relative error: {error:e}")


def _differences(run: Callable[[], Any], x: np.ndarray, h: float
                 ) -> Iterator[tuple[tuple[int, ...], Any, Any]]:
    """(place, run() with x[place] + h, run() with x[place] - h) for every place of x."""
    for place in np.ndindex(x.shape):
        yield place, *_around(run, x, place, h)


def _around(run: Callable[[], Any], x: np.ndarray, place: tuple[int, ...], h: float
            ) -> tuple[Any, Any]:
    before = x[place]
    try:
        x[place] = before + h
        above = run()
        x[place] = before - h
        return above, run()
    finally:
        x[place] = before
