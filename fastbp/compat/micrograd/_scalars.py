"""A network's call as the scalars that the original makes: one product and one sum a weight."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastbp.compat.micrograd._programs import Shape
from fastbp.compat.micrograd._rules import pull
from fastbp.compat.micrograd.engine import Value

Origin = tuple[tuple[Value, ...], int]
"""What a value was made from, and the rule of its gradient."""


def written_out(shape: Shape, parameters: Sequence[Value], before: Sequence[float],
                values: Sequence[Any], row: Sequence[Any], gradients: Sequence[Any],
                after: Sequence[float]) -> list[Origin]:
    """Origins of the outputs of a call, with new values in between that hold data and gradients.

    Arguments:
        parameters: of the network; they had the data `before` when it was called, and `after`
            when the gradients went through.
        values: the inputs, values or numbers, which had the data `row`.
        gradients: of the outputs; empty where none has gone through.

    It is computed on stand-ins, which the real parameters and inputs replace in the end: neither
    their data nor their gradients change.
    """
    weights = [Value(number) for number in before[: len(parameters)]]
    inputs = [Value(number) if isinstance(v, Value) else number
              for v, number in zip(values, row, strict=True)]
    outputs, nodes = _compute(shape, weights, inputs)
    if gradients:
        for weight, number in zip(weights, after, strict=False):
            weight.data = number
        for out, gradient in zip(outputs, gradients, strict=True):
            out.grad = gradient
        for node in reversed(nodes):
            pull(node)
    real: dict[Any, Any] = dict(zip(weights, parameters, strict=True))
    real.update((stand_in, v) for stand_in, v in zip(inputs, values, strict=True)
                if isinstance(v, Value))
    for node in nodes:
        node._args = tuple(real.get(arg, arg) for arg in node._args)
    return [(out._args, out._rule) for out in outputs]


def _compute(shape: Shape, weights: list[Value], x: list[Any]) -> tuple[list[Value], list[Value]]:
    """(outputs, all new values in the order they were made)."""
    nodes: list[Value] = []
    place = 0
    for inputs, neurons, relu in zip(shape.widths, shape.widths[1:], shape.relu, strict=False):
        out = []
        for _ in range(neurons):
            total = weights[place + inputs]
            for i in range(inputs):
                product = weights[place + i] * x[i]
                total = total + product
                nodes += (product, total)
            if relu:
                total = total.relu()
                nodes.append(total)
            out.append(total)
            place += inputs + 1
        x = out
    return x, nodes
