"""Nielsen's networks as anyone would write them in NumPy, one sample at a time: the twins of
fastbp.compat.nielsen, for tests too.
"""
# ruff: noqa: N802, NPY002, T201 - the book's names, its global generators, its lines

from __future__ import annotations

import itertools
import random
from typing import Any

import numpy as np

Lists = tuple[list[Any], list[Any]]


def sigmoid(z: Any) -> Any:
    return 1 / (1 + np.exp(-z))


def sigmoid_prime(z: Any) -> Any:
    return sigmoid(z) * (1 - sigmoid(z))


def vectorized_result(j: int) -> np.ndarray:
    return np.eye(10)[:, [j]]


class QuadraticCost:
    @staticmethod
    def fn(a: Any, y: Any) -> Any:
        return 0.5 * np.sum((a - y) ** 2)

    @staticmethod
    def delta(z: Any, a: Any, y: Any) -> Any:
        return (a - y) * sigmoid_prime(z)


class CrossEntropyCost:
    @staticmethod
    def fn(a: Any, y: Any) -> Any:
        return np.sum(np.nan_to_num(-y * np.log(a) - (1 - y) * np.log(1 - a)))

    @staticmethod
    def delta(z: Any, a: Any, y: Any) -> Any:
        return a - y


class Twin:
    """What network.Network and network2.Network share."""

    cost: Any = QuadraticCost
    weights: list[Any]
    biases: list[Any]

    def feedforward(self, a: Any) -> Any:
        for b, w in zip(self.biases, self.weights, strict=True):
            a = sigmoid(w @ a + b)
        return a

    def backprop(self, x: Any, y: Any) -> Lists:
        zs: list[Any] = []
        values = [x]
        for b, w in zip(self.biases, self.weights, strict=True):
            zs.append(w @ values[-1] + b)
            values.append(sigmoid(zs[-1]))
        deltas = [self.cost.delta(zs[-1], values[-1], y)]
        for w, z in zip(self.weights[:0:-1], zs[-2::-1], strict=True):
            deltas.insert(0, (w.T @ deltas[0]) * sigmoid_prime(z))
        return deltas, [d @ a.T for d, a in zip(deltas, values[:-1], strict=True)]

    def step(self, batch: list[Any], eta: float, decay: float) -> None:
        sums_b = [np.zeros(b.shape) for b in self.biases]
        sums_w = [np.zeros(w.shape) for w in self.weights]
        for x, y in batch:
            for sums, gradients in zip((sums_b, sums_w), self.backprop(x, y), strict=True):
                for i, gradient in enumerate(gradients):
                    sums[i] = sums[i] + gradient
        self.weights = [(1 - eta * decay) * w - eta / len(batch) * s
                        for w, s in zip(self.weights, sums_w, strict=True)]
        self.biases = [b - eta / len(batch) * s for b, s in zip(self.biases, sums_b, strict=True)]

    def epoch(self, data: list[Any], size: int, eta: float, decay: float) -> None:
        random.shuffle(data)
        for k in range(0, len(data), size):
            self.step(data[k : k + size], eta, decay)


class Network1(Twin):
    def __init__(self, sizes: list[int]) -> None:
        self.biases = [np.random.randn(m, 1) for m in sizes[1:]]
        self.weights = [np.random.randn(m, n) for n, m in itertools.pairwise(sizes)]

    def SGD(self, training_data: list[Any], epochs: int, mini_batch_size: int, eta: float,
            test_data: Any = None) -> None:
        for j in range(epochs):
            self.epoch(training_data, mini_batch_size, eta, 0)
            if test_data:
                print(f"Epoch {j}: {self.evaluate(test_data)} / {len(test_data)}")
            else:
                print(f"Epoch {j} complete")

    def evaluate(self, test_data: Any) -> int:
        return sum(int(np.argmax(self.feedforward(x)) == y) for x, y in test_data)


class Network(Twin):
    def __init__(self, sizes: list[int], cost: Any = CrossEntropyCost) -> None:
        self.cost = cost
        self.biases = [np.random.randn(m, 1) for m in sizes[1:]]
        self.weights = [np.random.randn(m, n) / np.sqrt(n)
                        for n, m in itertools.pairwise(sizes)]

    def SGD(self, training_data: list[Any], epochs: int, mini_batch_size: int, eta: float,
            lmbda: float = 0.0, evaluation_data: Any = None, monitor_evaluation_cost: bool = False,
            monitor_evaluation_accuracy: bool = False, monitor_training_cost: bool = False,
            monitor_training_accuracy: bool = False, early_stopping_n: int = 0
            ) -> tuple[list[Any], ...]:
        found: tuple[list[Any], ...] = ([], [], [], [])
        n, best, unchanged = len(training_data), 0, 0
        for j in range(epochs):
            self.epoch(training_data, mini_batch_size, eta, lmbda / n)
            print(f"Epoch {j} training complete")
            if monitor_training_cost:
                found[2].append(self.total_cost(training_data, lmbda))
                print(f"Cost on training data: {found[2][-1]}")
            if monitor_training_accuracy:
                accuracy = self.accuracy(training_data, convert=True)
                found[3].append(accuracy)
                print(f"Accuracy on training data: {accuracy} / {n}")
            if monitor_evaluation_cost:
                found[0].append(self.total_cost(evaluation_data, lmbda, convert=True))
                print(f"Cost on evaluation data: {found[0][-1]}")
            if monitor_evaluation_accuracy:
                accuracy = self.accuracy(evaluation_data)
                found[1].append(accuracy)
                print(f"Accuracy on evaluation data: {accuracy} / {len(evaluation_data)}")
            if early_stopping_n > 0:
                unchanged = 0 if accuracy > best else unchanged + 1
                best = max(best, accuracy)
                if unchanged == early_stopping_n:
                    return found
        return found

    def accuracy(self, data: Any, convert: bool = False) -> int:
        return sum(int(np.argmax(self.feedforward(x)) == (np.argmax(y) if convert else y))
                   for x, y in data)

    def total_cost(self, data: Any, lmbda: float, convert: bool = False) -> Any:
        cost = 0.0
        for x, y in data:
            target = vectorized_result(y) if convert else y
            cost += self.cost.fn(self.feedforward(x), target) / len(data)
        return cost + 0.5 * lmbda / len(data) * sum(np.sum(w**2) for w in self.weights)
