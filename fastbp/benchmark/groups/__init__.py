"""The rows, by group: each module has `rows(options) -> list[Row]`; `select` picks among them."""

from __future__ import annotations

import fnmatch
import importlib
import importlib.util
from dataclasses import dataclass

from fastbp._errors import ArgumentError
from fastbp.benchmark.rows import Row

GROUPS = ("matmul", "step", "fit", "op", "start", "launch", "scaling", "mnist", "sklearn",
          "compat")  # fmt: skip
"""In the order of the table."""

BY_DEFAULT = tuple(name for name in GROUPS if name not in ("scaling", "compat"))
"""What runs without `--only`: not the sweep over sizes, which is a picture more than a table, and
not the compatible interfaces, whose 140 rows have nothing to do with the other peers.
"""


@dataclass(frozen=True)
class GroupOptions:
    """What rows depend on: a short run, the user's folder with MNIST's files, and whether peers
    were asked for by name.
    """

    quick: bool = False
    mnist: str | None = None
    peers_named: bool = False


def rows_of(group: str, options: GroupOptions) -> list[Row]:
    """The rows of a group; none where the group has no module."""
    name = f"fastbp.benchmark.groups.{group}"
    if importlib.util.find_spec(name) is None:
        return []
    rows: list[Row] = importlib.import_module(name).rows(options)
    return rows


def select(only: str | None, options: GroupOptions) -> list[Row]:
    """The rows that `--only` asks for: groups, or GROUP/NAME with * and ?, between commas.

    Raises:
        ArgumentError: a part of it matches nothing.
    """
    if only is None:
        return [row for group in BY_DEFAULT for row in rows_of(group, options)]
    rows = [row for group in GROUPS for row in rows_of(group, options)]
    wanted: set[str] = set()
    for part in filter(None, (part.strip() for part in only.split(","))):
        pattern = part if "/" in part else f"{part}/*"
        found = {row.path for row in rows if fnmatch.fnmatchcase(row.path, pattern)}
        if not found:
            raise ArgumentError(f"--only: {part!r} matches no row", _existing(part, rows),
                                "`fastbp bench --list` shows all rows")  # fmt: skip
        wanted |= found
    return [row for row in rows if row.path in wanted]


def _existing(part: str, rows: list[Row]) -> str:
    """The groups, or the names of the group that was meant."""
    group = part.partition("/")[0]
    names = [row.name for row in rows if row.group == group]
    if "/" in part and names:
        return f"one of {group}'s: {', '.join(names)}"
    groups = dict.fromkeys(row.group for row in rows)
    return f"a group ({', '.join(groups)}) or GROUP/NAME"
