"""Pooling against its twin: windows, borders, ties, NaN, memory, threads."""

from __future__ import annotations

import os

import conditions
import numpy as np
import pytest
import reference

import fastbp
from fastbp import ops
from fastbp._errors import ArgumentError, DTypeError, ShapeError
from fastbp._jit import DISABLED

SLOW = DISABLED or os.environ.get("FASTBP_BOUNDSCHECK") == "1"
# (N, C, H, W), size, stride, padding
SMALL = [
    ((2, 3, 6, 8), 2, None, 0),
    ((2, 3, 7, 5), 3, 2, 1),
    ((1, 1, 1, 1), 1, 1, 0),
    ((1, 2, 5, 9), (3, 2), (1, 3), (1, 0)),
    ((1, 2, 4, 4), 4, 1, 3),
    ((1, 2, 5, 5), 2, 4, 0),  # elements that no window sees
]
LARGER = [((2, 2, 28, 28), 2, 2, 0), ((1, 1, 401, 503), 3, 2, 1), ((3, 5, 17, 67), 2, 1, 0),
          ((1, 2, 19, 37), (5, 7), (3, 5), (2, 3))]
SHAPES = SMALL if SLOW else SMALL + LARGER


def tied(rng, shape, dtype):
    """Few different values, so that most windows have several largest elements."""
    return rng.integers(-2, 3, shape).astype(dtype)


@pytest.mark.parametrize("dtype", conditions.DTYPES)
@pytest.mark.parametrize(("image", "size", "stride", "padding"), SHAPES, ids=str)
def test_max_pooling_is_the_twins(image, size, stride, padding, dtype, rng):
    x = tied(rng, image, dtype)
    y, saved = ops.max_pool2d_forward(x, size, stride=stride, padding=padding)
    expected, kept = reference.max_pool2d_forward(x, size, stride=stride, padding=padding)
    assert np.array_equal(y, expected)
    dy = reference.integers(rng, y.shape, dtype)
    dx = ops.max_pool2d_backward(dy, saved)
    assert np.array_equal(dx, reference.max_pool2d_backward(dy, kept))
    assert y.dtype == dx.dtype == dtype


@pytest.mark.parametrize("dtype", conditions.DTYPES)
@pytest.mark.parametrize("border", [True, False])
@pytest.mark.parametrize(("image", "size", "stride", "padding"), SHAPES, ids=str)
def test_average_pooling_is_the_twins(image, size, stride, padding, border, dtype, rng):
    """Bounds: taps + 1 roundings of the mean size; every element of dx is in `taps` windows."""
    settings = {"stride": stride, "padding": padding, "count_include_pad": border}
    x = reference.reals(rng, image, dtype)
    y, saved = ops.avg_pool2d_forward(x, size, **settings)
    expected, kept = reference.avg_pool2d_forward(x, size, **settings)
    scale = (np.prod(kept.shares.shape[-2:]) + 2) * reference.unit_roundoff(dtype)
    reference.assert_within(y, expected, scale * reference.avg_pool2d_forward(
        abs(x), size, **settings)[0])
    dy = reference.reals(rng, y.shape, dtype)
    reference.assert_within(
        ops.avg_pool2d_backward(dy, saved), reference.avg_pool2d_backward(dy, kept),
        scale * reference.avg_pool2d_backward(abs(dy), kept))


def test_the_first_maximum_takes_the_gradient_and_nan_wins():
    x = np.array([[1, 3, 0, 5], [3, 2, 5, 5]], np.float32)[None, None]
    y, saved = ops.max_pool2d_forward(x, 2)
    assert np.array_equal(y, [[[[3, 5]]]])
    dx = ops.max_pool2d_backward(np.array([[[[7, 9]]]], np.float32), saved)
    assert np.array_equal(dx, [[[[0, 7, 0, 9], [0, 0, 0, 0]]]])
    x[0, 0, 1, 0] = x[0, 0, 1, 1] = np.nan
    y, saved = ops.max_pool2d_forward(x, 2)
    assert np.isnan(y[0, 0, 0, 0])
    assert y[0, 0, 0, 1] == 5
    dx = ops.max_pool2d_backward(np.array([[[[7, 9]]]], np.float32), saved)
    assert np.array_equal(dx, [[[[0, 0, 0, 9], [7, 0, 0, 0]]]])


def test_a_window_of_minus_infinity_belongs_to_its_first_element(rng):
    x = np.full((1, 1, 3, 3), -np.inf, np.float32)
    y, saved = ops.max_pool2d_forward(x, 2, stride=1, padding=1)
    assert np.isneginf(y).all()
    dy = reference.integers(rng, y.shape, np.float32)
    assert ops.max_pool2d_backward(dy, saved).sum() == dy.sum()
    assert np.array_equal(ops.max_pool2d_backward(dy, saved)[0, 0, 0, 0], dy[0, 0, :2, :2].sum())


@pytest.mark.parametrize("kind", conditions.KINDS, ids=str)
def test_any_kind_of_memory(kind, rng):
    x = reference.reals(rng, (3, 2, 6, 5), np.float32)
    for forward, backward in ((ops.max_pool2d_forward, ops.max_pool2d_backward),
                              (ops.avg_pool2d_forward, ops.avg_pool2d_backward)):
        y, saved = forward(x, 3, stride=2, padding=1)
        other, kept = forward(conditions.make(x, kind), 3, stride=2, padding=1)
        assert np.array_equal(y, other)
        assert np.array_equal(backward(y, saved), backward(conditions.make(y, kind), kept))
        if kind.writeable:
            out = conditions.Output(y.shape, np.float32, kind)
            assert forward(x, 3, stride=2, padding=1, out=out.array)[0] is out.array
            assert np.array_equal(out.array, y)
            out.assert_only_array_written()


def test_channels_last_is_the_same_pooling(rng):
    x = reference.reals(rng, (3, 2, 6, 5), np.float32)
    last = np.ascontiguousarray(x.transpose(0, 2, 3, 1))
    for forward, backward in ((ops.max_pool2d_forward, ops.max_pool2d_backward),
                              (ops.avg_pool2d_forward, ops.avg_pool2d_backward)):
        y, saved = forward(x, 2, stride=1)
        other, kept = forward(last, 2, stride=1, data_format="NHWC")
        assert np.array_equal(other, y.transpose(0, 2, 3, 1))
        dx = backward(other, kept)
        assert np.array_equal(dx, backward(y, saved).transpose(0, 2, 3, 1))


def test_no_samples():
    y, saved = ops.max_pool2d_forward(np.zeros((0, 2, 4, 4)), 2)
    assert y.shape == (0, 2, 2, 2)
    assert ops.max_pool2d_backward(y, saved).shape == (0, 2, 4, 4)


@pytest.mark.skipif(SLOW, reason="threads do not matter in plain Python")
def test_the_same_bits_for_every_number_of_threads(rng):
    x = reference.reals(rng, (40, 11, 29, 31), np.float32)
    results = set()
    for threads in (1, 2, 4):
        with fastbp.threads(threads, oversubscribe=True):
            y, saved = ops.max_pool2d_forward(x, 3, stride=2, padding=1)
            z, kept = ops.avg_pool2d_forward(x, 3, stride=1)
            arrays = y, ops.max_pool2d_backward(y, saved), z, ops.avg_pool2d_backward(z, kept)
        results.add(b"".join(a.tobytes() for a in arrays))
    assert len(results) == 1


def test_what_does_not_fit_is_refused():
    x = np.ones((2, 3, 4, 4), np.float32)
    y, saved = ops.max_pool2d_forward(x, 2)
    for error, text, call in (
        (ShapeError, r"x with shape \(4, 4\); wanted \(N, C, H, W\)",
         lambda: ops.max_pool2d_forward(x[0, 0], 2)),
        (ArgumentError, "size=0; wanted an integer of 1 or more",
         lambda: ops.max_pool2d_forward(x, 0)),
        (ArgumentError, r"padding=\(2, 2\) for windows of \(2, 2\); wanted padding below the size",
         lambda: ops.avg_pool2d_forward(x, 2, padding=2)),
        (ShapeError, "images of 4x4 with padding .* under a window that reaches 5x5",
         lambda: ops.max_pool2d_forward(x, 5)),
        (ShapeError, r"dy with shape \(2, 3, 4, 4\); wanted y's shape \(2, 3, 2, 2\)",
         lambda: ops.max_pool2d_backward(x, saved)),
        (DTypeError, "dy float64, x float32",
         lambda: ops.max_pool2d_backward(y.astype(float), saved)),
        (ArgumentError, "saved of max; wanted what avg_pool2d_forward returned",
         lambda: ops.avg_pool2d_backward(y, saved)),
    ):
        with pytest.raises(error, match=text):
            call()
