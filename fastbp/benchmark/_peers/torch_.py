"""PyTorch on the CPU, eager or with `torch.compile`, as its own guides write it."""

from __future__ import annotations

import importlib
import itertools
import os
import shutil
from collections.abc import Callable
from typing import Any

import numpy as np

from fastbp.benchmark import workloads as data
from fastbp.benchmark.rows import Case, NotMeasured

torch: Any = importlib.import_module("torch")
nn, functional = torch.nn, torch.nn.functional

COMPILED = os.environ.get("FASTBP_BENCHMARK_VARIANT") == "compile"
torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))


def _compiled(function: Any) -> Any:
    """The function through `torch.compile` where this contestant is that."""
    if not COMPILED:
        return function
    if not any(map(shutil.which, filter(None, (os.environ.get("CXX"), "c++", "g++", "clang++")))):
        raise NotMeasured("torch.compile needs a C++ compiler, and none is on the PATH")
    # More than eight compilations of one line of code, and torch would quietly run it eagerly.
    torch.compiler.reset()
    return torch.compile(function, dynamic=False)


def _matmul(spec: dict[str, Any]) -> Case:
    if COMPILED:
        raise NotMeasured("a bare torch.mm: nothing to compile")
    a, b = (torch.from_numpy(side.T).T if side.flags.f_contiguous else torch.from_numpy(side)
            for side in data.matrices(spec))  # fmt: skip
    out = torch.empty(spec["m"], spec["n"], dtype=a.dtype)
    return Case(lambda: torch.mm(a, b, out=out), lambda: [torch.mm(a, b, out=out).numpy()])


def _rule(parameters: list[Any], optimizer: str) -> Any:
    """Adam in its fused form, or SGD with momentum in its default one (foreach)."""
    if optimizer == "adam":
        return torch.optim.Adam(parameters, lr=data.ADAM_RATE, betas=(data.BETA1, data.BETA2),
                                eps=data.ADAM_EPS, fused=True)  # fmt: skip
    return torch.optim.SGD(parameters, lr=data.SGD_RATE, momentum=data.MOMENTUM)


class _Training:
    """A model with its optimizer; `step` trains on a batch."""

    def __init__(self, widths: tuple[int, ...], optimizer: str) -> None:
        layers: list[Any] = []
        for (fan_in, fan_out), w in zip(itertools.pairwise(widths), data.weights(widths),
                                        strict=True):  # fmt: skip
            linear = nn.Linear(fan_in, fan_out)
            with torch.no_grad():
                linear.weight.copy_(torch.from_numpy(w).T)
                linear.bias.zero_()
            layers += [linear, nn.ReLU()]
        self.model = nn.Sequential(*layers[:-1])
        model, criterion = self.model, nn.CrossEntropyLoss()
        self.loss = _compiled(lambda x, y: criterion(model(x), y))
        self.rule = _rule(list(self.model.parameters()), optimizer)

    def step(self, x: Any, y: Any) -> Any:
        """One step; the loss before it."""
        self.rule.zero_grad(set_to_none=True)
        loss = self.loss(x, y)
        loss.backward()
        self.rule.step()
        return loss

    def change(self, widths: tuple[int, ...]) -> Any:
        """What the first weights have changed by, (in, out)."""
        return self.model[0].weight.detach().numpy().T - data.weights(widths)[0]


def _step(spec: dict[str, Any]) -> Case:
    widths, optimizer = spec["widths"], spec["optimizer"]
    x, y = map(torch.from_numpy, data.training_batch(widths, spec["batch"]))
    training = _Training(widths, optimizer)

    def result() -> list[Any]:
        fresh = _Training(widths, optimizer)
        losses = [float(fresh.step(x, y)) for _ in range(data.CHECKED_STEPS)]
        return [np.array(losses), fresh.change(widths)]

    return Case(lambda: training.step(x, y).item(), result)


def _fit(spec: dict[str, Any]) -> Case:
    widths, batch, epochs = spec["widths"], spec["batch"], spec["epochs"]
    x, y = map(torch.from_numpy, data.digits())
    training = _Training(widths, "adam")
    start = {name: value.clone() for name, value in training.model.state_dict().items()}

    def fit(count: int) -> None:
        for _ in range(count):
            order = torch.randperm(len(x))
            for begin in range(0, len(x), batch):
                rows = order[begin : begin + batch]
                training.step(x[rows], y[rows])

    def prepare() -> None:
        # The same compiled loss each time, from a fresh start.
        torch.manual_seed(0)
        training.model.load_state_dict(start)
        training.rule = _rule(list(training.model.parameters()), "adam")
        fit(1)

    def result() -> list[Any]:
        prepare()
        fit(epochs)
        with torch.no_grad():
            return [(training.model(x).argmax(1) == y).float().mean().numpy()]

    return Case(lambda: fit(epochs), result, prepare)


def _batchnorm(spec: dict[str, Any]) -> Case:
    x, dy, gamma, beta = map(torch.from_numpy, data.batchnorm_data(spec["shape"]))
    leaves = [tensor.requires_grad_() for tensor in (x, gamma, beta)]
    mean, var = torch.zeros_like(gamma), torch.ones_like(gamma)
    forward = _compiled(lambda x, gamma, beta: functional.batch_norm(
        x, mean, var, gamma, beta, training=True, momentum=1 - data.BATCHNORM_MOMENTUM,
        eps=data.BATCHNORM_EPS))  # fmt: skip

    def run() -> Any:
        for leaf in leaves:
            leaf.grad = None
        y = forward(*leaves)
        y.backward(dy)
        return y

    def result() -> list[Any]:
        y = run()
        return [y.detach().numpy(), *(leaf.grad.numpy() for leaf in leaves)]

    return Case(run, result)


def _softmax_cross_entropy(spec: dict[str, Any]) -> Case:
    logits, target = map(torch.from_numpy, data.loss_data(spec["shape"]))
    logits.requires_grad_()
    forward = _compiled(functional.cross_entropy)

    def run() -> Any:
        logits.grad = None
        loss = forward(logits, target)
        loss.backward()
        return loss

    def result() -> list[Any]:
        loss = run()
        return [loss.detach().numpy(), logits.grad.numpy()]

    return Case(run, result)


def _adam(spec: dict[str, Any]) -> Case:
    if COMPILED:
        raise NotMeasured("Adam is measured as the fused optimizer of torch")
    start, g = map(torch.from_numpy, data.adam_data(spec["size"]))

    def made() -> tuple[Any, Any]:
        w = start.clone().requires_grad_()
        w.grad = g
        return w, _rule([w], "adam")

    _, rule = made()

    def result() -> list[Any]:
        fresh, steps = made()
        for _ in range(data.ADAM_CHECKED_STEPS):
            steps.step()
        return [(fresh.detach() - start).numpy()]

    return Case(rule.step, result)


CASES: dict[str, Callable[[dict[str, Any]], Case]] = {
    "matmul": _matmul,
    "step": _step,
    "fit": _fit,
    "batchnorm": _batchnorm,
    "softmax_cross_entropy": _softmax_cross_entropy,
    "adam": _adam,
}
