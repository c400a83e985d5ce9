"""Softmax and softmax-cross-entropy: against the twins, stable for any logits, exact where it can
be."""

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
from fastbp._errors import DataError, DTypeError, ShapeError
from fastbp._jit import DISABLED
from fastbp._program import Operand, Program
from fastbp.emit.losses import emit_softmax, emit_softmax_cross_entropy

SLOW = DISABLED or os.environ.get("FASTBP_BOUNDSCHECK") == "1"
GAP = conditions.BY_NAME["C gap"]
# Around one register, around the four up to which rows are transposed, and beyond, of either dtype.
CLASSES = (1, 2, 7, 8, 9, 10, 15, 16, 17, 31, 32, 33, 63, 64, 65, 131, *(() if SLOW else (1000,)))
ROWS = (1, 3, 16, 37)


@pytest.fixture(autouse=True)
def _no_warnings_in_plain_python():
    with np.errstate(all="ignore"):
        yield


def logits_of(rng, rows, classes, dtype, size=5):
    return reference.reals(rng, (rows, classes), dtype) * dtype(size)


def softmax_bound(x):
    """s u (|x - max| + 20 + 2 log2 n) + tiny, as for any sum of exponentials shifted by the
    maximum."""
    wide = reference.widen(x)
    away = wide.max(axis=1, keepdims=True) - wide
    away = np.where(np.isfinite(away), away, 0)
    relative = reference.unit_roundoff(x.dtype) * (away + 20 + 2 * np.log2(x.shape[1]))
    return reference.softmax(x) * relative + np.finfo(x.dtype).smallest_normal


def assert_cross_entropy(loss, gradient, x, target, weight=None):
    """The loss within a few roundings of its largest part, the gradient within softmax's error."""
    expected, slope = reference.softmax_cross_entropy(x, target, weight)
    u, rows = reference.unit_roundoff(x.dtype), len(x)
    share = np.full(rows, 1 / rows) if weight is None else weight / weight.sum(dtype=np.float64)
    span = reference.widen(x).max(axis=1) - reference.widen(x).min(axis=1)
    mass = 1 if target.ndim == 1 else target.sum(axis=1, dtype=np.float64)
    part = (share * (4 * span + np.log(x.shape[1]) + 20) * mass).sum()
    chains = 4 + x.shape[1] / 64  # sums of targets
    assert abs(loss - float(expected)) <= 4 * u * part * chains
    bound = (softmax_bound(x) * np.reshape(mass, (-1, 1)) + 4 * u) * np.reshape(share, (-1, 1))
    bound = bound + 6 * u * np.abs(slope)  # the weights' sum, its inverse and the products
    reference.assert_within(gradient, slope, bound, "gradient")


@pytest.mark.parametrize("dtype", conditions.DTYPES)
def test_softmax_is_the_twin_and_sums_to_one(dtype, rng):
    for classes in CLASSES:
        x = conditions.make(logits_of(rng, 5, classes, dtype), GAP)
        y = conditions.Output((5, classes), dtype, GAP)
        program = Program(dtype)
        emit_softmax(program, Operand.of(y.array), Operand.of(x))
        run(program, y.array, x)
        y.assert_only_array_written()
        reference.assert_within(y.array, reference.softmax(x), softmax_bound(x), f"{classes}")
        assert np.abs(y.array.sum(axis=1, dtype=np.float64) - 1).max() <= (
            4 * np.finfo(dtype).eps + classes * reference.unit_roundoff(dtype) / 8)
        assert np.array_equal(ops.softmax(np.array(x)), y.array)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("dtype", conditions.DTYPES)
def test_cross_entropy_is_the_twin(dtype, soft, weighted, rng):
    for classes in CLASSES:
        for rows in (ROWS[-1],) if SLOW else ROWS:
            x = conditions.make(logits_of(rng, rows, classes, dtype), GAP)
            labels = rng.integers(0, classes, rows)
            target = reference.softmax(logits_of(rng, rows, classes, dtype)).astype(dtype)
            goal = conditions.make(target, GAP)
            weights = rng.random(rows).astype(dtype) if weighted else None
            dx, losses = conditions.Output((rows, classes), dtype, GAP), np.full(3, np.nan)
            program = Program(dtype)
            emit_softmax_cross_entropy(
                program, Operand.of(dx.array), Operand.of(x),
                Operand.of(goal) if soft else address_of(labels), address_of(losses),
                weights=address_of(weights) if weighted else 0)
            run(program, dx.array, x, goal, labels, losses, weights, steps=2)
            dx.assert_only_array_written()
            assert losses[0] == losses[1]
            assert np.isnan(losses[2])
            chosen = target if soft else labels
            assert_cross_entropy(losses[0], dx.array, np.array(x), chosen, weights)
            loss, gradient = ops.softmax_cross_entropy(x, chosen, sample_weight=weights)
            assert loss == losses[0]
            assert np.array_equal(gradient, dx.array)


@pytest.mark.parametrize("dtype", conditions.DTYPES)
def test_a_confident_miss_costs_its_distance(dtype):
    for classes in (2, 10, 100):
        x = np.zeros((1, classes), dtype)
        x[0, 1] = 1000
        loss, gradient = ops.softmax_cross_entropy(x, [0])
        assert loss == 1000
        assert list(gradient[0, :2]) == [-1, 1]
        loss, gradient = ops.softmax_cross_entropy(x, [1])
        assert loss == 0
        assert not gradient.any()


@pytest.mark.parametrize("classes", [4, 90])
@pytest.mark.parametrize("dtype", conditions.DTYPES)
def test_extreme_logits(dtype, classes, rng):
    x = logits_of(rng, 8, classes, dtype, 1e4)
    x[1] = -1e4
    x[2, :-1] = -np.inf
    x[3] = np.finfo(dtype).max / 2
    x[4] = 1e4
    x[5, 0] = 3e4
    y = ops.softmax(x)
    reference.assert_within(y, reference.softmax(x), softmax_bound(x))
    labels = np.array([0, 1, classes - 1, 1, 2, 0, 1, 1])
    loss, gradient = ops.softmax_cross_entropy(x, labels)
    assert np.isfinite(loss)
    assert np.isfinite(gradient).all()
    assert_cross_entropy(ops.softmax_cross_entropy(x[6:], labels[6:])[0], gradient[6:] * 4, x[6:],
                         labels[6:])
    assert ops.softmax_cross_entropy(x[2:3], [0])[0] == np.inf


@pytest.mark.parametrize("classes", [4, 90])
@pytest.mark.parametrize("dtype", conditions.DTYPES)
def test_what_has_no_softmax_is_nan_in_its_row_only(dtype, classes):
    x = np.zeros((20, classes), dtype)
    x[1], x[2, 1], x[3, 2] = -np.inf, np.nan, np.inf
    bad = np.isin(np.arange(20), [1, 2, 3])
    assert np.array_equal(np.isnan(ops.softmax(x)).all(axis=1), bad)
    assert np.array_equal(np.isnan(ops.softmax(x)).any(axis=1), bad)
    loss, gradient = ops.softmax_cross_entropy(x, np.zeros(20, int))
    assert np.isnan(loss)
    assert np.array_equal(np.isnan(gradient).any(axis=1), bad)


def test_a_shift_of_all_logits_changes_no_bit(rng):
    x = np.round(logits_of(rng, 6, 70, np.float32) * 64) / 64
    for part in (x, np.ascontiguousarray(x[:, :9])):
        shifted = part + np.float32(1024)
        assert np.array_equal(ops.softmax(shifted), ops.softmax(part))
        labels = np.arange(6)
        for first, second in zip(ops.softmax_cross_entropy(part, labels),
                                 ops.softmax_cross_entropy(shifted, labels), strict=True):
            assert np.array_equal(first, second)


def test_a_row_is_the_same_wherever_it_lies(rng):
    x, labels = logits_of(rng, 40, 13, np.float32), rng.integers(0, 13, 40)
    _, whole = ops.softmax_cross_entropy(x, labels)
    order = rng.permutation(40)
    _, shuffled = ops.softmax_cross_entropy(x[order], labels[order])
    assert np.array_equal(shuffled, whole[order])


@pytest.mark.parametrize("kind", conditions.KINDS, ids=str)
def test_any_memory_gives_the_same_bits(kind, rng):
    x, labels = logits_of(rng, 6, 20, np.float32), np.arange(6, dtype=np.int32)
    t = ops.softmax(x)
    given = conditions.make(x, kind)
    assert np.array_equal(ops.softmax(given), t)
    for target, view in ((labels, labels[::-1][::-1]), (t, conditions.make(t, kind))):
        loss, gradient = ops.softmax_cross_entropy(x, target)
        other, same = ops.softmax_cross_entropy(given, view)
        assert loss == other
        assert np.array_equal(gradient, same)
    if kind.writeable:
        assert np.array_equal(ops.softmax(given, out=given), t)


def test_softmax_of_other_shapes(rng):
    x = reference.reals(rng, (2, 3, 5), np.float64)
    assert np.array_equal(ops.softmax(x)[1, 2], ops.softmax(x[1, 2]))
    assert ops.softmax(np.zeros((0, 5))).shape == (0, 5)
    assert ops.softmax([0, 0]).tolist() == [0.5, 0.5]


def test_threads_do_not_change_a_bit(rng):
    x = logits_of(rng, 40 if SLOW else 700, 90, np.float32)
    labels, results = rng.integers(0, 90, len(x)), []
    for threads in conditions.THREADS:
        fastbp.set_num_threads(threads)
        loss, gradient = ops.softmax_cross_entropy(x, labels)
        results.append((loss, gradient.tobytes()))
    assert len(set(results)) == 1


def test_errors_say_what_to_do():
    x = np.zeros((3, 4), np.float32)
    with pytest.raises(DataError, match=r"target\[1\] is 4; wanted labels from 0 to 3; labels cou"):
        ops.softmax_cross_entropy(x, [0, 4, 1])
    with pytest.raises(DataError, match=r"target\[2\] is -1"):
        ops.softmax_cross_entropy(x, np.array([0, 3, -1], np.int8))
    with pytest.raises(ShapeError, match=r"target with shape \(2,\); wanted \(3,\): one label a r"):
        ops.softmax_cross_entropy(x, [0, 1])
    with pytest.raises(DTypeError, match=r"target with dtype float64; wanted whole numbers"):
        ops.softmax_cross_entropy(x, [0.0, 1.0, 2.0])
    with pytest.raises(DTypeError, match=r"logits float32, target float64; wanted one dtype"):
        ops.softmax_cross_entropy(x, np.zeros((3, 4)))
    with pytest.raises(ShapeError, match=r"logits with shape \(3, 4\), target with shape \(3, 5\)"):
        ops.softmax_cross_entropy(x, np.zeros((3, 5), np.float32))
    with pytest.raises(ShapeError, match=r"logits with shape \(0, 4\); wanted at least one elem"):
        ops.softmax_cross_entropy(x[:0], np.zeros(0, int))
    with pytest.raises(ShapeError, match=r"logits with shape \(3,\); wanted \(N, C\)"):
        ops.softmax_cross_entropy(x[:, 0], [0, 0, 0])
