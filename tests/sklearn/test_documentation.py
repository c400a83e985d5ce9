"""docs/sklearn.md and the example do what they say."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
import warnings
from pathlib import Path

import oracle
import pytest
from sklearn.exceptions import ConvergenceWarning

from fastbp.sklearn import MLPClassifier, MLPRegressor
from fastbp.sklearn._parameters import ADDED, OFF

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "sklearn.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


@pytest.mark.parametrize("code", BLOCKS)
def test_blocks_run(code):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        exec(compile(code, "docs/sklearn.md", "exec"), {})


def test_every_added_parameter_is_told_and_off():
    for ours, theirs in ((MLPClassifier, oracle.TheirClassifier),
                         (MLPRegressor, oracle.TheirRegressor)):  # fmt: skip
        added = set(inspect.signature(ours).parameters) - set(inspect.signature(theirs).parameters)
        assert added >= set(ADDED) == set(OFF)
        for name in added:
            assert f"`{name}`" in TEXT, name
        defaults = ours().get_params()
        assert {name: defaults[name] for name in OFF} == OFF


def test_the_example_draws_a_picture(tmp_path):
    pytest.importorskip("matplotlib")
    code = f"""
import sys
sys.path.insert(0, {str(ROOT / "examples")!r})
import sklearn_digits
sklearn_digits.EPOCHS = 2
sklearn_digits.warnings.simplefilter("ignore")
sklearn_digits.main({str(tmp_path / "curves.png")!r})
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                          check=False, timeout=120, cwd=ROOT)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("validation accuracy 0.") == 4
    assert (tmp_path / "curves.png").stat().st_size > 10_000
