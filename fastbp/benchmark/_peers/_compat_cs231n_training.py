"""CS231n's update rules, networks and training loop in plain NumPy; see _compat_cs231n.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastbp.benchmark._peers import _compat_cs231n as layers

Array = np.ndarray
Config = dict[str, Any]


def sgd(w: Array, dw: Array, config: Config) -> tuple[Array, Config]:
    """w -= rate*dw."""
    w -= config["learning_rate"] * dw
    return w, config


def sgd_momentum(w: Array, dw: Array, config: Config) -> tuple[Array, Config]:
    """v = momentum*v - rate*dw; w + v."""
    v = config.get("momentum", 0.9) * config.get("velocity", np.zeros_like(w))
    v -= config["learning_rate"] * dw
    config["velocity"] = v
    return w + v, config


def rmsprop(w: Array, dw: Array, config: Config) -> tuple[Array, Config]:
    """cache = decay*cache + (1 - decay)*dw^2; w - rate*dw/(sqrt(cache) + eps)."""
    decay = config.get("decay_rate", 0.99)
    cache = decay * config.get("cache", np.zeros_like(w)) + (1 - decay) * dw**2
    config["cache"] = cache
    return w - config["learning_rate"] * dw / (np.sqrt(cache) + config.get("epsilon", 1e-8)), config


def adam(w: Array, dw: Array, config: Config) -> tuple[Array, Config]:
    """Adam with bias correction."""
    beta1, beta2 = config.get("beta1", 0.9), config.get("beta2", 0.999)
    t = config.get("t", 0) + 1
    m = beta1 * config.get("m", np.zeros_like(w)) + (1 - beta1) * dw
    v = beta2 * config.get("v", np.zeros_like(w)) + (1 - beta2) * dw**2
    config.update(t=t, m=m, v=v)
    m_hat, v_hat = m / (1 - beta1**t), v / (1 - beta2**t)
    rate, eps = config.get("learning_rate", 1e-3), config.get("epsilon", 1e-8)
    return w - rate * m_hat / (np.sqrt(v_hat) + eps), config


def _penalised(loss: Any, params: dict[str, Array], grads: dict[str, Array], reg: float) -> Any:
    for name, w in params.items():
        if name.startswith("W"):
            loss = loss + 0.5 * reg * np.sum(w * w)
            grads[name] += reg * w
    return loss


class FullyConnectedNet:
    """{affine - [batchnorm or layernorm] - relu - [dropout]} x (L - 1) - affine - softmax."""

    def __init__(self, hidden_dims: list[int], input_dim: int = 3 * 32 * 32, num_classes: int = 10,
                 dropout_keep_ratio: float = 1, normalization: str | None = None,
                 reg: float = 0.0, weight_scale: float = 1e-2, dtype: Any = np.float32,
                 seed: int | None = None) -> None:
        self.reg, self.dtype, self.depth = reg, dtype, len(hidden_dims) + 1
        self.normalization, self.keep = normalization, dropout_keep_ratio
        self.dropout_param = {"mode": "train", "p": self.keep}
        if seed is not None:
            self.dropout_param["seed"] = seed
        self.params: dict[str, Array] = {}
        self.bn_params: list[dict[str, Any]] = [{"mode": "train"} for _ in hidden_dims]
        sizes = [input_dim, *hidden_dims, num_classes]
        for i in range(1, self.depth + 1):
            drawn = weight_scale * np.random.randn(sizes[i - 1], sizes[i])  # noqa: NPY002
            self.params[f"W{i}"] = drawn.astype(dtype)
            self.params[f"b{i}"] = np.zeros(sizes[i], dtype)
            if normalization and i < self.depth:
                self.params[f"gamma{i}"] = np.ones(sizes[i], dtype)
                self.params[f"beta{i}"] = np.zeros(sizes[i], dtype)

    def loss(self, X: Array, y: Array | None = None) -> Any:  # noqa: N803 - its name
        """Scores, or (loss, gradients)."""
        mode = "test" if y is None else "train"
        for param in (self.dropout_param, *self.bn_params):
            param["mode"] = mode
        h, caches = X.astype(self.dtype), []
        forward, backward = {
            "batchnorm": (layers.batchnorm_forward, layers.batchnorm_backward),
            "layernorm": (layers.layernorm_forward, layers.layernorm_backward),
        }.get(str(self.normalization), (None, None))
        p = self.params
        for i in range(1, self.depth):
            h, affine_cache = layers.affine_forward(h, p[f"W{i}"], p[f"b{i}"])
            norm_cache = drop_cache = None
            if forward is not None:
                h, norm_cache = forward(h, p[f"gamma{i}"], p[f"beta{i}"], self.bn_params[i - 1])
            h, relu_cache = layers.relu_forward(h)
            if self.keep != 1:
                h, drop_cache = layers.dropout_forward(h, self.dropout_param)
            caches.append((affine_cache, norm_cache, relu_cache, drop_cache))
        scores, last = layers.affine_forward(h, p[f"W{self.depth}"], p[f"b{self.depth}"])
        if y is None:
            return scores
        loss, dh = layers.softmax_loss(scores, y)
        grads: dict[str, Array] = {}
        dh, grads[f"W{self.depth}"], grads[f"b{self.depth}"] = layers.affine_backward(dh, last)
        for i in range(self.depth - 1, 0, -1):
            affine_cache, norm_cache, relu_cache, drop_cache = caches[i - 1]
            if drop_cache is not None:
                dh = layers.dropout_backward(dh, drop_cache)
            dh = layers.relu_backward(dh, relu_cache)
            if backward is not None:
                dh, grads[f"gamma{i}"], grads[f"beta{i}"] = backward(dh, norm_cache)
            dh, grads[f"W{i}"], grads[f"b{i}"] = layers.affine_backward(dh, affine_cache)
        return _penalised(loss, p, grads, self.reg), grads


class ThreeLayerConvNet:
    """conv - relu - 2x2 max pool - affine - relu - affine - softmax."""

    def __init__(self, input_dim: tuple[int, int, int] = (3, 32, 32), num_filters: int = 32,
                 filter_size: int = 7, hidden_dim: int = 100, num_classes: int = 10,
                 weight_scale: float = 1e-3, reg: float = 0.0, dtype: Any = np.float32) -> None:
        self.reg = reg
        c, h, w = input_dim
        self.params: dict[str, Array] = {}
        for i, (shape, neurons) in enumerate((
            ((num_filters, c, filter_size, filter_size), num_filters),
            ((num_filters * h * w // 4, hidden_dim), hidden_dim),
            ((hidden_dim, num_classes), num_classes),
        ), start=1):
            drawn = weight_scale * np.random.randn(*shape)  # noqa: NPY002
            self.params[f"W{i}"] = drawn.astype(dtype)
            self.params[f"b{i}"] = np.zeros(neurons, dtype)

    def loss(self, X: Array, y: Array | None = None) -> Any:  # noqa: N803 - its name
        """Scores, or (loss, gradients)."""
        p = self.params
        conv_param = {"stride": 1, "pad": (p["W1"].shape[2] - 1) // 2}
        pool_param = {"pool_height": 2, "pool_width": 2, "stride": 2}
        a, conv_cache = layers.conv_forward(X, p["W1"], p["b1"], conv_param)
        s, relu_cache = layers.relu_forward(a)
        pooled, pool_cache = layers.max_pool_forward(s, pool_param)
        h, hidden_cache = layers.affine_relu_forward(pooled, p["W2"], p["b2"])
        scores, last = layers.affine_forward(h, p["W3"], p["b3"])
        if y is None:
            return scores
        loss, dscores = layers.softmax_loss(scores, y)
        grads: dict[str, Array] = {}
        dh, grads["W3"], grads["b3"] = layers.affine_backward(dscores, last)
        dpool, grads["W2"], grads["b2"] = layers.affine_relu_backward(dh, hidden_cache)
        da = layers.relu_backward(layers.max_pool_backward(dpool, pool_cache), relu_cache)
        _, grads["W1"], grads["b1"] = layers.conv_backward(da, conv_cache)
        return _penalised(loss, p, grads, self.reg), grads


RULES: dict[str, Callable[..., tuple[Array, Config]]] = {
    "sgd": sgd, "sgd_momentum": sgd_momentum, "rmsprop": rmsprop, "adam": adam,
}


class Solver:
    """Random batches, an update of every parameter, accuracies after each epoch."""

    def __init__(self, model: Any, data: dict[str, Array], *, update_rule: str = "sgd",
                 optim_config: Config | None = None, lr_decay: float = 1.0, batch_size: int = 100,
                 num_epochs: int = 10, num_train_samples: int = 1000,
                 num_val_samples: int | None = None, verbose: bool = True, print_every: int = 10
                 ) -> None:
        self.model, self.data, self.rule = model, data, RULES[update_rule]
        self.lr_decay, self.batch_size, self.num_epochs = lr_decay, batch_size, num_epochs
        self.samples = num_train_samples, num_val_samples
        self.print_every = print_every if verbose else 0
        self.optim_configs = {name: dict(optim_config or {}) for name in model.params}
        self.loss_history: list[Any] = []
        self.train_acc_history: list[Any] = []
        self.val_acc_history: list[Any] = []
        self.best_val_acc: Any = 0
        self.best_params: dict[str, Array] = {}

    def _step(self) -> None:
        x, y = self.data["X_train"], self.data["y_train"]
        batch = np.random.choice(len(x), self.batch_size)  # noqa: NPY002
        loss, grads = self.model.loss(x[batch], y[batch])
        self.loss_history.append(loss)
        for name, w in list(self.model.params.items()):
            self.model.params[name], self.optim_configs[name] = self.rule(
                w, grads[name], self.optim_configs[name])

    def check_accuracy(self, X: Array, y: Array, num_samples: int | None = None,  # noqa: N803
                       batch_size: int = 100) -> Any:
        """The share of right predictions."""
        if num_samples is not None and len(X) > num_samples:
            chosen = np.random.choice(len(X), num_samples)  # noqa: NPY002
            X, y = X[chosen], y[chosen]  # noqa: N806
        scores = [self.model.loss(X[i : i + batch_size]) for i in range(0, len(X), batch_size)]
        return np.mean(np.concatenate(scores).argmax(axis=1) == y)

    def train(self) -> None:
        """Train for num_epochs and keep the best parameters."""
        data = self.data
        per_epoch = max(len(data["X_train"]) // self.batch_size, 1)
        steps = self.num_epochs * per_epoch
        for t in range(steps):
            self._step()
            if self.print_every and t % self.print_every == 0:
                print(t + 1, self.loss_history[-1])  # noqa: T201 - as the course's
            if (t + 1) % per_epoch == 0:
                for config in self.optim_configs.values():
                    config["learning_rate"] *= self.lr_decay
            if t == 0 or t == steps - 1 or (t + 1) % per_epoch == 0:
                train, val = self.samples
                self.train_acc_history.append(
                    self.check_accuracy(data["X_train"], data["y_train"], train))
                self.val_acc_history.append(
                    self.check_accuracy(data["X_val"], data["y_val"], val))
                if self.val_acc_history[-1] > self.best_val_acc:
                    self.best_val_acc = self.val_acc_history[-1]
                    self.best_params = {k: w.copy() for k, w in self.model.params.items()}
        self.model.params = self.best_params
