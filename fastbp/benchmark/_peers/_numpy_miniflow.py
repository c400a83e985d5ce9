"""MiniFlow as anyone would write it in NumPy: the twin of fastbp.compat.miniflow, for tests too."""

from __future__ import annotations

from typing import Any

import numpy as np


class Node:
    def __init__(self, inbound_nodes: Any = ()) -> None:
        self.inbound_nodes = list(inbound_nodes)
        self.outbound_nodes: list[Any] = []
        self.value: Any = None
        self.gradients: dict[Any, Any] = {}
        for node in self.inbound_nodes:
            node.outbound_nodes.append(self)


class Input(Node):
    def forward(self, value: Any = None) -> None:
        if value is not None:
            self.value = value

    def backward(self) -> None:
        self.gradients = {self: 0}
        for user in self.outbound_nodes:
            self.gradients[self] = self.gradients[self] + user.gradients[self]


class Linear(Node):
    def __init__(self, X: Any, W: Any, b: Any) -> None:  # noqa: N803
        super().__init__([X, W, b])

    def forward(self) -> None:
        x, w, b = (node.value for node in self.inbound_nodes)
        self.value = np.dot(x, w) + b

    def backward(self) -> None:
        x, w, b = self.inbound_nodes
        self.gradients = {node: np.zeros_like(node.value) for node in self.inbound_nodes}
        for user in self.outbound_nodes:
            dz = user.gradients[self]
            self.gradients[x] += np.dot(dz, w.value.T)
            self.gradients[w] += np.dot(x.value.T, dz)
            self.gradients[b] += np.sum(dz, axis=0)


class Sigmoid(Node):
    def __init__(self, node: Any) -> None:
        super().__init__([node])

    def forward(self) -> None:
        self.value = 1 / (1 + np.exp(-self.inbound_nodes[0].value))

    def backward(self) -> None:
        x = self.inbound_nodes[0]
        self.gradients = {x: np.zeros_like(x.value)}
        for user in self.outbound_nodes:
            self.gradients[x] += self.value * (1 - self.value) * user.gradients[self]


class MSE(Node):
    def __init__(self, y: Any, a: Any) -> None:
        super().__init__([y, a])

    def forward(self) -> None:
        y, a = (node.value.reshape(-1, 1) for node in self.inbound_nodes)
        self.m = self.inbound_nodes[0].value.shape[0]
        self.diff = y - a
        self.value = np.mean(self.diff**2)

    def backward(self) -> None:
        y, a = self.inbound_nodes
        self.gradients[y] = (2 / self.m) * self.diff
        self.gradients[a] = (-2 / self.m) * self.diff


def topological_sort(feed_dict: dict[Any, Any]) -> list[Any]:
    waiting: list[Any] = list(feed_dict)
    order: list[Any] = []
    while waiting:
        node = waiting.pop(0)
        if node in feed_dict:
            node.value = feed_dict[node]
        order.append(node)
        for user in node.outbound_nodes:
            if user not in waiting and all(n in order for n in user.inbound_nodes):
                waiting.append(user)
    return order


def forward_and_backward(graph: list[Any]) -> None:
    for node in graph:
        node.forward()
    for node in graph[::-1]:
        node.backward()


def sgd_update(trainables: list[Any], learning_rate: float = 1e-2) -> None:
    for node in trainables:
        node.value -= learning_rate * node.gradients[node]
