"""ops.matmul: exact on small integers for every shape and stride, bounded on real data."""

from __future__ import annotations

import itertools
import os

import conditions
import numpy as np
import pytest
import reference

import fastbp
from fastbp import ops
from fastbp._errors import DTypeError, ShapeError
from fastbp._jit import DISABLED

PLAIN = DISABLED
SLOW = PLAIN or os.environ.get("FASTBP_BOUNDSCHECK") == "1"


def shapes(dtype: object) -> list[tuple[int, int, int]]:
    """Every (m, n, k) around the tile edges; a tenth of them where kernels run in plain Python."""
    table = list(itertools.product(conditions.row_sizes(), conditions.column_sizes(dtype),
                                   conditions.DEPTHS))
    if not SLOW:
        return table
    return [s for s in table[::7] if s[0] * s[1] * s[2] < 20_000]


@pytest.mark.parametrize("dtype", conditions.DTYPES)
def test_exact_on_integers_for_every_shape_and_stride(dtype, rng):
    kinds = itertools.cycle(itertools.product(conditions.KINDS, repeat=2))
    out_kinds = itertools.cycle(conditions.OUTPUT_KINDS)
    compared = 0
    for m, n, k in shapes(dtype):
        a, b = reference.integers(rng, (m, k), dtype), reference.integers(rng, (k, n), dtype)
        expected = reference.exact_matmul(a, b)
        for _ in range(1 if SLOW else 3):
            kind_a, kind_b = next(kinds)
            out = conditions.Output((m, n), dtype, next(out_kinds))
            ops.matmul(conditions.make(a, kind_a), conditions.make(b, kind_b), out=out.array)
            assert np.array_equal(out.array, expected), (m, n, k, kind_a.name, kind_b.name)
            out.assert_only_array_written()
            compared += out.array.size
    assert compared > 1000


@pytest.mark.parametrize("dtype", conditions.DTYPES)
@pytest.mark.parametrize("kind", conditions.KINDS, ids=str)
def test_every_kind_of_input_gives_the_bits_of_a_contiguous_copy(kind, dtype, rng):
    m, n, k = (5, 20, 6) if PLAIN else (45, 70, 83)
    a, b = reference.reals(rng, (m, k), dtype), reference.reals(rng, (k, n), dtype)
    expected = ops.matmul(a, b)
    before = a.tobytes(), b.tobytes()
    assert np.array_equal(ops.matmul(conditions.make(a, kind), b), expected)
    assert np.array_equal(ops.matmul(a, conditions.make(b, kind)), expected)
    assert np.array_equal(ops.matmul(conditions.make(a.T, kind).T, conditions.make(b.T, kind).T),
                          expected)
    assert (a.tobytes(), b.tobytes()) == before


@pytest.mark.parametrize("dtype", conditions.DTYPES)
@pytest.mark.parametrize("shape", [(64, 64, 64), (1, 300, 500), (300, 1, 500), (129, 257, 1030),
                                   (300, 10, 2100), (7, 7, 3001)])
def test_real_data_within_the_bound(shape, dtype, rng):
    if PLAIN:
        shape = tuple(min(s, 20) for s in shape)
    m, n, k = shape
    a, b = reference.reals(rng, (m, k), dtype), reference.reals(rng, (k, n), dtype)
    reference.assert_within(ops.matmul(a, b), reference.matmul(a, b),
                            reference.matmul_bound(a, b, dtype))


@pytest.mark.skipif(SLOW, reason="sizes that only compiled code handles in time")
@pytest.mark.parametrize("dtype", conditions.DTYPES)
@pytest.mark.parametrize("shape", [(300, 300, 300), (56, 1025, 64), (700, 33, 90), (41, 2049,
1025)])
def test_products_divided_into_many_tasks_are_exact_for_every_number_of_threads(shape, dtype, rng):
    m, n, k = shape
    a, b = reference.integers(rng, (m, k), dtype), reference.integers(rng, (k, n), dtype)
    x, y = reference.reals(rng, (m, k), dtype), reference.reals(rng, (k, n), dtype)
    expected = reference.exact_matmul(a, b)
    results = []
    for count in (1, 2, 4):
        with fastbp.threads(count, oversubscribe=True):
            assert np.array_equal(ops.matmul(a, b), expected)
            results.append(ops.matmul(x, y).tobytes())
    assert len(set(results)) == 1


def test_an_element_depends_on_its_row_and_column_only(rng):
    """The same bits alone, in a larger product, and behind other rows."""
    a, b = reference.reals(rng, (40, 30), np.float32), reference.reals(rng, (30, 50), np.float32)
    whole = ops.matmul(a, b)
    assert np.array_equal(ops.matmul(a[7:20], b), whole[7:20])
    assert np.array_equal(ops.matmul(a, b[:, 3:44]), whole[:, 3:44])
    assert np.array_equal(ops.matmul(b.T, a.T).T, whole)


def test_nan_reaches_its_row_and_column_only(rng):
    a, b = reference.reals(rng, (29, 17), np.float32), reference.reals(rng, (17, 37), np.float32)
    a[3, 5] = np.nan
    b[6, 30] = np.inf
    expected = reference.matmul(a, b)
    actual = ops.matmul(a, b)
    assert np.array_equal(np.isnan(actual), np.isnan(expected))
    assert np.array_equal(np.isinf(actual), np.isinf(expected))


def test_vectors_and_leading_dimensions_follow_numpy(rng):
    a, b, v = (reference.integers(rng, s, np.float64) for s in ((2, 3, 4), (4, 5), (4,)))
    assert np.array_equal(ops.matmul(a, b), a @ b)
    assert np.array_equal(ops.matmul(a, v), a @ v)
    assert np.array_equal(ops.matmul(v, b), v @ b)
    assert ops.matmul(v, v) == v @ v


def test_out_may_overlap_the_operands(rng):
    a, b = (reference.integers(rng, (16, 16), np.float32) for _ in "ab")
    expected = a @ b
    assert ops.matmul(a, b, out=a) is a
    assert np.array_equal(a, expected)


def test_wrong_shapes_and_types_say_what_to_do():
    x = np.zeros((3, 4), np.float32)
    with pytest.raises(ShapeError, match=r"a with shape \(3, 4\), b with shape \(3, 4\); wanted b "
                                         r"with 4 rows; b.T fits"):
        ops.matmul(x, x)
    with pytest.raises(DTypeError, match=r"float32.*float64|float64.*float32"):
        ops.matmul(x, np.zeros((4, 2)))
    with pytest.raises(DTypeError):
        ops.matmul(np.zeros((3, 4), int), np.zeros((4, 2)))
    with pytest.raises(ShapeError, match="out"):
        ops.matmul(x, x.T, out=np.zeros((2, 2), np.float32))
