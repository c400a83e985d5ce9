"""Optimizers and networks in plain NumPy, computed as in "Deep Learning from Scratch"."""

# ruff: noqa: NPY002

from __future__ import annotations

from typing import Any

import numpy as np

from fastbp.benchmark._peers._numpy_dlfs import (
    Affine,
    BatchNormalization,
    Dropout,
    Relu,
    Sigmoid,
    SoftmaxWithLoss,
)

EPS = 1e-7


class _Optimizer:
    """A dictionary of zeros for each name in `slots`, made at the first update."""

    slots: tuple[str, ...] = ()

    def __init__(self, lr: float = 0.01) -> None:
        self.lr = lr
        self.ready = False

    def update(self, params: Any, grads: Any) -> None:
        if not self.ready:
            for name in self.slots:
                setattr(self, name, {key: np.zeros_like(w) for key, w in params.items()})
            self.ready = True
        self.begin()
        for key in params:
            self.step(params, key, grads[key])

    def begin(self) -> None:
        """Before each update."""

    def step(self, params: Any, key: Any, g: Any) -> None:
        raise NotImplementedError


class SGD(_Optimizer):
    def step(self, params: Any, key: Any, g: Any) -> None:
        params[key] -= self.lr * g


class Momentum(_Optimizer):
    slots = ("v",)
    v: dict[Any, Any]

    def __init__(self, lr: float = 0.01, momentum: float = 0.9) -> None:
        super().__init__(lr)
        self.momentum = momentum

    def step(self, params: Any, key: Any, g: Any) -> None:
        self.v[key] = self.momentum * self.v[key] - self.lr * g
        params[key] += self.v[key]


class Nesterov(Momentum):
    def step(self, params: Any, key: Any, g: Any) -> None:
        self.v[key] *= self.momentum
        self.v[key] -= self.lr * g
        params[key] += self.momentum * self.momentum * self.v[key]
        params[key] -= (1 + self.momentum) * self.lr * g


class AdaGrad(_Optimizer):
    slots = ("h",)
    h: dict[Any, Any]

    def step(self, params: Any, key: Any, g: Any) -> None:
        self.h[key] += g * g
        params[key] -= self.lr * g / (np.sqrt(self.h[key]) + EPS)


class RMSprop(AdaGrad):
    def __init__(self, lr: float = 0.01, decay_rate: float = 0.99) -> None:
        super().__init__(lr)
        self.decay_rate = decay_rate

    def step(self, params: Any, key: Any, g: Any) -> None:
        self.h[key] *= self.decay_rate
        self.h[key] += (1 - self.decay_rate) * g * g
        params[key] -= self.lr * g / (np.sqrt(self.h[key]) + EPS)


class Adam(_Optimizer):
    slots = ("m", "v")
    m: dict[Any, Any]
    v: dict[Any, Any]

    def __init__(self, lr: float = 0.001, beta1: float = 0.9, beta2: float = 0.999) -> None:
        super().__init__(lr)
        self.beta1, self.beta2, self.iter = beta1, beta2, 0

    def begin(self) -> None:
        self.iter += 1
        self.rate = self.lr * np.sqrt(1 - self.beta2**self.iter) / (1 - self.beta1**self.iter)

    def step(self, params: Any, key: Any, g: Any) -> None:
        self.m[key] += (1 - self.beta1) * (g - self.m[key])
        self.v[key] += (1 - self.beta2) * (g**2 - self.v[key])
        params[key] -= self.rate * self.m[key] / (np.sqrt(self.v[key]) + EPS)


class MultiLayerNetExtend:
    def __init__(self, input_size: int, hidden_size_list: list[int], output_size: int,
                 activation: str = "relu", weight_init_std: Any = "relu",
                 weight_decay_lambda: float = 0, use_dropout: bool = False,
                 dropout_ration: float = 0.5, use_batchnorm: bool = False) -> None:
        self.weight_decay_lambda = weight_decay_lambda
        self.count = len(hidden_size_list)
        self.params: dict[str, Any] = {}
        self.layers: dict[str, Any] = {}
        self.last_layer = SoftmaxWithLoss()
        params, layers = self.params, self.layers
        sizes = [input_size, *hidden_size_list, output_size]
        gains = {"relu": 2.0, "he": 2.0, "sigmoid": 1.0, "xavier": 1.0}
        for i in range(1, len(sizes)):
            gain = gains.get(str(weight_init_std).lower())
            scale = weight_init_std if gain is None else np.sqrt(gain / sizes[i - 1])
            params[f"W{i}"] = scale * np.random.randn(sizes[i - 1], sizes[i])
            params[f"b{i}"] = np.zeros(sizes[i])
        for i in range(1, len(sizes)):
            layers[f"Affine{i}"] = Affine(params[f"W{i}"], params[f"b{i}"])
            if i > self.count:
                break
            if use_batchnorm:
                params[f"gamma{i}"], params[f"beta{i}"] = np.ones(sizes[i]), np.zeros(sizes[i])
                layers[f"BatchNorm{i}"] = BatchNormalization(params[f"gamma{i}"],
                                                             params[f"beta{i}"])
            layers[f"Activation{i}"] = Relu() if activation == "relu" else Sigmoid()
            if use_dropout:
                layers[f"Dropout{i}"] = Dropout(dropout_ration)

    def predict(self, x: Any, train_flg: bool = False) -> Any:
        for layer in self.layers.values():
            if isinstance(layer, (Dropout, BatchNormalization)):
                x = layer.forward(x, train_flg)
            else:
                x = layer.forward(x)
        return x

    def loss(self, x: Any, t: Any, train_flg: bool = False) -> Any:
        y = self.predict(x, train_flg)
        decay = 0.0
        for i in range(1, self.count + 2):
            decay += 0.5 * self.weight_decay_lambda * np.sum(self.params[f"W{i}"] ** 2)
        return self.last_layer.forward(y, t) + decay

    def accuracy(self, x: Any, t: Any) -> Any:
        labels = t if t.ndim == 1 else np.argmax(t, axis=1)
        return np.sum(np.argmax(self.predict(x), axis=1) == labels) / float(len(x))

    def gradient(self, x: Any, t: Any) -> dict[str, Any]:
        self.loss(x, t, train_flg=True)
        dout = self.last_layer.backward(1)
        for layer in reversed(self.layers.values()):
            dout = layer.backward(dout)
        grads = {}
        for i in range(1, self.count + 2):
            affine = self.layers[f"Affine{i}"]
            grads[f"W{i}"] = affine.dW + self.weight_decay_lambda * affine.W
            grads[f"b{i}"] = affine.db
            norm = self.layers.get(f"BatchNorm{i}")
            if norm is not None:
                grads[f"gamma{i}"], grads[f"beta{i}"] = norm.dgamma, norm.dbeta
        return grads


class MultiLayerNet(MultiLayerNetExtend):
    def __init__(self, input_size: int, hidden_size_list: list[int], output_size: int,
                 activation: str = "relu", weight_init_std: Any = "relu",
                 weight_decay_lambda: float = 0) -> None:
        super().__init__(input_size, hidden_size_list, output_size, activation, weight_init_std,
                         weight_decay_lambda)
