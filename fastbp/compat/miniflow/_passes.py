"""The lesson's functions: sorting a graph, passes over it, gradient descent."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from fastbp._errors import ArgumentError
from fastbp.compat.miniflow._nodes import Input, Node
from fastbp.compat.miniflow._plan import Plan, find_plan
from fastbp.compat.miniflow._shapes import is_expressible

# Plans of one graph: a batch size each, say. Beyond that the oldest is forgotten.
_MOST_PLANS = 8


class KnownGraph:
    """What has been found out about a graph, kept in its last node.

    Edges are compared each time: a node made since may use an old one, or a user may have
    rewired the graph.
    """

    def __init__(self, graph: Sequence[Node]) -> None:
        self.nodes = list(graph)
        self._inbound = [list(node.inbound_nodes) for node in graph]
        self._outbound = [list(node.outbound_nodes) for node in graph]
        self._expressible = [is_expressible(graph, backward=backward) for backward in (False, True)]
        self._plans: list[list[Plan]] = [[], []]
        # What `train` keeps.
        self.trainings: list[Any] = []

    def is_of(self, graph: Sequence[Node]) -> bool:
        """True for the same nodes in the same order with the same edges."""
        return (self.nodes == graph
                and self._inbound == [node.inbound_nodes for node in graph]
                and self._outbound == [node.outbound_nodes for node in graph])

    def plan(self, *, backward: bool) -> Plan | None:
        """A plan that is bound to the inputs' values, or None where there can be none."""
        if not self._expressible[backward]:
            return None
        plans = self._plans[backward]
        for number, plan in enumerate(plans):
            if plan.bind():
                if number:
                    plans.insert(0, plans.pop(number))
                return plan
        made = find_plan(self.nodes, backward=backward)
        if made is not None:
            plans.insert(0, made)
            del plans[_MOST_PLANS:]
        return made


    def keep_training(self, training: Any) -> None:
        """Keep what `train` has compiled."""
        self.trainings.insert(0, training)
        del self.trainings[_MOST_PLANS:]


def known_graph(graph: Sequence[Node]) -> KnownGraph | None:
    """What is known of a graph that has been passed over before."""
    known = vars(graph[-1]).get("_known") if graph else None
    return known if known is not None and known.is_of(graph) else None


def remember(graph: Sequence[Node]) -> KnownGraph:
    """Begin to know a graph."""
    known = vars(graph[-1])["_known"] = KnownGraph(graph)
    return known


def _pass(graph: Sequence[Node], *, backward: bool) -> None:
    """The first pass goes node by node, with errors where they arise; later ones are compiled."""
    if not isinstance(graph, list):
        graph = list(graph)
    known = known_graph(graph)
    plan = known.plan(backward=backward) if known else None
    if plan is not None:
        plan.run()
        return
    for node in graph:
        node.forward()
    if backward:
        for node in reversed(graph):
            node.backward()
    if known is None and graph:
        remember(graph)


def topological_sort(feed_dict: Mapping[Node, Any]) -> list[Node]:
    """The nodes that can be reached from the keys of `feed_dict`, in an order to compute in.

    Sets the value of each `Input` among the keys. The order depends only on the graph and
    the order of the keys (Kahn's algorithm, first in, first out); with one cost it is last.
    """
    for node in feed_dict:
        if not isinstance(node, Node):
            raise ArgumentError(f"topological_sort: feed_dict has the key {node!r}", "nodes")
    waits: dict[Node, int] = {}
    found = deque(feed_dict)
    seen = set(feed_dict)
    while found:
        for user in found.popleft().outbound_nodes:
            waits[user] = waits.get(user, 0) + 1
            if user not in seen:
                seen.add(user)
                found.append(user)
    order: list[Node] = []
    ready = deque(feed_dict)
    while ready:
        node = ready.popleft()
        if isinstance(node, Input):
            node.value = feed_dict[node]
        order.append(node)
        for user in node.outbound_nodes:
            waits[user] -= 1
            if waits[user] == 0 and user not in feed_dict:
                ready.append(user)
    if len(order) < len(seen):
        raise ArgumentError("topological_sort: the graph has a cycle", "a graph without cycles")
    return order


def forward_pass(*arguments: Any) -> Any:
    """forward_pass(graph), or forward_pass(output_node, sorted_nodes) -> the output's value."""
    if len(arguments) == 1:
        _pass(arguments[0], backward=False)
        return None
    if len(arguments) != 2 or not isinstance(arguments[0], Node):
        raise ArgumentError(f"forward_pass with {len(arguments)} arguments",
                            "forward_pass(graph) or forward_pass(output_node, sorted_nodes)")
    output, nodes = arguments
    _pass(nodes, backward=False)
    return output.value


def forward_and_backward(graph: Sequence[Node]) -> None:
    """Compute all values, then all gradients, of sorted nodes."""
    _pass(graph, backward=True)


def sgd_update(trainables: Iterable[Node], learning_rate: float = 1e-2) -> None:
    """value -= learning_rate * gradient for each node, in place: arrays in feed_dict change.

    Raises what NumPy raises where a value cannot take it (an array of integers, say), and nothing
    has changed then.
    """
    nodes = trainables if isinstance(trainables, list) else list(trainables)
    plan = nodes[0]._gradients if nodes else None
    if (isinstance(plan, Plan) and isinstance(learning_rate, (float, int, np.floating))
            and plan.update(nodes, learning_rate)):
        return
    steps = [learning_rate * node.gradients[node] for node in nodes]
    for node, step in zip(nodes, steps, strict=True):
        _try_step(node, step)
    for node, step in zip(nodes, steps, strict=True):
        node.value -= step


def _try_step(node: Node, step: Any) -> None:
    """Raise what `node.value -= step` would."""
    value = node.value
    if isinstance(value, np.ndarray):
        np.subtract(value, step, out=np.empty_like(value))
        if not value.flags.writeable:
            raise ArgumentError("sgd_update: a trainable's value is read-only",
                                "a writeable array", "it is changed in place")
