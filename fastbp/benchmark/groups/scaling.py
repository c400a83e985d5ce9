"""A training step over batch sizes and widths: where does a little more cost a lot more?"""

from __future__ import annotations

from fastbp._simd.machine import machine
from fastbp.benchmark.contestants import CONTESTANTS, Process
from fastbp.benchmark.groups import GroupOptions
from fastbp.benchmark.groups.step import PEERS, TOLERANCES
from fastbp.benchmark.rows import SUBJECT, Measurement, NotMeasured, Row
from fastbp.benchmark.session import Session
from fastbp.benchmark.workloads import step_flops

_BEFORE_BATCH, _BATCH = (784, 512, 512, 10), 256
_LARGEST, _QUICK_LARGEST = 8192, 1024
_MULTIPLES = (1, 2, 8, 32)


def rows(options: GroupOptions) -> list[Row]:
    """Batch 1 .. 8192 of 784-512-512-10, width 16 .. 8192 of W-W-10 at batch 256; and what the
    neighbours of some multiples of the register tile cost (its rows are samples, its columns
    units).
    """
    largest = _QUICK_LARGEST if options.quick else _LARGEST
    unit = machine()
    peers = PEERS if options.peers_named else ()
    found = []
    for kind, least in (("batch", 1), ("width", 16)):
        sizes = [least << i for i in range(14) if least << i <= largest]
        found += [_sweep(kind, size, peers) for size in sizes]
    for kind, tile in (("batch", unit.tile_rows), ("width", 2 * unit.lanes(4))):
        found += [_cliff(kind, tile * multiple) for multiple in _MULTIPLES]
    return found


def _spec(kind: str, size: int) -> tuple[dict[str, object], float]:
    """A step's sizes, and its FLOPs."""
    widths, batch = (_BEFORE_BATCH, size) if kind == "batch" else ((size, size, 10), _BATCH)
    return {"widths": widths, "batch": batch, "optimizer": "sgd"}, step_flops(widths, batch)


def _sweep(kind: str, size: int, peers: tuple[str, ...]) -> Row:
    spec, flops = _spec(kind, size)
    return Row("scaling", f"{kind} {size}", "step", {**spec, "swept": kind, "size": size},
               flops=flops, tolerances=TOLERANCES["sgd"], peers=peers)  # fmt: skip


def _cliff(kind: str, multiple: int) -> Row:
    return Row("scaling", f"cliff at {kind} {multiple}", "step",
               {"kind": kind, "multiple": multiple}, peers=(), unit="x",
               measured_by=_neighbours)  # fmt: skip


def _neighbours(session: Session, row: Row) -> Measurement:
    """Time per FLOP one above or one below the multiple, whichever is worse, over the multiple's.

    All three take turns, each in a process of its own, so that the machine's drift cancels.
    """
    found = Measurement(row)
    kind, multiple = row.spec["kind"], row.spec["multiple"]
    sizes = (multiple, multiple - 1, multiple + 1)
    processes: list[Process] = []
    try:
        for size in sizes:
            processes.append(Process(CONTESTANTS[SUBJECT], session.threads))
            processes[-1].ask("build", row.kind, _spec(kind, size)[0])
        for _ in range(session.rounds):
            costs = []
            for process, size in zip(processes, sizes, strict=True):
                costs.append(process.ask("measure", session.budget) / _spec(kind, size)[1])
                process.ask("settle")
            found.values.setdefault(SUBJECT, []).append(max(costs[1:]) / costs[0])
    except NotMeasured as reason:
        found.reasons[SUBJECT] = str(reason)
    finally:
        for process in processes:
            process.close()
    return found
