"""What the gradient of a value means for what it was made from."""

from __future__ import annotations

from typing import Any

# LEAF: made from nothing. NOTHING: made by a user from others, and passes nothing on. CUSTOM: a
# user's function. CALL: returned by a network that has not been written out as scalars.
LEAF, NOTHING, ADD, MULTIPLY, POWER, RELU, CUSTOM, CALL = range(8)


def pull(node: Any) -> None:
    """Add what `node.grad` contributes to the gradients of `node._args`.

    The numbers are those of now, not of when `node` was made: so it is in the original.
    """
    rule = node._rule
    if rule == ADD:
        a, b = node._args
        a.grad += node.grad
        b.grad += node.grad
    elif rule == MULTIPLY:
        a, b = node._args
        a.grad += b.data * node.grad
        b.grad += a.data * node.grad
    elif rule == RELU:
        node._args[0].grad += (node.data > 0) * node.grad
    elif rule == POWER:
        a, exponent = node._args[0], node._saved
        a.grad += exponent * a.data ** (exponent - 1) * node.grad
    elif rule == CUSTOM:
        node._saved()
