"""NumPy, as somebody writes it who knows it: float32 throughout, in place, `out=` everywhere."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from fastbp.benchmark import workloads as data
from fastbp.benchmark._peers import _compat
from fastbp.benchmark._peers._numpy_network import NumpyNetwork, adam
from fastbp.benchmark.rows import Case

Array = data.Array


def _matmul(spec: dict[str, Any]) -> Case:
    a, b = data.matrices(spec)
    out = np.empty((spec["m"], spec["n"]), spec["dtype"])
    return Case(lambda: np.matmul(a, b, out=out), lambda: [np.matmul(a, b, out=out)])


def _step(spec: dict[str, Any]) -> Case:
    widths, optimizer = spec["widths"], spec["optimizer"]
    x, y = data.training_batch(widths, spec["batch"])
    network = NumpyNetwork(widths, optimizer)

    def result() -> list[Array]:
        fresh = NumpyNetwork(widths, optimizer)
        losses = [fresh.step(x, y) for _ in range(data.CHECKED_STEPS)]
        return [np.array(losses), fresh.weights[0] - data.weights(widths)[0]]

    return Case(lambda: network.step(x, y), result)


def _fit(spec: dict[str, Any]) -> Case:
    widths, batch, epochs = spec["widths"], spec["batch"], spec["epochs"]
    x, y = data.digits()
    state: dict[str, Any] = {}

    def fit(count: int) -> None:
        for _ in range(count):
            order = state["rng"].permutation(len(x))
            for begin in range(0, len(x), batch):
                rows = order[begin : begin + batch]
                state["network"].step(x[rows], y[rows])

    def prepare() -> None:
        state.update(network=NumpyNetwork(widths, "adam"), rng=np.random.default_rng(0))
        fit(1)

    def result() -> list[Array]:
        prepare()
        fit(epochs)
        return [np.array(np.mean(state["network"].predict(x) == y))]

    return Case(lambda: fit(epochs), result, prepare)


def _batchnorm(spec: dict[str, Any]) -> Case:
    x, dy, gamma, beta = data.batchnorm_data(spec["shape"])
    centred, y, dx, scratch = (np.empty_like(x) for _ in range(4))
    mean_running, var_running = np.zeros_like(gamma), np.ones_like(gamma)
    keep = np.float32(data.BATCHNORM_MOMENTUM)
    count = np.float32(len(x))

    def run() -> list[Array]:
        mean = x.mean(axis=0)
        np.subtract(x, mean, out=centred)
        np.multiply(centred, centred, out=scratch)
        var = scratch.mean(axis=0)
        rstd = 1 / np.sqrt(var + np.float32(data.BATCHNORM_EPS))
        centred.__imul__(rstd)
        np.multiply(centred, gamma, out=y)
        y.__iadd__(beta)
        for running, batch in ((mean_running, mean), (var_running, var)):
            running *= keep
            running += (1 - keep) * batch
        np.multiply(dy, centred, out=scratch)
        dgamma, dbeta = scratch.sum(axis=0), dy.sum(axis=0)
        np.multiply(centred, dgamma / count, out=scratch)
        np.subtract(dy, dbeta / count, out=dx)
        dx.__isub__(scratch)
        dx.__imul__(gamma * rstd)
        return [y, dx, dgamma, dbeta]

    return Case(run, run)


def _softmax_cross_entropy(spec: dict[str, Any]) -> Case:
    logits, target = data.loss_data(spec["shape"])
    rows, gradient = np.arange(len(logits)), np.empty_like(logits)
    count = np.float32(len(logits))

    def run() -> list[Array]:
        np.subtract(logits, logits.max(axis=1, keepdims=True), out=gradient)
        true = gradient[rows, target]
        np.exp(gradient, out=gradient)
        total = gradient.sum(axis=1)
        loss = (np.log(total) - true).mean()
        gradient.__itruediv__(total[:, None])
        gradient[rows, target] -= 1
        gradient.__itruediv__(count)
        return [np.array(loss), gradient]

    return Case(run, run)


def _adam(spec: dict[str, Any]) -> Case:
    start, g = data.adam_data(spec["size"])
    w, m, v, scratch = start.copy(), np.zeros_like(g), np.zeros_like(g), np.empty_like(g)
    steps = [0]

    def run() -> None:
        steps[0] += 1
        adam(w, g, m, v, scratch, steps[0])

    def result() -> list[Array]:
        fresh, first, second = start.copy(), np.zeros_like(g), np.zeros_like(g)
        for step in range(1, data.ADAM_CHECKED_STEPS + 1):
            adam(fresh, g, first, second, scratch, step)
        return [fresh - start]

    return Case(run, result)


CASES: dict[str, Callable[[dict[str, Any]], Case]] = {
    "matmul": _matmul,
    "step": _step,
    "fit": _fit,
    "batchnorm": _batchnorm,
    "softmax_cross_entropy": _softmax_cross_entropy,
    "adam": _adam,
    "compat": functools.partial(_compat.case, contestant="numpy"),
}
