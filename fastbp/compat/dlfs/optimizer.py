"""`common.optimizer`: classes whose `update(params, grads)` changes `params` in place.

params and grads are dictionaries with the same keys; values are arrays, or Python floats (which are
replaced in the dictionary). Slots are dictionaries too, of zeros before the first update. Adam's
rate is lr*sqrt(1 - beta2^t)/(1 - beta1^t) at step t; 1e-7 is added outside the root.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastbp.compat.dlfs._update import Step as _Step
from fastbp.compat.dlfs._update import update as _update
from fastbp.kernels import update as _kinds

_EPS = 1e-7
# Elements from which the kernel's one pass is faster than NumPy's two, its call included.
_LEAST_FOR_SGD = 1 << 16

_Values = dict[Any, Any]


def _zeros(params: _Values) -> _Values:
    return {key: np.zeros_like(value) for key, value in params.items()}


class SGD:
    """w -= lr*g."""

    def __init__(self, lr: float = 0.01) -> None:
        self.lr = lr

    def update(self, params: _Values, grads: _Values) -> None:
        """One step."""
        lr, left = self.lr, list(params)
        for key in left:
            if getattr(params[key], "size", 0) >= _LEAST_FOR_SGD:
                left = _update([_Step(_kinds.SGD, lr)], params, grads, least=_LEAST_FOR_SGD)
                break
        for key in left:
            params[key] -= lr * grads[key]


class Momentum:
    """v = momentum*v - lr*g; w += v."""

    def __init__(self, lr: float = 0.01, momentum: float = 0.9) -> None:
        self.lr = lr
        self.momentum = momentum
        self.v: _Values | None = None

    def update(self, params: _Values, grads: _Values) -> None:
        """One step."""
        if self.v is None:
            self.v = _zeros(params)
        v = self.v
        # The kernel's v is the sum of gradients, and w -= lr*v: here of -lr*g, and w += v.
        step = _Step(_kinds.MOMENTUM, -1.0, scale=-self.lr, momentum=self.momentum)
        for key in _update([step], params, grads, v):
            v[key] = self.momentum * v[key] - self.lr * grads[key]
            params[key] += v[key]


class Nesterov:
    """v = momentum*v - lr*g; w += momentum^2*v - (1 + momentum)*lr*g, with the new v."""

    def __init__(self, lr: float = 0.01, momentum: float = 0.9) -> None:
        self.lr = lr
        self.momentum = momentum
        self.v: _Values | None = None

    def update(self, params: _Values, grads: _Values) -> None:
        """One step."""
        if self.v is None:
            self.v = _zeros(params)
        v, square, rate = self.v, self.momentum * self.momentum, (1 + self.momentum) * self.lr
        steps = [_Step(_kinds.MOMENTUM, -square, scale=-self.lr, momentum=self.momentum),
                 _Step(_kinds.SGD, rate)]
        for key in _update(steps, params, grads, v):
            v[key] *= self.momentum
            v[key] -= self.lr * grads[key]
            params[key] += square * v[key]
            params[key] -= rate * grads[key]


class AdaGrad:
    """h += g^2; w -= lr*g/(sqrt(h) + 1e-7)."""

    def __init__(self, lr: float = 0.01) -> None:
        self.lr = lr
        self.h: _Values | None = None

    def update(self, params: _Values, grads: _Values) -> None:
        """One step."""
        if self.h is None:
            self.h = _zeros(params)
        h = self.h
        for key in _update([_Step(_kinds.ADAGRAD, self.lr, eps=_EPS)], params, grads, h):
            h[key] += grads[key] * grads[key]
            params[key] -= self.lr * grads[key] / (np.sqrt(h[key]) + _EPS)


class RMSprop:
    """h = decay_rate*h + (1 - decay_rate)*g^2; w -= lr*g/(sqrt(h) + 1e-7)."""

    def __init__(self, lr: float = 0.01, decay_rate: float = 0.99) -> None:
        self.lr = lr
        self.decay_rate = decay_rate
        self.h: _Values | None = None

    def update(self, params: _Values, grads: _Values) -> None:
        """One step."""
        if self.h is None:
            self.h = _zeros(params)
        h = self.h
        step = _Step(_kinds.RMSPROP, self.lr, rho=self.decay_rate, eps=_EPS)
        for key in _update([step], params, grads, h):
            h[key] *= self.decay_rate
            h[key] += (1 - self.decay_rate) * grads[key] * grads[key]
            params[key] -= self.lr * grads[key] / (np.sqrt(h[key]) + _EPS)


class Adam:
    """m += (1 - beta1)*(g - m); v += (1 - beta2)*(g^2 - v); w -= lr_t*m/(sqrt(v) + 1e-7)."""

    def __init__(self, lr: float = 0.001, beta1: float = 0.9, beta2: float = 0.999) -> None:
        self.lr = lr
        self.beta1 = beta1
        self.beta2 = beta2
        self.iter = 0
        self.m: _Values | None = None
        self.v: _Values | None = None

    def update(self, params: _Values, grads: _Values) -> None:
        """Step number `iter` + 1."""
        if self.m is None or self.v is None:
            self.m, self.v = _zeros(params), _zeros(params)
        self.iter += 1
        m, v = self.m, self.v
        rate = self.lr * np.sqrt(1.0 - self.beta2**self.iter) / (1.0 - self.beta1**self.iter)
        step = _Step(_kinds.ADAM, rate, beta1=self.beta1, beta2=self.beta2, eps=_EPS)
        for key in _update([step], params, grads, m, v):
            m[key] += (1 - self.beta1) * (grads[key] - m[key])
            v[key] += (1 - self.beta2) * (grads[key] ** 2 - v[key])
            params[key] -= rate * m[key] / (np.sqrt(v[key]) + _EPS)
