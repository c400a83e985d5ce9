"""What an operation asks first: whether a built-in function makes the call by itself.

Such functions learn calls (`_lessons.py`) that have been made before, so most processes never load
them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def _nothing(*arguments: Any) -> Any:
    return None


class Short:
    """The built-in function of an operation: `call(*arguments)` is the result, or None.

    keeps: what it returns before arrays: "number", the float64 that `plan.kept` begins with,
    "object", `plan.kept` itself, or nothing. numbers: how many of its last arguments are float that
    may differ from call to call: `plan.kept` begins with them, as int64 if they are `whole`. All
    other arguments but arrays are settings, told by the very objects.
    """

    __slots__ = ("call", "keeps", "name", "numbers", "own", "whole")

    def __init__(self, name: str, *, keeps: str = "", numbers: int = 0, whole: bool = False
                 ) -> None:
        self.name, self.keeps, self.own = name, keeps, 0
        self.numbers, self.whole = numbers, whole
        self.call: Callable[..., Any] = _nothing
