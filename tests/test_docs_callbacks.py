"""The example of docs/callbacks.md runs, and its tables name what there is."""

import re
from pathlib import Path

from fastbp import callbacks

PAGE = (Path(__file__).parents[1] / "docs" / "callbacks.md").read_text(encoding="utf-8")


def test_the_example_runs_twice(tmp_path, monkeypatch):
    """The second time goes on with a training that has finished."""
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    rows = []
    for _ in range(2):
        names = {"__name__": "example"}
        exec(code, names)
        rows.append(list(names["history"]))
    assert rows[0] == rows[1]
    assert len(rows[0]) <= 20


def test_every_callback_and_hook_is_listed():
    for name in set(callbacks.__all__) - {"Callback"}:
        assert f"`{name}(" in PAGE, name
    for name in vars(callbacks.Callback):
        if name.startswith("on_"):
            assert f"`{name}`" in PAGE, name
