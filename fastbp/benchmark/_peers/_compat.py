"""Rows of the group `compat`: functions of `fastbp.compat` beside their twins in plain NumPy.

`compat_<module>.py` beside this file has `ROWS`, a list of

    (name, make_inputs, numpy_function, fastbp_function)

`make_inputs()` returns a tuple, the same values every time; each process times its own function on
it, `function(*inputs)`, again and again on the same objects. What the two functions return from
fresh inputs is compared before: arrays and numbers, also in tuples, lists and dictionaries. Where
they return nothing, the inputs are compared, as the functions have left them.
"""

from __future__ import annotations

import importlib
import importlib.util
import random
from collections.abc import Callable, Mapping
from numbers import Real
from typing import Any, NamedTuple

import numpy as np

from fastbp.benchmark.rows import SUBJECT, Case, NotMeasured

MODULES = ("cs231n", "dlfs", "graphs", "micrograd")
"""Tables, in the order of the rows; one whose file is not there has no rows."""


class Twins(NamedTuple):
    """A row: its name, its inputs, and the work on them as NumPy and as fastbp does it."""

    name: str
    make_inputs: Callable[[], tuple[Any, ...]]
    numpy_function: Callable[..., Any]
    fastbp_function: Callable[..., Any]


def table(module: str) -> list[Twins]:
    """The rows of a module."""
    name = f"fastbp.benchmark._peers.compat_{module}"
    if importlib.util.find_spec(name) is None:
        return []
    return [Twins(*row) for row in importlib.import_module(name).ROWS]


def case(spec: dict[str, Any], contestant: str) -> Case:
    """The work of the row `spec["name"]` of the module `spec["module"]`, by one of the two."""
    twins = {row.name: row for row in table(spec["module"])}
    if spec["name"] not in twins:
        raise NotMeasured(f"no row {spec['name']!r} in compat_{spec['module']}")
    row = twins[spec["name"]]
    function = row.fastbp_function if contestant == SUBJECT else row.numpy_function
    inputs = _seeded(row.make_inputs)

    def result() -> list[Any]:
        fresh = _seeded(row.make_inputs)
        returned = _seeded(lambda: function(*fresh))
        return numbers_in(fresh if returned is None else returned)

    return Case(lambda: function(*inputs), result)


def _seeded(function: Callable[[], Any]) -> Any:
    """`function()` with both global generators, which teaching code draws from, at their start."""
    np.random.seed(0)  # noqa: NPY002 - the generator that is meant
    random.seed(0)
    return function()


def numbers_in(value: Any) -> list[np.ndarray]:
    """All arrays and numbers in nested tuples, lists and dictionaries, in order; others are left
    out.
    """
    if isinstance(value, (np.ndarray, np.generic, Real)):
        array = np.asarray(value)
        return [array] if array.dtype.kind in "biuf" else []
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, (tuple, list)):
        return [array for part in value for array in numbers_in(part)]
    return []
