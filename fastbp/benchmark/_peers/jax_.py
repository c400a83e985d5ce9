"""JAX: whole steps under `jit`, with parameters and state donated, each call waited for."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

from fastbp.benchmark import workloads as data
from fastbp.benchmark.rows import Case

jax: Any = importlib.import_module("jax")
jnp: Any = importlib.import_module("jax.numpy")


def _matmul(spec: dict[str, Any]) -> Case:
    jax.config.update("jax_enable_x64", spec["dtype"] == "float64")
    a, b = data.matrices(spec)
    left, right = spec.get("transpose_a", False), spec.get("transpose_b", False)
    x, y = jnp.asarray(a.T if left else a), jnp.asarray(b.T if right else b)
    product = jax.jit(lambda x, y: (x.T if left else x) @ (y.T if right else y))
    return Case(lambda: product(x, y).block_until_ready(), lambda: [np.asarray(product(x, y))])


def _logits(parameters: Any, x: Any) -> Any:
    for w, b in parameters[:-1]:
        x = jax.nn.relu(x @ w + b)
    w, b = parameters[-1]
    return x @ w + b


def _loss(parameters: Any, x: Any, y: Any) -> Any:
    chances = jax.nn.log_softmax(_logits(parameters, x))
    return -jnp.take_along_axis(chances, y[:, None], axis=1).mean()


def _adam_rule(w: Any, g: Any, m: Any, v: Any, step: Any) -> tuple[Any, Any, Any]:
    m = data.BETA1 * m + (1 - data.BETA1) * g
    v = data.BETA2 * v + (1 - data.BETA2) * g * g
    scale = data.ADAM_RATE / (1 - data.BETA1**step)
    root = jnp.sqrt(v / (1 - data.BETA2**step)) + data.ADAM_EPS
    return w - scale * m / root, m, v


def _sgd(state: Any, gradients: Any) -> Any:
    parameters, velocity = state
    tree = jax.tree.map
    velocity = tree(lambda v, g: data.MOMENTUM * v + g, velocity, gradients)
    return tree(lambda w, v: w - data.SGD_RATE * v, parameters, velocity), velocity


def _adam_state(state: Any, gradients: Any) -> Any:
    parameters, m, v, step = state
    step = step + 1
    leaves, shape = jax.tree.flatten(parameters)
    three = [_adam_rule(w, g, first, second, step) for w, g, first, second in zip(
        leaves, jax.tree.leaves(gradients), jax.tree.leaves(m), jax.tree.leaves(v),
        strict=True)]  # fmt: skip
    return (*(jax.tree.unflatten(shape, part) for part in zip(*three, strict=True)), step)


class _Training:
    """State, and the compiled step that replaces it."""

    def __init__(self, widths: tuple[int, ...], optimizer: str) -> None:
        jax.config.update("jax_enable_x64", False)
        parameters = [(jnp.array(w), jnp.zeros(w.shape[1])) for w in data.weights(widths)]

        def zeros() -> Any:
            return jax.tree.map(jnp.zeros_like, parameters)

        self.state = ((parameters, zeros(), zeros(), jnp.zeros(())) if optimizer == "adam"
                      else (parameters, zeros()))  # fmt: skip
        rule = _adam_state if optimizer == "adam" else _sgd

        def whole(state: Any, x: Any, y: Any) -> Any:
            loss, gradients = jax.value_and_grad(_loss)(state[0], x, y)
            return loss, rule(state, gradients)

        self._whole = jax.jit(whole, donate_argnums=0)

    def step(self, x: Any, y: Any) -> Any:
        """One step, begun; the loss before it."""
        loss, self.state = self._whole(self.state, x, y)
        return loss

    def finish(self) -> None:
        """Wait for what was begun."""
        jax.block_until_ready(self.state)


def _step(spec: dict[str, Any]) -> Case:
    widths, optimizer = spec["widths"], spec["optimizer"]
    training = _Training(widths, optimizer)
    x, y = (jnp.asarray(side) for side in data.training_batch(widths, spec["batch"]))

    def run() -> None:
        training.step(x, y)
        training.finish()

    def result() -> list[Any]:
        fresh = _Training(widths, optimizer)
        losses = [float(fresh.step(x, y)) for _ in range(data.CHECKED_STEPS)]
        return [np.array(losses), np.asarray(fresh.state[0][0][0]) - data.weights(widths)[0]]

    return Case(run, result)


def _fit(spec: dict[str, Any]) -> Case:
    widths, batch, epochs = spec["widths"], spec["batch"], spec["epochs"]
    x, y = data.digits()
    state: dict[str, Any] = {}

    def fit(count: int) -> None:
        for _ in range(count):
            order = state["rng"].permutation(len(x))
            for begin in range(0, len(x), batch):
                rows = order[begin : begin + batch]
                state["training"].step(x[rows], y[rows])
        state["training"].finish()

    training = _Training(widths, "adam")
    start = jax.tree.map(np.asarray, training.state)
    state["training"] = training

    def prepare() -> None:
        # The same compiled step each time, from a fresh start.
        training.state = jax.tree.map(jnp.array, start)
        state["rng"] = np.random.default_rng(0)
        fit(1)

    def result() -> list[Any]:
        prepare()
        fit(epochs)
        found = np.asarray(_logits(training.state[0], x)).argmax(axis=1)
        return [np.array(np.mean(found == y))]

    return Case(lambda: fit(epochs), result, prepare)


def _batchnorm(spec: dict[str, Any]) -> Case:
    jax.config.update("jax_enable_x64", False)
    x, dy, gamma, beta = (jnp.asarray(side) for side in data.batchnorm_data(spec["shape"]))
    keep = data.BATCHNORM_MOMENTUM
    running = [jnp.zeros_like(gamma), jnp.ones_like(gamma)]

    def forward(x: Any, gamma: Any, beta: Any) -> Any:
        mean, var = x.mean(axis=0), x.var(axis=0)
        y = gamma * (x - mean) * jax.lax.rsqrt(var + data.BATCHNORM_EPS) + beta
        return y, (mean, var)

    def both(x: Any, gamma: Any, beta: Any, dy: Any, running: Any) -> Any:
        y, back, moments = jax.vjp(forward, x, gamma, beta, has_aux=True)
        running = [keep * old + (1 - keep) * new for old, new in zip(running, moments, strict=True)]
        return (y, *back(dy)), running

    compiled = jax.jit(both, donate_argnums=4)

    def run() -> list[Any]:
        nonlocal running
        arrays, running = compiled(x, gamma, beta, dy, running)
        return list(jax.block_until_ready(arrays))

    return Case(run, lambda: [np.asarray(array) for array in run()])


def _softmax_cross_entropy(spec: dict[str, Any]) -> Case:
    jax.config.update("jax_enable_x64", False)
    logits, target = (jnp.asarray(side) for side in data.loss_data(spec["shape"]))

    def loss(logits: Any, target: Any) -> Any:
        chances = jax.nn.log_softmax(logits)
        return -jnp.take_along_axis(chances, target[:, None], axis=1).mean()

    compiled = jax.jit(jax.value_and_grad(loss))

    def run() -> Any:
        return jax.block_until_ready(compiled(logits, target))

    return Case(run, lambda: [np.asarray(array) for array in run()])


def _adam(spec: dict[str, Any]) -> Case:
    jax.config.update("jax_enable_x64", False)
    start, g = data.adam_data(spec["size"])
    gradient = jnp.asarray(g)

    def rule(state: Any, g: Any) -> Any:
        w, m, v, step = state
        return (*_adam_rule(w, g, m, v, step + 1), step + 1)

    compiled = jax.jit(rule, donate_argnums=0)

    def fresh() -> Any:
        return jnp.array(start), jnp.zeros_like(gradient), jnp.zeros_like(gradient), jnp.zeros(())

    state = fresh()

    def run() -> None:
        nonlocal state
        state = jax.block_until_ready(compiled(state, gradient))

    def result() -> list[Any]:
        made = fresh()
        for _ in range(data.ADAM_CHECKED_STEPS):
            made = compiled(made, gradient)
        return [np.asarray(made[0]) - start]

    return Case(run, result)


CASES: dict[str, Callable[[dict[str, Any]], Case]] = {
    "matmul": _matmul,
    "step": _step,
    "fit": _fit,
    "batchnorm": _batchnorm,
    "softmax_cross_entropy": _softmax_cross_entropy,
    "adam": _adam,
}
