"""What the tests of several compatible interfaces share."""

from __future__ import annotations

from typing import Any

import pytest

from fastbp._program import Program
from fastbp.compat.miniflow import _train
from fastbp.compat.nielsen import _engine


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Steps of every program that is run, in order."""
    seen: list[int] = []
    run = Program.run

    def counted(self: Program, steps: int = 1, **settings: Any) -> bool:
        seen.append(steps)
        return run(self, steps, **settings)

    monkeypatch.setattr(Program, "run", counted)
    for module in (_engine, _train):
        monkeypatch.setattr(module, "_RUN_SECONDS", 1e9)  # no run is cut short, however slow
    return seen
