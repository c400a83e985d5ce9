"""The README's table: all rows that were measured, the machine, and where peers win."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fastbp.benchmark import table
from fastbp.benchmark.rows import SUBJECT, Measurement

if TYPE_CHECKING:
    from fastbp.benchmark.report import Report

LABELS = {"numpy": "NumPy", "torch": "PyTorch", "torch.compile": "`torch.compile`", "jax": "JAX",
          "sklearn": "scikit-learn"}  # fmt: skip
TITLES = {
    "matmul": "matmul (float32 unless said)",
    "step": "training step",
    "fit": "a step inside `fit`",
    "op": "operation",
    "start": "start of a process",
    "launch": "parallel call",
    "scaling": "training step, other sizes",
    "mnist": "MNIST",
    "compat": "compatible interface",
    "sklearn": "`MLPClassifier` in scikit-learn's place",
}


_LEGEND = (
    "P, the peak of multiply-adds: {float32:.0f} GFLOP/s (float64 {float64:.0f}). B, reading "
    "memory: {read:.0f} GB/s. Columns of peers: their time divided by fastbp's; **bold** where "
    "the peer wins."
)


def title_of(group: str, subject: str) -> str:
    """A group's title, and the instructions that its subject is held to, if any."""
    _, _, instructions = subject.partition(" ")
    return f"{TITLES[group]}, {instructions} only" if instructions else TITLES[group]


def markdown(report: Report) -> str:
    """Tables by group, and the words that make them honest."""
    groups = dict.fromkeys(found.row.group for found in report.measurements)
    tables = []
    for group in groups:
        rows = [found for found in report.measurements if found.row.group == group]
        for subject in dict.fromkeys(found.row.subject for found in rows):
            mine = [found for found in rows if subject == found.row.subject in found.values]
            if mine:
                tables.append(_table(title_of(group, subject), mine, report.best))
    limits = report.best
    return "\n\n".join([
        f"Measured by `fastbp bench` on {report.about()}.",
        _LEGEND.format(**{name: value / 1e9 for name, value in limits.items()}),
        *tables,
        *_footnotes(report),
    ])  # fmt: skip


def _table(title: str, rows: Sequence[Measurement], limits: table.Limits) -> str:
    peers = table.columns_of(rows)
    subject = rows[0].row.subject
    optional = [name for name, column in (("rate", 2), ("of limit", 3))
                if any(table.cells(found, peers, limits)[column] != "-" for found in rows)]
    head = [title, subject, *optional, *(LABELS.get(name, name) for name in peers)]
    lines = [head, ["---", *["---:"] * (len(head) - 1)]]
    for found in rows:
        name, own, rate, share, *_ = table.cells(found, peers, limits)
        told = {"rate": rate, "of limit": share}
        lines.append([name, own, *(told[column] for column in optional),
                      *(_ratio(found, peer) for peer in peers)])  # fmt: skip
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _ratio(found: Measurement, peer: str) -> str:
    text = table.ratio(found.ratio(peer))
    return f"**{text}**" if peer in found.winners else text


def _footnotes(report: Report) -> list[str]:
    wrong = [found.row.path for found in report.measurements if found.wrong]
    notes = [f"WRONG results: {', '.join(wrong)}."] if wrong else []
    alone = [found.row.path for found in report.measurements
             if SUBJECT in found.reasons]  # fmt: skip
    notes += [f"fastbp was not measured: {', '.join(alone)}."] if alone else []
    return notes
