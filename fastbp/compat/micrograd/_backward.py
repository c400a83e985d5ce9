"""Reverse accumulation through a graph of values, without recursion.

First every value that the root was made from is reached, and how many reached values were made
from it is counted. Then values pass their gradient on once all of those have (Kahn's algorithm).
Calls of networks that were computed together are one vertex: their gradients go through the
kernels at once, when the last of their reached outputs has its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastbp.compat.micrograd._rules import CALL, LEAF, pull


def backpropagate(root: Any) -> None:
    """Set `root.grad` to 1 and add its derivatives to `grad` of all that it was made from."""
    waiting, groups = _reach(root)
    root.grad = 1
    _pass_on(root, waiting, groups)


class Reached:
    """The calls of one batch that a root was made from."""

    def __init__(self) -> None:
        # Each call with those of its outputs that were reached; in all `outputs` of them.
        self.calls: dict[Any, list[Any]] = {}
        self.outputs = 0


def _reach(root: Any) -> tuple[dict[Any, int], dict[Any, Reached]]:
    """(how often each value with a history is waited for, the calls reached by their batches)."""
    waiting: dict[Any, int] = {}
    groups: dict[Any, Reached] = {}
    stack = [root]
    while stack:
        node = stack.pop()
        children: Sequence[Any] = node._args
        if node._rule == CALL:
            call = node._call
            if call.passed_on:  # it has gradients inside, which its batch does not add to
                call.write_out()
                children = node._args
            else:
                children = _reach_call(call, node, groups)
        for child in children:
            if child._rule != LEAF:
                if child in waiting:
                    waiting[child] += 1
                else:
                    waiting[child] = 1
                    stack.append(child)
    return waiting, groups


def _reach_call(call: Any, output: Any, groups: dict[Any, Reached]) -> Sequence[Any]:
    """Note a call's output; what the call was made from, the first time."""
    batch = call.computed()
    reached = groups.get(batch)
    if reached is None:
        reached = groups[batch] = Reached()
    reached.outputs += 1
    outputs = reached.calls.setdefault(call, [])
    outputs.append(output)
    return [v for _, v in call.inputs()] if len(outputs) == 1 else ()


def _pass_on(root: Any, waiting: dict[Any, int], groups: dict[Any, Reached]) -> None:
    """Gradients from the root down; those of networks' parameters are added up first."""
    sums: dict[Any, Any] = {}
    ready = [root]
    while ready:
        node = ready.pop()
        if node._rule == CALL:
            batch = node._call.batch
            reached = groups[batch]
            reached.outputs -= 1
            if reached.outputs:
                continue
            children = batch.pass_on(reached.calls, sums)
        else:
            pull(node)
            children = node._args
        for child in children:
            if child._rule != LEAF:
                left = waiting[child] - 1
                if left:
                    waiting[child] = left
                else:
                    ready.append(child)
    for net, gradient in sums.items():
        net.add_gradient(gradient)
