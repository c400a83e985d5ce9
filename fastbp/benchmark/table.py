"""The results as text: one line a row, aligned, rows in which a peer wins marked."""

from __future__ import annotations

import math
from collections.abc import Sequence

from fastbp.benchmark.contestants import PEERS
from fastbp.benchmark.rows import SUBJECT, Measurement

Limits = dict[str, float]

_UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (0.0, "ns"))


def duration(seconds: float) -> str:
    """Three digits and a unit: 1.23 ms."""
    if math.isnan(seconds):
        return "-"
    scale, unit = next((s, u) for s, u in _UNITS if seconds >= 0.9995 * s)
    value = seconds / (scale or 1e-9)
    digits = 0 if value >= 99.95 else 1 if value >= 9.995 else 2
    return f"{value:.{digits}f} {unit}"


def quantity(value: float, unit: str) -> str:
    """A row's number in its unit."""
    if unit == "s":
        return duration(value)
    if unit == "x":
        return f"{value:.2f}x"
    return f"{value:,.0f} {unit}" if value == round(value) else f"{value:,.2f} {unit}"


def ratio(value: float) -> str:
    """How many times faster: 12x, 3.2x, 0.85x."""
    if math.isnan(value):
        return "-"
    digits = 0 if value >= 9.95 else 1 if value >= 1.95 else 2
    return f"{value:.{digits}f}x"


def share_of_limit(found: Measurement, limits: Limits) -> str:
    """Which limit of the machine the row is closest to, and how close: "94 % P", "88 % B"."""
    row, seconds = found.row, found.median(found.row.subject)
    shares = [(row.flops / limits[row.dtype] / seconds, "P")] if row.flops else []
    shares += [(row.bytes / limits["read"] / seconds, "B")] if row.bytes else []
    if not shares or math.isnan(seconds) or row.subject != SUBJECT or row.unit != "s":
        return "-"
    share, name = max(shares)
    return f"{100 * share:.0f} % {name}"


def rate(found: Measurement) -> str:
    """GFLOP/s, GB/s or samples/s of the subject."""
    row, seconds = found.row, found.median(found.row.subject)
    if math.isnan(seconds) or row.unit != "s":
        return "-"
    for amount, unit in ((row.flops, "GFLOP/s"), (row.bytes, "GB/s")):
        if amount:
            value = amount / seconds / 1e9
            return f"{value:.{0 if value >= 9.95 else 1}f} {unit}"
    return f"{row.items / seconds:,.0f} samples/s" if row.items else "-"


def mark(found: Measurement) -> str:
    """What a reader must not miss: a wrong result, or who wins."""
    marks = [f"WRONG against {name}" for name, verdict in found.verdicts.items()
             if not verdict.right]  # fmt: skip
    if found.row.subject not in found.values:
        return "; ".join([*marks, f"{found.row.subject} not measured"])
    if found.winners:
        marks.append(f"< {' and '.join(found.winners)} win{'s' * (len(found.winners) == 1)}")
    return "; ".join(marks)


def columns_of(measurements: Sequence[Measurement]) -> list[str]:
    """The peers that any of the rows has, in their usual order."""
    names = {name for found in measurements for name in (*found.values, *found.reasons)
             if name != found.row.subject}  # fmt: skip
    return [name for name in (*PEERS, *sorted(names.difference(PEERS))) if name in names]


def cells(found: Measurement, peers: Sequence[str], limits: Limits) -> list[str]:
    """A row of the table, without its mark."""
    own = found.median(found.row.subject) / found.row.steps
    return [found.row.name, "-" if math.isnan(own) else quantity(own, found.row.unit), rate(found),
            share_of_limit(found, limits), *(ratio(found.ratio(name)) for name in peers)]


def text_table(measurements: Sequence[Measurement], limits: Limits) -> str:
    """All groups, each with the columns of its own peers."""
    parts = []
    for group in dict.fromkeys(found.row.group for found in measurements):
        mine = [found for found in measurements if found.row.group == group]
        for families in _by_columns(mine):
            peers = columns_of(families)
            head = [group, "time", "rate", "of limit", *peers, ""]
            lines = [[*cells(found, peers, limits), mark(found)] for found in families]
            parts.append(aligned([head, *lines]))
    return "\n\n".join(parts)


def _by_columns(measurements: Sequence[Measurement]) -> list[list[Measurement]]:
    """Rows of one subject together: those of another have other columns."""
    subjects = dict.fromkeys(found.row.subject for found in measurements)
    return [[found for found in measurements if found.row.subject == subject]
            for subject in subjects]  # fmt: skip


def aligned(lines: Sequence[Sequence[str]]) -> str:
    """Columns of equal width: the first and the last to the left, the others to the right."""
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    last = len(widths) - 1
    return "\n".join(
        "  ".join(f"{cell:{'' if i in (0, last) else '>'}{width}}"
                  for i, (cell, width) in enumerate(zip(line, widths, strict=True))).rstrip()
        for line in lines
    )  # fmt: skip


def reasons_text(measurements: Sequence[Measurement], absent: dict[str, str]) -> str:
    """Why there is a "-": one line for each contestant and reason, with the rows it is about."""
    found: dict[tuple[str, str], list[str]] = {}
    for measurement in measurements:
        for name, reason in measurement.reasons.items():
            found.setdefault((name, reason), []).append(measurement.row.path)
    lines = [f"{name}: {reason}" for name, reason in absent.items()]
    lines += [f"{name}: {reason}: {_several(paths)}" for (name, reason), paths in found.items()]
    return "\n".join(f"not measured: {line}" for line in lines)


def _several(paths: Sequence[str], most: int = 6) -> str:
    rest = len(paths) - most
    return ", ".join(paths[:most]) + (f" and {rest} more" if rest > 0 else "")


def limits_text(limits: Limits, later: Limits | None) -> str:
    """The machine's limits, and how they had changed by the end of the run."""

    def change(name: str) -> str:
        return f" ({100 * (later[name] / limits[name] - 1):+.0f} % at the end)" if later else ""

    return (f"P, multiply-adds: float32 {limits['float32'] / 1e9:.0f} GFLOP/s{change('float32')}, "
            f"float64 {limits['float64'] / 1e9:.0f} GFLOP/s{change('float64')}\n"
            f"B, reading memory: {limits['read'] / 1e9:.1f} GB/s{change('read')}, "
            f"over {limits['read_bytes'] / 2**20:.0f} MiB")  # fmt: skip


def cliffs_text(measurements: Sequence[Measurement]) -> str:
    """The worst price, per FLOP, of a size next to a multiple of the tile."""
    found = [one for one in measurements if "multiple" in one.row.spec and one.values]
    if not found:
        return ""
    worst = max(found, key=lambda one: one.median(one.row.subject))
    price = worst.median(worst.row.subject)
    return f"worst cliff: {worst.row.spec['kind']} {worst.row.spec['multiple']} +- 1, {price:.2f}x"
