"""Which passes a program can express, and the shapes of all values in them.

What is refused here is computed node by node in NumPy, with NumPy's results or errors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastbp.compat.miniflow._nodes import MSE, Input, Linear, Node, Sigmoid

# What a program does, and so the methods that it stands in for.
_EXPRESSED: dict[type[Node], Any] = {
    kind: (kind.forward, kind.backward) for kind in (Input, Linear, Sigmoid, MSE)
}
_FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


@dataclass(frozen=True)
class Shapes:
    """The dtype of a pass, and the shape of each node's value."""

    dtype: np.dtype
    of: dict[Node, tuple[int, ...]]


def is_expressible(nodes: Sequence[Node], *, backward: bool) -> bool:
    """True where the graph's nodes and edges, whatever their values, are ones a program knows."""
    members = set(nodes)
    if not all(_is_ours(node) and members.issuperset(node.inbound_nodes)
               for node in nodes) or len(members) < len(nodes):
        return False
    if any(type(node) is Linear and (node.is_of_numbers or len(set(node.inbound_nodes)) < 3)
           or type(node) is MSE and node.inbound_nodes[0] is node.inbound_nodes[1]
           for node in nodes):
        return False
    return not backward or all(
        bool(node.outbound_nodes) != (type(node) is MSE) and members.issuperset(node.outbound_nodes)
        for node in nodes)


def find_shapes(nodes: Sequence[Node], inputs: Mapping[Node, np.ndarray], *,
                backward: bool) -> Shapes | None:
    """Shapes of the values of an expressible graph; None where a program cannot take them.

    inputs: the arrays of all `Input` nodes.
    """
    if not all(_is_usable(node, inputs[node]) for node in nodes if type(node) is Input):
        return None
    dtype = np.result_type(*(array.dtype for array in inputs.values()))
    if dtype not in _FLOATS:
        return None
    shapes: dict[Node, tuple[int, ...]] = {}
    dtypes: dict[Node, np.dtype] = {}
    for node in nodes:
        if type(node) is Input:
            shapes[node], dtypes[node] = inputs[node].shape, inputs[node].dtype
            continue
        sources = node.inbound_nodes
        if not all(source in shapes for source in sources):
            return None  # not in an order to compute in
        shape = _shape_of(node, [shapes[source] for source in sources])
        if shape is None or np.result_type(*(dtypes[source] for source in sources)) != dtype:
            return None
        shapes[node], dtypes[node] = shape, dtype
    if backward and not all(_gradients_fit(node, shapes) for node in nodes):
        return None
    return Shapes(dtype, shapes)


def _is_ours(node: Node) -> bool:
    """True where nobody has given the node, or its class, other methods."""
    methods = getattr(node.forward, "__func__", None), getattr(node.backward, "__func__", None)
    return _EXPRESSED.get(type(node)) == methods


def _is_usable(node: Node, array: object) -> bool:
    """True for arrays that can be read where they lie, or, as float or target, be copied."""
    if type(array) is not np.ndarray or array.ndim not in (1, 2) or array.size == 0:
        return False
    if array.dtype.kind != "f" and not (
            array.dtype.kind in "biu" and all(type(user) is MSE for user in node.outbound_nodes)):
        return False
    return array.flags.aligned and not any(step % array.itemsize for step in array.strides)


def _shape_of(node: Node, given: list[tuple[int, ...]]) -> tuple[int, ...] | None:
    if type(node) is Linear:
        x, w, b = given
        fits = len(x) == len(w) == 2 and x[1] == w[0] and b in ((w[1],), (1, w[1]))
        return (x[0], w[1]) if fits else None
    if type(node) is Sigmoid:
        return given[0]
    y, a = given
    return () if len(a) == 2 and a[1] == 1 and y in ((a[0],), a) else None


def _gradients_fit(node: Node, shapes: Mapping[Node, tuple[int, ...]]) -> bool:
    """False where an MSE's column meets another gradient of a value that is no column."""
    users = node.outbound_nodes
    is_target = any(type(user) is MSE for user in users)
    return not is_target or len(shapes[node]) == 2 or (len(users) == 1 and type(node) is Input)
