"""One step of every optimizer (docs/math.md#optimizers).

`w` is the parameter, `g` its gradient, the other arrays the optimizer's slots. Nothing is
written: the new parameter and the new slots come back. `l2` adds l2*w to the gradient (weight
decay inside the loss), `decay` takes lr*decay*w off the parameter (decoupled weight decay).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .precision import Array, widen


def sgd(w: Array, g: Array, *, lr: float, l2: float = 0.0, decay: float = 0.0) -> Array:
    """w - lr*g."""
    w, g = widen(w, g)
    return w - lr * decay * w - lr * (g + l2 * w)


def momentum(
    w: Array,
    g: Array,
    v: Array,
    *,
    lr: float,
    mu: float = 0.9,
    l2: float = 0.0,
    decay: float = 0.0,
) -> tuple[Array, Array]:
    """v = mu*v + g; w = w - lr*v. Gives (w, v)."""
    w, g, v = widen(w, g, v)
    v = mu * v + g + l2 * w
    return w - lr * decay * w - lr * v, v


def nesterov(
    w: Array,
    g: Array,
    v: Array,
    *,
    lr: float,
    mu: float = 0.9,
    l2: float = 0.0,
    decay: float = 0.0,
) -> tuple[Array, Array]:
    """v = mu*v + g; w = w - lr*(g + mu*v). Gives (w, v)."""
    w, g, v = widen(w, g, v)
    g = g + l2 * w
    v = mu * v + g
    return w - lr * decay * w - lr * (g + mu * v), v


def adagrad(
    w: Array,
    g: Array,
    s: Array,
    *,
    lr: float,
    eps: float = 1e-10,
    l2: float = 0.0,
    decay: float = 0.0,
) -> tuple[Array, Array]:
    """s = s + g^2; w = w - lr*g / (sqrt(s) + eps). Gives (w, s)."""
    w, g, s = widen(w, g, s)
    g = g + l2 * w
    s = s + g**2
    return w - lr * decay * w - lr * g / (np.sqrt(s) + eps), s


def rmsprop(
    w: Array,
    g: Array,
    s: Array,
    *,
    lr: float,
    rho: float = 0.99,
    eps: float = 1e-8,
    l2: float = 0.0,
    decay: float = 0.0,
) -> tuple[Array, Array]:
    """s = rho*s + (1 - rho)*g^2; w = w - lr*g / (sqrt(s) + eps). Gives (w, s)."""
    w, g, s = widen(w, g, s)
    g = g + l2 * w
    s = rho * s + (1 - rho) * g**2
    return w - lr * decay * w - lr * g / (np.sqrt(s) + eps), s


def adam(
    w: Array,
    g: Array,
    m: Array,
    v: Array,
    t: int,
    *,
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    l2: float = 0.0,
    decay: float = 0.0,
) -> tuple[Array, Array, Array]:
    """Step number t = 1, 2, ...; `decay` makes it AdamW. Gives (w, m, v).

    m = beta1*m + (1 - beta1)*g;  v = beta2*v + (1 - beta2)*g^2
    w = w - lr * m/(1 - beta1^t) / (sqrt(v/(1 - beta2^t)) + eps)
    """
    w, g, m, v = widen(w, g, m, v)
    g = g + l2 * w
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    number = w.dtype.type
    m_hat = m / (1 - number(beta1) ** t)
    v_hat = v / (1 - number(beta2) ** t)
    return w - lr * decay * w - lr * m_hat / (np.sqrt(v_hat) + eps), m, v


def clip_by_global_norm(gradients: Sequence[Array], max_norm: float) -> tuple[list[Array], Array]:
    """Gradients scaled by min(1, max_norm/norm), and their norm over all of them together."""
    wide = [widen(g) for g in gradients]
    norm = np.sqrt(sum((g**2).sum() for g in wide))
    return [g * (max_norm / norm) if norm > max_norm else g for g in wide], norm
