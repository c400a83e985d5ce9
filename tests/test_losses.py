"""Elementwise losses and the hinge: value and slope against the twins, weights, steps, edges."""

from __future__ import annotations

import os

import conditions
import numpy as np
import pytest
import reference
from running import run

import fastbp
from fastbp import ops
from fastbp._arena import address_of
from fastbp._errors import ArgumentError, DTypeError, ShapeError
from fastbp._jit import DISABLED
from fastbp._program import Operand, Program
from fastbp.emit import losses as emit

SLOW = DISABLED or os.environ.get("FASTBP_BOUNDSCHECK") == "1"
GAP = conditions.BY_NAME["C gap"]
ELEMENTWISE = ("mean_squared_error", "mean_absolute_error", "huber", "sigmoid_cross_entropy",
               "poisson_deviance", "pinball")
SETTINGS = {"huber": {"delta": 0.7}, "pinball": {"quantile": 0.7}}
SHAPES = [(1, n) for n in (1, 7, 8, 9, 15, 16, 17, 127, 128, 129, 300)] + [(37, 1), (5, 19)]
if not SLOW:
    SHAPES += [(300, 77), (1, 40_001)]


@pytest.fixture(autouse=True)
def _no_warnings_in_plain_python():
    with np.errstate(all="ignore"):
        yield


def data(name, rng, shape, dtype):
    """(first argument, target): probabilities for the logistic loss, counts for Poisson's."""
    x = reference.reals(rng, shape, dtype) * dtype(3)
    if name == "sigmoid_cross_entropy":
        return x, rng.random(shape).astype(dtype)
    if name == "poisson_deviance":
        return x, rng.poisson(2.0, shape).astype(dtype)
    return x, reference.reals(rng, shape, dtype)


def bounds(name, x, t, weight, delta):
    """(of the loss, of the gradient): 20 roundings of all that is added, 6 of a slope's parts."""
    u = reference.unit_roundoff(x.dtype)
    wide, goal = reference.widen(x, t)
    rows = len(x)
    share = np.full(rows, 1 / rows) if weight is None else weight / weight.sum(dtype=np.float64)
    share = share.reshape(-1, 1) / x.shape[1]
    away = np.abs(wide - goal)
    value, slope = {
        "mean_squared_error": (away**2, 2 * away),
        "mean_absolute_error": (away, np.ones_like(away)),
        "huber": (delta * away + delta**2, np.full_like(away, delta)),
        "sigmoid_cross_entropy": (np.abs(wide) * (1 + goal) + 1, np.ones_like(away)),
        "poisson_deviance": (np.exp(wide) + goal * (np.abs(wide) + np.log1p(goal) + 1),
                             np.exp(wide) + goal),
        "pinball": (away, np.ones_like(away)),
    }[name]
    return 20 * u * (share * value).sum(), 6 * u * share * slope


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", ELEMENTWISE)
@pytest.mark.parametrize("dtype", conditions.DTYPES)
def test_elementwise_losses_are_the_twins(dtype, name, weighted, rng):
    settings = SETTINGS.get(name, {})
    for shape in SHAPES:
        x, t = (conditions.make(a, GAP) for a in data(name, rng, shape, dtype))
        weights = rng.random(shape[0]).astype(dtype) + dtype(0.1) if weighted else None
        dx, losses = conditions.Output(shape, dtype, GAP), np.full(3, np.nan)
        program = Program(dtype)
        getattr(emit, f"emit_{name}")(
            program, Operand.of(dx.array), Operand.of(x), Operand.of(t), address_of(losses),
            weights=address_of(weights) if weighted else 0, **settings)
        run(program, dx.array, x, t, losses, weights, steps=2)
        dx.assert_only_array_written()
        expected, slope = getattr(reference, name)(x, t, weights, **settings)
        loss_bound, slope_bound = bounds(name, x, t, weights, 0.7)
        assert abs(losses[0] - float(expected)) <= loss_bound, (name, shape)
        assert losses[0] == losses[1]
        assert np.isnan(losses[2])
        reference.assert_within(dx.array, slope, slope_bound, f"{name} {shape}")
        loss, gradient = getattr(ops, name)(np.array(x), np.array(t), sample_weight=weights,
                                            **settings)
        assert abs(loss - float(expected)) <= loss_bound
        assert np.array_equal(gradient, dx.array)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", conditions.DTYPES)
def test_hinge_is_exact_on_a_grid(dtype, weighted, rng):
    shapes = [(1, 1), (3, 15), (3, 16), (2, 17), (4, 129), *([] if SLOW else [(400, 90)])]
    for rows, classes in shapes:
        scores = conditions.make(rng.integers(-8, 8, (rows, classes)).astype(dtype) / dtype(4), GAP)
        labels = rng.integers(0, classes, rows)
        weights = 2.0 ** rng.integers(-1, 2, rows).astype(dtype) if weighted else None
        dx, losses = conditions.Output((rows, classes), dtype, GAP), np.full(2, np.nan)
        program = Program(dtype)
        emit.emit_hinge(program, Operand.of(dx.array), Operand.of(scores), address_of(labels),
                        address_of(losses), weights=address_of(weights) if weighted else 0)
        run(program, dx.array, scores, labels, losses, weights)
        dx.assert_only_array_written()
        expected, slope = reference.hinge(scores, labels, weights)
        # Margins are exact; the factor 1/sum(w), and its products, are rounded.
        assert abs(losses[0] - float(expected)) <= 4 * 2.0**-53 * float(expected)
        bound = reference.relative_bound(slope, dtype, 3)
        reference.assert_within(dx.array, slope, bound, f"hinge {rows} {classes}")
        loss, gradient = ops.hinge(scores, labels, sample_weight=weights)
        assert loss == losses[0]
        assert np.array_equal(gradient, dx.array)


@pytest.mark.parametrize("dtype", conditions.DTYPES)
def test_logistic_loss_is_stable(dtype):
    z = np.array([[1e4, -1e4, 1e4, -1e4, np.inf, -np.inf, 0]], dtype)
    t = np.array([[1, 0, 0, 1, 1, 0, 0.5]], dtype)
    finite = np.r_[0:4, 6]
    loss, gradient = ops.sigmoid_cross_entropy(z[:, finite], t[:, finite])
    assert abs(loss - (2e4 + np.log(2)) / 5) < 1e-3
    np.testing.assert_allclose(gradient * 5, [[0, 0, 1, -1, 0]], atol=1e-6)
    gradient = ops.sigmoid_cross_entropy(z, t)[1]
    assert np.array_equal(gradient[0, 4:6], [0, 0])


def test_edges_of_slopes():
    p, t = np.array([1.0, 1.0, 3.0, -3.0, np.nan]), np.ones(5)
    loss, slope = ops.mean_absolute_error(p[:4], t[:4])
    assert loss == (0 + 0 + 2 + 4) / 4
    assert slope.tolist() == [0, 0, 0.25, -0.25]
    loss, slope = ops.huber(p[:4], t[:4], delta=2.0)
    assert loss == (2 + 2 * (4 - 1)) / 4
    assert slope.tolist() == [0, 0, 0.5, -0.5]
    loss, slope = ops.pinball(p[:4], t[:4], quantile=0.75)
    assert loss == (0 + 0 + 0.5 + 3) / 4
    assert slope.tolist() == [0, 0, 0.0625, -0.1875]
    loss, slope = ops.poisson_deviance([0.0, 0.0, 2000.0, -2000.0], [0, 1, 0, 0])
    assert loss == np.inf
    assert slope.tolist() == [0.25, 0, np.inf, 0]
    for name in ELEMENTWISE:
        loss, slope = getattr(ops, name)(p, t)
        assert np.isnan(loss), name
        assert np.isnan(slope).tolist() == [False] * 4 + [True], name


@pytest.mark.parametrize("kind", conditions.KINDS, ids=str)
def test_any_memory_gives_the_same_bits(kind, rng):
    p, t = data("mean_squared_error", rng, (6, 20), np.float32)
    loss, slope = ops.mean_squared_error(p, t)
    other, same = ops.mean_squared_error(conditions.make(p, kind), conditions.make(t, kind))
    assert np.array_equal(slope, same)
    assert abs(loss - other) <= 1e-6 * loss


def test_more_dimensions_and_vectors(rng):
    p, t = data("huber", rng, (3, 2, 2, 4), np.float64)
    loss, slope = ops.huber(p, t)
    flat, flat_slope = ops.huber(p.reshape(3, 16), t.reshape(3, 16))
    assert (loss, slope.shape) == (flat, p.shape)
    assert np.array_equal(slope.reshape(3, 16), flat_slope)
    assert ops.mean_squared_error([1.0, 2.0], [1, 4])[0] == 2


def test_weights_choose_among_samples(rng):
    p, t = data("huber", rng, (4, 3), np.float32)
    loss, slope = ops.mean_squared_error(p, t, sample_weight=[0, 1, 0, 3])
    parts = [ops.mean_squared_error(p[i : i + 1], t[i : i + 1]) for i in (1, 3)]
    assert abs(loss - (parts[0][0] + 3 * parts[1][0]) / 4) < 1e-6
    assert not slope[[0, 2]].any()
    np.testing.assert_allclose(slope[3], 0.75 * parts[1][1][0], rtol=1e-6)


def test_a_batch_of_weight_zero_has_no_loss_and_no_gradient(rng):
    p, t = data("huber", rng, (4, 3), np.float32)
    weights, losses, dx = np.zeros(4, np.float32), np.full(1, np.nan), np.full_like(p, np.nan)
    program = Program(np.float32)
    emit.emit_mean_squared_error(program, Operand.of(dx), Operand.of(p), Operand.of(t),
                                 address_of(losses), weights=address_of(weights))
    run(program, dx, p, t, losses, weights)
    assert losses[0] == 0
    assert not dx.any()


@pytest.mark.parametrize("weighted", [False, True])
def test_sums_over_columns_and_penalties(weighted, rng):
    """Gradient and value are scaled apart; a penalty follows the step's row of rates."""
    x, t = data("mean_squared_error", rng, (6, 5), np.float64)
    weights = rng.random(6) + 0.5
    w, rates = rng.standard_normal(40_000 if not SLOW else 50), np.ones((2, 4))
    rates[:, 3] = 0.25, 0.5
    dx, losses = np.full_like(x, np.nan), np.full(2, np.nan)
    for denominator in (0.0, 3.0):
        program = Program(np.float64)
        penalty = emit.emit_penalty(program, address_of(w), w.size, address_of(rates), 0.1)
        emit.emit_mean_squared_error(
            program, Operand.of(dx), Operand.of(x), Operand.of(t), address_of(losses),
            weights=address_of(weights) if weighted else 0, penalty=penalty,
            reduction=emit.Reduction(gradient=2.5, value=0.5, denominator=denominator))
        run(program, dx, x, t, losses, weights, w, rates, steps=2)
        share = weights if weighted else np.ones(6)
        share = (share / (denominator or share.sum()))[:, None]
        norm = 0.1 * (w @ w)
        value = 0.5 * (share * (x - t) ** 2).mean(axis=1).sum()
        # Some 30 roundings of sums of positive numbers; the norm's sum is a tree.
        np.testing.assert_allclose(losses, value + norm * rates[:, 3], rtol=1e-14)
        reference.assert_within(dx, share * (x - t), 8 * 2.0**-53 * share * (np.abs(x) + np.abs(t)),
                                "slopes")


def test_a_reported_loss_can_be_held_below_a_bound(rng):
    x = np.array([[40.0, -3.0, 0.5], [-2.0, 50.0, 0.1]])
    labels, goals = np.array([1, 1]), np.array([[0.0, 1.0, 1.0], [0.0, 0.0, 1.0]])
    dx, losses = np.full_like(x, np.nan), np.full(1, np.nan)
    program = Program(np.float64)
    emit.emit_softmax_cross_entropy(program, Operand.of(dx), Operand.of(x), address_of(labels),
                                    address_of(losses), most=30.0)
    run(program, dx, x, labels, losses)
    assert abs(losses[0] - 30 / 2) < 1e-12  # 43 and some 1e-22
    assert np.array_equal(dx, ops.softmax_cross_entropy(x, labels)[1])
    program = Program(np.float64)
    emit.emit_sigmoid_cross_entropy(program, Operand.of(dx), Operand.of(x), Operand.of(goals),
                                    address_of(losses), most=30.0)
    run(program, dx, x, goals, losses)
    cells = reference.sigmoid_cross_entropy
    each = [min(30.0, float(cells(x[i, j].reshape(1, 1), goals[i, j].reshape(1, 1))[0]))
            for i in range(2) for j in range(3)]
    assert each.count(30.0) == 2
    np.testing.assert_allclose(losses[0], np.mean(each), rtol=1e-14)
    assert np.array_equal(dx, ops.sigmoid_cross_entropy(x, goals)[1])


def test_threads_do_not_change_a_bit(rng):
    for name in ELEMENTWISE:
        p, t = data(name, rng, (40 if SLOW else 700, 90), np.float32)
        results = []
        for threads in conditions.THREADS:
            fastbp.set_num_threads(threads)
            loss, gradient = getattr(ops, name)(p, t)
            results.append((loss, gradient.tobytes()))
        assert len(set(results)) == 1, name


def test_a_loss_of_many_small_numbers_is_accurate(rng):
    size = 5_000 if SLOW else 2_000_000
    p = np.full(size, 0.1, np.float32)
    loss, _ = ops.mean_absolute_error(p, np.zeros(size, np.float32))
    assert abs(loss / float(p[0]) - 1) < 12 * reference.unit_roundoff(np.float32)


def test_errors_say_what_to_do():
    p = np.zeros((3, 1), np.float32)
    with pytest.raises(ShapeError, match=r"\(3, 1\), target .*\(3,\); .* target\[:, None\] fits"):
        ops.mean_squared_error(p, np.zeros(3, np.float32))
    with pytest.raises(DTypeError, match="pred float32, target float64"):
        ops.huber(p, np.zeros((3, 1)))
    with pytest.raises(ArgumentError, match="delta=0; wanted a positive number"):
        ops.huber(p, p, delta=0)
    with pytest.raises(ArgumentError, match="quantile=1; wanted a number between 0 and 1"):
        ops.pinball(p, p, quantile=1)
    with pytest.raises(ShapeError, match=r"sample_weight with shape \(2,\); wanted \(3,\)"):
        ops.huber(p, p, sample_weight=[1, 2])
    for weights in ([0, 0, 0], [1, -1, 3], [1, np.nan, 1], [1, np.inf, 1]):
        with pytest.raises(ArgumentError, match="sample_weight with negative"):
            ops.huber(p, p, sample_weight=weights)
    with pytest.raises(ShapeError, match="pred is a single number; wanted at least one dimension"):
        ops.huber(1.0, 1.0)
