"""Smoothed labels: what they are, what their loss is, what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import reference

from fastbp import losses, ops
from fastbp._errors import ArgumentError, DataError, ShapeError


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_rows_are_distributions(rng, dtype, smoothing):
    labels = rng.integers(0, 7, 50)
    targets = losses.smooth_labels(labels, 7, smoothing, dtype)
    assert targets.shape == (50, 7)
    assert targets.dtype == dtype
    wanted = (1 - smoothing) * np.eye(7)[labels] + smoothing / 7
    bound = 2 * reference.unit_roundoff(dtype)
    np.testing.assert_array_less(np.abs(targets - wanted), bound + 1e-300)
    assert np.array_equal(targets.argmax(axis=1), labels)


def test_without_smoothing_the_loss_is_that_of_labels(rng):
    logits, labels = rng.standard_normal((20, 5)), rng.integers(0, 5, 20)
    loss, slope = ops.softmax_cross_entropy(logits, losses.smooth_labels(labels, 5, 0, "float64"))
    expected, expected_slope = ops.softmax_cross_entropy(logits, labels)
    bound = 20 * reference.unit_roundoff(np.float64)
    assert abs(loss - expected) <= bound * expected
    assert np.abs(slope - expected_slope).max() <= bound


def test_certainty_does_not_pay(rng):
    """The loss is least at log-odds log((1-s)C/s + 1), not at infinity."""
    classes, smoothing = 4, 0.2
    labels = np.array([2])
    targets = losses.smooth_labels(labels, classes, smoothing, "float64")
    best = np.log((1 - smoothing) * classes / smoothing + 1)
    _, slope = ops.softmax_cross_entropy(best * np.eye(classes)[labels], targets)
    assert np.abs(slope).max() <= 20 * reference.unit_roundoff(np.float64)


def test_no_labels():
    assert losses.smooth_labels(np.zeros(0, int), 3, 0.1).shape == (0, 3)


@pytest.mark.parametrize(("arguments", "error", "message"), [
    (([[1]], 3, 0.1), ShapeError, r"labels with shape \(1, 1\); wanted \(N,\)"),
    (([1], 3, 1.0), ArgumentError, r"smoothing=1.0; wanted a number from 0, below 1"),
    (([1], 3, -0.1), ArgumentError, r"smoothing=-0.1"),
    (([3], 3, 0.1), DataError, r"whole numbers of classes; wanted 0 to 2"),
    (([-1], 3, 0.1), DataError, r"wanted 0 to 2"),
    (([0.5], 3, 0.1), DataError, r"wanted 0 to 2"),
])
def test_refusals(arguments, error, message):
    with pytest.raises(error, match=message):
        losses.smooth_labels(*arguments)
