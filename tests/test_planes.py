"""Spatial BatchNorm and GroupNorm against their twins."""

from __future__ import annotations

import os

import conditions
import numpy as np
import pytest
import reference

import fastbp
from fastbp import ops
from fastbp._errors import ArgumentError, ShapeError
from fastbp._jit import DISABLED

SLOW = DISABLED or os.environ.get("FASTBP_BOUNDSCHECK") == "1"
SHAPES = [(1, 1, 1, 1), (2, 4, 3, 5), (5, 6, 1, 1), (3, 2, 7, 11)]
if not SLOW:
    SHAPES += [(33, 12, 8, 8), (2, 4, 65, 67), (70, 4, 28, 28)]


def case(rng, shape, dtype):
    x = (3 * reference.reals(rng, shape, dtype) + 2).astype(dtype)
    dy, gamma, beta = (reference.reals(rng, s, dtype) for s in (shape, shape[1:2], shape[1:2]))
    return x, dy, gamma, beta


@pytest.mark.parametrize("dtype", conditions.DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_batchnorm_by_channels_is_the_twins(shape, dtype, rng):
    x, dy, gamma, beta = case(rng, shape, dtype)
    channels = shape[1]
    mean, var = np.full(channels, 0.5, dtype), np.full(channels, 2, dtype)
    y, saved = ops.spatial_batchnorm_forward(x, gamma, beta, mean, var, momentum=0.8)
    expected, kept = reference.spatial_batchnorm_forward(
        x, gamma, beta, np.full(channels, 0.5), np.full(channels, 2.0), momentum=0.8)
    rows, up = reference.by_pixel(x), reference.by_pixel(dy)
    bound = reference.batchnorm_forward_bound(rows, gamma, beta, dtype)
    reference.assert_within(reference.by_pixel(y), reference.by_pixel(expected), bound, "y")
    error = reference.normalized_error(rows, dtype, 1e-5)
    u = reference.unit_roundoff(dtype)
    reference.assert_within(mean, kept.running_mean, error.mean_error[0]
                            + 4 * u * (1 + np.abs(kept.running_mean)))
    reference.assert_within(var, kept.running_var, error.var_error[0] + 4 * u * (2 + rows.var(0)))
    got = ops.spatial_batchnorm_backward(dy, saved)
    want = reference.spatial_batchnorm_backward(dy, kept)
    bounds = reference.batchnorm_backward_bounds(up, rows, gamma, dtype)
    reference.assert_within(reference.by_pixel(got[0]), reference.by_pixel(want[0]), bounds[0],
                            "dx")
    for name, a, e, limit in zip(("dgamma", "dbeta"), got[1:], want[1:], bounds[1:], strict=True):
        reference.assert_within(a, e, limit, name)


@pytest.mark.parametrize("dtype", conditions.DTYPES)
def test_batchnorm_by_channels_with_running_statistics(dtype, rng):
    x, dy, gamma, beta = case(rng, (3, 4, 5, 7), dtype)
    mean, var = reference.reals(rng, (4,), dtype), 1 + abs(reference.reals(rng, (4,), dtype))
    before = mean.copy(), var.copy()
    y, saved = ops.spatial_batchnorm_forward(x, gamma, beta, mean, var, training=False)
    expected, kept = reference.spatial_batchnorm_forward(x, gamma, beta, mean, var, training=False)
    u = reference.unit_roundoff(dtype)
    reference.assert_within(y, expected, 16 * u * (1 + abs(x).max() * np.abs(gamma).max()) * 2)
    assert np.array_equal(before, (mean, var))
    got = ops.spatial_batchnorm_backward(dy, saved)
    want = reference.spatial_batchnorm_backward(dy, kept)
    reference.assert_within(got[0], want[0], reference.relative_bound(want[0], dtype, 8))
    for a, e in zip(got[1:], want[1:], strict=True):
        # 105 terms of at most 6*2 each.
        reference.assert_within(a, e, 105 * 12 * 110 * u)


@pytest.mark.parametrize("dtype", conditions.DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_groupnorm_is_the_twins(shape, dtype, rng):
    """Rows of the bounds: groups of a sample, with gamma repeated along them."""
    x, dy, gamma, beta = case(rng, shape, dtype)
    n, c = shape[:2]
    for groups in {1, c, 2 if c % 2 == 0 else 1}:
        y, saved = ops.groupnorm_forward(x, gamma, beta, groups)
        expected, kept = reference.groupnorm_forward(x, gamma, beta, groups)
        full = np.broadcast_to(gamma[:, None], (n, c, shape[2] * shape[3]))
        scale = full.reshape(n * groups, -1)
        rows, up = x.reshape(n * groups, -1), dy.reshape(n * groups, -1)
        shift = np.broadcast_to(beta[:, None], full.shape).reshape(scale.shape)
        bound = reference.batchnorm_forward_bound(rows, scale, shift, dtype, axis=1)
        reference.assert_within(y.reshape(rows.shape), expected.reshape(rows.shape), bound, "y")
        got, want = ops.groupnorm_backward(dy, saved), reference.groupnorm_backward(dy, kept)
        bound = reference.batchnorm_backward_bounds(up, rows, scale, dtype, axis=1)[0]
        reference.assert_within(got[0].reshape(rows.shape), want[0].reshape(rows.shape), bound)
        error = reference.normalized_error(rows, dtype, 1e-5, 1)
        u = reference.unit_roundoff(dtype)
        count = (n * shape[2] * shape[3] + 3) * u
        size = abs(dy) * (count * np.abs(kept.xhat) + error.xhat_error.reshape(shape))
        reference.assert_within(got[1], want[1], size.sum(axis=(0, 2, 3)), "dgamma")
        reference.assert_within(got[2], want[2], count * abs(dy).sum(axis=(0, 2, 3)), "dbeta")


@pytest.mark.parametrize("kind", conditions.KINDS, ids=str)
def test_any_kind_of_memory(kind, rng):
    x, dy, gamma, beta = case(rng, (3, 4, 5, 2), np.float32)
    other, up, scale, shift = (conditions.make(a, kind) for a in (x, dy, gamma, beta))
    for forward, backward in ((ops.spatial_batchnorm_forward, ops.spatial_batchnorm_backward),
                              (lambda *a: ops.groupnorm_forward(*a, 2), ops.groupnorm_backward)):
        y, saved = forward(x, gamma, beta)
        z, kept = forward(other, scale, shift)
        assert np.array_equal(y, z)
        pairs = zip(backward(dy, saved), backward(up, kept), strict=True)
        assert all(np.array_equal(a, b) for a, b in pairs)


def test_channels_last_and_any_number_of_dimensions(rng):
    x, dy, gamma, beta = case(rng, (3, 4, 5, 2), np.float32)
    y, saved = ops.spatial_batchnorm_forward(x, gamma, beta)
    last, up = (np.ascontiguousarray(a.transpose(0, 2, 3, 1)) for a in (x, dy))
    z, kept = ops.spatial_batchnorm_forward(last, gamma, beta, data_format="NHWC")
    assert np.array_equal(z, y.transpose(0, 2, 3, 1))
    dx = ops.spatial_batchnorm_backward(up, kept)[0]
    expected = ops.spatial_batchnorm_backward(dy, saved)[0]
    assert np.array_equal(dx, expected.transpose(0, 2, 3, 1))
    y, _ = ops.groupnorm_forward(x, gamma, beta, 2)
    z, _ = ops.groupnorm_forward(x.reshape(3, 4, 10), gamma, beta, 2)
    assert np.array_equal(z, y.reshape(3, 4, 10))
    flat, _ = ops.groupnorm_forward(x[:, :, 0, 0], gamma, beta, 1)
    layer, _ = ops.layernorm_forward(x[:, :, 0, 0], gamma, beta)
    # The same numbers, with gamma*rstd rounded first.
    assert np.abs(flat - layer).max() <= 8 * 2.0**-24 * np.abs(layer).max()


def test_a_constant_channel_gives_exactly_beta(rng):
    beta = reference.reals(rng, (2,), np.float32)
    x, gamma = np.full((3, 2, 5, 5), 0.1, np.float32), np.ones(2, np.float32)
    for y in (ops.spatial_batchnorm_forward(x, gamma, beta)[0],
              ops.groupnorm_forward(x, gamma, beta, 2)[0]):
        assert np.array_equal(y, np.broadcast_to(beta[:, None, None], x.shape))


@pytest.mark.skipif(SLOW, reason="threads do not matter in plain Python")
def test_the_same_bits_for_every_number_of_threads(rng):
    x, dy, gamma, beta = case(rng, (40, 6, 28, 28), np.float32)
    results = set()
    for threads in (1, 2, 4):
        with fastbp.threads(threads, oversubscribe=True):
            y, saved = ops.spatial_batchnorm_forward(x, gamma, beta)
            z, kept = ops.groupnorm_forward(x, gamma, beta, 3)
            arrays = (y, z, *ops.spatial_batchnorm_backward(dy, saved),
                      *ops.groupnorm_backward(dy, kept))
        results.add(b"".join(a.tobytes() for a in arrays))
    assert len(results) == 1


def test_what_does_not_fit_is_refused():
    x, one = np.ones((2, 4, 3, 3), np.float32), np.ones(4, np.float32)
    _, saved = ops.groupnorm_forward(x, one, one, 2)
    for error, text, call in (
        (ShapeError, r"gamma with shape \(3,\) for x with 4 channels; wanted \(4,\)",
         lambda: ops.spatial_batchnorm_forward(x, one[:3], one)),
        (ShapeError, r"x with shape \(4, 3, 3\); wanted \(N, C, H, W\)",
         lambda: ops.spatial_batchnorm_forward(x[0], one, one)),
        (ArgumentError, r"momentum=2; wanted a number from 0 to 1",
         lambda: ops.spatial_batchnorm_forward(x, one, one, momentum=2)),
        (ArgumentError, "training=False without running_mean and running_var",
         lambda: ops.spatial_batchnorm_forward(x, one, one, training=False)),
        (ShapeError, "no samples", lambda: ops.spatial_batchnorm_forward(x[:0], one, one)),
        (ArgumentError, r"groups=3 for 4 channels; wanted an integer of 1 or more that divides",
         lambda: ops.groupnorm_forward(x, one, one, 3)),
        (ArgumentError, "eps=-1; wanted a number of at least 0",
         lambda: ops.groupnorm_forward(x, one, one, 2, eps=-1)),
        (ShapeError, r"dy with shape \(2, 4, 3, 2\); wanted x's shape \(2, 4, 3, 3\)",
         lambda: ops.groupnorm_backward(x[..., :2], saved)),
        (ArgumentError, "saved of groupnorm; wanted what spatial_batchnorm_forward returned",
         lambda: ops.spatial_batchnorm_backward(x, saved)),
    ):
        with pytest.raises(error, match=text):
            call()
