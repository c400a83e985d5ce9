"""Matrix times vector: products with one column, or one row against a transposed matrix."""

from __future__ import annotations

import conditions
import numpy as np
import pytest
import reference
from running import run

from fastbp._jit import DISABLED
from fastbp._program import Operand, Program
from fastbp._simd import machine
from fastbp._tuning import GEMM_BLOCKS
from fastbp.emit.gemm import NO_FLOOR, emit_gemm
from fastbp.kernels.gemv import GEMV, ROW_PRODUCT

ROWS = (1, 3, 4, 5) if DISABLED else (1, 3, 4, 5, 8, 33)
LENGTHS = (16, 33) if DISABLED else (16, 17, 31, 32, 33, 64, 257)


def product(c, a, b, instruction=GEMV, **options) -> None:
    """C = finish(C0 + A B) by one instruction, within the bound of its docstring."""
    program = Program(c.dtype)
    kept = [x for x in options.values() if isinstance(x, np.ndarray)]
    options = {name: Operand.of(x).address if isinstance(x, np.ndarray) else x
               for name, x in options.items()}
    emit_gemm(program, Operand.of(c), Operand.of(a), Operand.of(b), **options)
    assert [row[0] for row in program._rows] == [instruction.number]
    run(program, c, a, b, *kept)


def assert_close(c, a, b, start) -> None:
    a, b, start = (np.asarray(x, np.float64) for x in (a, b, start))
    k, unit = a.shape[1], np.finfo(c.dtype).eps / 2
    steps = k / machine().lanes(c.itemsize) + 8
    bound = (steps + 2) * unit * (np.abs(a) @ np.abs(b) + np.abs(start))
    assert np.all(np.abs(c - (start + reference.matmul(a, b))) <= bound)


@pytest.mark.parametrize("dtype", conditions.DTYPES)
@pytest.mark.parametrize("k", LENGTHS)
@pytest.mark.parametrize("rows", ROWS)
def test_one_column(rows, k, dtype, rng):
    wide, b = reference.reals(rng, (rows, k + 3), dtype), reference.reals(rng, (k, 1), dtype)
    bias = reference.reals(rng, (1,), dtype)
    for a in (wide[:, :k], wide[::-1, 2 : k + 2]):
        c = conditions.Output((rows, 1), dtype, "C gap")
        product(c.array, a, b)
        assert_close(c.array, a, b, 0)
        c.assert_only_array_written()
        product(c.array, a, b, bias=bias)
        assert_close(c.array, a, b, bias)
        before = c.array.copy()
        product(c.array, a, b, add=True)
        assert_close(c.array, a, b, before)


@pytest.mark.parametrize("dtype", conditions.DTYPES)
def test_one_row_against_rows(dtype, rng):
    """x W^T, a batch of one through weights that lie row per neuron; not with a bias row."""
    x, w = reference.reals(rng, (1, 40), dtype), reference.reals(rng, (9, 40), dtype)
    c = np.empty((1, 9), dtype)
    product(c, x, w.T)
    assert_close(c.T, w, x.T, 0)
    biased = Program(dtype)
    emit_gemm(biased, Operand.of(c), Operand.of(x), Operand.of(w.T), bias=Operand.of(c).address)
    assert GEMV.number not in [row[0] for row in biased._rows]


def test_floor_lets_nan_pass(rng):
    a, b = np.ones((3, 20)), np.ones((20, 1))
    a[0], a[2, 7] = -1, np.nan
    c = np.zeros((3, 1))
    product(c, a, b, floor=0.0)
    assert np.array_equal(c, [[0], [20], [np.nan]], equal_nan=True)
    product(c, a, b, floor=NO_FLOOR)
    assert c[0, 0] == -20


def test_many_rows_are_several_tasks(rng):
    rows = 4 if DISABLED else 2 * GEMM_BLOCKS.pack_task // 64 + 5
    a, b = reference.reals(rng, (rows, 64), "float32"), reference.reals(rng, (64, 1), "float32")
    c = np.empty((rows, 1), np.float32)
    product(c, a, b)
    assert_close(c, a, b, 0)


@pytest.mark.parametrize("dtype", conditions.DTYPES)
@pytest.mark.parametrize("k", (16, 33) if DISABLED else (16, 33, 257, 2000))
def test_one_row(k, dtype, rng):
    """Around one and two strips, and several tasks; each column has the bits of a tile's."""
    strip = 4 * machine().lanes(np.dtype(dtype).itemsize)
    sizes = (1, strip - 1, strip, strip + 1, 2 * strip - 1, 2 * strip, 2 * strip + 3, 5 * strip + 1)
    for n in sizes[:4] if DISABLED else sizes:
        wide, b = reference.reals(rng, (1, 2 * k), dtype), reference.reals(rng, (k, n + 3), dtype)
        bias = reference.reals(rng, (n,), dtype)
        a, b = wide[:, ::2] if n % 2 else wide[:, :k], b[:, 1 : n + 1]
        if n == 1:
            b = np.repeat(b, 2, axis=1)[:, :1]  # or it would be a column
        c = conditions.Output((1, n), dtype)
        product(c.array, a, b, ROW_PRODUCT)
        assert_close(c.array, a, b, 0)
        c.assert_only_array_written()
        two, rows, program = np.empty((2, n), dtype), np.repeat(a, 2, axis=0), Program(dtype)
        emit_gemm(program, Operand.of(two), Operand.of(rows), Operand.of(b))
        run(program, two, rows, b)
        assert k > GEMM_BLOCKS.k_most or np.array_equal(two[:1], c.array)
        product(c.array, a, b, ROW_PRODUCT, bias=bias, floor=0.0)
        assert np.all(c.array >= 0)
        assert_close(c.array + np.minimum(bias + a @ b, 0), a, b, bias)
        start = reference.reals(rng, (1, n), dtype)
        c.array[...] = start
        product(c.array, a, b, ROW_PRODUCT, add=True, floor=NO_FLOOR)
        assert_close(c.array, a, b, start)
