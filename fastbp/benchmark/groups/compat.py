"""Functions and classes of `fastbp.compat` beside the plain NumPy that they stand in for."""

from __future__ import annotations

from fastbp.benchmark._peers import _compat
from fastbp.benchmark.groups import GroupOptions
from fastbp.benchmark.rows import Row


def rows(options: GroupOptions) -> list[Row]:
    """Every row of every table; results agree to half the digits of their dtype."""
    return [
        Row("compat", _told(module, twins.name), "compat", {"module": module, "name": twins.name},
            peers=("numpy",))
        for module in _compat.MODULES
        for twins in _compat.table(module)
    ]  # fmt: skip


def _told(module: str, name: str) -> str:
    """A row's name, with the module's in front."""
    return name if name.startswith(module) else f"{module} {name}"
