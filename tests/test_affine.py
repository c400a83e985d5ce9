"""ops.affine_forward and affine_backward, in both layouts and every memory layout."""

from __future__ import annotations

import conditions
import numpy as np
import pytest
import reference

from fastbp import ops
from fastbp._errors import ArgumentError, DTypeError, ShapeError
from fastbp._jit import DISABLED
from fastbp.kernels.activations import NAMES

N, D, C = (5, 6, 7) if DISABLED else (37, 29, 33)


def case(rng, dtype, layout):
    x, w, b = (reference.reals(rng, s, dtype) for s in ((N, D), (D, C), (C,)))
    return x, (w if layout == "column" else np.ascontiguousarray(w.T)), b


@pytest.mark.parametrize("dtype", conditions.DTYPES)
@pytest.mark.parametrize("layout", conditions.LAYOUTS)
@pytest.mark.parametrize("activation", NAMES)
def test_forward_and_backward_match_the_float64_twin(activation, layout, dtype, rng):
    x, w, b = case(rng, dtype, layout)
    dy = reference.reals(rng, (N, C), dtype)
    y = ops.affine_forward(x, w, b, layout=layout, activation=activation)
    expected = reference.affine_forward(x, w, b, layout=layout, activation=activation)
    u = reference.unit_roundoff(dtype)
    bound = 1.2 * reference.affine_forward_bound(x, w, b, dtype, layout=layout)
    reference.assert_within(y, expected, bound + 16 * u * (1 + np.abs(expected)))
    wanted = reference.affine_backward(dy, x, w, b, layout=layout, activation=activation)
    for saved in ({"y": y}, {"y": None}):
        found = ops.affine_backward(dy, x, w, layout=layout, activation=activation, b=b, **saved)
        for actual, value, terms in zip(found, wanted, (C, N, N), strict=True):
            scale = terms * np.abs(value).max()
            reference.assert_within(actual, value, np.full(value.shape, 8 * (terms + 32) * u *
            scale))


@pytest.mark.parametrize("layout", conditions.LAYOUTS)
@pytest.mark.parametrize("kind", conditions.KINDS, ids=str)
def test_every_memory_layout_gives_the_same_bits(kind, layout, rng):
    x, w, b = case(rng, np.float32, layout)
    dy = reference.reals(rng, (N, C), np.float32)
    y = ops.affine_forward(x, w, b, layout=layout, activation="relu")
    gradients = ops.affine_backward(dy, x, w, layout=layout, activation="relu", y=y)
    other = [conditions.make(a, kind) for a in (x, w, dy, y)]
    out = conditions.Output((N, C), np.float32, kind.name if kind.writeable else "C")
    again = ops.affine_forward(other[0], other[1], conditions.make(b, kind), layout=layout,
                               activation="relu", out=out.array)
    assert again is out.array
    assert np.array_equal(again, y)
    out.assert_only_array_written()
    found = ops.affine_backward(other[2], other[0], other[1], layout=layout, activation="relu",
                                y=other[3])
    for one, two in zip(found, gradients, strict=True):
        assert np.array_equal(one, two)
    for array, before in zip(other, (x, w, dy, y), strict=True):
        assert np.array_equal(array, before)


def test_leading_dimensions_are_samples_and_come_back(rng):
    x = reference.integers(rng, (4, 2, 3, 4), np.float64)
    w, b = reference.integers(rng, (24, 5), np.float64), reference.integers(rng, (5,), np.float64)
    assert np.array_equal(ops.affine_forward(x, w, b), x.reshape(4, 24) @ w + b)
    dy = reference.integers(rng, (4, 5), np.float64)
    dx, dw, db = ops.affine_backward(dy, x, w)
    assert np.array_equal(dx, (dy @ w.T).reshape(x.shape))
    assert np.array_equal(dw, x.reshape(4, 24).T @ dy)
    assert np.array_equal(db, dy.sum(axis=0))


@pytest.mark.parametrize("rows", [0, 1])
def test_empty_and_single_batches(rows, rng):
    x, w = np.ones((rows, 3), np.float32), np.ones((3, 2), np.float32)
    assert np.array_equal(ops.affine_forward(x, w), np.full((rows, 2), 3))
    dx, dw, db = ops.affine_backward(np.ones((rows, 2), np.float32), x, w, activation="relu",
                                     y=np.ones((rows, 2), np.float32))
    assert np.array_equal(dx, np.full((rows, 3), 2))
    assert np.array_equal(dw, np.full((3, 2), rows))
    assert np.array_equal(db, np.full(2, rows))


def test_affine_relu_is_affine_with_relu(rng):
    x, w, b = case(rng, np.float32, "row")
    y = ops.affine_relu_forward(x, w, b, layout="row")
    assert np.array_equal(y, ops.affine_forward(x, w, b, layout="row", activation="relu"))
    dy = np.ones_like(y)
    pairs = zip(ops.affine_relu_backward(dy, x, w, y, layout="row"),
                ops.affine_backward(dy, x, w, layout="row", activation="relu", y=y), strict=True)
    assert all(np.array_equal(p, q) for p, q in pairs)


def test_wrong_arguments_say_what_to_do():
    x, w = np.zeros((2, 3), np.float32), np.zeros((4, 3), np.float32)
    with pytest.raises(ShapeError, match=r"w with 3 rows; layout='row' would fit"):
        ops.affine_forward(x, w)
    with pytest.raises(ShapeError, match=r"w with 3 columns; layout='column' would fit"):
        ops.affine_forward(x, w.T, layout="row")
    with pytest.raises(ShapeError, match=r"b with shape \(3,\); wanted \(4,\)"):
        ops.affine_forward(x, w, np.zeros(3, np.float32), layout="row")
    with pytest.raises(DTypeError, match="float64"):
        ops.affine_forward(x, w.astype(np.float64), layout="row")
    with pytest.raises(ArgumentError, match="layout='rows'"):
        ops.affine_forward(x, w, layout="rows")
    with pytest.raises(ArgumentError, match="activation='swish'"):
        ops.affine_forward(x, w, layout="row", activation="swish")
    with pytest.raises(ShapeError, match=r"dy with shape \(2, 3\); wanted \(2, 4\)"):
        ops.affine_backward(x, x, w, layout="row")
