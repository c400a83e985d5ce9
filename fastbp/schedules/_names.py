"""Schedules by their names."""

from __future__ import annotations

import dataclasses
from typing import Any

from fastbp._errors import ArgumentError
from fastbp.schedules._base import Constant, Schedule
from fastbp.schedules._curves import Cosine, OneCycle, Step
from fastbp.schedules._plateau import Plateau

_CLASSES: dict[str, type[Schedule]] = {
    kind.name: kind for kind in (Constant, Step, Cosine, OneCycle, Plateau)
}
NAMES = tuple(_CLASSES)


def from_name(name: str, **settings: Any) -> Schedule:
    """The schedule of that name."""
    if name not in _CLASSES:
        raise ArgumentError(f"schedule {name!r}", f"one of {', '.join(NAMES)}")
    kind = _CLASSES[name]
    known = [f.name for f in dataclasses.fields(kind) if f.init]  # type: ignore[arg-type]
    unknown = sorted(set(settings) - set(known))
    if unknown:
        raise ArgumentError(
            f"schedule {name!r}: unknown {', '.join(unknown)}",
            f"settings among {', '.join(known)}" if known else "no settings",
        )
    return kind(**settings)


def from_dict(data: dict[str, Any]) -> Schedule:
    """The schedule that `as_dict` described."""
    settings = dict(data)
    if "name" not in settings:
        raise ArgumentError("a schedule's description without a name", "the key 'name'")
    return from_name(settings.pop("name"), **settings)
