"""Update rules: rule(w, dw, config=None) -> (next_w, config).

config holds the settings and the state of one parameter; it is filled with the defaults, changed
and returned. Large float32 and float64 arrays w, and the arrays of their state, are updated in
place and w is returned; `sgd` updates w in place always. docs/math.md#optimizers.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastbp import ops

__all__ = ["adam", "np", "rmsprop", "sgd", "sgd_momentum"]

Config = dict[str, Any]
# From so many numbers on a kernel is faster than NumPy, which reads and writes them so many times.
_SMALL = {"sgd": 16_384, "sgd_momentum": 16_384, "rmsprop": 512, "adam": 128}
_REAL = (np.dtype(np.float32), np.dtype(np.float64))


def sgd(w: Any, dw: Any, config: Config | None = None) -> tuple[Any, Config]:
    """w -= learning_rate*dw, in place. config: learning_rate (1e-2)."""
    config = _with_defaults(config, learning_rate=1e-2)
    rate = config["learning_rate"]
    if _suit_kernels("sgd", w, dw) and rate >= 0:
        ops.sgd_step(w, dw, lr=rate)
    else:
        w -= rate * dw
    return w, config


def sgd_momentum(w: Any, dw: Any, config: Config | None = None) -> tuple[Any, Config]:
    """v = momentum*v - learning_rate*dw; next_w = w + v.

    config: learning_rate (1e-2), momentum (0.9), velocity (zeros of w's shape).
    """
    config = _with_defaults(config, learning_rate=1e-2, momentum=0.9)
    v = config.setdefault("velocity", np.zeros_like(w))
    rate, momentum = config["learning_rate"], config["momentum"]
    if _suit_kernels("sgd_momentum", w, dw, v) and rate >= 0:
        v *= momentum
        ops.sgd_step(v, dw, lr=rate)
        w += v
        return w, config
    config["velocity"] = v = momentum * v - rate * dw
    return w + v, config


def rmsprop(w: Any, dw: Any, config: Config | None = None) -> tuple[Any, Config]:
    """cache = decay_rate*cache + (1 - decay_rate)*dw^2; next_w = w - rate*dw/(sqrt(cache) + eps).

    config: learning_rate (1e-2), decay_rate (0.99), epsilon (1e-8), cache (zeros of w's shape).
    Hinton 2012.
    """
    config = _with_defaults(config, learning_rate=1e-2, decay_rate=0.99, epsilon=1e-8)
    cache = config.setdefault("cache", np.zeros_like(w))
    rate, decay, eps = (config[key] for key in ("learning_rate", "decay_rate", "epsilon"))
    if _suit_kernels("rmsprop", w, dw, cache) and rate >= 0 and eps >= 0 and 0 <= decay < 1:
        ops.rmsprop_step(w, dw, cache, lr=rate, rho=decay, eps=eps)
        return w, config
    config["cache"] = cache = decay * cache + (1 - decay) * dw**2
    return w - rate * dw / (np.sqrt(cache) + eps), config


def adam(w: Any, dw: Any, config: Config | None = None) -> tuple[Any, Config]:
    """Adam with bias correction; t is counted up before it is used.

    m = beta1*m + (1 - beta1)*dw; v = beta2*v + (1 - beta2)*dw^2;
    next_w = w - learning_rate * m/(1 - beta1^t) / (sqrt(v/(1 - beta2^t)) + epsilon).

    config: learning_rate (1e-3), beta1 (0.9), beta2 (0.999), epsilon (1e-8), m and v (zeros of w's
    shape), t (0). Kingma and Ba 2015.
    """
    config = _with_defaults(config, learning_rate=1e-3, beta1=0.9, beta2=0.999, epsilon=1e-8, t=0)
    m, v = config.setdefault("m", np.zeros_like(w)), config.setdefault("v", np.zeros_like(w))
    rate, eps = config["learning_rate"], config["epsilon"]
    beta1, beta2 = config["beta1"], config["beta2"]
    t = config["t"] = config["t"] + 1
    if (_suit_kernels("adam", w, dw, m, v) and rate >= 0 and eps >= 0 and 0 <= beta1 < 1
            and 0 <= beta2 < 1 and t >= 1):
        ops.adam_step(w, dw, m, v, step=t, lr=rate, beta1=beta1, beta2=beta2, eps=eps)
        return w, config
    config["m"] = m = beta1 * m + (1 - beta1) * dw
    config["v"] = v = beta2 * v + (1 - beta2) * dw**2
    m_hat, v_hat = m / (1 - beta1**t), v / (1 - beta2**t)
    return w - rate * m_hat / (np.sqrt(v_hat) + eps), config


def _with_defaults(config: Config | None, **defaults: float) -> Config:
    config = {} if config is None else config
    for name, value in defaults.items():
        config.setdefault(name, value)
    return config


def _suit_kernels(rule: str, w: Any, dw: Any, *state: Any) -> bool:
    """True for large arrays of one shape and of one of the kernels' dtypes, w and state writeable.

    Whatever else NumPy's arithmetic takes, broadcasting and mixed dtypes among it, is left to it.
    """
    return (type(w) is np.ndarray and w.size >= _SMALL[rule] and w.dtype in _REAL
            and all(type(a) is np.ndarray and a.dtype == w.dtype and a.shape == w.shape
                    for a in (dw, *state))
            and all(a.flags.writeable for a in (w, *state)))
