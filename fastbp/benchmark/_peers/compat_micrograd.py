"""micrograd: demo training steps on `fastbp.compat.micrograd` and on plain Python."""

from __future__ import annotations

import functools
import gc
import random
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from fastbp.compat.micrograd import engine, nn

# ---- the twin: every scalar an object, every operation a closure ----------------------------


class Plain:
    """A scalar with a gradient; the interface of micrograd's Value."""

    def __init__(self, data: Any, parents: tuple[Plain, ...] = ()) -> None:
        self.data, self.grad = data, 0.0
        self._prev = set(parents)
        self._backward: Callable[[], None] = lambda: None

    def _then(self, data: Any, *slopes: tuple[Plain, Callable[[], Any]]) -> Plain:
        """The result of an operation, with each argument's derivative as it is at backward."""
        out = Plain(data, tuple(argument for argument, _ in slopes))

        def backward() -> None:
            for argument, slope in slopes:
                argument.grad += slope() * out.grad

        out._backward = backward
        return out

    def __add__(self, other: Any) -> Plain:
        b = other if isinstance(other, Plain) else Plain(other)
        return self._then(self.data + b.data, (self, lambda: 1.0), (b, lambda: 1.0))

    def __mul__(self, other: Any) -> Plain:
        b = other if isinstance(other, Plain) else Plain(other)
        return self._then(self.data * b.data, (self, lambda: b.data), (b, lambda: self.data))

    def __pow__(self, k: float) -> Plain:
        return self._then(self.data**k, (self, lambda: k * self.data ** (k - 1)))

    def relu(self) -> Plain:
        """max(self, 0)."""
        return self._then(max(self.data, 0.0), (self, lambda: self.data > 0))

    __radd__, __rmul__ = __add__, __mul__

    def __neg__(self) -> Plain:
        return self * -1

    def __sub__(self, other: Any) -> Plain:
        return self + (-other)

    def __rsub__(self, other: Any) -> Plain:
        return (-self) + other

    def __truediv__(self, other: Any) -> Plain:
        return self * other**-1

    def __rtruediv__(self, other: Any) -> Plain:
        return self**-1 * other

    def backward(self) -> None:
        """Add derivatives of this value to `grad` of all that it was made from."""
        order: list[Plain] = []
        seen: set[Plain] = set()

        def visit(value: Plain) -> None:
            if value not in seen:
                seen.add(value)
                for parent in value._prev:
                    visit(parent)
                order.append(value)

        visit(self)
        self.grad = 1.0
        for value in reversed(order):
            value._backward()


class PlainMLP:
    """A network of `Plain` scalars, its parameters drawn and listed in micrograd's order."""

    def __init__(self, nin: int, nouts: list[int]) -> None:
        self.layers = [
            [([Plain(random.uniform(-1, 1)) for _ in range(d)], Plain(0)) for _ in range(c)]
            for d, c in zip([nin, *nouts], nouts, strict=False)]

    def __call__(self, x: Iterable[Any]) -> Any:
        for number, layer in enumerate(self.layers):
            sums = [sum((wi * xi for wi, xi in zip(w, x, strict=True)), b) for w, b in layer]
            x = sums if number == len(self.layers) - 1 else [z.relu() for z in sums]
        return x[0] if len(x) == 1 else x  # type: ignore[arg-type,index]

    def parameters(self) -> list[Plain]:
        """Each neuron's weights and bias, layer by layer."""
        return [p for layer in self.layers for w, b in layer for p in (*w, b)]

    def zero_grad(self) -> None:
        """Set all gradients to 0."""
        for p in self.parameters():
            p.grad = 0.0


# ---- rows -----------------------------------------------------------------------------------


def collecting(function: Callable[..., list[float]]) -> Callable[..., list[float]]:
    """The function with the garbage collector at work, as in any script.

    Timing is done without it; but a graph of Python objects in cycles is what it is for, and most
    of what plain micrograd's step takes.
    """
    @functools.wraps(function)
    def run(*arguments: Any) -> list[float]:
        before = gc.isenabled()
        gc.enable()
        try:
            return function(*arguments)
        finally:
            if not before:
                gc.disable()

    return run


def moons(samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Two half circles with noise: x (samples, 2) float64, y (samples,) of -1 and 1."""
    rng = np.random.default_rng(1)
    angle = np.linspace(0, np.pi, samples // 2)
    outer = np.stack([np.cos(angle), np.sin(angle)], 1)
    inner = np.stack([1 - np.cos(angle), 0.5 - np.sin(angle)], 1)
    x = np.concatenate([outer, inner]) + rng.normal(0, 0.1, (2 * len(angle), 2))
    return x, np.repeat([-1, 1], len(angle))


def demo_loss(value: Any, model: Any, x: np.ndarray, y: np.ndarray) -> Any:
    """The loss of micrograd's demo: hinge, and L2 of all parameters."""
    inputs = [list(map(value, row)) for row in x]
    scores = list(map(model, inputs))
    losses = [(1 + -yi * score).relu() for yi, score in zip(y, scores, strict=True)]
    data_loss = sum(losses) * (1.0 / len(losses))
    return data_loss + 1e-4 * sum(p * p for p in model.parameters())


@collecting
def train(value: Any, network: Any, x: np.ndarray, y: np.ndarray, sizes: list[int], steps: int
          ) -> list[float]:
    """Losses of the demo's loop, from the same first weights every time."""
    random.seed(1337)
    model = network(2, sizes)
    losses = []
    for step in range(steps):
        loss = demo_loss(value, model, x, y)
        model.zero_grad()
        loss.backward()
        for p in model.parameters():
            p.data -= (1.0 - 0.9 * step / 100) * p.grad
        losses.append(float(loss.data))
    return losses


@collecting
def expression(value: Any, terms: int) -> list[float]:
    """A long scalar expression without a network; its value and derivatives."""
    a, b = value(-0.7), value(0.3)
    total = value(0.0)
    for i in range(terms):
        total = total + (a * b + (b - i / terms) ** 2).relu() / (a + 2.0)
    total.backward()
    return [float(total.data), float(a.grad), float(b.grad)]


def _demo(samples: int, sizes: list[int], steps: int) -> tuple[Any, ...]:
    return *moons(samples), sizes, steps


def plain_demo(*inputs: Any) -> list[float]:
    """The demo in plain Python."""
    return train(Plain, PlainMLP, *inputs)


def fastbp_demo(*inputs: Any) -> list[float]:
    """The demo on fastbp."""
    return train(engine.Value, nn.MLP, *inputs)


ROWS = [
    ("demo 2-16-16-1 of 100", lambda: _demo(100, [16, 16, 1], 1),
     plain_demo, fastbp_demo),
    ("step 2-4-4-1 of 10", lambda: _demo(10, [4, 4, 1], 1),
     plain_demo, fastbp_demo),
    ("expression of 1100 values", lambda: (100,),
     lambda terms: expression(Plain, terms), lambda terms: expression(engine.Value, terms)),
]
