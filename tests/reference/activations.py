"""Activations and their gradients (docs/math.md#activations).

`*_forward(x)` gives y; `*_backward(dy, x)` gives dx from the input x of the forward pass.
Finite input; where a formula is inf * 0 at infinity (SiLU, GELU), so is the twin.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .precision import Array, pi, widen

LEAKY_SLOPE = 0.01
"""Slope of leaky ReLU for x <= 0 (Maas et al. 2013)."""


def identity_forward(x: Array) -> Array:
    """y = x."""
    wide: Array = widen(x)
    return wide


def identity_backward(dy: Array, x: Array) -> Array:
    """dx = dy."""
    wide: Array = widen(dy, x)[0]
    return wide


def relu_forward(x: Array) -> Array:
    """y = max(x, 0); NaN stays NaN."""
    x = widen(x)
    return np.maximum(x, 0)


def relu_backward(dy: Array, x: Array) -> Array:
    """dx = dy where x > 0, else 0 (also at x = 0)."""
    dy, x = widen(dy, x)
    return np.where(x > 0, dy, 0)


def leaky_relu_forward(x: Array, slope: float = LEAKY_SLOPE) -> Array:
    """y = x where x > 0, else slope*x."""
    x = widen(x)
    return np.where(x > 0, x, slope * x)


def leaky_relu_backward(dy: Array, x: Array, slope: float = LEAKY_SLOPE) -> Array:
    """dx = dy where x > 0, else slope*dy (also at x = 0)."""
    dy, x = widen(dy, x)
    return np.where(x > 0, dy, slope * dy)


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)) of a wide array, written so that exp never overflows."""
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + small), small / (1 + small))


def sigmoid_forward(x: Array) -> Array:
    """y = 1 / (1 + exp(-x))."""
    return sigmoid(widen(x))


def sigmoid_backward(dy: Array, x: Array) -> Array:
    """dx = dy * y * (1 - y), with 1 - y = sigmoid(-x) free of cancellation."""
    dy, x = widen(dy, x)
    return dy * sigmoid(x) * sigmoid(-x)


def tanh_forward(x: Array) -> Array:
    """y = tanh(x)."""
    x = widen(x)
    return np.tanh(x)


def tanh_backward(dy: Array, x: Array) -> Array:
    """dx = dy * (1 - tanh(x)^2) = dy / cosh(x)^2, the latter free of cancellation."""
    dy, x = widen(dy, x)
    small = np.exp(-np.abs(x))
    dx: Array = dy * (2 * small / (1 + small**2)) ** 2
    return dx


def softplus_forward(x: Array) -> Array:
    """y = log(1 + exp(x)), written so that exp never overflows."""
    x = widen(x)
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def softplus_backward(dy: Array, x: Array) -> Array:
    """dx = dy * sigmoid(x)."""
    dy, x = widen(dy, x)
    return dy * sigmoid(x)


def silu_forward(x: Array) -> Array:
    """y = x * sigmoid(x)."""
    x = widen(x)
    return x * sigmoid(x)


def silu_backward(dy: Array, x: Array) -> Array:
    """dx = dy * s * (1 + x * (1 - s)) with s = sigmoid(x)."""
    dy, x = widen(dy, x)
    dx: Array = dy * sigmoid(x) * (1 + x * sigmoid(-x))
    return dx


def normal_density(x: Array) -> Array:
    """phi(x) = exp(-x^2/2) / sqrt(2 pi) of a wide array."""
    density: Array = np.exp(-x * x / 2) / np.sqrt(2 * pi(x))
    return density


def normal_cdf(x: Array) -> Array:
    """Phi(x) = (1 + erf(x / sqrt 2)) / 2 of a wide array, in its precision.

    Near 0 the series Phi(x) = 1/2 + phi(x) * (x + x^3/3 + x^5/(3*5) + ...), in the tails the
    continued fraction Phi(-t) = phi(t) / (t + 1/(t + 2/(t + 3/(t + ...)))), t > 0
    (Marsaglia 2004, Evaluating the normal distribution). 120 terms of either are enough on its
    side of |x| = 3; the largest relative error, just above -3, is 0.6 * 2^-53 in longdouble.
    """
    density = normal_density(x)
    near = np.abs(x) < 3
    a = np.where(near, x, 0)
    term = series = a
    for k in range(1, 120):
        term = term * a * a / (2 * k + 1)
        series = series + term
    t = np.where(near, 3, np.abs(x))
    fraction = t
    for k in range(120, 0, -1):
        fraction = t + k / fraction
    tail = density / fraction
    cdf = np.where(near, 0.5 + density * series, np.where(x > 0, 1 - tail, tail))
    return np.where(np.isnan(x), x, cdf)


def gelu_forward(x: Array) -> Array:
    """y = x * Phi(x), the exact (erf) form."""
    x = widen(x)
    return x * normal_cdf(x)


def gelu_backward(dy: Array, x: Array) -> Array:
    """dx = dy * (Phi(x) + x * phi(x))."""
    dy, x = widen(dy, x)
    dx: Array = dy * (normal_cdf(x) + x * normal_density(x))
    return dx


Forward = Callable[..., Array]
ACTIVATIONS: dict[str, tuple[Forward, Forward]] = {
    "identity": (identity_forward, identity_backward),
    "relu": (relu_forward, relu_backward),
    "leaky_relu": (leaky_relu_forward, leaky_relu_backward),
    "sigmoid": (sigmoid_forward, sigmoid_backward),
    "tanh": (tanh_forward, tanh_backward),
    "gelu": (gelu_forward, gelu_backward),
    "softplus": (softplus_forward, softplus_backward),
    "silu": (silu_forward, silu_backward),
}
"""Every activation by its public name: (forward, backward)."""
