"""What operations accept: one dtype, any memory, and plans that are kept between calls."""

from __future__ import annotations

import threading

import conditions
import numpy as np
import pytest

from fastbp import ops
from fastbp._errors import DTypeError, ShapeError
from fastbp.ops import _check, _plans


def test_real_arrays_are_taken_as_they_are():
    for dtype in conditions.DTYPES:
        for kind in conditions.KINDS:
            x = conditions.make(np.ones((3, 4), dtype), kind)
            assert _check.as_real("x", x) is x


@pytest.mark.parametrize("kind", conditions.ODD_KINDS, ids=str)
def test_odd_memory_is_copied(kind):
    x = conditions.make(np.arange(12.0).reshape(3, 4), kind)
    found = _check.as_real("x", x)
    assert found.dtype == np.float64
    assert found.flags.aligned
    assert np.array_equal(found, x)
    assert np.array_equal(ops.relu_forward(x), x)


def test_lists_are_float64_and_integers_are_refused():
    assert _check.as_real("x", [1, 2]).dtype == np.float64
    for array in (np.arange(3), np.ones(3, bool), np.ones(3, np.float16), np.ones(3, complex)):
        with pytest.raises(DTypeError, match=r"speed with dtype .*; wanted float32 or float64"):
            _check.as_real("speed", array)
    with pytest.raises(DTypeError):
        _check.as_real("x", ["a"])


@pytest.mark.parametrize("kind", conditions.KINDS, ids=str)
def test_matrices_have_contiguous_columns(kind):
    x = conditions.make(np.arange(24.0).reshape(4, 6), kind)
    matrix, shape = _check.as_matrix("x", x)
    assert shape == (4, 6)
    assert matrix.strides[1] == matrix.itemsize
    assert np.array_equal(matrix, x)


def test_leading_dimensions():
    for shape, rows, cols in (((5,), 5, 1), ((2, 3, 4), 2, 12), ((0, 3, 2), 0, 6), ((3, 0), 3, 0)):
        matrix, original = _check.as_matrix("x", np.zeros(shape))
        assert matrix.shape == (rows, cols)
        assert original == shape
    with pytest.raises(ShapeError, match="x is a single number"):
        _check.as_matrix("x", 3.0)


def test_labels_of_any_integer_type():
    for dtype in (np.int8, np.uint8, np.int32, np.uint64, ">i4"):
        labels = _check.as_labels("y", np.array([[2], [0], [1]], dtype), 3, 3)
        assert labels.dtype == np.int64
        assert labels.tolist() == [2, 0, 1]


def test_plans_are_kept_and_bounded(rng):
    x = np.linspace(-1, 1, 300, dtype=np.float32)
    for size in range(1, 2 * _plans._MOST):
        y = ops.relu_forward(x[:size])
        assert np.array_equal(y, np.maximum(x[:size], 0))
        assert len(_plans._local.known) <= _plans._MOST
    before = dict(_plans._local.known)
    ops.relu_forward(x[100:100 + size])
    assert _plans._local.known == before


def test_threads_of_python_do_not_share_plans():
    x = np.arange(-2000, 2000, dtype=np.float32).reshape(40, 100)
    expected = ops.softmax(x / 100)
    wrong = []

    def work(number):
        for _ in range(20):
            y = ops.softmax(x[::-1] / 100 if number % 2 else x / 100)
            if not np.array_equal(y[::-1] if number % 2 else y, expected):
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
