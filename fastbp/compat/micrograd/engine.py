"""`Value`: a number that remembers how it came about, with `backward` through that history.

Operators compute at once, in Python. How a value came about is `_args`, what it was made from, and
`_rule`, what its gradient means for them; a graph has no reference cycles, so it is freed the
moment it is dropped. The exception is what networks return (`_calls.Output`, rule CALL): that is
computed, and its gradient passed on, for many calls at a time.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

from fastbp.compat.micrograd._backward import backpropagate
from fastbp.compat.micrograd._rules import ADD, CUSTOM, LEAF, MULTIPLY, NOTHING, POWER, RELU, pull


class Value:
    """A number with its gradient.

    Arguments:
        data: a real number.
        _children: the values that it was made from.
        _op: how, for pictures of the graph.
    Attributes:
        data: the number. Gradients of a product or power use what it is when `backward` runs.
        grad: what `backward` calls have added to it; the derivative of their root by this value.
        _prev: set of the values that it was made from.
        _backward: function without arguments that passes `grad` on to them; it may be set.
    """

    # What the rule needs besides: an exponent, or a user's function.
    _saved: Any

    __slots__ = ("__dict__", "__weakref__", "_args", "_op", "_rule", "_saved", "data", "grad")

    def __init__(self, data: Any, _children: Iterable[Value] = (), _op: str = "") -> None:
        self.data = data
        self.grad: Any = 0
        self._args = tuple(_children)
        self._op = _op
        self._rule = NOTHING if self._args else LEAF

    def __add__(self, other: Any) -> Value:
        if not isinstance(other, Value):
            other = Value(other)
        return record(self.data + other.data, (self, other), "+", ADD)

    def __mul__(self, other: Any) -> Value:
        if not isinstance(other, Value):
            other = Value(other)
        return record(self.data * other.data, (self, other), "*", MULTIPLY)

    def __pow__(self, other: float) -> Value:
        # The original's words: scripts may match them.
        assert isinstance(other, (int, float)), "only supporting int/float powers for now"
        out = record(self.data**other, (self,), f"**{other}", POWER)
        out._saved = other
        return out

    def relu(self) -> Value:
        """max(self, 0); its derivative at 0 is 0."""
        return record(max(self.data, 0), (self,), "ReLU", RELU)

    def backward(self) -> None:
        """Add the derivative of this value by every value it was made from to their `grad`."""
        backpropagate(self)

    @property
    def _prev(self) -> set[Value]:
        return set(self._args)

    @property
    def _backward(self) -> Callable[[], None]:
        return self._saved if self._rule == CUSTOM else functools.partial(pull, self)

    @_backward.setter
    def _backward(self, function: Callable[[], None]) -> None:
        self._saved, self._rule = function, CUSTOM

    def __neg__(self) -> Value:
        return self * -1

    def __radd__(self, other: Any) -> Value:
        return self + other

    def __sub__(self, other: Any) -> Value:
        return self + (-other)

    def __rsub__(self, other: Any) -> Value:
        return other + (-self)

    def __rmul__(self, other: Any) -> Value:
        return self * other

    def __truediv__(self, other: Any) -> Value:
        return self * other**-1

    def __rtruediv__(self, other: Any) -> Value:
        return other * self**-1

    def __repr__(self) -> str:
        return f"Value(data={self.data}, grad={self.grad})"


_new = object.__new__


def record(data: Any, args: tuple[Value, ...], op: str, rule: int) -> Value:
    """A value made by an operator; `Value(...)` would take half as long again."""
    out = _new(Value)
    out.data = data
    out.grad = 0
    out._args = args
    out._op = op
    out._rule = rule
    return out
