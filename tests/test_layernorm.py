"""LayerNorm against its twin: shapes, memory, values that hurt."""

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
from fastbp.emit.layernorm import emit_layernorm_backward, emit_layernorm_forward
from tests import conditions, reference

PLAIN = DISABLED
SLOW = PLAIN or os.environ.get("FASTBP_BOUNDSCHECK") == "1"
# Around one register and one strip of four, of either dtype.
COLUMNS = (1, 2, 15, 16, 17, 37, 63, 64, 65, 131)
# Around the 8 rows that are summed together; with many columns 200 rows are several tasks.
ROWS = (1, 2, 7, 8, 9, 33) if SLOW else (1, 2, 7, 8, 9, 33, 200)


def case(rng, rows, cols, dtype):
    x = (3 * reference.reals(rng, (rows, cols), dtype) + 2).astype(dtype)
    dy, gamma, beta = (reference.reals(rng, s, dtype) for s in ((rows, cols), (cols,), (cols,)))
    return x, dy, gamma, beta


def compare(x, dy, gamma, beta):
    dtype, where = x.dtype, f"{x.shape}"
    y, saved = ops.layernorm_forward(x, gamma, beta)
    expected, kept = reference.layernorm_forward(x, gamma, beta)
    bound = reference.batchnorm_forward_bound(x, gamma, beta, dtype, axis=1)
    reference.assert_within(y, expected, bound, f"y {where}")
    gradients = ops.layernorm_backward(dy, saved)
    expected = reference.layernorm_backward(dy, kept)
    bounds = reference.batchnorm_backward_bounds(dy, x, gamma, dtype, axis=1)
    for name, got, want, bound in zip(("dx", "dgamma", "dbeta"), gradients, expected, bounds,
                                      strict=True):
        reference.assert_within(got, want, bound, f"{name} {where}")
        assert got.dtype == dtype


@pytest.mark.parametrize("dtype", conditions.DTYPES)
def test_it_is_the_twins(dtype, rng):
    for rows in ROWS:
        for cols in COLUMNS:
            compare(*case(rng, rows, cols, dtype))
    compare(*case(rng, 67, 517, dtype))  # three tasks of 32 rows


@pytest.mark.parametrize("kind", conditions.KINDS, ids=str)
def test_any_kind_of_memory_gives_the_bits_of_a_contiguous_copy(kind, rng):
    x, dy, gamma, beta = case(rng, 19, 21, np.float32)
    y, saved = ops.layernorm_forward(x, gamma, beta)
    gradients = ops.layernorm_backward(dy, saved)
    other_y, saved = ops.layernorm_forward(*(conditions.make(a, kind) for a in (x, gamma, beta)))
    others = ops.layernorm_backward(conditions.make(dy, kind), saved)
    assert np.array_equal(y, other_y)
    for a, b in zip(gradients, others, strict=True):
        assert np.array_equal(a, b)


@pytest.mark.parametrize("kind", conditions.OUTPUT_KINDS, ids=str)
def test_out_may_be_any_kind_of_memory(kind, rng):
    x, _, gamma, beta = case(rng, 19, 21, np.float32)
    out = conditions.Output((19, 21), np.float32, kind)
    y, _ = ops.layernorm_forward(x, gamma, beta, out=out.array)
    assert y is out.array
    assert np.array_equal(y, ops.layernorm_forward(x, gamma, beta)[0])
    out.assert_only_array_written()


@pytest.mark.parametrize("dtype", conditions.DTYPES)
def test_padded_rows_in_a_program_keep_their_padding(dtype, rng):
    """As in a network: rows padded with NaN, dx over dy."""
    x, dy, gamma, beta = case(rng, 33, 37, dtype)
    y, saved = ops.layernorm_forward(x, gamma, beta)
    expected = ops.layernorm_backward(dy, saved)
    places = [conditions.Output((33, 37), dtype, "C gap") for _ in range(3)]
    places[0].array[...], places[1].array[...] = x, dy
    vectors = [conditions.Output((n,), dtype) for n in (33, 33, 37, 37)]
    mean, rstd, dgamma, dbeta = (address_of(v.array) for v in vectors)
    operands = [Operand.of(p.array) for p in places]
    program = Program(dtype)
    emit_layernorm_forward(program, operands[2], operands[0], gamma=address_of(gamma),
                           beta=address_of(beta), mean=mean, rstd=rstd)
    emit_layernorm_backward(program, operands[1], operands[1], operands[0], dgamma=dgamma,
                            dbeta=dbeta, mean=mean, rstd=rstd, gamma=address_of(gamma))
    program.run()
    for got, want in zip((places[2], places[1], *vectors[2:]), (y, *expected), strict=True):
        assert np.array_equal(got.array, want)
    for place in (*places, *vectors):
        place.assert_only_array_written()


def test_leading_dimensions_are_samples(rng):
    x, dy, gamma, beta = case(rng, 6, 24, np.float64)
    y, saved = ops.layernorm_forward(x, gamma, beta)
    dx = ops.layernorm_backward(dy, saved)[0]
    folded, saved = ops.layernorm_forward(x.reshape(6, 2, 3, 4), gamma, beta)
    back = ops.layernorm_backward(dy.reshape(6, 2, 3, 4), saved)[0]
    assert folded.shape == back.shape == (6, 2, 3, 4)
    assert np.array_equal(folded.reshape(6, 24), y)
    assert np.array_equal(back.reshape(6, 24), dx)


@pytest.mark.parametrize("offset", [0.0, 10.0, 1e3, 1e4])
def test_values_far_from_zero_in_float32(offset, rng):
    x = (rng.standard_normal((50, 300)) + offset).astype(np.float32)
    y, _ = ops.layernorm_forward(x, np.ones(300, np.float32), np.zeros(300, np.float32))
    expected, kept = reference.layernorm_forward(x, np.ones(300), np.zeros(300))
    # The mean is rounded once, the deviations once more; the rest are a few roundings of y.
    bound = 2.0**-24 * (kept.inv_std * (offset + 1) + 20 * (1 + np.abs(expected)))
    reference.assert_within(y, expected, bound)


@pytest.mark.parametrize("dtype", conditions.DTYPES)
@pytest.mark.parametrize("value", [0.1, -1e4, 1e30, 1e-30, 0.0])
def test_a_constant_row_gives_exactly_beta(value, dtype, rng):
    for cols in (1, 2, 33, 131):
        beta = reference.reals(rng, (cols,), dtype)
        x, gamma = np.full((3, cols), value, dtype), np.full(cols, 3, dtype)
        y, saved = ops.layernorm_forward(x, gamma, beta)
        assert np.array_equal(y, np.broadcast_to(beta, (3, cols)))
        dx, dgamma, _ = ops.layernorm_backward(np.ones((3, cols), dtype), saved)
        assert np.all(np.isfinite(dx))
        assert np.array_equal(dgamma, np.zeros(cols))


def test_nan_stays_in_its_row(rng):
    x = rng.standard_normal((5, 70)).astype(np.float32)
    x[2, 66] = np.nan
    y, _ = ops.layernorm_forward(x, np.ones(70, np.float32), np.zeros(70, np.float32))
    assert np.all(np.isnan(y[2]))
    assert np.all(np.isfinite(np.delete(y, 2, axis=0)))


def test_no_samples():
    y, saved = ops.layernorm_forward(np.zeros((0, 3)), np.ones(3), np.zeros(3))
    dx, dgamma, dbeta = ops.layernorm_backward(np.zeros((0, 3)), saved)
    assert y.shape == dx.shape == (0, 3)
    assert np.array_equal([dgamma, dbeta], np.zeros((2, 3)))


@pytest.mark.skipif(SLOW, reason="large; threads do not matter in plain Python")
def test_the_same_bits_for_every_number_of_threads(rng):
    x, dy, gamma, beta = case(rng, 3001, 131, np.float32)
    results = set()
    for threads in (1, 2, 4):
        with fastbp.threads(threads, oversubscribe=True):
            y, saved = ops.layernorm_forward(x, gamma, beta)
            arrays = (y, *ops.layernorm_backward(dy, saved))
        results.add(b"".join(a.tobytes() for a in arrays))
    assert len(results) == 1


@pytest.mark.skipif(SLOW, reason="large")
def test_results_that_go_past_the_caches_are_the_same_bits(rng):
    x, dy, gamma, beta = case(rng, 4200, 1024, np.float32)
    y, saved = ops.layernorm_forward(x, gamma, beta)
    shifted = conditions.Output(x.shape, np.float32, "address one element past 64")
    other, _ = ops.layernorm_forward(x, gamma, beta, out=shifted.array)
    assert np.array_equal(y, other)
    dx = ops.layernorm_backward(dy, saved)[0]
    _, few = ops.layernorm_forward(x[:9], gamma, beta)
    assert np.array_equal(dx[:9], ops.layernorm_backward(dy[:9], few)[0])


def test_what_does_not_fit_is_refused():
    x, one = np.ones((4, 3), np.float32), np.ones(3, np.float32)
    _, saved = ops.layernorm_forward(x, one, one)
    for error, text, call in (
        (ShapeError, r"x with shape \(3,\); wanted \(N, D\): samples by features",
         lambda: ops.layernorm_forward(x[0], one[:1], one[:1])),
        (ShapeError, r"beta with shape \(4,\) for x with 3 numbers a sample; wanted \(3,\)",
         lambda: ops.layernorm_forward(x, one, np.ones(4, np.float32))),
        (DTypeError, "x float32, gamma float32, beta float64; wanted one dtype",
         lambda: ops.layernorm_forward(x, one, np.ones(3))),
        (ArgumentError, "eps=nan; wanted a number of at least 0",
         lambda: ops.layernorm_forward(x, one, one, eps=np.nan)),
        (ArgumentError, "out overlaps", lambda: ops.layernorm_forward(x, one, one, out=x)),
        (ShapeError, r"dy with shape \(3, 3\); wanted x's shape \(4, 3\)",
         lambda: ops.layernorm_backward(x[:3], saved)),
        (ArgumentError, "saved of layernorm; wanted what batchnorm_forward returned",
         lambda: ops.batchnorm_backward(x, saved)),
    ):
        with pytest.raises(error, match=text):
            call()
