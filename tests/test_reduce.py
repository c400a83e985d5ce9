"""Column sums, gather, norms, elementwise moves: exact where they can be, nothing else written."""

from __future__ import annotations

import os

import conditions
import numpy as np
import pytest
import reference

import fastbp
from fastbp._arena import address_of
from fastbp._jit import DISABLED
from fastbp._program import Operand, Program
from fastbp.emit import reduce as emit
from fastbp.kernels import reduce

PLAIN = DISABLED
SLOW = PLAIN or os.environ.get("FASTBP_BOUNDSCHECK") == "1"
# Around one register and one strip of four, of either dtype.
COLUMNS = (1, 15, 16, 17, 37, 63, 64, 65, 131)
# Around a chunk of 32 rows; the last is divided into several tasks, whose sums are merged.
ROWS = (1, 2, 31, 32, 33, 65) if SLOW else (1, 2, 31, 32, 33, 65, 3001)
KINDS = {np.dtype(np.float32): reduce.FLOAT32, np.dtype(np.float64): reduce.FLOAT64,
         np.dtype(np.uint8): reduce.UINT8}
GAP = conditions.BY_NAME["C gap"]


def run(dtype, emitter, *arguments, steps=1, **settings):
    program = Program(dtype)
    emitter(program, *arguments, **settings)
    program.run(steps)


@pytest.mark.parametrize("dtype", conditions.DTYPES)
def test_column_sums_are_exact_on_integers(dtype, rng):
    for rows in ROWS:
        for cols in COLUMNS:
            x = conditions.make(reference.integers(rng, (rows, cols), dtype), GAP)
            out = conditions.Output((cols,), dtype)
            run(dtype, emit.emit_column_sums, address_of(out.array), Operand.of(x))
            assert np.array_equal(out.array, x.sum(axis=0)), (rows, cols)
            out.assert_only_array_written()


@pytest.mark.parametrize("dtype", conditions.DTYPES)
def test_column_sums_of_no_rows_are_zero(dtype):
    out = conditions.Output((7,), dtype)
    run(dtype, emit.emit_column_sums, address_of(out.array), Operand(0, 0, 7, 7))
    assert np.array_equal(out.array, np.zeros(7))


def test_column_sums_stay_accurate_over_many_rows(rng):
    rows = 100 if SLOW else 70_000
    x = reference.reals(rng, (rows, 3), np.float32) + np.float32(1)
    out = np.empty(3, np.float32)
    run(np.float32, emit.emit_column_sums, address_of(out), Operand.of(x))
    # Three chains: the rows of a chunk, the chunks of a task, the tasks.
    chain = 32 + rows // emit.TASKS // 32 + 2 * emit.TASKS
    bound = chain * reference.unit_roundoff(np.float32) * np.abs(x).sum(axis=0, dtype=np.float64)
    reference.assert_within(out, x.sum(axis=0, dtype=np.float64), bound)


@pytest.mark.parametrize("source_dtype", KINDS, ids=str)
@pytest.mark.parametrize("dtype", conditions.DTYPES)
def test_gather_takes_any_rows_of_any_source(dtype, source_dtype, rng):
    scale = 1 / 255
    for cols in COLUMNS:
        values = (rng.random((50, cols)) * 255).astype(source_dtype)
        for kind in conditions.KINDS:
            source = conditions.make(values, kind)
            index = rng.integers(0, 50, 40)
            out = conditions.Output((20, cols), dtype, GAP)
            run(dtype, emit.emit_gather_rows, Operand.of(out.array), Operand.of(source),
                KINDS[np.dtype(source_dtype)], index=address_of(index), scale=scale, steps=2)
            expected = values[index[20:]].astype(dtype) * dtype(scale)
            assert np.array_equal(out.array, expected), (cols, kind.name)
            out.assert_only_array_written()


@pytest.mark.parametrize("dtype", conditions.DTYPES)
def test_gather_without_an_index_takes_consecutive_batches(dtype, rng):
    source = reference.reals(rng, (60, 9), dtype)
    labels, taken = rng.integers(0, 9, 60), np.empty(20, np.int64)
    out = np.empty((20, 9), dtype)
    run(dtype, emit.emit_gather_rows, Operand.of(out), Operand.of(source), KINDS[np.dtype(dtype)],
        steps=3)
    run(dtype, emit.emit_gather_labels, address_of(taken), address_of(labels), 20, steps=3)
    assert np.array_equal(out, source[40:])
    assert np.array_equal(taken, labels[40:])


def test_gather_labels_by_index(rng):
    labels, index = rng.integers(0, 9, (30, 2)), rng.integers(0, 30, 24)
    out = conditions.Output((12,), np.int64)
    run(np.float32, emit.emit_gather_labels, address_of(out.array), address_of(labels[:, 1:]), 12,
        source_step=2, index=address_of(index), steps=2)
    assert np.array_equal(out.array, labels[index[12:], 1])
    out.assert_only_array_written()


@pytest.mark.parametrize("dtype", conditions.DTYPES)
@pytest.mark.parametrize("size", [0, 1, 31, 32, 33, 1009, 40_000])
def test_clip_scale_is_that_of_the_global_norm(size, dtype, rng):
    if SLOW and size > 2000:
        size = 20_000  # two tasks
    g, cell = reference.reals(rng, (size,), dtype), np.full(2, np.nan)
    run(dtype, emit.emit_clip_scale, address_of(cell), address_of(g), size, 3.0)
    norm = np.sqrt((g.astype(np.longdouble) ** 2).sum())
    # A chain of at most size/16 float64 additions, half of it after the root.
    bound = (size / 16 + 20) * 2.0**-53
    reference.assert_within(cell[1], norm, bound * norm)
    reference.assert_within(cell[0], min(1.0, 3.0 / (norm + 1e-6)), 2 * bound)


def test_clip_scale_shows_what_is_not_finite():
    for value, scale in ((np.nan, np.nan), (np.inf, 0.0)):
        cell, g = np.zeros(2), np.array([1.0, value, 2.0], np.float32)
        run(np.float32, emit.emit_clip_scale, address_of(cell), address_of(g), 3, 1.0)
        assert np.array_equal(cell, [scale, value], equal_nan=True)


@pytest.mark.parametrize("dtype", conditions.DTYPES)
@pytest.mark.parametrize("shape", [(1, 1), (3, 16), (5, 67), (2, 129), (40, 1009), (1, 20_000)])
def test_add_scale_fill_and_copy(shape, dtype, rng):
    if SLOW and shape[0] == 40:
        shape = (20, 1009)  # two tasks
    a, b = (conditions.make(reference.reals(rng, shape, dtype), GAP) for _ in range(2))
    u = reference.unit_roundoff(dtype)
    for emitter, arguments, expected, bound in (
        (emit.emit_add, (a, b), a + b, 0.0),
        (emit.emit_scale, (b, 0.3), dtype(0.3) * b, 0.0),
        (emit.emit_fill, (0.3,), np.full(shape, dtype(0.3)), 0.0),
        (emit.emit_copy, (b,), b, 0.0),
    ):
        out = conditions.Output(shape, dtype, GAP)
        operands = [Operand.of(v) if isinstance(v, np.ndarray) else v for v in arguments]
        run(dtype, emitter, Operand.of(out.array), *operands)
        reference.assert_within(out.array, expected, bound, emitter.__name__)
        out.assert_only_array_written()
    expected = a.astype(np.longdouble) - 0.3 * b.astype(np.longdouble)
    bound = 3 * u * (np.abs(a) + np.abs(b))
    run(dtype, emit.emit_add, Operand.of(a), Operand.of(a), Operand.of(b), factor=-0.3)
    reference.assert_within(a, expected, bound, "in place")


@pytest.mark.parametrize("dtype", conditions.DTYPES)
def test_copies_are_bit_by_bit_where_subnormal_numbers_are_taken_as_zero(dtype):
    least = np.finfo(dtype).smallest_subnormal
    x, out = np.array([[least, -least, np.nan, -0.0, np.inf, 3.0]], dtype), np.ones((1, 6), dtype)
    program = Program(dtype, flush=True)
    emit.emit_copy(program, Operand.of(out), Operand.of(x))
    program.run()
    assert out.tobytes() == x.tobytes()


@pytest.mark.skipif(SLOW, reason="large; threads do not matter in plain Python")
def test_sums_are_the_same_bits_for_every_number_of_threads(rng):
    x = reference.reals(rng, (3000, 131), np.float32)
    results = []
    for threads in (1, 2, 4):
        with fastbp.threads(threads, oversubscribe=True):
            out = np.empty(131, np.float32)
            run(np.float32, emit.emit_column_sums, address_of(out), Operand.of(x))
            results.append(out.tobytes())
    assert len(set(results)) == 1


def test_operands_with_columns_apart_are_refused():
    x = np.zeros((4, 6), np.float32)[:, ::2]
    with pytest.raises(ValueError, match="columns must be contiguous, not 2 elements apart"):
        emit.emit_column_sums(Program(np.float32), 0, Operand.of(x))
