"""Rows of `compat`: MiniFlow at the lesson's size, Nielsen's networks at the book's.

Rows are tuples (name, make_inputs, numpy_function, fastbp_function).
"""
# ruff: noqa: NPY002 - both draw from the global generators

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from typing import Any

import numpy as np

from fastbp.benchmark._peers import _numpy_miniflow, _numpy_nielsen
from fastbp.compat import miniflow
from fastbp.compat.nielsen import network, network2

_SAMPLES, _FEATURES, _HIDDEN, _BATCH = 506, 13, 10, 11
_STEPS = _SAMPLES // _BATCH
_PIXELS, _NEURONS, _CLASSES = 784, 30, 10
_IMAGES, _EPOCHS = 1000, 5

Work = Callable[..., Any]


def _regression() -> tuple[Any, ...]:
    """x, y, the rows of each step's batch, and the weights that are trained in place."""
    weights = [np.random.randn(*shape) for shape in
               ((_FEATURES, _HIDDEN), (_HIDDEN,), (_HIDDEN, 1), (1,))]
    return (np.random.randn(_SAMPLES, _FEATURES), np.random.randn(_SAMPLES),
            np.random.randint(0, _SAMPLES, (_STEPS, _BATCH)), weights)


class _Lesson:
    """The lesson's network over given weights, made once for them."""

    def __init__(self, module: Any) -> None:
        self.module = module
        self.weights: Any = None

    def build(self, x: Any, y: Any, weights: Any) -> None:
        """Nodes of which `weights` are the values; none are made where there are already."""
        if weights is self.weights:
            return
        make, self.weights = self.module, weights
        self.x, self.y, *self.trainables = (make.Input() for _ in range(6))
        w1, b1, w2, b2 = self.trainables
        make.MSE(self.y, make.Linear(make.Sigmoid(make.Linear(self.x, w1, b1)), w2, b2))
        self.graph = make.topological_sort(
            {self.x: x, self.y: y} | dict(zip(self.trainables, weights, strict=True)))

    def epoch(self, x: Any, y: Any, index: Any, weights: Any) -> Any:
        """The lesson's loop: the losses, and the weights after it."""
        self.build(x, y, weights)
        losses = []
        for rows in index:
            self.x.value, self.y.value = x[rows], y[rows]
            self.module.forward_and_backward(self.graph)
            self.module.sgd_update(self.trainables)
            losses.append(self.graph[-1].value)
        return losses, weights

    def train(self, x: Any, y: Any, index: Any, weights: Any) -> Any:
        """The same by `miniflow.train`."""
        self.build(x, y, weights)
        losses = miniflow.train(self.graph, self.trainables, {self.x: x, self.y: y}, index=index)
        return list(losses), weights


def _images() -> tuple[Any, ...]:
    """(x, y) columns, and (x, label) for evaluation."""
    x = np.random.rand(_IMAGES, _PIXELS, 1).astype(np.float32)
    labels = np.random.randint(0, _CLASSES, _IMAGES)
    return ([(a, np.eye(_CLASSES)[:, [j]]) for a, j in zip(x, labels, strict=True)],
            list(zip(x, labels, strict=True)))


def _sgd(make: Any) -> Work:
    """A new network's first epochs; its weights."""

    def run(training: Any, test: Any) -> Any:
        net = make([_PIXELS, _NEURONS, _CLASSES])
        with contextlib.redirect_stdout(io.StringIO()):
            net.SGD(list(training), _EPOCHS, 10, 3.0)
        return net.weights, net.biases

    return run


def _monitored(make: Any) -> Work:
    """The same with regularization, and all that `network2` can monitor."""

    def run(training: Any, test: Any) -> Any:
        net = make([_PIXELS, _NEURONS, _CLASSES])
        with contextlib.redirect_stdout(io.StringIO()):
            return net.SGD(list(training), _EPOCHS, 10, 0.5, 5.0, test, True, True, True, True)

    return run


def _evaluate(make: Any) -> Work:
    """How many of the test images a new network gets right."""
    kept: list[Any] = []

    def run(training: Any, test: Any) -> Any:
        if not kept:
            kept.append(make([_PIXELS, _NEURONS, _CLASSES]))
        return kept[0].evaluate(test)

    return run


ROWS: list[tuple[str, Work, Work, Work]] = [
    (f"MiniFlow 13-10-1 x{_BATCH}, {_STEPS} steps", _regression,
     _Lesson(_numpy_miniflow).epoch, _Lesson(miniflow).epoch),
    (f"MiniFlow 13-10-1 x{_BATCH}, {_STEPS} steps by train", _regression,
     _Lesson(_numpy_miniflow).epoch, _Lesson(miniflow).train),
    (f"Nielsen 784-30-10 x10, {_EPOCHS} epochs of {_IMAGES}", _images,
     _sgd(_numpy_nielsen.Network1), _sgd(network.Network)),
    (f"Nielsen network2, monitored, {_EPOCHS} epochs of {_IMAGES}", _images,
     _monitored(_numpy_nielsen.Network), _monitored(network2.Network)),
    (f"Nielsen evaluate {_IMAGES}", _images,
     _evaluate(_numpy_nielsen.Network1), _evaluate(network.Network)),
]
