"""MNIST to 98 % of test accuracy: seconds of training, and seconds of the whole process.

Each training is a process of its own, contestants in turn, seed by seed. One that ends below 98 %
counts as wrong (fastbp) or as not measured (a peer), however short it was.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from fastbp.benchmark.groups import GroupOptions
from fastbp.benchmark.mnist import CONTENDERS, RECIPE, Outcome, check_folder, train
from fastbp.benchmark.rows import SUBJECT, Measurement, NotMeasured, Row, Verdict
from fastbp.benchmark.session import Session

SEEDS, QUICK_SEEDS = 5, 1
GOAL = f"{100 * RECIPE.accuracy:g} %"

_NO_FOLDER = "--mnist FOLDER says where MNIST's four IDX files are"


def rows(options: GroupOptions) -> list[Row]:
    """Training time and process time of the same trainings."""
    if options.mnist is not None:
        check_folder(options.mnist)
    trainings = _Trainings(options.mnist, QUICK_SEEDS if options.quick else SEEDS)
    return [
        Row("mnist", f"training to {GOAL}", "mnist", {}, peers=CONTENDERS,
            measured_by=trainings.measured(lambda outcome: outcome.seconds)),
        Row("mnist", f"process start to {GOAL}", "mnist", {}, peers=CONTENDERS,
            measured_by=trainings.measured(lambda outcome: outcome.process_seconds)),
    ]  # fmt: skip


@dataclass
class _Trainings:
    """The trainings of all contestants, made when the first row asks for them."""

    folder: str | None
    seeds: int
    outcomes: dict[str, list[Outcome]] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)

    def measured(self, seconds: Callable[[Outcome], float]) -> Callable[[Session, Row],
                                                                        Measurement]:
        """What measures a row that tells so many seconds of each outcome."""

        def measure(session: Session, row: Row) -> Measurement:
            self._run(session, row)
            found = Measurement(row, reasons=dict(self.reasons))
            for name, outcomes in self.outcomes.items():
                found.values[name] = [seconds(outcome) for outcome in outcomes]
            if self.outcomes.get(SUBJECT):
                worst = min(outcome.accuracy for outcome in self.outcomes[SUBJECT])
                found.verdicts[GOAL] = Verdict(max(0.0, RECIPE.accuracy - worst), 0.0)
            return found

        return measure

    def _run(self, session: Session, row: Row) -> None:
        if self.outcomes or self.reasons:
            return
        if self.folder is None:
            self.reasons[SUBJECT] = _NO_FOLDER
            return
        names = session.contestants(row)
        session.say(f"{row.group}: a training that is not counted")
        self._train(SUBJECT, self.folder, 0, session.threads)
        self.outcomes.clear()
        for seed in range(self.seeds):
            turn = seed % len(names)
            for name in names[turn:] + names[:turn]:
                session.say(f"{row.group}: seed {seed + 1} of {self.seeds}, {name}")
                self._train(name, self.folder, seed, session.threads)

    def _train(self, name: str, folder: str, seed: int, threads: int) -> None:
        if name in self.reasons:
            return
        try:
            outcome = train(name, folder, seed, threads)
            if outcome.accuracy < RECIPE.accuracy and name != SUBJECT:
                raise NotMeasured(f"seed {seed} ended at {100 * outcome.accuracy:.2f} %")
            self.outcomes.setdefault(name, []).append(outcome)
        except NotMeasured as reason:
            self.reasons[name] = str(reason)
            self.outcomes.pop(name, None)
