"""The lesson's nodes: what each computes, forward beside backward, one at a time in NumPy.

A pass over a whole graph runs compiled where it can (`_plan.py`). Results of such a pass stay in
the plan's memory until someone asks for them: `value` and `gradients` then become arrays of the
node's own, which later passes leave alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from fastbp._errors import ArgumentError, ShapeError


class Pending:
    """Who holds the results of a node's last pass; kept in the node in their place."""

    def value_of(self, node: Node) -> Any:
        """The node's value, as memory of its own."""
        raise NotImplementedError

    def gradients_of(self, node: Node) -> dict[Node, Any]:
        """The node's gradients, as memory of their own."""
        raise NotImplementedError

    def difference_of(self, node: Node) -> Any:
        """y - a of an MSE node."""
        raise NotImplementedError


class Node:
    """A node of the graph; subclasses give `forward` and `backward`.

    Arguments:
        inbound_nodes: where the node's inputs come from; each gets this node as an outbound one.
        inbound_neurons: the same, as the 2016 edition calls it.
        label: any text (2016 edition).

    `value`: what `forward` computed. `gradients`: what `backward` computed, a dict from each
    inbound node to the gradient of the cost by its value; an `Input`'s has itself as the key.
    """

    def __init__(self, inbound_nodes: Iterable[Node] = (), label: str = "", *,
                 inbound_neurons: Iterable[Node] | None = None) -> None:
        nodes = inbound_nodes if inbound_neurons is None else inbound_neurons
        self.inbound_nodes = nodes if isinstance(nodes, list) else list(nodes)
        self.outbound_nodes: list[Node] = []
        self.label = label
        self._value: Any = None
        self._gradients: Any = {}
        for node in self.inbound_nodes:
            if not isinstance(node, Node):
                raise ArgumentError(f"{type(self).__name__}: an inbound node is {node!r}", "a node",
                                    "wrap values in Input() and name them in feed_dict")
            if self not in node.outbound_nodes:
                node.outbound_nodes.append(self)

    @property
    def value(self) -> Any:
        """What the last forward pass computed, or what was assigned."""
        held = self._value
        if isinstance(held, Pending):
            held = self._value = held.value_of(self)
        return held

    @value.setter
    def value(self, value: Any) -> None:
        self._value = value

    @property
    def gradients(self) -> dict[Node, Any]:
        """What the last backward pass computed, or what was assigned."""
        held = self._gradients
        if isinstance(held, Pending):
            held = self._gradients = held.gradients_of(self)
        return held

    @gradients.setter
    def gradients(self, gradients: dict[Node, Any]) -> None:
        self._gradients = gradients

    @property
    def inbound_neurons(self) -> list[Node]:
        """`inbound_nodes` under its name of 2016."""
        return self.inbound_nodes

    @inbound_neurons.setter
    def inbound_neurons(self, nodes: list[Node]) -> None:
        self.inbound_nodes = nodes

    @property
    def outbound_neurons(self) -> list[Node]:
        """`outbound_nodes` under its name of 2016."""
        return self.outbound_nodes

    @outbound_neurons.setter
    def outbound_neurons(self, nodes: list[Node]) -> None:
        self.outbound_nodes = nodes

    def forward(self) -> None:
        """Compute `value` from the inbound nodes' values."""
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def backward(self) -> None:
        """Compute `gradients` from the outbound nodes' gradients."""
        raise NotImplementedError(f"{type(self).__name__} has no backward")

    def _upstream(self) -> list[Any]:
        """The gradients of the cost by this node's value that its outbound nodes hold."""
        return [node.gradients[self] for node in self.outbound_nodes]

    def _inputs(self) -> list[Any]:
        """The inbound nodes' values; none may be missing."""
        values = [node.value for node in self.inbound_nodes]
        for number, value in enumerate(values):
            if value is None:
                raise ArgumentError(f"{type(self).__name__}: input {number} has no value",
                                    "a value for every Input", "name it in feed_dict")
        return values

    def __getstate__(self) -> dict[str, Any]:
        """What copies and pickles keep: results, not who computed them."""
        state = {name: value for name, value in vars(self).items() if name != "_known"}
        return state | {"_value": self.value, "_gradients": self.gradients}


Neuron = Node


class Input(Node):
    """Where values come from: data, weights, biases."""

    def __init__(self) -> None:
        super().__init__()

    def forward(self, value: Any = None) -> None:
        """Take a value, if one is given."""
        if value is not None:
            self.value = value

    def backward(self) -> None:
        """gradients[self] = the sum of what the outbound nodes say."""
        total: Any = 0
        for gradient in self._upstream():
            total = total + gradient
        self.gradients = {self: total}


class Linear(Node):
    """value = X W + b.

    Arguments:
        X, W, b: nodes of values (m, n_in), (n_in, n_out), (n_out,); or, as in the lesson's
            first steps, of Python lists, or lists of nodes X and W with a number each.
    """

    def __init__(self, X: Any, W: Any, b: Node) -> None:  # noqa: N803 - the lesson's names
        self.is_of_numbers = isinstance(X, (list, tuple))
        super().__init__([*X, *W, b] if self.is_of_numbers else [X, W, b])
        self.weights, self.bias = W, b

    def forward(self) -> None:
        """X W + b."""
        values = self._inputs()
        if self.is_of_numbers:
            half = len(values) // 2
            self.value = sum((w * x for x, w in zip(values[:half], values[half:-1], strict=True)),
                             values[-1])
            return
        x, w, b = values
        try:
            self.value = np.dot(x, w) + b
        except ValueError:
            raise self._misfit(x, w, b) from None

    def backward(self) -> None:
        """dX = dZ W^T, dW = X^T dZ, db = column sums of dZ; dZ is summed over outbound nodes."""
        if self.is_of_numbers:
            self._backward_of_numbers()
            return
        x, w, b = self._inputs()
        nodes = self.inbound_nodes
        self.gradients = gradients = {node: np.zeros_like(node.value) for node in nodes}
        try:
            for dz in self._upstream():
                gradients[nodes[0]] += np.dot(dz, np.asarray(w).T)
                gradients[nodes[1]] += np.dot(np.asarray(x).T, dz)
                gradients[nodes[2]] += np.sum(dz, axis=0)
        except ValueError:
            given = f"dZ {np.shape(dz)}, {_shapes(X=x, W=w, b=b)}"
            raise ShapeError(f"Linear, backward: {given}", "dZ of the shape of X W + b",
                             "MSE has a gradient for one output column only") from None

    def _backward_of_numbers(self) -> None:
        values, nodes = self._inputs(), self.inbound_nodes
        half = len(values) // 2
        total = sum(self._upstream())
        self.gradients = dict.fromkeys(nodes, 0.0)
        for i in range(half):
            self.gradients[nodes[i]] += values[half + i] * total
            self.gradients[nodes[half + i]] += values[i] * total
        self.gradients[nodes[-1]] += total

    @staticmethod
    def _misfit(x: Any, w: Any, b: Any) -> ShapeError:
        return ShapeError(f"Linear: {_shapes(X=x, W=w, b=b)}",
                          "X (m, n_in), W (n_in, n_out), b (n_out,)")


class Sigmoid(Node):
    """value = 1 / (1 + exp(-x))."""

    def __init__(self, node: Node) -> None:
        super().__init__([node])

    def _sigmoid(self, x: Any) -> Any:
        with np.errstate(over="ignore"):  # exp(-x) = inf gives the limit 0
            return 1.0 / (1.0 + np.exp(-np.asarray(x)))

    def forward(self) -> None:
        """Elementwise, for arrays of any shape."""
        self.value = self._sigmoid(self._inputs()[0])

    def backward(self) -> None:
        """dx = value (1 - value) dy, summed over outbound nodes."""
        x = self.inbound_nodes[0]
        self.gradients = {x: np.zeros_like(x.value)}
        for dy in self._upstream():
            self.gradients[x] += self.value * (1 - self.value) * dy


class MSE(Node):
    """The cost: value = mean((y - a)^2), both taken as one column.

    The gradients are columns too, whatever y's shape, and m, which they are divided by, is
    the number of y's rows: they are the cost's gradients where there is one output column.
    """

    def __init__(self, y: Node, a: Node) -> None:
        super().__init__([y, a])
        self._diff: Any = None

    @property
    def diff(self) -> Any:
        """y - a of the last forward pass, (m, 1)."""
        held = self._diff
        if isinstance(held, Pending):
            held = self._diff = held.difference_of(self)
        return held

    @diff.setter
    def diff(self, diff: Any) -> None:
        self._diff = diff

    def forward(self) -> None:
        """The mean squared difference."""
        given = self._inputs()
        y, a = (np.asarray(value).reshape(-1, 1) for value in given)
        self.m = np.shape(given[0])[0] if np.ndim(given[0]) else 1
        try:
            self.diff = y - a
        except ValueError:
            raise ShapeError(f"MSE: {_shapes(y=given[0], a=given[1])}",
                             "as many targets as outputs") from None
        self.value = np.mean(self.diff**2)

    def backward(self) -> None:
        """dy = 2/m (y - a), da = -dy; who uses the cost is not asked."""
        y, a = self.inbound_nodes
        dy = (2 / self.m) * self.diff
        self.gradients[y] = dy
        self.gradients[a] = -dy

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_diff": self.diff}


class Add(Node):
    """value = the sum of the inputs."""

    def __init__(self, *inputs: Node) -> None:
        super().__init__(inputs)

    def forward(self) -> None:
        """From left to right."""
        first, *others = self._inputs()
        self.value = first
        for other in others:
            self.value = self.value + other

    def backward(self) -> None:
        """Every input gets the gradient as it is; a shape that was broadcast is summed back."""
        total = sum(self._upstream())
        self.gradients = dict.fromkeys(self.inbound_nodes, 0.0)
        for node in self.inbound_nodes:
            self.gradients[node] = self.gradients[node] + _reduced(total, node.value)


class Mul(Node):
    """value = the product of the inputs, elementwise."""

    def __init__(self, *inputs: Node) -> None:
        super().__init__(inputs)

    def forward(self) -> None:
        """From left to right."""
        first, *others = self._inputs()
        self.value = first
        for other in others:
            self.value = self.value * other

    def backward(self) -> None:
        """Every input gets the gradient times the product of the others."""
        total, values = sum(self._upstream()), self._inputs()
        self.gradients = dict.fromkeys(self.inbound_nodes, 0.0)
        for i, node in enumerate(self.inbound_nodes):
            product = total
            for j, other in enumerate(values):
                if i != j:
                    product = product * other
            self.gradients[node] = self.gradients[node] + _reduced(product, node.value)


def _shapes(**values: Any) -> str:
    return ", ".join(f"{name} {np.shape(value)}" for name, value in values.items())


def _reduced(gradient: Any, value: Any) -> Any:
    """A gradient summed over the axes along which its value was broadcast."""
    shape = np.shape(value)
    gradient = np.broadcast_to(gradient, np.broadcast_shapes(np.shape(gradient), shape))
    extra = gradient.ndim - len(shape)
    axes = [i for i in range(gradient.ndim) if i < extra or shape[i - extra] == 1]
    return gradient.sum(axis=tuple(axes), keepdims=True).reshape(shape) if axes else gradient
