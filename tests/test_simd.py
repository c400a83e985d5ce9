"""Vector primitives: the compiled meaning is the plain Python one, bit by bit."""

from __future__ import annotations

import conditions
import numpy as np
import pytest

from fastbp._arena import address_of
from fastbp._jit import entry
from fastbp._simd import (
    absolute,
    any_lane,
    at,
    bits_of,
    counter,
    data_pointer,
    float_of_bits,
    fma,
    lane_max,
    lane_sum,
    lanes,
    load,
    load_as,
    machine,
    maximum,
    minimum,
    select,
    splat,
    sqrt,
    store,
    tile_product,
    to_float,
    to_integer,
    to_line,
    transpose_block,
)

SPECIAL = [0.0, -0.0, 1.0, -1.5, np.nan, np.inf, -np.inf, 3.4, -7.25, 1e-30, 2.0, 100.0]


@entry
def arithmetic(out, x, y):
    o, p, q = data_pointer(out), data_pointer(x), data_pointer(y)
    w = lanes(p)
    a, b = load(p, 0, None), load(q, 0, None)
    store(o, 0, a + b, None)
    store(o, w, a - 2.0 * b, None)
    store(o, 2 * w, -(a * b), None)
    store(o, 3 * w, a / b, None)
    store(o, 4 * w, maximum(a, b), None)
    store(o, 5 * w, minimum(a, b), None)
    store(o, 6 * w, select(a < b, a, b), None)
    store(o, 7 * w, select((a >= 0.0) | (b != b), absolute(a), sqrt(absolute(b))), None)
    store(o, 8 * w, fma(splat(p, 2.0), a, b), None)


@entry
def integers(out, x, like):
    o, p = data_pointer(out), data_pointer(x)
    w = lanes(p)
    a = load(p, 0, None)
    store(o, 0, to_float(to_integer(a)), None)
    store(o, w, float_of_bits(bits_of(a)), None)
    h = counter(p, 4294967290) * np.uint32(0x9E3779B9)
    h = h ^ (h >> np.uint32(15))
    store(o, 2 * w, select(h < np.uint32(1 << 31), a, splat(p, 0.0)), None)
    store(o, 3 * w, load_as(data_pointer(like), 0, None, p), None)
    o[4 * w] = lane_sum(a)
    o[4 * w + 1] = lane_max(a)
    if any_lane(a > 3.0):
        o[4 * w + 2] = 1.0


@entry
def tails(out, x, n):
    o, p = data_pointer(out), data_pointer(x)
    store(o, 1, load(p, 2, n), n)


@entry
def transposed(out, x, rows, cols, room, out_step, x_step):
    transpose_block(data_pointer(out), out_step, data_pointer(x), x_step, rows, cols, room)


@entry
def tile(c, a, a_row, a_step, b, start, k, rows, cols, c_step, start_step, floor):
    p = data_pointer(c)
    tile_product(p, c_step, data_pointer(a), a_row, a_step, data_pointer(b), 2 * lanes(p), k,
                 data_pointer(start), start_step, floor, rows, cols, p, p, p, c_step, p)


def plain(function):
    """The same function without Numba."""
    return getattr(function, "py_func", function)


def width(dtype) -> int:
    return machine().lanes(np.dtype(dtype).itemsize)


@pytest.mark.parametrize("dtype", conditions.DTYPES)
def test_arithmetic(dtype):
    """Every special value beside several others, a register at a time."""
    w = width(dtype)
    x = np.array(SPECIAL * 5 * w, dtype)
    y = np.resize(np.array([*SPECIAL[::-1], 2.5], dtype), len(x))
    seen = np.zeros(0, dtype)
    for begin in range(0, len(x) - w + 1, w):
        compiled, expected = np.zeros(9 * w, dtype), np.zeros(9 * w, dtype)
        with np.errstate(all="ignore"):
            arithmetic(compiled, x[begin : begin + w], y[begin : begin + w])
            plain(arithmetic)(expected, x[begin : begin + w], y[begin : begin + w])
        assert np.array_equal(compiled, expected, equal_nan=True)
        seen = np.append(seen, expected)
    assert np.isnan(seen).any()
    assert np.isinf(seen).any()


@pytest.mark.parametrize("dtype", conditions.DTYPES)
@pytest.mark.parametrize("source", [np.float32, np.float64, np.uint8])
def test_integers_conversions_and_reductions(dtype, source):
    w = width(dtype)
    x = (np.arange(w) - w / 3).astype(dtype)
    like = np.arange(250, 250 + w).astype(source)
    compiled, expected = np.zeros(4 * w + 3, dtype), np.zeros(4 * w + 3, dtype)
    with np.errstate(over="ignore"):
        integers(compiled, x, like)
        plain(integers)(expected, x, like)
    assert np.array_equal(compiled, expected)
    assert np.count_nonzero(expected[2 * w : 3 * w] != x) > 0


@pytest.mark.parametrize("dtype", conditions.DTYPES)
def test_tails_touch_the_first_lanes_only(dtype):
    w = width(dtype)
    x = np.arange(1, w + 5, dtype=dtype)
    for n in range(-1, w + 1):
        out = conditions.Output((w + 4,), dtype)
        tails(out.array, x, n)
        count = max(n, 0)
        assert np.array_equal(out.array[1 : 1 + count], x[2 : 2 + count])
        assert np.isnan(out.array[1 + count :]).all()
        assert np.isnan(out.array[0])
        out.assert_only_array_written()


@pytest.mark.parametrize("dtype", conditions.DTYPES)
def test_transpose_of_every_size(dtype, rng):
    w = width(dtype)
    x = rng.normal(size=(w, w + 3)).astype(dtype)
    for rows in range(1, w + 1):
        for cols in range(1, w + 2):
            for room in (rows, w):
                out = np.full((w + 2, w + 1), np.nan, dtype)
                transposed(out, x, rows, cols, room, w + 1, w + 3)
                done = min(cols, w)
                assert np.array_equal(out[:done, :rows], x[:rows, :done].T)
                assert np.isnan(out[done:]).all()
                assert np.isnan(out[:, room:]).all()


@pytest.mark.parametrize("dtype", conditions.DTYPES)
def test_register_tile_of_every_size(dtype, rng):
    height, across = machine().tile_rows, 2 * width(dtype)
    for rows in range(1, height + 1):
        for cols in range(1, across + 1):
            for k in (0, 1, 3, 4, 9):
                a = rng.integers(-2, 3, (k, height)).astype(dtype)
                b = rng.integers(-2, 3, (k, across)).astype(dtype)
                start = rng.integers(-9, 9, (rows, cols)).astype(dtype)
                expected = np.maximum(start + a[:, :rows].T @ b[:, :cols], -2)
                by_rows = np.ascontiguousarray(a.T)
                for left, a_row, a_step in ((a, 1, height), (by_rows, max(k, 1), 1)):
                    c = conditions.Output((rows, cols), dtype, "C gap")
                    tile(c.array, left, a_row, a_step, b, start, k, rows, cols, cols + 3, cols,
                         dtype(-2))
                    assert np.array_equal(c.array, expected), (rows, cols, k, a_row)
                    c.assert_only_array_written()


def test_relu_floor_lets_nan_pass():
    start = np.array([[np.nan, -1.0, 2.0]], np.float32)
    c, none = np.zeros((1, 3), np.float32), np.zeros((1, 64), np.float32)
    tile(c, none, 1, 1, none, start, 0, 1, 3, 3, 3, np.float32(0))
    assert np.array_equal(c, [[np.nan, 0, 2]], equal_nan=True)


@entry
def until_line(out, x, first, step):
    data_pointer(out)[0] = to_line(at(data_pointer(x), first), step)


@pytest.mark.parametrize("dtype", conditions.DTYPES)
def test_elements_to_the_next_line(dtype):
    x, out = np.zeros(64, dtype), np.zeros(1, np.int64)
    line = 64 // x.itemsize
    for first in range(2 * line):
        address = address_of(x) + first * x.itemsize
        for step in (0, 1, line, line + 1, 3 * line, -line):
            for function in (until_line, plain(until_line)):
                function(out, x, first, step)
                left = (address + 63) // 64 * 64 - address
                assert out[0] == (left // x.itemsize if step % line == 0 else 0)


def test_pointers_advance_by_elements():
    @entry
    def second(out, x):
        data_pointer(out)[0] = at(data_pointer(x), 1)[1]

    out = np.zeros(1)
    second(out, np.array([5.0, 6.0, 7.0]))
    assert out[0] == 7.0
