"""What operations accept: one dtype, any memory, and plans that are kept between calls."""

from __future__ import annotations

import threading

import conditions
import numpy as np
import pytest

from fastbp import ops
from fastbp._errors import ArgumentError, DataError, DTypeError, ShapeError
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
    ops.relu_forward(x[len(x) - size:])
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


def test_a_plan_whose_memory_moved_is_made_anew(rng):
    """A small product, a large one (its workspace moves the memory), the small one again."""
    a, b = rng.random((40, 300)), rng.random((300, 70))
    first = ops.matmul(a, b)
    large = rng.random((90, 2000)), rng.random((2000, 600))
    assert np.allclose(ops.matmul(*large), large[0] @ large[1], rtol=1e-12)
    assert np.array_equal(ops.matmul(a, b), first)
    again = ops.matmul(*large)
    ops.matmul(rng.random((50, 9)), rng.random((9, 33)))
    assert np.array_equal(ops.matmul(*large), again)


def test_a_repeated_product_is_checked_as_the_first_one(rng):
    """The short way through `matmul` knows shapes; memory may still overlap or be read-only."""
    a, b = rng.random((6, 6)).astype(np.float32), rng.random((6, 6)).astype(np.float32)
    expected = ops.matmul(a, b)
    out = np.empty_like(a)
    for _ in range(3):
        assert np.array_equal(ops.matmul(a, b), expected)
        assert ops.matmul(a, b, out=out) is out
        assert np.array_equal(out, expected)
    over = a.copy()
    assert np.array_equal(ops.matmul(over, b, out=over), expected)
    out.flags.writeable = False
    with pytest.raises(ArgumentError, match="read-only"):
        ops.matmul(a, b, out=out)
    bytes_ = np.zeros(6 * 6 * 4 + 1, np.uint8)
    unaligned = bytes_[1:].view(np.float32).reshape(6, 6)
    unaligned[...] = a
    assert np.array_equal(ops.matmul(unaligned, b), expected)
    shifted = np.zeros(50, np.float32)
    left, into = shifted[:36].reshape(6, 6), shifted[10:46].reshape(6, 6)
    left[...] = a
    ops.matmul(left, b, out=into)
    assert np.array_equal(into, expected)


@pytest.mark.parametrize("loss", ["softmax_cross_entropy", "hinge", "sigmoid_cross_entropy",
                                  "mean_squared_error", "mean_absolute_error", "huber"])
def test_gradients_of_losses_go_where_they_are_wanted(loss, rng):
    function = getattr(ops, loss)
    x = rng.normal(size=(7, 5)).astype(np.float32)
    labels = loss in ("softmax_cross_entropy", "hinge")
    target = rng.integers(0, 5, 7) if labels else rng.random((7, 5)).astype(np.float32)
    value, expected = function(x, target)
    again, gradient = function(x, target)
    assert (again, gradient.tolist()) == (value, expected.tolist())
    out, strided = np.empty_like(x), np.zeros((7, 10), np.float32)
    for into in (out, strided[:, ::2], x.copy()):
        given = into if into.base is None and into is not out else x
        assert function(given, target, out=into)[1] is into
        assert np.array_equal(into, expected)
    with pytest.raises(ShapeError, match="out with shape"):
        function(x, target, out=np.empty((5, 7), np.float32))
    if labels:
        for bad in (5, -1):
            target[3] = bad
            with pytest.raises(DataError, match=rf"target\[3\] is {bad}"):
                function(x, target)
