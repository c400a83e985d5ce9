"""Check 21: functions of one float32 over a sample of all arguments, and nightly over all."""

from __future__ import annotations

import every_float32
import numpy as np
import pytest
from every_float32 import FUNCTIONS, examine
from test_transcendental import ROUNDINGS

from fastbp._jit import DISABLED

pytestmark = pytest.mark.skipif(DISABLED or ROUNDINGS != 1, reason="bounds are of the fast forms")


@pytest.mark.parametrize("step", [39_119, pytest.param(1, marks=pytest.mark.nightly)])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_error_in_units_of_the_last_place(name, step):
    """Two neighbours are in the wrong order once in a thousand at most, and by a unit or so."""
    with np.errstate(all="ignore"):
        found = examine(FUNCTIONS[name], step)
    assert found.units <= FUNCTIONS[name].most, f"{found.units} units at {found.at!r}"
    assert found.units > 0, "MISTRUSTED: no rounding at all"
    assert found.compared * step > 1 << 30, "MISTRUSTED: few arguments"
    assert found.disorder <= found.compared / 1000


@pytest.mark.parametrize("wrong", [np.nan, np.inf, 0.0, 1.000001])
def test_a_wrong_value_is_seen(wrong):
    """One argument in a million: a value off by 8 units, or none at all."""
    exp = FUNCTIONS["exp"]

    def run(x: np.ndarray) -> np.ndarray:
        y = exp.run(x)
        y[(x > 1) & (x < 1.001)] *= np.float32(wrong)
        return y

    with np.errstate(all="ignore"):
        found = examine(exp._replace(run=run, bits=(every_float32._span(0.5, 2.0),)), 101)
    assert not found.units <= exp.most
