"""The twins and the comparisons themselves: known numbers, and bugs that must be caught.

Gradients of the twins are checked against finite differences in test_gradcheck.py.
"""

import math

import numpy as np
import pytest
import reference
from conditions import (
    BY_NAME,
    KINDS,
    ODD_KINDS,
    OUTPUT_KINDS,
    Output,
    column_sizes,
    make,
    nan_filled,
    row_sizes,
)
from reference import assert_exact, assert_within, unit_roundoff, widen

U = unit_roundoff(np.float64)


# ---- comparisons --------------------------------------------------------------------------------


def test_one_element_beyond_its_bound_is_found_and_shown():
    expected = np.ones((3, 4))
    actual = expected.copy()
    actual[1, 2] = 1.5
    assert_within(actual, expected, 0.5)
    with pytest.raises(AssertionError, match=r"y: 1 of 12 .*worst at \(1, 2\): .*1\.25 times"):
        assert_within(actual, expected, 0.4, "y")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_must_stand_in_the_same_place(bad):
    assert_within(np.array([1.0, bad]), np.array([1.0, bad]), 0.0)
    for actual, expected in (([1.0, bad], [1.0, 2.0]), ([1.0, 2.0], [1.0, bad])):
        with pytest.raises(AssertionError, match="1 of 2 elements"):
            assert_within(np.array(actual), np.array(expected), 1e9)
    with pytest.raises(AssertionError, match="1 of 1"):
        assert_within(np.array([np.inf]), np.array([-np.inf]), np.inf)


def test_shapes_and_bounds_are_checked():
    with pytest.raises(AssertionError, match=r"shape \(2,\), expected \(1, 2\)"):
        assert_within(np.ones(2), np.ones((1, 2)), 1.0)
    for bound in (np.nan, -1.0):
        with pytest.raises(AssertionError, match="a bound must be a number >= 0"):
            assert_within(np.ones(2), np.ones(2), bound)
    assert_within(np.ones((0, 3)), np.ones((0, 3)), 0.0)


def test_a_comparison_with_mostly_zeros_is_not_trusted():
    with pytest.raises(AssertionError, match="MISTRUSTED c: 20 of 20"):
        assert_exact(np.zeros(20), np.zeros(20), "c")
    assert_exact(np.ones(20), np.ones(20))
    with pytest.raises(AssertionError, match="1 of 20"):
        assert_exact(np.append(np.ones(19), 2), np.ones(20))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("k", [1, 2, 37, 300])
def test_a_dropped_term_is_seen_and_a_rounded_product_passes(dtype, k):
    rng = np.random.default_rng(k)
    a, b = reference.integers(rng, (17, k), dtype), reference.integers(rng, (k, 19), dtype)
    assert_exact(a @ b, reference.exact_matmul(a, b))
    with pytest.raises(AssertionError):
        assert_exact(a[:, 1:] @ b[1:], reference.exact_matmul(a, b))
    a, b = reference.reals(rng, (17, k), dtype), reference.reals(rng, (k, 19), dtype)
    bound = reference.matmul_bound(a, b, dtype)
    assert_within(a @ b, reference.matmul(a, b), bound)
    with pytest.raises(AssertionError):
        assert_within(a[:, 1:] @ b[1:], reference.matmul(a, b), bound)


def test_a_product_too_long_to_be_exact_is_refused():
    k = reference.exact_length(np.float32) + 1
    with pytest.raises(AssertionError, match="too long to be exact"):
        reference.exact_matmul(np.ones((1, k), np.float32), np.ones((k, 1), np.float32))


# ---- twins --------------------------------------------------------------------------------------


def test_precision_is_one_above_the_input():
    for dtype, wide in (
        (np.float32, np.float64),
        (np.int64, np.float64),
        (np.float64, np.longdouble),
    ):
        x = np.ones((3, 2), dtype)
        assert widen(x).dtype == wide
        assert reference.matmul(x, x.T).dtype == wide
        assert reference.relu_forward(x).dtype == wide
        assert reference.softmax(x).dtype == wide
        assert reference.batchnorm_forward(x, x[0], x[0])[0].dtype == wide


def test_normal_cdf_agrees_with_erfc():
    """erfc's argument x/sqrt(2) is off by u, which erfc turns into at most (x^2 + 1) u."""
    x = np.linspace(-12, 8, 4001)
    expected = np.array([0.5 * math.erfc(-v / math.sqrt(2)) for v in x])
    assert_within(expected, reference.normal_cdf(widen(x)), (2 * x**2 + 4) * U * expected)


@pytest.mark.parametrize("name", reference.ACTIVATIONS)
def test_activations_of_huge_arguments_are_finite(name):
    forward, backward = reference.ACTIVATIONS[name]
    x = np.array([-1e4, -800.0, -0.0, 0.0, 800.0, 1e4])
    assert np.all(np.isfinite(forward(x)))
    assert np.all(np.isfinite(backward(np.ones(6), x)))
    assert np.isnan(forward(np.array([np.nan]))[0])


def test_cross_entropies_of_huge_scores():
    loss, gradient = reference.softmax_cross_entropy(np.array([[1e4, 0, -1e4]]), np.array([2]))
    assert loss == 2e4
    assert gradient.astype(float).tolist() == [[1, 0, -1]]
    loss, gradient = reference.sigmoid_cross_entropy(np.array([[-1e4, 1e4]]), np.array([[1, 1]]))
    assert loss == 5e3
    assert gradient.astype(float).tolist() == [[-0.5, 0]]


def test_hinge_by_hand():
    """Margins of row 0: 2 - 3 + 1 = 0 (at the kink), 5 - 3 + 1 = 3; of row 1: none violated."""
    scores = np.array([[3.0, 2.0, 5.0], [0.0, 4.0, 1.0]])
    loss, gradient = reference.hinge(scores, np.array([0, 1]))
    assert loss == 1.5
    assert gradient.tolist() == [[-0.5, 0, 0.5], [0, 0, 0]]


def test_sample_weights_repeat_samples():
    rng = np.random.default_rng(0)
    pred, target = rng.standard_normal((3, 2)), rng.standard_normal((3, 2))
    repeated = [0, 0, 2]
    weighted, _ = reference.huber(pred, target, np.array([2, 0, 1]))
    plain, _ = reference.huber(pred[repeated], target[repeated])
    assert_within(weighted, plain, 8 * U * plain)


def test_merged_moments_are_those_of_all_rows():
    x = 1e4 + np.random.default_rng(0).standard_normal((40, 3))
    merged = reference.moments(x[:7])
    for rows in (x[7:8], x[8:]):
        merged = reference.merge_moments(merged, reference.moments(rows))
    whole = reference.moments(x)
    assert merged.rows == 40
    assert_within(merged.mean, whole.mean, 4 * U * whole.mean)
    # computed one precision up, where means of 1e4 move deviations by some 1e4 times that unit
    assert_within(merged.m2, whole.m2, 1e3 * U * whole.m2)


def test_momentum_gives_the_published_numbers_of_the_course_exercise():
    """CS231n assignment 2, first rows, as printed there; its v is -lr times the one here."""
    w, g = (np.linspace(a, b, 20).reshape(4, 5) for a, b in ((-0.4, 0.6), (-0.6, 0.4)))
    velocity = np.linspace(0.6, 0.9, 20).reshape(4, 5)
    lr = 1e-3
    w, v = reference.momentum(w, g, -velocity / lr, lr=lr)
    assert_within(w[0], np.array([0.1406, 0.20738947, 0.27417895, 0.34096842, 0.40775789]), 5e-9)
    printed = np.array([0.5406, 0.55475789, 0.56891579, 0.58307368, 0.59723158])
    assert_within(-lr * v[0], printed, 5e-9)


def test_nesterov_is_the_look_ahead_form():
    """f(w) = w^2/2, so g = w; theta + the velocity ahead is what `nesterov` stores."""
    lr, mu, w, v = 0.1, 0.9, np.ones(1), np.zeros(1)
    theta, velocity = widen(w), widen(v)
    for _ in range(10):
        velocity = mu * velocity + (theta - lr * mu * velocity)
        theta = theta - lr * velocity
        w, v = reference.nesterov(w, w, v, lr=lr, mu=mu)
    assert_within(w, theta - lr * mu * velocity, 200 * U)


def test_first_steps_of_the_adaptive_optimizers_have_the_length_of_the_rate():
    w, g, zero = np.zeros(2), np.array([3.0, -1e-3]), np.zeros(2)
    steps = {
        "adam": reference.adam(w, g, zero, zero, 1, lr=0.1, eps=0.0)[0],
        "adagrad": reference.adagrad(w, g, zero, lr=0.1, eps=0.0)[0],
        "rmsprop": reference.rmsprop(w, g, zero, lr=0.1, rho=0.75, eps=0.0)[0] / 2,
    }
    for name, step in steps.items():
        assert_within(step, np.array([-0.1, 0.1]), 16 * U, name)


def test_decay_inside_and_outside_the_gradient():
    w, g, zero = np.array([2.0]), np.array([1.0]), np.zeros(1)
    inside = reference.sgd(w, g, lr=0.1, l2=0.5)
    assert_within(inside, np.array([1.8]), 8 * U)
    assert_within(reference.sgd(w, g, lr=0.1, decay=0.5), inside, 8 * U)
    adam = reference.adam(w, g, zero, zero, 1, lr=0.1, eps=0.0, l2=0.5)[0]
    adamw = reference.adam(w, g, zero, zero, 1, lr=0.1, eps=0.0, decay=0.5)[0]
    assert_within(adam, np.array([1.9]), 8 * U)
    assert_within(adamw, np.array([1.8]), 8 * U)


def test_clipping_by_the_norm_over_all_arrays():
    clipped, norm = reference.clip_by_global_norm([np.array([3.0]), np.array([[4.0]])], 1.0)
    assert norm == 5
    assert_within(np.array([c.item() for c in clipped]), np.array([0.6, 0.8]), 4 * U)
    kept, _ = reference.clip_by_global_norm([np.array([3.0]), np.array([[4.0]])], 5.0)
    assert [k.item() for k in kept] == [3, 4]


# ---- conditions ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [*KINDS, *ODD_KINDS], ids=str)
@pytest.mark.parametrize("shape", [(5, 7), (1, 1), (0, 3), (3, 0), (6,), (2, 3, 4)])
def test_every_kind_holds_the_values(kind, shape):
    values = np.random.default_rng(0).standard_normal(shape)
    array = make(values, kind)
    assert array.shape == shape
    assert np.array_equal(array, values)
    assert array.flags.writeable == kind.writeable


def test_kinds_are_what_they_say():
    strides = {name: make(np.ones((5, 7)), name).strides for name in BY_NAME}
    assert strides["C"] == (56, 8)
    assert strides["F"] == (8, 40)
    assert strides["C gap"] == (80, 8)
    assert strides["every second row"] == (112, 8)
    assert strides["every third column"] == (168, 24)
    assert strides["rows reversed"] == (-56, 8)
    assert strides["columns reversed"] == (56, -8)
    assert make(np.ones(3), "C").ctypes.data % 64 == 0
    assert make(np.ones(3), "address one element past 64").ctypes.data % 64 == 8
    assert not make(np.ones(3), "address not a multiple of the element").flags.aligned
    assert not make(np.ones(3), "byte-swapped").dtype.isnative
    assert len(set(row_sizes())) == len(row_sizes())
    assert {0, 1} < set(column_sizes(np.float32))


@pytest.mark.parametrize("kind", OUTPUT_KINDS, ids=str)
def test_a_write_beside_the_output_is_seen(kind):
    assert np.all(np.isnan(nan_filled((5, 7), np.float32, kind)))
    output = Output((5, 7), np.float32, kind)
    output.array[...] = 1
    output.assert_only_array_written()
    assert np.all(output.array == 1)
    slack = np.flatnonzero(np.isnan(output.whole))
    for index in (slack[0], slack[-1]):
        output.whole[index] = 0
        with pytest.raises(AssertionError, match="memory around the output was written"):
            output.assert_only_array_written()
        output.whole[index] = np.nan
