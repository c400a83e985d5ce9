"""Checks 19 and 20, what the operations' own tests leave: BatchNorm and softmax over long sums and
at the ends of the range."""

from __future__ import annotations

import numpy as np
import pytest
import reference
from conditions import DTYPES

from fastbp import ops
from fastbp._jit import DISABLED

pytestmark = pytest.mark.skipif(DISABLED, reason="large arrays")
ROWS = (2, 3, 32, 600, 65_536)


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("ratio", [0.0, 1.0])
def test_batchnorm_in_float32_as_exact_as_one_rounding_of_each_part(rows, ratio, rng):
    """y within 6e-7 (1 + |xhat|); dgamma and dbeta within 5e-6 as vectors."""
    x = (rng.standard_normal((rows, 33)) + ratio).astype(np.float32)
    dy = rng.standard_normal(x.shape).astype(np.float32)
    one, zero = np.ones(33, np.float32), np.zeros(33, np.float32)
    y, saved = ops.batchnorm_forward(x, one, zero)
    expected, kept = reference.batchnorm_forward(x, one, zero)
    # With two rows xhat is the difference of nearly equal numbers, over itself.
    slack = 1 if rows > 3 else np.abs(x) * kept.inv_std + 1
    reference.assert_within(y, expected, 6e-7 * (1 + np.abs(kept.xhat)) * slack)
    _, dgamma, dbeta = ops.batchnorm_backward(dy, saved)
    _, want_dgamma, want_dbeta = reference.batchnorm_backward(dy, kept)
    for got, want in ((dgamma, want_dgamma), (dbeta, want_dbeta)):
        assert np.linalg.norm(got - want) <= 5e-6 * np.linalg.norm(want)


@pytest.mark.parametrize("kind", ["batchnorm", "layernorm"])
@pytest.mark.parametrize("value", [1e30, 3e38])
def test_squares_beyond_the_range_give_beta_or_nan(kind, value, rng):
    """The variance is inf in float32 and 1/std is 0: nothing that looks like a result comes out."""
    x = (rng.choice([-1, 1], (40, 24)) * value).astype(np.float32)
    gamma, beta = np.ones(24, np.float32), np.full(24, 0.5, np.float32)
    y, _ = getattr(ops, f"{kind}_forward")(x, gamma, beta)
    assert (np.isnan(y) | (y == beta)).all()


@pytest.mark.parametrize("classes", [1, 2, 1000, 8192])
@pytest.mark.parametrize("size", [1, 100, 1e4])
@pytest.mark.parametrize("dtype", DTYPES)
def test_softmax_of_many_classes(dtype, size, classes, rng):
    """Sums are 1 within 4 eps + n u / 8; ties share evenly; the loss within 8 eps of its parts."""
    x = (rng.uniform(-1, 1, (5, classes)) * size).astype(dtype)
    x[0] = x[0, 0]
    eps = np.finfo(dtype).eps
    s = ops.softmax(x)
    assert (np.abs(s.sum(axis=1, dtype=np.longdouble) - 1) <= 4 * eps + classes * eps / 16).all()
    assert np.ptp(s[0]) == 0
    labels = rng.integers(0, classes, 5)
    loss, gradient = ops.softmax_cross_entropy(x, labels)
    expected, slope = reference.softmax_cross_entropy(x, labels)
    assert abs(loss - expected) <= 8 * eps * (1 + abs(expected) + np.abs(x).max())
    assert np.isfinite(gradient).all()
    total = np.abs(gradient.sum(axis=1, dtype=np.longdouble))
    assert (total <= 8 * eps + classes * eps / 16).all()
    if classes == 1:
        assert loss == 0
        assert not slope.any()
        assert not gradient.any()
