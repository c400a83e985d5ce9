"""What must be noticed while calls wait to be computed: changes of parameters and of networks.

A call of a network is computed later than it is made. So a parameter tells of a change before it
happens, and the calls that wait are computed first.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterable
from typing import Any

from fastbp.compat.micrograd.engine import Value

# Calls are recorded and computed by one thread at a time.
lock = threading.RLock()
# Weak references to the batches that wait: a batch whose results nobody holds need not be computed.
pending: set[weakref.ref[Any]] = set()


class Versions:
    """Counters of changes: `data` of any parameter, `structure` of any network."""

    __slots__ = ("data", "structure")

    def __init__(self) -> None:
        self.data = self.structure = 0


versions = Versions()


def compute_pending() -> None:
    """Compute all calls that wait."""
    with lock:
        while pending:
            batch = pending.pop()()
            if batch is not None:
                batch.compute()


def restructured() -> None:
    """A network has other parts; calls that wait keep those that they were made with."""
    versions.structure += 1


# Where a value keeps its data, below the properties of its subclasses.
slot: Any = vars(Value)["data"]


def _change(parameter: Value, data: Any) -> None:
    if pending:
        compute_pending()
    slot.__set__(parameter, data)
    versions.data += 1


class Parameter(Value):
    """A weight or bias of a network: a value whose changes are noticed."""

    __slots__ = ()

    data = property(slot.__get__, _change)


def adopt(value: Any) -> bool:
    """Make a value that was made from nothing a parameter; False where it cannot be one."""
    if type(value) is Value and not value._args:
        value.__class__ = Parameter
    return type(value) is Parameter


class Parts(list[Any]):
    """A list of weights, neurons or layers whose changes are noticed."""

    def __setitem__(self, *arguments: Any) -> None:
        restructured()
        super().__setitem__(*arguments)

    def __delitem__(self, *arguments: Any) -> None:
        restructured()
        super().__delitem__(*arguments)

    def __iadd__(self, values: Iterable[Any]) -> Parts:  # type: ignore[misc]
        self.extend(values)
        return self

    def __imul__(self, count: Any) -> Parts:  # type: ignore[misc]
        self[:] = list(self) * count
        return self

    def append(self, value: Any) -> None:
        """As of list."""
        restructured()
        super().append(value)

    def extend(self, values: Iterable[Any]) -> None:
        """As of list."""
        restructured()
        super().extend(values)

    def insert(self, *arguments: Any) -> None:
        """As of list."""
        restructured()
        super().insert(*arguments)

    def pop(self, *arguments: Any) -> Any:
        """As of list."""
        restructured()
        return super().pop(*arguments)

    def remove(self, value: Any) -> None:
        """As of list."""
        restructured()
        super().remove(value)

    def clear(self) -> None:
        """As of list."""
        restructured()
        super().clear()

    def reverse(self) -> None:
        """As of list."""
        restructured()
        super().reverse()

    def sort(self, **options: Any) -> None:
        """As of list."""
        restructured()
        super().sort(**options)
