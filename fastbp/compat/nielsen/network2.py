"""The book's `network2.py`: costs, regularization, monitoring, early stopping, files.

Mathematics: docs/math.md#affine and #losses, with the sum over a mini-batch divided by its size.
"""

from __future__ import annotations

import itertools
import json
import random
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fastbp._errors import ArgumentError, CheckpointError
from fastbp.compat.nielsen._columns import (
    Epochs,
    as_list,
    checked_columns,
    has_own,
    mini_batches,
    outputs,
    sizes_of,
)
from fastbp.compat.nielsen._engine import rows_of_columns


class QuadraticCost:
    """C = |a - y|^2 / 2 for a sample."""

    @staticmethod
    def fn(a: Any, y: Any) -> Any:
        """The cost of an output a and a target y, (n_out, 1)."""
        return 0.5 * np.linalg.norm(a - y) ** 2

    @staticmethod
    def delta(z: Any, a: Any, y: Any) -> Any:
        """The cost's gradient by z."""
        return (a - y) * sigmoid_prime(z)


class CrossEntropyCost:
    """C = -sum(y log a + (1 - y) log(1 - a)) for a sample."""

    @staticmethod
    def fn(a: Any, y: Any) -> Any:
        """The cost of an output a and a target y, (n_out, 1); 0 log 0 is 0."""
        return np.sum(_cross_entropies(a, y))

    @staticmethod
    def delta(z: Any, a: Any, y: Any) -> Any:
        """The cost's gradient by z, in which sigmoid'(z) has cancelled."""
        return a - y


def _cross_entropies(a: Any, y: Any) -> Any:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.nan_to_num(-y * np.log(a) - (1 - y) * np.log(1 - a))


class Network:
    """A network of sigmoid neurons.

    Arguments:
        sizes: neurons of each layer, the inputs first.
        cost: a class with static functions fn(a, y) and delta(z, a, y).

    `biases`: list of (n_out, 1), `weights`: list of (n_out, n_in), float64, drawn from
    `np.random.randn`. Training puts new arrays there; old ones stay as they are.
    """

    def __init__(self, sizes: Sequence[int], cost: Any = CrossEntropyCost) -> None:
        self.num_layers = len(sizes)
        self.sizes = sizes
        self.default_weight_initializer()
        self.cost = cost

    def default_weight_initializer(self) -> None:
        """Standard normal biases; weights with the deviation 1/sqrt(inputs)."""
        biases, weights = _normal(self.sizes)
        self.biases, self.weights = biases, [w / np.sqrt(w.shape[1]) for w in weights]

    def large_weight_initializer(self) -> None:
        """Standard normal biases and weights."""
        self.biases, self.weights = _normal(self.sizes)

    def feedforward(self, a: Any) -> Any:
        """The output (n_out, 1) for an input (n_in, 1)."""
        for b, w in zip(self.biases, self.weights, strict=True):
            a = sigmoid(np.dot(w, a) + b)
        return a

    def SGD(self, training_data: Iterable[Any], epochs: int, mini_batch_size: int,  # noqa: N802
            eta: float, lmbda: float = 0.0, evaluation_data: Iterable[Any] | None = None,
            monitor_evaluation_cost: bool = False, monitor_evaluation_accuracy: bool = False,
            monitor_training_cost: bool = False, monitor_training_accuracy: bool = False,
            early_stopping_n: int = 0) -> tuple[list[Any], list[Any], list[Any], list[Any]]:
        """Train, and print what is monitored after each epoch.

        Arguments:
            training_data: (x (n_in, 1), y (n_out, 1)) for each sample; a list is shuffled in place
                with `random.shuffle` before each epoch.
            eta: learning rate; a mini-batch's step is eta times its mean gradient.
            lmbda: L2 regularization: weights shrink by 1 - eta*lmbda/n at each step.
            evaluation_data: (x, label) for each sample.
            early_stopping_n: stop when the accuracy last monitored has not been above its best for
                so many epochs; 0: never.
        Returns:
            (evaluation cost, evaluation accuracy, training cost, training accuracy): lists with a
            number an epoch, empty where it is not monitored.
        """
        if mini_batch_size < 1:
            raise ArgumentError(f"mini_batch_size={mini_batch_size}", "at least 1")
        if early_stopping_n > 0 and not (monitor_evaluation_accuracy or monitor_training_accuracy):
            raise ArgumentError(f"early_stopping_n={early_stopping_n} without an accuracy",
                                "one to watch", "pass monitor_evaluation_accuracy=True")
        evaluation = list(evaluation_data) if evaluation_data else None
        if evaluation is None and (monitor_evaluation_cost or monitor_evaluation_accuracy):
            raise ArgumentError("evaluation is monitored without evaluation_data",
                                "(x, label) for each sample")
        data = as_list(training_data)
        found: tuple[list[Any], list[Any], list[Any], list[Any]] = ([], [], [], [])
        best, unchanged = 0, 0
        train_epoch = self._epochs(data, mini_batch_size, eta, lmbda)
        for j in range(epochs):
            train_epoch()
            print(f"Epoch {j} training complete")  # noqa: T201
            if monitor_training_cost:
                found[2].append(self.total_cost(data, lmbda))
                print(f"Cost on training data: {found[2][-1]}")  # noqa: T201
            if monitor_training_accuracy:
                accuracy = self.accuracy(data, convert=True)
                found[3].append(accuracy)
                print(f"Accuracy on training data: {accuracy} / {len(data)}")  # noqa: T201
            if monitor_evaluation_cost:
                found[0].append(self.total_cost(evaluation, lmbda, convert=True))
                print(f"Cost on evaluation data: {found[0][-1]}")  # noqa: T201
            if monitor_evaluation_accuracy:
                accuracy = self.accuracy(evaluation)
                found[1].append(accuracy)
                print(f"Accuracy on evaluation data: {accuracy} / "  # noqa: T201
                      f"{len(evaluation or ())}")
            if early_stopping_n > 0:
                best, unchanged = max(best, accuracy), 0 if accuracy > best else unchanged + 1
                if unchanged == early_stopping_n:
                    break
        return found

    def _epochs(self, data: list[Any], mini_batch_size: int, eta: float, lmbda: float) -> Any:
        """A function that trains for one epoch: compiled, or by `update_mini_batch`."""
        sizes, cost = self._compiled_sizes(), self.cost
        compiled = Epochs("training_data", data, sizes,
                          quadratic=cost is QuadraticCost) if sizes else None

        def epoch() -> None:
            if compiled and self._compiled_sizes() == sizes and self.cost is cost:
                compiled.shuffle()
                compiled.run(self, mini_batch_size, eta, lmbda / max(1, len(data)))
                return
            random.shuffle(data)
            for mini_batch in mini_batches(data, mini_batch_size):
                self.update_mini_batch(mini_batch, eta, lmbda, len(data))

        return epoch

    def update_mini_batch(self, mini_batch: Sequence[Any], eta: float, lmbda: float, n: int
                          ) -> None:
        """One step of gradient descent on a list of (x, y); n: size of the training data."""
        sizes = self._compiled_sizes()
        if sizes and mini_batch:
            batch = Epochs("mini_batch", list(mini_batch), sizes,
                           quadratic=self.cost is QuadraticCost)
            batch.run(self, len(mini_batch), eta, lmbda / n)
            return
        nabla_b = [np.zeros(b.shape) for b in self.biases]
        nabla_w = [np.zeros(w.shape) for w in self.weights]
        for x, y in mini_batch:
            of_b, of_w = self.backprop(x, y)
            nabla_b = [nb + b for nb, b in zip(nabla_b, of_b, strict=True)]
            nabla_w = [nw + w for nw, w in zip(nabla_w, of_w, strict=True)]
        rate, keep = eta / len(mini_batch), 1 - eta * (lmbda / n)
        self.weights = [keep * w - rate * nw for w, nw in zip(self.weights, nabla_w, strict=True)]
        self.biases = [b - rate * nb for b, nb in zip(self.biases, nabla_b, strict=True)]

    def backprop(self, x: Any, y: Any) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """(nabla_b, nabla_w): the gradient of one sample's cost, shaped like biases and weights."""
        activation, activations, zs = x, [x], []
        for b, w in zip(self.biases, self.weights, strict=True):
            zs.append(np.dot(w, activation) + b)
            activation = sigmoid(zs[-1])
            activations.append(activation)
        delta = self.cost.delta(zs[-1], activations[-1], y)
        nabla_b, nabla_w = [delta], [np.dot(delta, np.transpose(activations[-2]))]
        for layer in range(2, len(self.weights) + 1):
            delta = np.dot(self.weights[-layer + 1].T, delta) * sigmoid_prime(zs[-layer])
            nabla_b.insert(0, delta)
            nabla_w.insert(0, np.dot(delta, np.transpose(activations[-layer - 1])))
        return nabla_b, nabla_w

    def accuracy(self, data: Iterable[Any] | None, convert: bool = False) -> int:
        """For how many samples the largest output is the label's.

        convert: targets are columns, as in the training data, and not labels.
        """
        samples = list(data or ())
        labels = [np.argmax(y) if convert else y for _, y in samples]
        matrix = self._outputs(samples)
        winners = ([int(np.argmax(self.feedforward(x))) for x, _ in samples] if matrix is None
                   else matrix.argmax(axis=1).tolist())
        return sum(int(winner == label) for winner, label in zip(winners, labels, strict=True))

    def total_cost(self, data: Iterable[Any] | None, lmbda: float, convert: bool = False) -> Any:
        """The mean cost of the samples, plus lmbda/(2n) times the sum of all squared weights.

        convert: targets are labels, as in the evaluation data, and not columns.
        """
        samples = list(data or ())
        targets = [vectorized_result(y) if convert else y for _, y in samples]
        known = self.cost is QuadraticCost or self.cost is CrossEntropyCost
        a = self._outputs(samples) if known else None
        if a is None:
            costs = [self.cost.fn(self.feedforward(x), y)
                     for (x, _), y in zip(samples, targets, strict=True)]
        else:
            size = a.shape[1]
            y = rows_of_columns(checked_columns("data", "y", targets, size), size)
            costs = (0.5 * np.sum((a - y) ** 2, axis=1) if self.cost is QuadraticCost
                     else np.sum(_cross_entropies(a, y), axis=1))
        squares = sum(np.sum(np.square(w)) for w in self.weights)
        return np.sum(np.asarray(costs) / len(samples)) + 0.5 * (lmbda / len(samples)) * squares

    def save(self, filename: Any) -> None:
        """Write sizes, weights, biases and the cost's name as JSON."""
        data = {"sizes": [int(size) for size in self.sizes],
                "weights": [w.tolist() for w in self.weights],
                "biases": [b.tolist() for b in self.biases], "cost": str(self.cost.__name__)}
        Path(filename).write_text(json.dumps(data), encoding="utf-8")

    def _outputs(self, samples: list[Any]) -> np.ndarray | None:
        """All outputs (N, n_out), or None where `feedforward` is not the book's."""
        sizes = sizes_of(self.weights, self.biases)
        if sizes is None or has_own(self, Network, "feedforward") or sigmoid is not _SIGMOID:
            return None
        x = checked_columns("data", "x", (x for x, _ in samples), sizes[0])
        return outputs(self.weights, self.biases, x)

    def _compiled_sizes(self) -> tuple[int, ...] | None:
        """The layers' sizes, or None where something is not the book's and must be asked."""
        if (has_own(self, Network, "update_mini_batch", "backprop")
                or self.cost not in (QuadraticCost, CrossEntropyCost)
                or sigmoid is not _SIGMOID or sigmoid_prime is not _SIGMOID_PRIME):
            return None
        return sizes_of(self.weights, self.biases)


def _normal(sizes: Sequence[int]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Biases and weights as the book draws them."""
    return ([np.random.randn(y, 1) for y in sizes[1:]],  # noqa: NPY002
            [np.random.randn(y, x) for x, y in itertools.pairwise(sizes)])  # noqa: NPY002


def load(filename: Any) -> Network:
    """The network that `save` wrote. Raises CheckpointError where the file is no such one."""
    try:
        data = json.loads(Path(filename).read_text(encoding="utf-8"))
        cost = getattr(sys.modules[__name__], data["cost"], None)
        sizes, weights, biases = data["sizes"], data["weights"], data["biases"]
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{filename}: {type(error).__name__}: {error}",
                              "a file that Network.save wrote") from error
    if not isinstance(cost, type):
        raise CheckpointError(f"{filename}: cost {data['cost']!r}",
                              "QuadraticCost or CrossEntropyCost",
                              f"assign your class first: network2.{data['cost']} = ...")
    net = Network(sizes, cost=cost)
    net.weights = [np.array(w) for w in weights]
    net.biases = [np.array(b) for b in biases]
    if sizes_of(net.weights, net.biases) != tuple(sizes):
        raise CheckpointError(f"{filename}: weights {[w.shape for w in net.weights]}, biases "
                              f"{[b.shape for b in net.biases]}", f"those of sizes {sizes}")
    return net


def vectorized_result(j: int) -> np.ndarray:
    """The column (10, 1) with 1 in place j and 0 elsewhere."""
    e = np.zeros((10, 1))
    e[j] = 1.0
    return e


def sigmoid(z: Any) -> Any:
    """1 / (1 + exp(-z)), elementwise."""
    with np.errstate(over="ignore"):  # exp(-z) = inf gives the limit 0
        return 1.0 / (1.0 + np.exp(-z))


def sigmoid_prime(z: Any) -> Any:
    """The derivative of the sigmoid."""
    return sigmoid(z) * (1 - sigmoid(z))


# Who assigns another function to the names above gets it called.
_SIGMOID, _SIGMOID_PRIME = sigmoid, sigmoid_prime
