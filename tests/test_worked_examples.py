"""Worked examples (1), (2) and (5): operations, with numbers that can be checked by hand.

(3) and (4), whole networks, are in test_worked_networks.py. Bounds are those of
tests/reference/bounds.py.
"""

import math
import re
from pathlib import Path

import numpy as np
import pytest
import reference
from reference import assert_within, unit_roundoff, widen

from fastbp import gradcheck, ops

ROOT = Path(__file__).parents[1]
DTYPES = [np.float32, np.float64]
LAYOUTS = ["column", "row"]


def weights(columns, layout):
    """Weights given with one neuron a column, in the layout asked for."""
    return columns if layout == "column" else np.ascontiguousarray(columns.T)


# ---- 1: an affine layer in both layouts ---------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_affine_by_hand(layout, dtype):
    """Small integers: every number can be followed with a pencil, and is exact."""
    x = np.array([[1, 2], [3, 4]], dtype)
    w = weights(np.array([[1, 0, -1], [2, 1, 0]], dtype), layout)
    b = np.array([10, 20, 30], dtype)
    dy = np.array([[1, 0, 2], [0, 1, 1]], dtype)

    y = ops.affine_forward(x, w, b, layout=layout)
    dx, dw, db = ops.affine_backward(dy, x, w, layout=layout)

    assert y.dtype == dx.dtype == dw.dtype == db.dtype == dtype
    assert y.tolist() == [[15, 22, 29], [21, 24, 27]]
    assert dx.tolist() == [[-1, 2], [-1, 1]]
    assert weights(dw, layout).tolist() == [[1, 3, 5], [2, 4, 8]]
    assert db.tolist() == [1, 1, 3]


def test_affine_forward_gives_the_published_numbers_of_the_course_exercise():
    """CS231n assignment 2: digits as printed there, so off by at most half of the last one."""
    x = np.linspace(-0.1, 0.5, 240).reshape(2, 4, 5, 6)
    w = np.linspace(-0.2, 0.3, 360).reshape(120, 3)
    b = np.linspace(-0.3, 0.1, 3)
    printed = [[1.49834967, 1.70660132, 1.91485297], [3.25553199, 3.5141327, 3.77273342]]
    assert_within(ops.affine_forward(x, w, b), np.array(printed), 0.5e-8)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [(7, 24), (7, 2, 3, 4)])
def test_affine_matches_the_derivation(layout, dtype, shape):
    rng = np.random.default_rng(1)
    x, b = reference.reals(rng, shape, dtype), reference.reals(rng, (5,), dtype)
    w = weights(reference.reals(rng, (24, 5), dtype), layout)
    dy = reference.reals(rng, (7, 5), dtype)

    y = ops.affine_forward(x, w, b, layout=layout)
    bound = reference.affine_forward_bound(x, w, b, dtype, layout)
    assert_within(y, reference.affine_forward(x, w, b, layout=layout), bound, "y")

    actual = ops.affine_backward(dy, x, w, layout=layout)
    expected = reference.affine_backward(dy, x, w, layout=layout)
    bounds = reference.affine_backward_bounds(dy, x, w, dtype, layout)
    for name, a, e, limit in zip(("dx", "dw", "db"), actual, expected, bounds, strict=True):
        assert_within(a, e, limit, name)


# ---- 2: softmax regression ----------------------------------------------------------------------


def softmax_regression(x, w, labels, reg):
    """(CE + 0.5*reg*sum(w*w), dw) as a course exercise has it, with the operations of fastbp."""
    loss, dscores = ops.softmax_cross_entropy(ops.matmul(x, w), labels)
    return loss + 0.5 * reg * np.sum(w * w), ops.matmul(x.T, dscores) + reg * w


def softmax_regression_bounds(x, w, labels, reg):
    """Bounds for (loss, dw).

    Scores are off by e = (D + 2) u |x||w|, which moves the loss of a row by 2 max(e) and p by
    2 max(e) p. exp(s - m) loses |s - m| u by rounding its argument, the sum and the exponential
    themselves at most 20 + 2 log2(C) u; the averaging over N rows and dw add their lengths.
    """
    u, (n, classes) = unit_roundoff(x.dtype), (x.shape[0], w.shape[1])
    scores = np.asarray(reference.matmul(x, w), np.float64)
    e = reference.matmul_bound(x, w, x.dtype).max(axis=1)
    below = scores.max(axis=1, keepdims=True) - scores
    own = 20 + 2 * math.log2(classes)
    loss_rows = 2 * e + u * (own + n + below.max(axis=1))
    penalty = 0.5 * reg * float((widen(w) ** 2).sum())
    loss = loss_rows.mean() + u * (w.size + 4) * penalty + 2 * u * math.log(classes)

    p = np.asarray(reference.softmax(scores), np.float64)
    dscores = (p * (u * (below + own) + 2 * e[:, None]) + 4 * u) / n
    _, exact = reference.softmax_cross_entropy(scores, labels)
    exact = np.asarray(exact, np.float64)
    dw = np.abs(x.T).astype(np.float64) @ dscores + reference.matmul_bound(x.T, exact, x.dtype)
    return loss, dw + 3 * u * reg * np.abs(w)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", [0.01, 1.0, 1e4])
def test_softmax_regression(dtype, scale):
    """Also with scores of 1e4, where exp alone would overflow."""
    rng = np.random.default_rng(2)
    n, d, classes, reg = 12, 6, 4, 0.3
    x = reference.reals(rng, (n, d), dtype)
    w = (scale * rng.standard_normal((d, classes))).astype(dtype)
    labels = rng.integers(0, classes, n)

    loss, dw = softmax_regression(x, w, labels, dtype(reg))
    wide = widen(w)
    expected_loss, dscores = reference.softmax_cross_entropy(reference.matmul(x, w), labels)
    expected_loss = expected_loss + 0.5 * wide.dtype.type(dtype(reg)) * (wide**2).sum()
    expected_dw = widen(x).T @ dscores + wide.dtype.type(dtype(reg)) * wide
    loss_bound, dw_bound = softmax_regression_bounds(x, w, labels, reg)
    assert_within(loss, expected_loss, loss_bound, "loss")
    assert_within(dw, expected_dw, dw_bound, "dw")


def test_softmax_regression_with_zero_weights_by_hand():
    """All classes equally likely: loss log 3, dscores (1/3 - t)/2."""
    x, w = np.array([[3.0, 0.0], [0.0, 6.0]]), np.zeros((2, 3))
    loss, dw = softmax_regression(x, w, np.array([0, 2]), reg=0.5)
    u = unit_roundoff(np.float64)
    assert_within(loss, math.log(3), 20 * u)
    assert_within(dw, np.array([[-1.0, 0.5, 0.5], [1.0, 1.0, -2.0]]), 20 * u)


@pytest.mark.parametrize("dtype", DTYPES)
def test_scores_of_ten_thousand_by_hand(dtype):
    scores = np.array([[1e4, 0, -1e4], [1e4, 0, -1e4], [-1e4, -1e4, -1e4]], dtype)
    loss, dscores = ops.softmax_cross_entropy(scores, np.array([0, 1, 1]))
    u = unit_roundoff(dtype)
    assert_within(loss, (0 + 1e4 + math.log(3)) / 3, 8 * u * 1e4)
    expected = np.array([[0, 0, 0], [1, -1, 0], [1 / 3, -2 / 3, 1 / 3]]) / 3
    assert_within(dscores, expected, 20 * u * np.abs(expected))


def test_softmax_regression_against_central_differences():
    rng = np.random.default_rng(3)
    x, w, labels = rng.standard_normal((8, 5)), rng.standard_normal((5, 3)), rng.integers(0, 3, 8)
    dw = softmax_regression(x, w, labels, 0.1)[1]
    for per_element in (False, True):
        report = gradcheck(
            lambda v: softmax_regression(x, v, labels, 0.1)[0], w, dw, per_element=per_element
        )
        assert report, str(report)


# ---- 5: BatchNorm -------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
def test_batchnorm_by_hand(dtype):
    """mean 0, variance 1, eps 3: inv_std is 1/2, so y = 2*(x/2) + 1."""
    x = np.array([[-1], [-1], [1], [1]], dtype)
    dy = np.array([[1], [2], [3], [4]], dtype)
    y, saved = ops.batchnorm_forward(x, np.array([2], dtype), np.array([1], dtype), eps=3.0)
    dx, dgamma, dbeta = ops.batchnorm_backward(dy, saved)
    u = unit_roundoff(dtype)
    assert_within(y, np.array([[0], [0], [2], [2]]), 16 * u)
    assert_within(dbeta, np.array([10]), 16 * u * 10)
    assert_within(dgamma, np.array([2]), 16 * u * 10)  # (-1 - 2 + 3 + 4) / 2
    # dy - 10/4 - xhat * 2/4
    assert_within(dx, np.array([[-1.25], [-0.25], [0.25], [1.25]]), 16 * u * 4)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("mean", [0.0, 10.0, 1e4])
@pytest.mark.parametrize("shape", [(5, 3), (37, 33), (128, 17)])
def test_batchnorm_training_staged_and_fused_agree(dtype, mean, shape):
    rng = np.random.default_rng(7)
    x = (mean + rng.standard_normal(shape)).astype(dtype)
    gamma, beta, running_mean = (reference.reals(rng, shape[1:], dtype) for _ in range(3))
    running_var = np.abs(reference.reals(rng, shape[1:], dtype))
    dy = reference.reals(rng, shape, dtype)

    y_twin, twin = reference.batchnorm_forward(x, gamma, beta, running_mean, running_var)
    old_mean, old_var = running_mean.copy(), running_var.copy()
    y, saved = ops.batchnorm_forward(x, gamma, beta, running_mean, running_var)
    assert_within(y, y_twin, reference.batchnorm_forward_bound(x, gamma, beta, dtype), "y")
    e = reference.normalized_error(x, dtype, 1e-5)
    u = unit_roundoff(dtype)
    for name, now, old, expected, error in (
        ("running_mean", running_mean, old_mean, twin.running_mean, e.mean_error[0]),
        ("running_var", running_var, old_var, twin.running_var, e.var_error[0]),
    ):
        bound = 0.1 * error + 4 * u * (np.abs(old) + np.abs(expected))
        assert_within(now, expected, bound, name)

    actual = ops.batchnorm_backward(dy, saved)
    fused = reference.batchnorm_backward(dy, twin)
    staged = reference.batchnorm_backward_staged(dy, x, gamma)
    bounds = reference.batchnorm_backward_bounds(dy, x, gamma, dtype)
    names = ("dx", "dgamma", "dbeta")
    for name, a, f, s, limit in zip(names, actual, fused, staged, bounds, strict=True):
        assert_within(a, f, limit, f"{name}, fused")
        assert_within(a, s, limit, f"{name}, staged")


@pytest.mark.parametrize("dtype", DTYPES)
def test_batchnorm_test_mode(dtype):
    """The statistics are constants: y and dx are elementwise, nothing is updated."""
    rng = np.random.default_rng(8)
    x, dy = (reference.reals(rng, (9, 5), dtype) for _ in range(2))
    gamma, beta, mean = (reference.reals(rng, (5,), dtype) for _ in range(3))
    var = np.abs(reference.reals(rng, (5,), dtype))
    kept = mean.copy(), var.copy()

    y, saved = ops.batchnorm_forward(x, gamma, beta, mean, var, training=False)
    dx, dgamma, dbeta = ops.batchnorm_backward(dy, saved)

    y_twin, twin = reference.batchnorm_forward(x, gamma, beta, mean, var, training=False)
    dx_twin, dgamma_twin, dbeta_twin = reference.batchnorm_backward(dy, twin)
    u = unit_roundoff(dtype)
    size = twin.inv_std * (np.abs(widen(x)) + np.abs(widen(mean)))  # of xhat before cancellation
    assert_within(y, y_twin, 8 * u * (np.abs(widen(gamma)) * size + np.abs(widen(beta))), "y")
    assert_within(dx, dx_twin, 8 * u * np.abs(dx_twin), "dx")
    terms = np.abs(widen(dy)) * size
    assert_within(dgamma, dgamma_twin, (9 + 8) * u * terms.sum(axis=0), "dgamma")
    assert_within(dbeta, dbeta_twin, reference.sum_bound(dy, dtype, axis=0), "dbeta")
    assert np.array_equal(mean, kept[0])
    assert np.array_equal(var, kept[1])


# ---- the page they are derived on ---------------------------------------------------------------


def test_every_section_of_the_mathematics_that_is_cited_exists():
    page = (ROOT / "docs" / "math.md").read_text(encoding="utf-8")
    titles = re.findall(r"^#+ (.*)$", page, re.MULTILINE)
    anchors = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
    cited = set(re.findall(r"\]\(#([\w-]+)\)", page))
    for folder in ("fastbp", "tests"):
        for file in (ROOT / folder).rglob("*.py"):
            cited |= set(re.findall(r"math\.md#([\w-]+)", file.read_text(encoding="utf-8")))
    assert len(cited) > 20
    assert sorted(cited - anchors) == []
