"""What is measured: rows of the table, what a contestant builds for a row, and what came out."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

SUBJECT = "fastbp"

TIE = 0.995
"""A ratio above this is told as 1.00x or more: nobody has won."""


class NotMeasured(Exception):  # noqa: N818 - a reason, not an error
    """Why a contestant has no number for a row, in words for the user."""


@dataclass(frozen=True)
class Row:
    """One row: work of a kind, its size, and how its result is judged.

    Arguments:
        group, name: `--only` selects by them.
        kind: the key under which a contestant finds its code for this work.
        spec: the work's sizes and settings, as the contestant's builder takes them.
        flops: floating-point operations of one call; 0: not what limits this work.
        bytes: least memory traffic of one call that no cache can take away; 0: nothing to say.
        items: samples in one call, where a rate of them is worth telling.
        steps: parts of a call whose time is told instead of the call's own.
        dtype: which peak `flops` is compared with.
        tolerances: largest relative norm-wise difference of each array of the result; none: half
            the digits of the arrays' dtypes.
        peers: contestants for this row; None: all that were asked for.
        subject: the contestant whose ratio to the others is the row's point.
        unit: of a call's number: "s", or what else is counted ("B", "faults").
        measured_with: the worker's method, and its arguments, that gives a contestant's number.
        measured_by: how it is measured where asking contestants in turn is not it.
    """

    group: str
    name: str
    kind: str
    spec: dict[str, Any]
    flops: float = 0.0
    bytes: float = 0.0
    items: float = 0.0
    steps: int = 1
    dtype: str = "float32"
    tolerances: tuple[float, ...] = ()
    peers: tuple[str, ...] | None = None
    subject: str = SUBJECT
    unit: str = "s"
    measured_with: tuple[str, tuple[Any, ...]] | None = None
    measured_by: Callable[[Any, Row], Measurement] | None = None

    @property
    def path(self) -> str:
        """What `--only` matches."""
        return f"{self.group}/{self.name}"


@dataclass
class Case:
    """A row's work, ready to run in a contestant's process.

    `run` does it once; `prepare` is called before each run, off the clock; `result` gives arrays
    to compare, from a fresh start; `measure`, where given, is the row's number itself.
    """

    run: Callable[[], Any]
    result: Callable[[], list[Any]] | None = None
    prepare: Callable[[], Any] | None = None
    measure: Callable[[], float] | None = None


@dataclass(frozen=True)
class Verdict:
    """A comparison with a peer: the largest error, what was allowed, and so whether it is right."""

    error: float
    bound: float

    @property
    def right(self) -> bool:
        """True where the error is a number within the bound."""
        return self.error <= self.bound


@dataclass
class Measurement:
    """A row's numbers: a list with one value a round for each contestant that has any."""

    row: Row
    values: dict[str, list[float]] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    verdicts: dict[str, Verdict] = field(default_factory=dict)

    @property
    def wrong(self) -> bool:
        """True where a result differs from a peer's by more than its bound."""
        return not all(verdict.right for verdict in self.verdicts.values())

    @property
    def peers(self) -> list[str]:
        """The contestants beside the subject that have values."""
        return [name for name in self.values if name != self.row.subject]

    def median(self, name: str) -> float:
        """A contestant's median; NaN where it has no values."""
        return statistics.median(self.values[name]) if self.values.get(name) else math.nan

    def ratios(self, peer: str) -> list[float]:
        """peer / subject, round by round: what drifts over the run cancels."""
        pairs = zip(self.values.get(peer, ()), self.values.get(self.row.subject, ()), strict=False)
        return [other / mine for other, mine in pairs if mine > 0]

    def ratio(self, peer: str) -> float:
        """How many times faster the subject is: the median of the rounds' ratios."""
        ratios = self.ratios(peer)
        return statistics.median(ratios) if ratios else math.nan

    @property
    def winners(self) -> list[str]:
        """The peers that are faster than the subject, the fastest first."""
        ahead = [name for name in self.peers if self.ratio(name) < TIE]
        return sorted(ahead, key=self.ratio)
