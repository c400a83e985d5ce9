"""Dropout: the mask against a naive twin of its hash, its statistics, and who may change it."""

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
from fastbp._errors import ArgumentError, ShapeError
from fastbp._jit import DISABLED, entry
from fastbp._program import Operand, Program
from fastbp._simd import data_pointer
from fastbp.emit.dropout import emit_dropout_backward, emit_dropout_forward
from fastbp.kernels import dropout

SLOW = DISABLED or os.environ.get("FASTBP_BOUNDSCHECK") == "1"
GAP = conditions.BY_NAME["C gap"]
WORD = 2**32


def mixed(h):
    """The 32-bit mixer on Python integers or object arrays."""
    h = (h ^ (h >> 16)) * 0x7FEB352D % WORD
    h = (h ^ (h >> 15)) * 0x846CA68B % WORD
    return h ^ (h >> 16)


def key(salt, numbers):
    h = mixed(salt ^ numbers[0])
    for number in numbers[1:]:
        h = mixed((h + number) % WORD)
    return h


def kept(elements, rate, seed, step, layer):
    """The mask of elements by their numbers (Python integers)."""
    def one(element):
        words = [n % WORD for n in (seed, seed >> 32, step, step >> 32, layer, element >> 32)]
        h = element % WORD ^ key(0x9E3779B9, words)
        h = (h ^ (h >> 16)) * 0x7FEB352D % WORD ^ key(0x6A09E667, words)
        h = (h ^ (h >> 15)) * 0x846CA68B % WORD
        return h ^ (h >> 16) >= round(rate * WORD)

    return np.array([one(int(element)) for element in elements])


def masks(count, steps, rate=0.5, **settings):
    """(steps, count) masks as 0 and 1."""
    x = np.ones(count, np.float32)
    return np.array([ops.dropout_forward(x, rate, seed=settings.get("seed", 3), step=s)[0] != 0
                     for s in range(steps)])


@pytest.mark.parametrize("dtype", conditions.DTYPES)
def test_forward_and_backward_are_the_twin_with_its_mask(dtype, rng):
    for rows, cols in ((1, 1), (1, 15), (2, 16), (3, 17), (5, 33), (2, 131)):
        x = conditions.make(reference.reals(rng, (rows, cols), dtype), GAP)
        first_step = np.array([2**33 - 1], np.int64)
        for seed, rate in ((7, 0.3), (2**63 + 5, 0.75)):
            settings = {"seed": seed, "layer": 9, "base_step": address_of(first_step)}
            for emitter, twin in ((emit_dropout_forward, reference.dropout_forward),
                                  (emit_dropout_backward, reference.dropout_backward)):
                y = conditions.Output((rows, cols), dtype, GAP)
                program = Program(dtype)
                emitter(program, Operand.of(y.array), Operand.of(x), rate, **settings)
                run(program, y.array, x, first_step, steps=2)  # the second step's mask stays
                keep = kept(range(rows * cols), rate, seed, 2**33, 9).reshape(rows, cols)
                expected = twin(x, keep, rate)
                reference.assert_within(y.array, expected,
                                        reference.relative_bound(expected, dtype, 3))
                y.assert_only_array_written()


@entry
def far_row(y, x, row, all_cols):
    """A piece of a matrix of more than 2^32 elements."""
    dropout.dropout(data_pointer(y), 0, data_pointer(x), 0, 1, x.size, row, 5, all_cols, 1, 2, 3,
                    2**31, 2.0)


def test_elements_beyond_32_bits_have_masks_of_their_own():
    x, y = np.ones(200, np.float32), np.empty(200, np.float32)
    found = []
    for row in (0, 1 << 22, 1 << 30):
        far_row(y, x, row, 1 << 11)
        first = (row << 11) + 5
        assert np.array_equal(y != 0, kept(range(first, first + 200), 0.5, 1, 2, 3))
        found.append(y.tobytes())
    assert len(set(found)) == 3


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_the_share_that_is_kept(rate):
    count = 20_000 if SLOW else 1_000_000
    share = masks(count, 1, rate).mean()
    # Five standard deviations of a mean of independent bits.
    assert abs(share - (1 - rate)) < 5 * np.sqrt(rate * (1 - rate) / count)


def test_bits_of_neighbours_and_of_steps_are_uncorrelated():
    count, steps = (2_000, 8) if SLOW else (100_000, 16)
    signs = 2.0 * masks(count, steps) - 1
    limit = 5 / np.sqrt(count)  # five standard deviations of a mean of independent signs
    products = signs @ signs.T / count
    assert np.abs(products - np.eye(steps)).max() < limit
    for lag in (1, 2, 3, 4, 8, 10, 16, 32, 64, 128, 784, 1024):
        assert np.abs((signs[:, :-lag] * signs[:, lag:]).mean(axis=1)).max() < limit * 1.5, lag
    # The same element over many steps is not biased either.
    assert np.abs(signs.mean(axis=0)).max() < 6 / np.sqrt(steps) + 0.01
    seeds = [masks(count, 1, seed=seed)[0] for seed in range(steps)]
    signs = 2.0 * np.array(seeds) - 1
    assert np.abs(signs @ signs.T / count - np.eye(steps)).max() < limit


def test_the_mask_depends_on_nothing_else(rng):
    x = np.ones((60, 70 if SLOW else 700), np.float32)
    expected, saved = ops.dropout_forward(x, 0.4, seed=11, step=5)
    for threads in conditions.THREADS:
        fastbp.set_num_threads(threads)
        assert np.array_equal(ops.dropout_forward(x, 0.4, seed=11, step=5)[0], expected)
    assert np.array_equal(ops.dropout_backward(x, saved), expected)
    wide = ops.dropout_forward(x.astype(np.float64), 0.4, seed=11, step=5)[0]
    assert np.array_equal(wide != 0, expected != 0)
    strided = conditions.make(x, "columns reversed")
    assert np.array_equal(ops.dropout_forward(strided, 0.4, seed=11, step=5)[0], expected)
    out = conditions.Output(x.shape, np.float32, "F")
    assert np.array_equal(ops.dropout_forward(x, 0.4, seed=11, step=5, out=out.array)[0], expected)
    for other in ({"seed": 12, "step": 5}, {"seed": 11, "step": 6}):
        assert not np.array_equal(ops.dropout_forward(x, 0.4, **other)[0], expected)


def test_off_in_test_mode_and_at_rate_zero(rng):
    x = reference.reals(rng, (3, 2, 4), np.float32)
    for settings in ({"rate": 0.5, "training": False}, {"rate": 0.0}):
        y, saved = ops.dropout_forward(x, seed=1, **settings)
        assert np.array_equal(y, x)
        assert y is not x
        assert np.array_equal(ops.dropout_backward(x, saved), x)


def test_dropped_nan_is_zero_and_shapes_stay():
    x = np.full((4, 3, 5), np.nan, np.float32)
    y, saved = ops.dropout_forward(x, 0.5, seed=1)
    assert y.shape == x.shape
    assert 0 < np.isnan(y).sum() < y.size
    assert np.all(np.isnan(y) | (y == 0))
    assert ops.dropout_forward(np.zeros((0, 3)), 0.5, seed=1)[0].shape == (0, 3)
    with pytest.raises(ShapeError, match=r"dy with shape \(3,\); wanted \(4, 3, 5\), that of x"):
        ops.dropout_backward(np.zeros(3, np.float32), saved)
    for rate in (1.0, -0.1, np.nan):
        with pytest.raises(ArgumentError, match=r"rate=.*; wanted a number from 0 up to, not inc"):
            ops.dropout_forward(x, rate, seed=1)
