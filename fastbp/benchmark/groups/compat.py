"""Functions and classes of `fastbp.compat` beside the plain NumPy that they stand in for."""

from __future__ import annotations

from fastbp.benchmark._peers import _compat
from fastbp.benchmark.groups import GroupOptions
from fastbp.benchmark.rows import Row


def rows(options: GroupOptions) -> list[Row]:
    """Every row of every table; results agree to half the digits of their dtype."""
    return [
        Row("compat", f"{module} {twins.name}", "compat", {"module": module, "name": twins.name},
            peers=("numpy",))
        for module in _compat.MODULES
        for twins in _compat.table(module)
    ]  # fmt: skip
