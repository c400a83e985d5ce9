"""The largest column of each row."""

from __future__ import annotations

import conditions
import numpy as np
import pytest
import reference
from running import run

from fastbp._program import Operand, Program
from fastbp.emit.largest import emit_largest


@pytest.mark.parametrize("dtype", conditions.DTYPES)
@pytest.mark.parametrize("cols", [1, 2, 10, 17, 33])
@pytest.mark.parametrize("rows", [1, 2, 600])
def test_first_largest_of_rows_with_gaps(rows, cols, dtype, rng):
    """Exact: equal numbers, infinities and NaN among them."""
    x = rng.integers(-3, 4, (rows, cols + 3)).astype(dtype)[:, :cols]
    for value in (np.nan, np.inf, -np.inf):
        x[rng.random(x.shape) < 0.05] = value
    out = np.full(rows, -1, np.int64)
    program = Program(dtype)
    emit_largest(program, Operand.of(out).address, Operand.of(x))
    run(program, out, x)
    np.testing.assert_array_equal(out, reference.largest(x))
