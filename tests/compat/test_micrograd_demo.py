"""micrograd's demo, and the rows of the benchmark, beside the twin in plain Python."""

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fastbp.benchmark._peers.compat_micrograd import ROWS, fastbp_demo, moons, plain_demo

# Losses of the demo: what the interface promises.
RELATIVE = 1e-12


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_rows(row):
    _, make_inputs, plain, fast = row
    # An expression's derivatives are sums of 100 terms, some of them larger.
    assert fast(*make_inputs()) == pytest.approx(plain(*make_inputs()), rel=RELATIVE)


def test_losses_over_many_steps():
    inputs = *moons(8), [4, 3, 1], 50
    losses = fastbp_demo(*inputs)
    assert losses == pytest.approx(plain_demo(*inputs), rel=RELATIVE)
    assert losses[-1] < 0.6 * losses[0]


def test_the_documented_example():
    text = (Path(__file__).parents[2] / "docs/compat-micrograd.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                            timeout=300, check=False, cwd=Path(__file__).parents[2])
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.nightly
def test_the_whole_demo_is_a_hundred_times_faster():
    """100 samples, [16, 16, 1], 100 steps; some minutes in plain Python."""
    inputs = *moons(100), [16, 16, 1], 100
    fastbp_demo(*inputs)
    start = time.process_time()
    ours = fastbp_demo(*inputs)
    between = time.process_time()
    theirs = plain_demo(*inputs)
    assert ours == pytest.approx(theirs, rel=RELATIVE)
    assert time.process_time() - between > 100 * (between - start)
