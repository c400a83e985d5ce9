"""The rows of `fastbp bench`, fastbp's own side: matmul, training steps, fits, operations."""

from __future__ import annotations

from typing import Any, ClassVar

from fastbp.benchmark._peers.fastbp_ import CASES
from fastbp.benchmark.groups import GroupOptions, rows_of
from fastbp.benchmark.rows import Case, Row
from fastbp.benchmark.timing import seconds_per_call

from .common import BUDGET

LARGEST = 3e9
"""FLOPs of a call: 1024 cubed and the medium step are below; what is above says nothing more."""


BETWEEN = ("32", "128", "512", "768", "512 float64")
"""Rows whose neighbours tell a commit's story."""


def measured(group: str) -> dict[str, Row]:
    """The rows of a group by name: those built for this machine, small enough for every commit."""
    rows = [row for row in rows_of(group, GroupOptions()) if row.subject == "fastbp"]
    return {row.name: row for row in rows if row.flops <= LARGEST and row.name not in BETWEEN}


class _Group:
    """Seconds of a call of each row."""

    rows: ClassVar[dict[str, Row]] = {}
    param_names: ClassVar[list[str]] = ["row"]
    unit = "s"

    def setup(self, name: str) -> None:
        row = self.rows[name]
        self.case: Case = CASES[row.kind](row.spec)

    def track_call(self, name: str) -> float:
        return seconds_per_call(self.case, BUDGET) / self.rows[name].steps


class Matmul(_Group):
    """c = a @ b: squares, shapes of training, both dtypes."""

    rows = measured("matmul")
    params: ClassVar[list[Any]] = [list(rows)]


class Step(_Group):
    """`Trainer.train_step`."""

    rows = measured("step")
    params: ClassVar[list[Any]] = [list(rows)]


class Fit(_Group):
    """A step inside `Trainer.fit`."""

    rows = measured("fit")
    params: ClassVar[list[Any]] = [list(rows)]


class Op(_Group):
    """BatchNorm, softmax cross-entropy, Adam."""

    rows = measured("op")
    params: ClassVar[list[Any]] = [list(rows)]
