"""A run: contestants in turn, round by round, results compared on the way."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from fastbp.benchmark.checks import verify
from fastbp.benchmark.contestants import CONTESTANTS, Process
from fastbp.benchmark.rows import SUBJECT, Measurement, NotMeasured, Row
from fastbp.benchmark.timing import FULL, Budget

Say = Callable[[str], None]


@dataclass
class Session:
    """What all rows of a run share.

    Arguments:
        threads: of every contestant. rounds: how often each is measured a row.
        peers: names of the contestants beside fastbp. budget: of one measure.
        say: is told what is going on.

    Use it in a `with` block: the contestants' processes end with it.
    """

    threads: int
    rounds: int
    peers: Sequence[str]
    budget: Budget = FULL
    say: Say = lambda line: None
    _processes: dict[str, Process] = field(default_factory=dict)
    _failed: dict[str, str] = field(default_factory=dict)

    _allowed: set[int] = field(default_factory=set)

    def __enter__(self) -> Session:
        # XLA makes as many threads as the process may use CPUs: children inherit what we may use.
        if hasattr(os, "sched_setaffinity"):
            self._allowed = os.sched_getaffinity(0)
            os.sched_setaffinity(0, sorted(self._allowed)[: self.threads])
        return self

    def __exit__(self, *_: object) -> None:
        if self._allowed:
            os.sched_setaffinity(0, self._allowed)
        for process in self._processes.values():
            process.close()
        self._processes.clear()

    def process(self, name: str) -> Process:
        """The contestant's process, started when first asked for.

        Raises:
            NotMeasured: it cannot be started.
        """
        if name in self._failed:
            raise NotMeasured(self._failed[name])
        if name not in self._processes:
            try:
                self._processes[name] = Process(CONTESTANTS[name], self.threads)
            except NotMeasured as reason:
                self._failed[name] = str(reason)
                raise
        return self._processes[name]

    def limits(self) -> dict[str, float]:
        """The machine's limits, measured in fastbp's process and with its threads."""
        found: dict[str, float] = self.process(SUBJECT).ask("machine", self.budget)
        self.process(SUBJECT).ask("settle")
        return found

    def contestants(self, row: Row) -> list[str]:
        """Who takes part in a row: its subject first."""
        peers = self.peers if row.peers is None else [
            name for name in row.peers
            if CONTESTANTS[name].family in (*self.peers, SUBJECT) and name != row.subject
        ]  # fmt: skip
        return [row.subject, *peers]

    def measure(self, row: Row) -> Measurement:
        """All rounds of a row."""
        if row.measured_by is not None:
            return row.measured_by(self, row)
        measurement = Measurement(row)
        ready = self._prepare(row, measurement)
        try:
            for number in range(self.rounds):
                turn = number % max(len(ready), 1)
                for name in ready[turn:] + ready[:turn]:
                    self._measure_once(name, measurement)
        finally:
            for name in ready:
                with contextlib.suppress(NotMeasured):
                    self._processes[name].ask("forget")
        measurement.values = {name: measurement.values[name] for name in ready
                              if len(measurement.values.get(name, ())) == self.rounds}  # fmt: skip
        return measurement

    def _prepare(self, row: Row, measurement: Measurement) -> list[str]:
        """Build the row everywhere and compare the results; the contestants that are ready."""
        ready, mine = [], None
        names = self.contestants(row)
        for name in names:
            try:
                process = self.process(name)
                process.ask("build", row.kind, row.spec)
                result = process.ask("result") if len(names) > 1 else None
                process.ask("settle")
            except NotMeasured as reason:
                measurement.reasons[name] = str(reason)
                self._bury(name)
                continue
            ready.append(name)
            if name == row.subject:
                mine = result
            elif mine is not None and result is not None:
                measurement.verdicts[name] = verify(row, mine, result)
        return ready

    def _measure_once(self, name: str, measurement: Measurement) -> None:
        if name in measurement.reasons:
            return
        try:
            process = self._processes[name]
            method, arguments = measurement.row.measured_with or ("measure", (self.budget,))
            measurement.values.setdefault(name, []).append(process.ask(method, *arguments))
            process.ask("settle")
        except NotMeasured as reason:
            measurement.reasons[name] = str(reason)
            self._bury(name)

    def _bury(self, name: str) -> None:
        """Forget a process that has died, so that the next row starts a new one."""
        process = self._processes.get(name)
        if process is not None and process.dead:
            process.close()
            del self._processes[name]

    def run(self, rows: Sequence[Row]) -> list[Measurement]:
        """Measure row after row."""
        found = []
        for number, row in enumerate(rows, 1):
            self.say(f"[{number}/{len(rows)}] {row.path}")
            found.append(self.measure(row))
        return found

