"""fastbp itself, through its public interface."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

import fastbp
from fastbp import ops
from fastbp.benchmark import workloads as data
from fastbp.benchmark._peers import _compat
from fastbp.benchmark.rows import Case

Array = data.Array

_COUNTED_STEPS = 1000


def network(widths: tuple[int, ...]) -> fastbp.Sequential:
    """Affine layers with ReLU between them and the workloads' initial weights."""
    layers: list[Any] = []
    for fan_in, fan_out in itertools.pairwise(widths):
        layers += [fastbp.Affine(fan_in, fan_out), fastbp.ReLU()]
    made = fastbp.Sequential(layers[:-1], seed=0)
    for number, initial in enumerate(data.weights(widths)):
        made.parameters[f"{2 * number}.w"][...] = initial
        made.parameters[f"{2 * number}.b"][...] = 0
    return made


def trainer(widths: tuple[int, ...], optimizer: str) -> fastbp.Trainer:
    """A trainer of that network."""
    rule: Any = (
        fastbp.Adam(data.ADAM_RATE, beta1=data.BETA1, beta2=data.BETA2, eps=data.ADAM_EPS)
        if optimizer == "adam"
        else fastbp.SGD(data.SGD_RATE, momentum=data.MOMENTUM)
    )
    return fastbp.Trainer(network(widths), loss="softmax_cross_entropy", optimizer=rule)


def _matmul(spec: dict[str, Any]) -> Case:
    a, b = data.matrices(spec)
    out = np.empty((spec["m"], spec["n"]), spec["dtype"])
    return Case(lambda: ops.matmul(a, b, out=out), lambda: [ops.matmul(a, b, out=out)])


def _step(spec: dict[str, Any]) -> Case:
    widths, optimizer = spec["widths"], spec["optimizer"]
    x, y = data.training_batch(widths, spec["batch"])
    made = trainer(widths, optimizer)

    def result() -> list[Array]:
        fresh = trainer(widths, optimizer)
        losses = [fresh.train_step(x, y) for _ in range(data.CHECKED_STEPS)]
        return [np.array(losses), fresh.network.parameters["0.w"] - data.weights(widths)[0]]

    return Case(lambda: made.train_step(x, y), result)


def _fit(spec: dict[str, Any]) -> Case:
    widths, batch, epochs = spec["widths"], spec["batch"], spec["epochs"]
    x, y = data.digits()
    state: dict[str, Any] = {}

    def prepare() -> None:
        state["trainer"] = trainer(widths, "adam")
        state["trainer"].fit(x, y, epochs=1, batch_size=batch)

    def run() -> None:
        state["trainer"].fit(x, y, epochs=epochs, batch_size=batch)

    def result() -> list[Array]:
        prepare()
        run()
        return [np.array(state["trainer"].evaluate(x, y)["accuracy"])]

    return Case(run, result, prepare)


def _demands(spec: dict[str, Any]) -> Case:
    """What steps ask of the system: `spec["demand"]` is "kept", "peak" (bytes) or "faults"."""
    import resource
    import tracemalloc

    made = trainer(spec["widths"], spec["optimizer"])
    x, y = data.training_batch(spec["widths"], spec["batch"])

    def steps() -> None:
        for _ in range(_COUNTED_STEPS):
            made.train_step(x, y)

    def faults() -> float:
        steps()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        steps()
        return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / _COUNTED_STEPS

    def memory() -> float:
        tracemalloc.start()
        steps()
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        steps()
        now, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most - before if spec["demand"] == "peak" else (now - before) / _COUNTED_STEPS

    return Case(steps, measure=faults if spec["demand"] == "faults" else memory)


def _batchnorm(spec: dict[str, Any]) -> Case:
    x, dy, gamma, beta = data.batchnorm_data(spec["shape"])
    mean, var, out = np.zeros_like(gamma), np.ones_like(gamma), np.empty_like(x)

    def run() -> list[Array]:
        y, saved = ops.batchnorm_forward(x, gamma, beta, mean, var, out=out, eps=data.BATCHNORM_EPS,
                                         momentum=data.BATCHNORM_MOMENTUM)  # fmt: skip
        return [y, *ops.batchnorm_backward(dy, saved)]

    return Case(run, run)


def _softmax_cross_entropy(spec: dict[str, Any]) -> Case:
    logits, target = data.loss_data(spec["shape"])

    def result() -> list[Array]:
        loss, gradient = ops.softmax_cross_entropy(logits, target)
        return [np.array(loss), gradient]

    return Case(lambda: ops.softmax_cross_entropy(logits, target), result)


def _adam(spec: dict[str, Any]) -> Case:
    start, g = data.adam_data(spec["size"])
    w, m, v = start.copy(), np.zeros_like(g), np.zeros_like(g)
    steps = [0]
    settings = {"lr": data.ADAM_RATE, "beta1": data.BETA1, "beta2": data.BETA2,
                "eps": data.ADAM_EPS}  # fmt: skip

    def run() -> None:
        steps[0] += 1
        ops.adam_step(w, g, m, v, step=steps[0], **settings)

    def result() -> list[Array]:
        fresh, first, second = start.copy(), np.zeros_like(g), np.zeros_like(g)
        for step in range(1, data.ADAM_CHECKED_STEPS + 1):
            ops.adam_step(fresh, g, first, second, step=step, **settings)
        return [fresh - start]

    return Case(run, result)


def _estimator(spec: dict[str, Any], case: str) -> Case:
    """The estimator in scikit-learn's place; scikit-learn is imported for these rows only."""
    from fastbp.benchmark._peers import _mlp
    from fastbp.sklearn import MLPClassifier

    return getattr(_mlp, case)(MLPClassifier, spec)


CASES: dict[str, Callable[[dict[str, Any]], Case]] = {
    "matmul": _matmul,
    "step": _step,
    "fit": _fit,
    "demands": _demands,
    "batchnorm": _batchnorm,
    "softmax_cross_entropy": _softmax_cross_entropy,
    "adam": _adam,
    "compat": functools.partial(_compat.case, contestant="fastbp"),
    "mlp_fit": lambda spec: _estimator(spec, "fit_case"),
    "mlp_predict": lambda spec: _estimator(spec, "predict_case"),
    "mlp_search": lambda spec: _estimator(spec, "search_case"),
}
