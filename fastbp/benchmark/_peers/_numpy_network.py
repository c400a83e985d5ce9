"""A training step in NumPy: affine layers, ReLU, softmax cross-entropy, written out by hand."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from fastbp.benchmark import workloads as data

Array = data.Array


def adam(w: Array, g: Array, m: Array, v: Array, scratch: Array, step: int) -> None:
    """An Adam step in place; scratch: memory of w's size."""
    one, two = np.float32(data.BETA1), np.float32(data.BETA2)
    np.multiply(g, 1 - one, out=scratch)
    m *= one
    m += scratch
    np.multiply(g, g, out=scratch)
    scratch *= 1 - two
    v *= two
    v += scratch
    np.multiply(v, np.float32(1 / (1 - data.BETA2**step)), out=scratch)
    np.sqrt(scratch, out=scratch)
    scratch += np.float32(data.ADAM_EPS)
    np.divide(m, scratch, out=scratch)
    scratch *= np.float32(data.ADAM_RATE / (1 - data.BETA1**step))
    w -= scratch


class NumpyNetwork:
    """Weights, their slots, and buffers for each batch size; `step` trains."""

    def __init__(self, widths: tuple[int, ...], optimizer: str) -> None:
        self.widths, self.optimizer = widths, optimizer
        # One vector for all parameters: the update is a dozen calls, not a dozen for each layer.
        self.values = np.zeros(sum((i + 1) * o for i, o in itertools.pairwise(widths)), np.float32)
        self.gradients, self.scratch = np.empty_like(self.values), np.empty_like(self.values)
        self.slots = [np.zeros_like(self.values) for _ in range(2 if optimizer == "adam" else 1)]
        self.weights, self.biases = self._views(self.values)
        self.dweights, self.dbiases = self._views(self.gradients)
        for view, initial in zip(self.weights, data.weights(widths), strict=True):
            view[...] = initial
        self.count = 0
        self.buffers: dict[int, tuple[list[Array], list[Array], Array]] = {}

    def _views(self, vector: Array) -> tuple[list[Array], list[Array]]:
        weights, biases, begin = [], [], 0
        for i, o in itertools.pairwise(self.widths):
            weights.append(vector[begin : begin + i * o].reshape(i, o))
            biases.append(vector[begin + i * o : begin + (i + 1) * o])
            begin += (i + 1) * o
        return weights, biases

    def _buffers(self, rows: int) -> tuple[list[Array], list[Array], Array]:
        """Values and gradients of each layer's output, and the rows' numbers."""
        if rows not in self.buffers:
            shapes = [(rows, width) for width in self.widths[1:]]
            values, gradients = ([np.empty(s, np.float32) for s in shapes] for _ in range(2))
            self.buffers[rows] = values, gradients, np.arange(rows)
        return self.buffers[rows]

    def _forward(self, x: Array, values: list[Array]) -> None:
        last = len(values) - 1
        for i, (w, b, y) in enumerate(zip(self.weights, self.biases, values, strict=True)):
            np.matmul(x, w, out=y)
            y += b
            if i < last:
                np.maximum(y, 0, out=y)
            x = y

    def predict(self, x: Array) -> Any:
        """The class of each row."""
        values, _, _ = self._buffers(len(x))
        self._forward(x, values)
        return values[-1].argmax(axis=1)

    def step(self, x: Array, y: Any) -> float:
        """One step; the loss before it."""
        values, gradients, rows = self._buffers(len(x))
        self._forward(x, values)
        loss = self._loss(values[-1], y, gradients[-1], rows)
        for i in range(len(values) - 1, -1, -1):
            below, dy = (values[i - 1] if i else x), gradients[i]
            np.matmul(below.T, dy, out=self.dweights[i])
            dy.sum(axis=0, out=self.dbiases[i])
            if i:
                np.matmul(dy, self.weights[i].T, out=gradients[i - 1])
                gradients[i - 1] *= below > 0
        self._update()
        return loss

    def _loss(self, logits: Array, y: Any, gradient: Array, rows: Array) -> float:
        np.subtract(logits, logits.max(axis=1, keepdims=True), out=gradient)
        true = gradient[rows, y]
        np.exp(gradient, out=gradient)
        total = gradient.sum(axis=1)
        loss = float((np.log(total) - true).mean())
        gradient /= total[:, None]
        gradient[rows, y] -= 1
        gradient *= np.float32(1 / len(rows))
        return loss

    def _update(self) -> None:
        self.count += 1
        if self.optimizer == "adam":
            m, v = self.slots
            adam(self.values, self.gradients, m, v, self.scratch, self.count)
            return
        (velocity,) = self.slots
        velocity *= np.float32(data.MOMENTUM)
        velocity += self.gradients
        np.multiply(velocity, np.float32(data.SGD_RATE), out=self.scratch)
        self.values -= self.scratch
