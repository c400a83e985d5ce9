"""A directed acyclic graph of layers, made by calling layers on nodes.

    g = Graph(dtype="float32", seed=0)
    x = g.input((64,))
    h = Affine(64, 64)(x)
    y = Affine(64, 10)(ReLU()(h) + h)
    g.output(y)

Nodes are kept in the order in which they were made, which is a topological order: a layer can only
be called on nodes that exist.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastbp._errors import ArgumentError, ShapeError
from fastbp.layers import Add, Layer, PythonLayer
from fastbp.layers.base import Shape
from fastbp.network import Network, Step


@dataclass(frozen=True)
class Node:
    """A value of the graph: which step makes it, and the shape of one sample."""

    graph: Graph
    index: int
    shape: Shape

    def __add__(self, other: Node) -> Node:
        return Add()(self, other)


class Graph(Network):
    """Layers connected at will: several inputs and outputs, values used more than once.

    The gradients of a value that is used several times are summed (docs/math.md#several-uses).
    Several inputs and outputs are passed as tuples, in the order of `input` and `output` calls.
    """

    def input(self, shape: int | Sequence[int], *, scale: float = 1.0) -> Node:
        """A new input; `shape` is that of one sample.

        scale: a factor for all values, applied while they are read: 1/255 for uint8 images.
        """
        self._refuse_if_built("input")
        size = (shape,) if isinstance(shape, (int, np.integer)) else tuple(shape)
        if not all(isinstance(s, (int, np.integer)) and s >= 1 for s in size):
            raise ShapeError(f"input of shape {shape!r}", "positive integers, without the batch")
        size = tuple(int(s) for s in size)
        self.steps.append(Step(None, (), size, _checked_scale(scale)))
        self.input_steps.append(len(self.steps) - 1)
        return Node(self, len(self.steps) - 1, size)

    def apply(self, layer: Any, nodes: Sequence[Node]) -> Node:
        """The node that applies `layer` (a fastbp layer, or any object with forward and
        backward).
        """
        self._refuse_if_built("apply")
        if not isinstance(layer, Layer):
            layer = PythonLayer(layer)
        for node in nodes:
            if not isinstance(node, Node) or node.graph is not self:
                raise ArgumentError(f"{layer!r} called on {node!r}", "nodes of one graph")
        if len(nodes) != layer.inputs:
            raise ArgumentError(f"{layer!r} called on {len(nodes)} nodes", f"{layer.inputs}")
        shape = self._append(layer, tuple(node.index for node in nodes))
        return Node(self, len(self.steps) - 1, shape)

    def output(self, *nodes: Node) -> None:
        """Declare the outputs, in order."""
        for node in nodes:
            if not isinstance(node, Node) or node.graph is not self:
                raise ArgumentError(f"output of {node!r}", "nodes of this graph")
            self.output_steps.append(node.index)


class Sequential(Network):
    """Layers one after the other.

    Arguments:
        layers: fastbp layers, or any objects with forward(x) and backward(dy).
        input_shape: shape of one sample; needed only where the first layer does not tell it.
        input_scale: a factor for all inputs, applied while they are read: 1/255 for uint8 images.
        dtype: float32 or float64, of everything in the network.
        seed: of the initial values and of dropout.
    """

    def __init__(self, layers: Sequence[Any], *, input_shape: int | Sequence[int] | None = None,
                 input_scale: float = 1.0, dtype: Any = "float32", seed: int = 0) -> None:
        super().__init__(dtype=dtype, seed=seed)
        layers = [x if isinstance(x, Layer) else PythonLayer(x) for x in layers]
        if not layers:
            raise ArgumentError("Sequential without layers", "at least one layer")
        shape = _first_shape(layers) if input_shape is None else input_shape
        size = (shape,) if isinstance(shape, (int, np.integer)) else tuple(shape)
        self.steps.append(Step(None, (), size, _checked_scale(input_scale)))
        self.input_steps.append(0)
        for layer in layers:
            if layer.inputs != 1:
                raise ArgumentError(f"{layer!r} in a Sequential", "layers with one input",
                                    "use a Graph")
            self._append(layer, (len(self.steps) - 1,))
        self.output_steps.append(len(self.steps) - 1)
        self.build()


def _checked_scale(scale: float) -> float:
    if isinstance(scale, bool) or not isinstance(scale, (int, float, np.number)) \
            or not np.isfinite(scale) or scale == 0:
        raise ArgumentError(f"a scale of {scale!r}", "a finite number other than 0",
                            "1/255 is usual for uint8 images")
    return float(scale)


def _first_shape(layers: Sequence[Layer]) -> Shape:
    """The input's shape as the first layer that knows it says it."""
    for layer in layers:
        for name in ("in_features", "features"):
            if hasattr(layer, name):
                return (getattr(layer, name),)
        if isinstance(layer, PythonLayer) or layer.takes_images:
            break
    raise ArgumentError("the first layer does not tell how many inputs it has",
                        "Sequential(layers, input_shape=...)",
                        "(C, H, W) where it takes images")
