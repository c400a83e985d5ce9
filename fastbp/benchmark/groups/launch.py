"""Starting parallel work: after a pause, and beside another process that does the same."""

from __future__ import annotations

from fastbp._runtime import thread_count
from fastbp.benchmark.contestants import CONTESTANTS, Process
from fastbp.benchmark.groups import GroupOptions
from fastbp.benchmark.rows import SUBJECT, Measurement, NotMeasured, Row
from fastbp.benchmark.session import Session
from fastbp.benchmark.workloads import NETWORKS, step_flops

PAUSE = 0.05
PRODUCT = {"m": 128, "k": 256, "n": 128, "dtype": "float32"}
"""Large enough for fastbp to divide among threads, small enough that waking them shows."""

CALLS = {"after 50 ms idle p50": 0.5, "after 50 ms idle p90": 0.9}
_QUICK_CALLS, _FULL_CALLS = 10, 30


def rows(options: GroupOptions) -> list[Row]:
    """The same product back to back and after a pause; a training step in two processes."""
    flops = 2.0 * PRODUCT["m"] * PRODUCT["k"] * PRODUCT["n"]  # type: ignore[operator]
    calls = _QUICK_CALLS if options.quick else _FULL_CALLS
    peers = ("numpy", "torch", "jax")
    widths, batch = NETWORKS["medium"]
    step = {"widths": widths, "batch": batch, "optimizer": "sgd"}
    return [
        Row("launch", "back to back", "matmul", PRODUCT, flops=flops, peers=peers),
        *(Row("launch", name, "matmul", PRODUCT, peers=peers,
              measured_with=("after_pause", (PAUSE, calls, share)))
          for name, share in CALLS.items()),
        Row("launch", "two processes / one thread", "step", step, peers=(), unit="x",
            flops=step_flops(widths, batch), measured_by=_two_processes),
    ]  # fmt: skip


def _two_processes(session: Session, row: Row) -> Measurement:
    """Time of a step in two processes at once, each with all threads, over that of one alone with
    one thread: 1.0 is what two cores can give two processes.
    """
    found = Measurement(row)
    everyone: list[Process] = []
    if thread_count() < 2:
        found.reasons[SUBJECT] = "needs two threads"
        return found
    try:
        for threads in (1, session.threads, session.threads):
            everyone.append(Process(CONTESTANTS[SUBJECT], threads))
            everyone[-1].ask("build", row.kind, row.spec)
        for _ in range(session.rounds):
            alone = everyone[0].ask("measure", session.budget)
            for process in everyone[1:]:
                process.begin("measure", session.budget)
            both = max(process.end() for process in everyone[1:])
            found.values.setdefault(SUBJECT, []).append(both / alone)
    except NotMeasured as reason:
        found.reasons[SUBJECT] = str(reason)
    finally:
        for process in everyone:
            process.close()
    return found
