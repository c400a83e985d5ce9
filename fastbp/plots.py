"""The picture of a training: losses on the left, the measure of quality on the right."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Row = dict[str, Any]

_TRAIN, _VALIDATION, _BEST = "#4c72b0", "#dd8452", "#2a7f4f"
_DPI = 130
_FEW_EPOCHS = 2
"""Up to so many points a line alone would be hard to see."""

_LOSS_RATIO = 30.0
"""Losses that span more than this ratio get a logarithmic axis."""

_QUALITIES = {"accuracy": "accuracy", "r2": "R²"}


def matplotlib_is_installed() -> bool:
    """Whether the picture can be drawn (the extra `plot`); imports nothing."""
    return importlib.util.find_spec("matplotlib") is not None


def draw_curves(rows: Sequence[Row], path: Path, *, title: str = "", note: str = "") -> None:
    """Write `figure_of_curves` as a PNG file.

    Raises:
        ImportError: matplotlib is not installed.
    """
    figure_of_curves(rows, title=title, note=note).savefig(path, dpi=_DPI, format="png")


def figure_of_curves(rows: Sequence[Row], *, title: str = "", note: str = "") -> Any:
    """The curves of a training as a matplotlib `Figure`.

    Arguments:
        rows: one an epoch, as in `History.rows`: epoch, loss and, where there are any, val_loss,
            accuracy, val_accuracy, val_r2.
        title: what was trained.
        note: one line on the final result, shown under the title.

    Raises:
        ImportError: matplotlib is not installed.
    """
    from matplotlib.figure import Figure

    quality = next((name for name in _QUALITIES if any(f"val_{name}" in row or name in row
                                                       for row in rows)), None)
    figure = Figure(figsize=(10.0 if quality else 5.6, 4.2), layout="constrained")
    panels = figure.subplots(1, 2 if quality else 1, squeeze=False)[0]
    _draw_loss(panels[0], rows)
    if quality:
        _draw_quality(panels[1], rows, quality)
    figure.suptitle("\n".join(line for line in (title, note) if line), fontsize=12)
    return figure


def _draw_loss(axes: Any, rows: Sequence[Row]) -> None:
    found = _line(axes, rows, "loss", "training", _TRAIN)
    found += _line(axes, rows, "val_loss", "validation", _VALIDATION)
    if found and min(found) > 0 and max(found) > _LOSS_RATIO * min(found):
        _make_logarithmic(axes)
    _finish(axes, "Loss", "loss")


def _make_logarithmic(axes: Any) -> None:
    """A logarithmic axis whose ticks are 1, 2, 5 times powers of ten, as plain numbers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _draw_quality(axes: Any, rows: Sequence[Row], name: str) -> None:
    word = _QUALITIES[name]
    _line(axes, rows, name, "training", _TRAIN)
    values = _line(axes, rows, f"val_{name}", "validation", _VALIDATION)
    if values:
        best = max(values)
        epoch = next(row["epoch"] for row in rows if row.get(f"val_{name}") == best)
        axes.plot([epoch], [best], "o", color=_BEST, markersize=6,
                  label=f"best {best:.4f} (epoch {epoch})")
    _finish(axes, word[0].upper() + word[1:], word)


def _line(axes: Any, rows: Sequence[Row], name: str, label: str, color: str) -> list[float]:
    """Draw one column against the epoch and return its values; nothing where it is missing."""
    points = [(row["epoch"], row[name]) for row in rows if row.get(name) is not None]
    if points:
        marker = "o" if len(points) <= _FEW_EPOCHS else ""
        axes.plot(*zip(*points, strict=True), color=color, label=label, linewidth=1.8,
                  marker=marker)
    return [value for _, value in points]


def _finish(axes: Any, title: str, quantity: str) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_title(title, fontsize=11, loc="left")
    axes.set_xlabel("epoch")
    axes.set_ylabel(quantity)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    axes.grid(alpha=0.3)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.legend(frameon=False)
