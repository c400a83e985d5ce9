"""What a row of the table of operations is (operations.py), and the sizes it is made for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import reference
from conditions import Array, machine

Args = dict[str, Any]
Size = tuple[int, int, int]


@dataclass(frozen=True)
class Operation:
    """An operation under test; see the module.

    out: the argument whose shape `out=` has ("product": none of them; "": there is no `out`).
    exact: results on `reference.integers` are equal to the twin's. elementwise: an element of a
    result depends on the same element of each argument. rows_only: on its row of each argument.
    """

    name: str
    make: Callable[[np.random.Generator, Size, Any], Args]
    run: Callable[..., tuple[Any, ...]]
    twin: Callable[..., tuple[Any, ...]]
    bounds: Callable[[Args], tuple[Any, ...]]
    changed: tuple[str, ...] = ()
    out: str = ""
    exact: bool = False
    elementwise: bool = False
    rows_only: bool = False
    gradient: Callable[..., dict[str, Array]] | None = None

    def __str__(self) -> str:
        return self.name


def copies(args: Args) -> Args:
    """The arguments once more, contiguous."""
    return {name: value.copy() if isinstance(value, np.ndarray) else value
            for name, value in args.items()}


def bits(results: tuple[Any, ...]) -> bytes:
    """All results as bytes in this machine's order, for comparisons of every bit."""
    arrays = [np.asarray(result) for result in results]
    return b"".join(a.astype(a.dtype.newbyteorder("=")).tobytes() for a in arrays)


def tile_sizes() -> tuple[Size, ...]:
    """Around one register, one tile, one block; a prime; one row, one column, one deep."""
    height = machine().tile_rows
    return ((1, 1, 1), (2, 3, 5), (height - 1, 31, 7), (height, 32, 16), (height + 1, 33, 17),
            (2 * height + 1, 65, 37), (3, 129, 1), (37, 10, 64), (1, 50, 40), (40, 1, 50))


LARGE: Size = (150, 260, 70)
"""Enough for several tasks of every instruction."""


def reals_of(*shapes: str) -> Callable[[np.random.Generator, Size, Any], Args]:
    """Standard normal arguments: "x=rc" is x of (rows, cols); r, c, d are rows, cols, depth.

    "v=c+" is positive.
    """
    def make(rng: np.random.Generator, size: Size, dtype: Any) -> Args:
        length = dict(zip("rcd", size, strict=True))
        args = {}
        for text in shapes:
            name, _, axes = text.partition("=")
            shape = tuple(length[axis] for axis in axes.rstrip("+"))
            values = reference.reals(rng, shape, dtype)
            args[name] = np.abs(values) + dtype(0.1) if axes.endswith("+") else values
        return args
    return make


def roundoff(args: Args) -> float:
    """u of the arguments' dtype."""
    return reference.unit_roundoff(next(iter(args.values())).dtype)
