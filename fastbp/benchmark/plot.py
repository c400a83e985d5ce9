"""The picture: how many times faster than each peer, row by row; and time over size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fastbp.benchmark.markdown import LABELS, title_of
from fastbp.benchmark.rows import Measurement
from fastbp.benchmark.table import columns_of

if TYPE_CHECKING:
    from fastbp.benchmark.report import Report

_SUBJECT_COLOR = "#c44e52"
_COLORS = {"numpy": "#4c72b0", "torch": "#dd8452", "torch.compile": "#b5483a", "jax": "#2a7f4f",
           "sklearn": "#8172b3", "numpy AVX2": "#64b5cd"}  # fmt: skip
_OTHER = "#777777"
_TITLE = "fastbp: how many times faster than each peer (shaded: the peer is faster)"
_TOP_INCHES, _ROW_INCHES, _HEAD_INCHES, _WIDTH_INCHES = 0.85, 0.2, 0.6, 5.6
_TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200)


def figure(report: Report) -> Any:
    """A matplotlib `Figure` of a report.

    Raises:
        ImportError: matplotlib is not installed.
    """
    from matplotlib.figure import Figure

    swept = [found for found in report.measurements if "swept" in found.row.spec]
    groups = _groups([found for found in report.measurements if "swept" not in found.row.spec])
    columns = _in_columns(groups)
    limits = _limits([found.ratio(peer) for _, rows in groups for found in rows
                      for peer in found.peers])  # fmt: skip
    tallest = max((sum(map(_height, column)) for column in columns), default=0.0)
    sweep_height = 3.4 if swept else 0.0
    width = _WIDTH_INCHES * max(len(columns), 2 if swept else 1)
    heights = [_TOP_INCHES, max(tallest, 0.01), sweep_height or 0.01]
    made = Figure(figsize=(width, sum(heights)), layout="constrained")
    stack: Any = made.subfigures(3, 1, height_ratios=heights)
    top, *parts = stack
    for part, column in zip(_several(parts[0], len(columns)), columns, strict=True):
        rooms = [_height(group) for group in column]
        rooms.append(max(tallest - sum(rooms), 0.01))  # so that a row is as high everywhere
        panels = part.subplots(len(rooms), 1, squeeze=False, height_ratios=rooms)[:, 0]
        panels[-1].set_axis_off()
        for axes, (title, rows) in zip(panels[:-1], column, strict=True):
            _draw_ratios(axes, title, rows, limits)
    if swept:
        _draw_scaling(parts[1], swept)
    _draw_legend(top, columns_of([found for _, rows in groups for found in rows]))
    title = _TITLE if groups else "fastbp: training steps of all sizes"
    where = f"{report.machine['cpu']}, {report.threads}, {report.machine['date']}"
    top.suptitle(f"{title}\n{where}", fontsize=11, y=0.97)
    return made


Group = tuple[str, list[Measurement]]


def _groups(measurements: Sequence[Measurement]) -> list[Group]:
    """(title, rows) of each group that has ratios to show."""
    shown = [found for found in measurements if found.peers]
    keys = dict.fromkeys((found.row.group, found.row.subject) for found in shown)
    return [(title_of(group, subject).replace("`", ""),
             [found for found in shown if (found.row.group, found.row.subject) == (group, subject)])
            for group, subject in keys]  # fmt: skip


def _height(group: Group) -> float:
    return _HEAD_INCHES + _ROW_INCHES * len(group[1])


def _in_columns(groups: Sequence[Group]) -> list[list[Group]]:
    """The groups in their order, in two columns of about the same height."""

    def tallest(cut: int) -> float:
        return max(sum(map(_height, part)) for part in (groups[:cut], groups[cut:]))

    best = min(range(1, len(groups) + 1), key=tallest, default=0)
    return [list(column) for column in (groups[:best], groups[best:]) if column]


def _several(part: Any, count: int) -> list[Any]:
    """`part` divided side by side."""
    return list(part.subfigures(1, count, squeeze=False)[0]) if count else []


def _draw_ratios(axes: Any, title: str, rows: Sequence[Measurement],
                 limits: tuple[float, float]) -> None:  # fmt: skip
    places = range(len(rows))
    axes.axvline(1.0, color="black", linewidth=1.0, zorder=1)
    for peer in columns_of(rows):
        points = [(found.ratio(peer), place) for found, place in zip(rows, places, strict=True)
                  if peer in found.values]  # fmt: skip
        if points:
            axes.plot(*zip(*points, strict=True), "o", markersize=5.5, alpha=0.9, zorder=3,
                      color=_COLORS.get(peer, _OTHER))
    axes.set_yticks(list(places), [found.row.name for found in rows], fontsize=8)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_title(title, fontsize=9.5, loc="left", fontweight="bold")
    _logarithmic(axes, *limits)
    axes.grid(axis="both", alpha=0.25)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(length=0, labelsize=8)


def _draw_legend(part: Any, peers: Sequence[str]) -> None:
    """One for all panels, under the title."""
    from matplotlib.lines import Line2D

    part.legend(handles=[Line2D([], [], marker="o", linestyle="", color=_COLORS.get(peer, _OTHER),
                                label=LABELS.get(peer, peer).strip("`")) for peer in peers],
                frameon=False, fontsize=8.5, ncols=len(peers) or 1,
                loc="lower center", handletextpad=0.1)  # fmt: skip


def _limits(ratios: Sequence[float]) -> tuple[float, float]:
    """Of the axis of all panels; 1 is inside."""
    return min([0.8, *ratios]) / 1.15, max([1.6, *ratios]) * 1.15


def _logarithmic(axes: Any, least: float, most: float) -> None:
    """An axis of ratios with plain numbers; peers' wins have a background."""
    from matplotlib.ticker import NullLocator

    axes.set_xscale("log")
    axes.set_xlim(least, most)
    axes.axvspan(least, 1.0, color="#c44e52", alpha=0.08, zorder=0)
    ticks = [tick for tick in _TICKS if least <= tick <= most]
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(ticks, [f"{tick:g}x" for tick in ticks])


def _draw_scaling(part: Any, rows: Sequence[Measurement]) -> None:
    """Speed over batch size and over width, with the peers that were measured."""
    panels = part.subplots(1, 2, squeeze=False)[0]
    for axes, kind in zip(panels, ("batch", "width"), strict=True):
        mine = [found for found in rows if found.row.spec["swept"] == kind]
        for name in dict.fromkeys(name for found in mine for name in found.values):
            points = [(found.row.spec["size"], found.row.flops / found.median(name) / 1e9)
                      for found in mine if not math.isnan(found.median(name))]  # fmt: skip
            axes.plot(*zip(*points, strict=True), "o-", markersize=3, linewidth=1.2,
                      color=_COLORS.get(name, _SUBJECT_COLOR), label=name)
        axes.set_xscale("log", base=2)
        axes.set_ylim(bottom=0)
        axes.set_xlabel(kind)
        axes.set_ylabel("GFLOP/s")
        axes.set_title(f"training step over {kind}", fontsize=9.5, loc="left", fontweight="bold")
        axes.grid(alpha=0.3)
        if mine:
            axes.legend(frameon=False, fontsize=8)
