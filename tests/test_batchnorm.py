"""BatchNorm against its twin: shapes, modes, memory, values that hurt."""

from __future__ import annotations

import os

import numpy as np
import pytest

import fastbp
from fastbp import ops
from fastbp._arena import address_of
from fastbp._errors import ArgumentError, DTypeError, ShapeError
from fastbp._jit import DISABLED
from fastbp._program import Operand, Program
from fastbp.emit.batchnorm import emit_batchnorm_backward, emit_batchnorm_forward
from tests import conditions, reference

PLAIN = DISABLED
SLOW = PLAIN or os.environ.get("FASTBP_BOUNDSCHECK") == "1"
# Around one register and one strip of four, of either dtype.
COLUMNS = (1, 15, 16, 17, 37, 63, 64, 65, 131)
# Around a chunk of 32 rows and half of it; 1025 rows of many columns are several blocks, merged.
ROWS = (1, 2, 3, 15, 16, 17, 32, 33, 65) if SLOW else (1, 2, 3, 15, 16, 17, 32, 33, 65, 1025)


def case(rng, rows, cols, dtype):
    x = (3 * reference.reals(rng, (rows, cols), dtype) + 2).astype(dtype)
    dy, gamma, beta = (reference.reals(rng, s, dtype) for s in ((rows, cols), (cols,), (cols,)))
    return x, dy, gamma, beta


@pytest.mark.parametrize("dtype", conditions.DTYPES)
def test_training_is_the_twins(dtype, rng):
    for rows in ROWS:
        for cols in COLUMNS:
            x, dy, gamma, beta = case(rng, rows, cols, dtype)
            y, saved = ops.batchnorm_forward(x, gamma, beta)
            expected, kept = reference.batchnorm_forward(x, gamma, beta)
            bound = reference.batchnorm_forward_bound(x, gamma, beta, dtype)
            reference.assert_within(y, expected, bound, f"y {rows} {cols}")
            gradients = ops.batchnorm_backward(dy, saved)
            expected = reference.batchnorm_backward(dy, kept)
            bounds = reference.batchnorm_backward_bounds(dy, x, gamma, dtype)
            for name, got, want, bound in zip(("dx", "dgamma", "dbeta"), gradients, expected,
                                              bounds, strict=True):
                reference.assert_within(got, want, bound, f"{name} {rows} {cols}")
                assert got.dtype == dtype


def lying(x, offset):
    """A copy whose elements begin `offset` behind a cache line, all rows alike."""
    rows, cols = x.shape
    line = 64 // x.itemsize
    room = np.empty(rows * (cols + 2 * line) + 2 * line, x.dtype)
    begin = (-address_of(room) % 64) // x.itemsize + offset
    step = -(-cols // line) * line
    out = np.lib.stride_tricks.as_strided(room[begin:], x.shape, (step * x.itemsize, x.itemsize))
    out[...] = x
    return out


@pytest.mark.parametrize("dtype", conditions.DTYPES)
@pytest.mark.parametrize("cols", [255, 256, 300])
def test_where_matrices_lie_changes_no_bit(cols, dtype, rng):
    """Strips begin on the lines of wide matrices, and x, dy and y may lie differently."""
    x, dy, gamma, beta = case(rng, 37, cols, dtype)
    found = []
    for offsets in ((0, 0, 0), (4, 4, 4), (1, 0, 0), (0, 3, 7), (5, 2, 0), (7, 7, 1)):
        out = lying(np.zeros_like(x), offsets[1])
        y, saved = ops.batchnorm_forward(lying(x, offsets[0]), gamma, beta, out=out)
        gradients = ops.batchnorm_backward(lying(dy, offsets[2]), saved, out=lying(dy, offsets[1]))
        found.append([y, *gradients])
    expected = reference.batchnorm_forward(x, gamma, beta)[0]
    bound = reference.batchnorm_forward_bound(x, gamma, beta, dtype)
    reference.assert_within(found[0][0], expected, bound)
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_the_staged_derivation_and_the_fused_kernel_agree(rng):
    x, dy, gamma, beta = case(rng, 33, 20, np.float32)
    _, saved = ops.batchnorm_forward(x, gamma, beta)
    bounds = reference.batchnorm_backward_bounds(dy, x, gamma, np.float32)
    staged = reference.batchnorm_backward_staged(dy, x, gamma)
    for got, want, bound in zip(ops.batchnorm_backward(dy, saved), staged, bounds, strict=True):
        reference.assert_within(got, want, bound)


@pytest.mark.parametrize("dtype", conditions.DTYPES)
def test_running_statistics_and_test_mode(dtype, rng):
    u = reference.unit_roundoff(dtype)
    for rows, cols in ((1, 5), (33, 37), (65, 131)):
        x, dy, gamma, beta = case(rng, rows, cols, dtype)
        mean, var = reference.reals(rng, (cols,), dtype), rng.random(cols).astype(dtype) + 1
        _, kept = reference.batchnorm_forward(x, gamma, beta, mean, var, momentum=0.8)
        ops.batchnorm_forward(x, gamma, beta, mean, var, momentum=0.8)
        scale = np.abs(x).max(axis=0) + np.abs(x).astype(np.float64).var(axis=0)
        reference.assert_within(mean, kept.running_mean, (rows + 4) * u * (1 + scale), "mean")
        reference.assert_within(var, kept.running_var, (rows + 8) * u * (1 + scale) ** 2, "var")

        before = mean.tobytes(), var.tobytes()
        y, saved = ops.batchnorm_forward(x, gamma, beta, mean, var, training=False)
        expected, kept = reference.batchnorm_forward(x, gamma, beta, mean, var, training=False)
        # Six roundings: difference, root and its argument, quotient, two products; one for beta.
        size = np.abs(expected - beta) + np.abs(beta)
        reference.assert_within(y, expected, 7 * u * size, "y in test mode")
        dx, dgamma, dbeta = ops.batchnorm_backward(dy, saved)
        expected = reference.batchnorm_backward(dy, kept)
        reference.assert_within(dx, expected[0], 6 * u * np.abs(expected[0]), "dx in test mode")
        terms = np.abs(dy.astype(np.float64) * kept.xhat.astype(np.float64)).sum(axis=0)
        reference.assert_within(dgamma, expected[1], (rows + 6) * u * terms, "dgamma in test mode")
        reference.assert_within(dbeta, expected[2], reference.sum_bound(dy, dtype, axis=0), "dbeta")
        assert (mean.tobytes(), var.tobytes()) == before


@pytest.mark.parametrize("kind", conditions.KINDS, ids=str)
def test_any_kind_of_memory_gives_the_bits_of_a_contiguous_copy(kind, rng):
    x, dy, gamma, beta = case(rng, 35, 21, np.float32)
    y, saved = ops.batchnorm_forward(x, gamma, beta)
    gradients = ops.batchnorm_backward(dy, saved)
    other_y, saved = ops.batchnorm_forward(*(conditions.make(a, kind) for a in (x, gamma, beta)))
    others = ops.batchnorm_backward(conditions.make(dy, kind), saved)
    assert np.array_equal(y, other_y)
    for a, b in zip(gradients, others, strict=True):
        assert np.array_equal(a, b)


@pytest.mark.parametrize("kind", conditions.OUTPUT_KINDS, ids=str)
def test_what_is_written_in_place_has_any_kind_of_memory(kind, rng):
    x, _, gamma, beta = case(rng, 19, 21, np.float32)
    running = [np.zeros(21, np.float32), np.ones(21, np.float32)]
    expected, _ = ops.batchnorm_forward(x, gamma, beta, *running)
    out = conditions.Output((19, 21), np.float32, kind)
    places = [conditions.Output((21,), np.float32, kind) for _ in range(2)]
    places[0].array[...], places[1].array[...] = 0, 1
    y, _ = ops.batchnorm_forward(x, gamma, beta, *(p.array for p in places), out=out.array)
    assert y is out.array
    assert np.array_equal(y, expected)
    out.assert_only_array_written()
    for place, values in zip(places, running, strict=True):
        assert np.array_equal(place.array, values)
        place.assert_only_array_written()


@pytest.mark.parametrize("dtype", conditions.DTYPES)
def test_padded_rows_in_a_program_keep_their_padding(dtype, rng):
    """As in a network: rows padded with NaN, dx over dy."""
    x, dy, gamma, beta = case(rng, 33, 37, dtype)
    y, saved = ops.batchnorm_forward(x, gamma, beta)
    expected = ops.batchnorm_backward(dy, saved)
    places = [conditions.Output((33, 37), dtype, "C gap") for _ in range(3)]
    places[0].array[...], places[1].array[...] = x, dy
    vectors = [conditions.Output((37,), dtype) for _ in range(4)]
    mean, rstd, dgamma, dbeta = (address_of(v.array) for v in vectors)
    operands = [Operand.of(p.array) for p in places]
    program = Program(dtype)
    emit_batchnorm_forward(program, operands[2], operands[0], gamma=address_of(gamma),
                           beta=address_of(beta), mean=mean, rstd=rstd)
    emit_batchnorm_backward(program, operands[1], operands[1], operands[0], dgamma=dgamma,
                            dbeta=dbeta, mean=mean, rstd=rstd, gamma=address_of(gamma))
    program.run()
    results = (y, *expected)
    for got, want in zip((places[2], places[1], *vectors[2:]), results, strict=True):
        assert np.array_equal(got.array, want)
    for place in (*places, *vectors):
        place.assert_only_array_written()


def test_leading_dimensions_are_samples(rng):
    x, dy, gamma, beta = case(rng, 6, 24, np.float64)
    y, saved = ops.batchnorm_forward(x, gamma, beta)
    dx = ops.batchnorm_backward(dy, saved)[0]
    shape = (6, 2, 3, 4)
    folded, saved = ops.batchnorm_forward(x.reshape(shape), gamma, beta)
    back = ops.batchnorm_backward(dy.reshape(shape), saved)[0]
    assert folded.shape == back.shape == shape
    assert np.array_equal(folded.reshape(6, 24), y)
    assert np.array_equal(back.reshape(6, 24), dx)


@pytest.mark.parametrize(("ratio", "bound"), [(0.0, 1e-6), (10.0, 1e-6), (1e3, 1e-6), (1e5, 1e-4)])
@pytest.mark.parametrize("rows", [2, 3, 32, 600] if SLOW else [2, 3, 32, 600, 65_536])
def test_variance_in_float32_is_accurate_far_from_zero(rows, ratio, bound, rng):
    x = (rng.standard_normal((rows, 17)) + ratio).astype(np.float32)
    mean, var = np.zeros(17, np.float32), np.zeros(17, np.float32)
    ops.batchnorm_forward(x, np.ones(17, np.float32), np.zeros(17, np.float32), mean, var,
                          momentum=0.0)
    expected = x.astype(np.float64).var(axis=0)
    reference.assert_within(var, expected, bound * expected, "variance")
    reference.assert_within(mean, x.mean(axis=0, dtype=np.float64), 4e-7 * (1 + ratio), "mean")


def test_an_outlier_in_the_first_row_does_not_spoil_the_variance(rng):
    x = rng.standard_normal((2000, 17)).astype(np.float32)
    x[0] = 1e4
    var = np.zeros(17, np.float32)
    ops.batchnorm_forward(x, np.ones(17, np.float32), np.zeros(17, np.float32),
                          np.zeros(17, np.float32), var, momentum=0.0)
    expected = x.astype(np.float64).var(axis=0)
    # The first chunk of 32 rows is shifted by an eighth of the outlier at most.
    reference.assert_within(var, expected, 64 * 2.0**-24 * expected)


@pytest.mark.parametrize("dtype", conditions.DTYPES)
@pytest.mark.parametrize("value", [0.1, -1e4, 1e30, 1e-30, 0.0])
def test_a_constant_column_gives_exactly_beta(value, dtype, rng):
    for rows in (1, 2, 3, 33, 601):
        x, beta = np.full((rows, 19), value, dtype), reference.reals(rng, (19,), dtype)
        mean, var = np.zeros(19, dtype), np.ones(19, dtype)
        y, saved = ops.batchnorm_forward(x, np.full(19, 3, dtype), beta, mean, var, momentum=0.0)
        assert np.array_equal(y, np.broadcast_to(beta, y.shape))
        assert np.array_equal(var, np.zeros(19))
        assert np.array_equal(mean, np.full(19, dtype(value)))
        dx, dgamma, _ = ops.batchnorm_backward(np.ones_like(x), saved)
        assert np.all(np.isfinite(dx))
        assert np.array_equal(dgamma, np.zeros(19))


def test_tiny_and_huge_values_stay_finite_and_nan_stays_in_its_column(rng):
    for scale in (1e-30, 1e-12, 1e12, 1e17):
        x = (rng.standard_normal((40, 5)) * scale).astype(np.float32)
        y, _ = ops.batchnorm_forward(x, np.ones(5, np.float32), np.zeros(5, np.float32))
        assert np.all(np.isfinite(y)), scale
    x = rng.standard_normal((40, 5)).astype(np.float32)
    x[7, 2] = np.nan
    y, _ = ops.batchnorm_forward(x, np.ones(5, np.float32), np.zeros(5, np.float32))
    assert np.all(np.isnan(y[:, 2]))
    assert np.all(np.isfinite(np.delete(y, 2, axis=1)))


def test_no_samples():
    x, one, zero = np.zeros((0, 3)), np.ones(3), np.zeros(3)
    with pytest.raises(ShapeError, match=r"x with shape \(0, 3\): no samples; wanted at least one"):
        ops.batchnorm_forward(x, one, zero)
    y, saved = ops.batchnorm_forward(x, one, zero, zero, one, training=False)
    dx, dgamma, dbeta = ops.batchnorm_backward(x, saved)
    assert y.shape == dx.shape == (0, 3)
    assert np.array_equal([dgamma, dbeta], np.zeros((2, 3)))


@pytest.mark.skipif(SLOW, reason="large; threads do not matter in plain Python")
def test_the_same_bits_for_every_number_of_threads(rng):
    for rows, cols in ((3001, 131), (64, 5000)):
        x, dy, gamma, beta = case(rng, rows, cols, np.float32)
        results = set()
        for threads in (1, 2, 4):
            with fastbp.threads(threads, oversubscribe=True):
                y, saved = ops.batchnorm_forward(x, gamma, beta)
                arrays = (y, *ops.batchnorm_backward(dy, saved))
            results.add(b"".join(a.tobytes() for a in arrays))
        assert len(results) == 1


@pytest.mark.skipif(SLOW, reason="large")
def test_results_that_go_past_the_caches_are_the_same_bits(rng):
    x, dy, gamma, beta = case(rng, 4200, 1024, np.float32)
    y, saved = ops.batchnorm_forward(x, gamma, beta)
    shifted = conditions.Output(x.shape, np.float32, "address one element past 64")
    other, _ = ops.batchnorm_forward(x, gamma, beta, out=shifted.array)
    assert np.array_equal(y, other)
    bounds = reference.batchnorm_backward_bounds(dy[:, :64], x[:, :64], gamma[:64], np.float32)
    expected = reference.batchnorm_backward(
        dy[:, :64], reference.batchnorm_forward(x[:, :64], gamma[:64], beta[:64])[1])
    for got, want, bound in zip(ops.batchnorm_backward(dy, saved), expected, bounds, strict=True):
        reference.assert_within(got[..., :64], want, bound)


def test_what_does_not_fit_is_refused_and_nothing_changes():
    x, one = np.ones((4, 3), np.float32), np.ones(3, np.float32)
    running = np.zeros(3, np.float32)
    frozen = np.zeros(3, np.float32)
    frozen.flags.writeable = False
    _, saved = ops.batchnorm_forward(x, one, one)
    for error, text, call in (
        (ShapeError, r"gamma with shape \(4,\) for x with 3 numbers a sample; wanted \(3,\)",
         lambda: ops.batchnorm_forward(x, np.ones(4, np.float32), one)),
        (DTypeError, "x float32, gamma float64, beta float32; wanted one dtype",
         lambda: ops.batchnorm_forward(x, np.ones(3), one)),
        (ArgumentError, "running_var is NoneType; wanted a NumPy array; pass both",
         lambda: ops.batchnorm_forward(x, one, one, running)),
        (DTypeError, "running_mean with dtype float64; wanted x's dtype float32",
         lambda: ops.batchnorm_forward(x, one, one, np.zeros(3), running)),
        (ShapeError, r"running_mean with shape \(2,\)",
         lambda: ops.batchnorm_forward(x, one, one, running[:2], running)),
        (ArgumentError, "running_var is read-only; wanted a writeable array",
         lambda: ops.batchnorm_forward(x, one, one, running, frozen)),
        (ArgumentError, "training=False without running_mean and running_var",
         lambda: ops.batchnorm_forward(x, one, one, training=False)),
        (ArgumentError, "momentum=1.5; wanted a number from 0 to 1",
         lambda: ops.batchnorm_forward(x, one, one, momentum=1.5)),
        (ArgumentError, "eps=-1.0; wanted a number of at least 0",
         lambda: ops.batchnorm_forward(x, one, one, eps=-1.0)),
        (ArgumentError, "out overlaps", lambda: ops.batchnorm_forward(x, one, one, out=x)),
        (ShapeError, r"dy with shape \(3, 3\); wanted x's shape \(4, 3\)",
         lambda: ops.batchnorm_backward(x[:3], saved)),
        (ArgumentError, "saved of tuple; wanted what batchnorm_forward returned",
         lambda: ops.batchnorm_backward(x, ())),
    ):
        with pytest.raises(error, match=text):
            call()
    assert np.array_equal(running, np.zeros(3))
    assert np.array_equal(x, np.ones((4, 3)))
