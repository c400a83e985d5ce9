"""Everything a run has found, and the forms it is told in: text, JSON, Markdown, a picture."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastbp._errors import ArgumentError
from fastbp._version import __version__
from fastbp.benchmark import table
from fastbp.benchmark.contestants import version_of
from fastbp.benchmark.machine import describe
from fastbp.benchmark.rows import Measurement, Row
from fastbp.benchmark.session import Session
from fastbp.plots import matplotlib_is_installed

BEGIN, END = "<!-- speed:begin -->", "<!-- speed:end -->"


@dataclass
class Report:
    """A run: the machine, its limits before and after, versions, and all rows."""

    machine: dict[str, Any]
    versions: dict[str, str]
    rounds: int
    limits: dict[str, float]
    later: dict[str, float]
    measurements: list[Measurement]
    absent: dict[str, str]

    @classmethod
    def of(cls, session: Session, rows: Sequence[Row], absent: dict[str, str]) -> Report:
        """Run it."""
        session.say("the machine's limits")
        limits = session.limits()
        measurements = session.run(rows)
        session.say("the machine's limits, again")
        packages = dict.fromkeys([*(name.partition(".compile")[0] for name in session.peers),
                                  "numba"])  # fmt: skip
        versions = {"fastbp": __version__, **{name: version_of(name) for name in packages}}
        return cls(describe(session.threads), versions, session.rounds, limits, session.limits(),
                   measurements, absent)  # fmt: skip

    @property
    def best(self) -> dict[str, float]:
        """The larger of each limit's two measures: what shares are told of."""
        return {name: max(value, self.later[name]) for name, value in self.limits.items()}

    @property
    def wrong(self) -> bool:
        """True where a result of fastbp is not a peer's."""
        return any(found.wrong for found in self.measurements)

    @property
    def threads(self) -> str:
        """In words."""
        count = self.machine["threads"]
        return "1 thread" if count == 1 else f"{count} threads"

    def about(self) -> str:
        """The machine, threads and versions in a line."""
        machine = self.machine
        versions = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        return (f"{machine['cpu']} ({machine['vectors']}), {self.threads}, {machine['system']}, "
                f"Python {machine['python']}, {versions}; {machine['date']}")  # fmt: skip

    def text(self) -> str:
        """For a terminal."""
        parts = [self.about(), table.limits_text(self.limits, self.later),
                 table.text_table(self.measurements, self.best),
                 table.cliffs_text(self.measurements),
                 f"peer / fastbp: median of the ratios of {self.rounds} rounds; `<`: a peer wins",
                 table.reasons_text(self.measurements, self.absent)]  # fmt: skip
        return "\n\n".join(filter(None, parts))

    def markdown(self) -> str:
        """For the README."""
        from fastbp.benchmark.markdown import markdown

        return markdown(self)

    def record(self) -> dict[str, Any]:
        """For a program: all raw numbers, spreads and comparisons."""
        return {
            "machine": self.machine,
            "versions": self.versions,
            "rounds": self.rounds,
            "limits": {"before": self.limits, "after": self.later},
            "not_installed": self.absent,
            "wrong": self.wrong,
            "rows": [_record(found) for found in self.measurements],
        }

    def draw(self, path: Path) -> None:
        """Write the picture as a PNG file."""
        from fastbp.benchmark.plot import figure

        figure(self).savefig(path, dpi=130, format="png")


def _record(found: Measurement) -> dict[str, Any]:
    row = found.row
    return {
        "group": row.group,
        "name": row.name,
        "unit": row.unit,
        "subject": row.subject,
        "flops": row.flops,
        "bytes": row.bytes,
        "items": row.items,
        "steps": row.steps,
        "values": found.values,
        "medians": {name: found.median(name) for name in found.values},
        "ratios": {name: _spread(found.ratios(name)) for name in found.peers},
        "checks": {
            name: {"error": verdict.error, "bound": verdict.bound, "right": verdict.right}
            for name, verdict in found.verdicts.items()
        },
        "not_measured": found.reasons,
        "winners": found.winners,
    }


def _spread(values: Sequence[float]) -> dict[str, float]:
    if not values:
        return {}
    return {"median": statistics.median(values), "least": min(values), "most": max(values)}


def check_plot_can_be_drawn() -> None:
    """Refuse before anything is measured.

    Raises:
        ArgumentError: matplotlib is not installed.
    """
    if not matplotlib_is_installed():
        raise ArgumentError("--plot without matplotlib", "", 'pip install "fastbp[plot]"')


class Readme:
    """A Markdown file with a place for the table, between two markers.

    Raises:
        ArgumentError: it cannot be read, or has no such place.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ArgumentError(f"--readme {path}: cannot be read ({error})") from None
        self._before, begin, rest = text.partition(BEGIN)
        _, end, self._after = rest.partition(END)
        if not begin or not end:
            raise ArgumentError(f"--readme {path}: no place for the table",
                                f"a line {BEGIN} and, below it, a line {END}")  # fmt: skip

    def write(self, part: Path, content: str) -> None:
        """The file with `content` between the markers, under another name."""
        text = f"{self._before}{BEGIN}\n{content}\n{END}{self._after}"
        part.write_text(text, encoding="utf-8")
