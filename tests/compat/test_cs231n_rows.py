"""What is timed against NumPy computes the same as NumPy."""

# ruff: noqa: NPY002 - the course draws from the global random numbers

from __future__ import annotations

import numpy as np
import pytest
import reference

from fastbp.benchmark._peers.compat_cs231n import ROWS


def arrays_of(value) -> list[np.ndarray]:
    """Arrays and numbers anywhere in the results."""
    if isinstance(value, (tuple, list)):
        return [array for part in value for array in arrays_of(part)]
    return [np.asarray(value)] if isinstance(value, (float, np.ndarray, np.floating)) else []


def is_cheap_and_alike(name: str) -> bool:
    """False for large rows like another one."""
    return not ("strides" in name or "im2col" in name or name.endswith("ThreeLayerConvNet"))


@pytest.mark.parametrize("row", [row for row in ROWS if is_cheap_and_alike(row[0])],
                         ids=lambda row: row[0])
def test_both_give_the_same(row):
    name, make, *functions = row
    arguments = make()
    results = []
    for function in functions:
        np.random.seed(0)
        results.append(arrays_of(function(*arguments)))
    single = "float32" in name
    assert len(results[0]) >= 1
    for wanted, found in zip(*results, strict=True):
        # Sums of up to 51 200 terms of magnitude 1 to 50; Adam's first step has the sign of noise
        # where a gradient is about 0, 2e-4 from one sign to the other.
        scale = 1 + np.abs(wanted).max()
        bound = (1e-3 if single else 1e-8) * scale + (2.1e-4 if name.startswith("Solver") else 0)
        reference.assert_within(found, wanted, bound, name)
