"""The book's `network.py`: stochastic gradient descent on the quadratic cost.

Mathematics: docs/math.md#affine and #losses, with the sum over a mini-batch divided by its size.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from fastbp._errors import ArgumentError
from fastbp.compat.nielsen._columns import (
    Epochs,
    as_list,
    checked_columns,
    has_own,
    mini_batches,
    outputs,
    sizes_of,
)


class Network:
    """A network of sigmoid neurons.

    Arguments:
        sizes: neurons of each layer, the inputs first.

    `biases`: list of (n_out, 1), `weights`: list of (n_out, n_in), float64, drawn from
    `np.random.randn`, all biases first. Training puts new arrays there; old ones stay as they are.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        self.num_layers = len(sizes)
        self.sizes = sizes
        self.biases = [np.random.randn(y, 1) for y in sizes[1:]]  # noqa: NPY002 - as the book
        self.weights = [np.random.randn(y, x)  # noqa: NPY002
                        for x, y in itertools.pairwise(sizes)]

    def feedforward(self, a: Any) -> Any:
        """The output (n_out, 1) for an input (n_in, 1)."""
        for b, w in zip(self.biases, self.weights, strict=True):
            a = sigmoid(np.dot(w, a) + b)
        return a

    def SGD(self, training_data: Iterable[Any], epochs: int, mini_batch_size: int,  # noqa: N802
            eta: float, test_data: Iterable[Any] | None = None) -> None:
        """Train, and print a line an epoch.

        Arguments:
            training_data: (x (n_in, 1), y (n_out, 1)) for each sample; a list is shuffled in place
                with `random.shuffle` before each epoch.
            eta: learning rate; a mini-batch's step is eta times its mean gradient.
            test_data: (x, label) for each sample: how many are right is printed.
        """
        if mini_batch_size < 1:
            raise ArgumentError(f"mini_batch_size={mini_batch_size}", "at least 1")
        data = as_list(training_data)
        test = list(test_data) if test_data else None
        sizes = self._compiled_sizes()
        compiled = Epochs("training_data", data, sizes, quadratic=True) if sizes else None
        for j in range(epochs):
            if compiled and self._compiled_sizes() == sizes:
                compiled.shuffle()
                compiled.run(self, mini_batch_size, eta, 0.0)
            else:
                random.shuffle(data)
                for mini_batch in mini_batches(data, mini_batch_size):
                    self.update_mini_batch(mini_batch, eta)
            if test:
                print(f"Epoch {j}: {self.evaluate(test)} / {len(test)}")  # noqa: T201
            else:
                print(f"Epoch {j} complete")  # noqa: T201

    def update_mini_batch(self, mini_batch: Sequence[Any], eta: float) -> None:
        """One step of gradient descent on a list of (x, y)."""
        sizes = self._compiled_sizes()
        if sizes and mini_batch:
            batch = Epochs("mini_batch", list(mini_batch), sizes, quadratic=True)
            batch.run(self, len(mini_batch), eta, 0.0)
            return
        nabla_b = [np.zeros(b.shape) for b in self.biases]
        nabla_w = [np.zeros(w.shape) for w in self.weights]
        for x, y in mini_batch:
            of_b, of_w = self.backprop(x, y)
            nabla_b = [nb + b for nb, b in zip(nabla_b, of_b, strict=True)]
            nabla_w = [nw + w for nw, w in zip(nabla_w, of_w, strict=True)]
        rate = eta / len(mini_batch)
        self.weights = [w - rate * nw for w, nw in zip(self.weights, nabla_w, strict=True)]
        self.biases = [b - rate * nb for b, nb in zip(self.biases, nabla_b, strict=True)]

    def backprop(self, x: Any, y: Any) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """(nabla_b, nabla_w): the gradient of one sample's cost, shaped like biases and weights."""
        activation, activations, zs = x, [x], []
        for b, w in zip(self.biases, self.weights, strict=True):
            zs.append(np.dot(w, activation) + b)
            activation = sigmoid(zs[-1])
            activations.append(activation)
        delta = self.cost_derivative(activations[-1], y) * sigmoid_prime(zs[-1])
        nabla_b, nabla_w = [delta], [np.dot(delta, np.transpose(activations[-2]))]
        for layer in range(2, len(self.weights) + 1):
            delta = np.dot(self.weights[-layer + 1].T, delta) * sigmoid_prime(zs[-layer])
            nabla_b.insert(0, delta)
            nabla_w.insert(0, np.dot(delta, np.transpose(activations[-layer - 1])))
        return nabla_b, nabla_w

    def evaluate(self, test_data: Iterable[Any]) -> int:
        """For how many (x, label) the largest output is the label's."""
        data = list(test_data)
        return sum(int(winner == y)
                   for winner, (_, y) in zip(self._winners(data), data, strict=True))

    def _winners(self, data: list[Any]) -> list[int]:
        sizes = sizes_of(self.weights, self.biases)
        if sizes is None or has_own(self, Network, "feedforward") or sigmoid is not _SIGMOID:
            return [int(np.argmax(self.feedforward(x))) for x, _ in data]
        x = checked_columns("test_data", "x", (x for x, _ in data), sizes[0])
        return outputs(self.weights, self.biases, x).argmax(axis=1).tolist()

    def cost_derivative(self, output_activations: Any, y: Any) -> Any:
        """The cost's derivatives by the outputs."""
        return output_activations - y

    def _compiled_sizes(self) -> tuple[int, ...] | None:
        """The layers' sizes, or None where something is not the book's and must be asked."""
        if (has_own(self, Network, "update_mini_batch", "backprop", "cost_derivative")
                or sigmoid is not _SIGMOID or sigmoid_prime is not _SIGMOID_PRIME):
            return None
        return sizes_of(self.weights, self.biases)


def sigmoid(z: Any) -> Any:
    """1 / (1 + exp(-z)), elementwise."""
    with np.errstate(over="ignore"):  # exp(-z) = inf gives the limit 0
        return 1.0 / (1.0 + np.exp(-z))


def sigmoid_prime(z: Any) -> Any:
    """The derivative of the sigmoid."""
    return sigmoid(z) * (1 - sigmoid(z))


# Who assigns another function to the names above gets it called.
_SIGMOID, _SIGMOID_PRIME = sigmoid, sigmoid_prime
