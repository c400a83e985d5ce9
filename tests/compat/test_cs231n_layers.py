"""fastbp.compat.cs231n.layers: affine, ReLU, losses, dropout, in both of their sizes."""

# ruff: noqa: NPY002 - the course draws from the global random numbers

from __future__ import annotations

import conditions
import numpy as np
import pytest
import reference
from slopes import assert_slopes

from fastbp._errors import ArgumentError, DataError, DTypeError, ShapeError
from fastbp.benchmark._peers import _compat_cs231n as twin
from fastbp.compat.cs231n import _edition, layer_utils, layers

# Few numbers are left to NumPy, many go to the kernels.
SIZES = [(3, (2, 5), 4), (128, (7, 16), 80)]


def affine_case(rng, size, dtype=np.float64):
    n, shape, m = size
    x, w, b, dout = (reference.reals(rng, s, dtype) for s in (
        (n, *shape), (int(np.prod(shape)), m), (m,), (n, m)))
    return x, w, b, dout


def affine_bounds(x, w, b, dout, dtype):
    forward = reference.affine_forward_bound(x, w, b, dtype)
    return forward, reference.affine_backward_bounds(dout, x, w, dtype)


def test_affine_gives_the_numbers_of_the_course():
    x = np.linspace(-0.1, 0.5, 240).reshape(2, 4, 5, 6)
    w, b = np.linspace(-0.2, 0.3, 360).reshape(120, 3), np.linspace(-0.3, 0.1, 3)
    out, cache = layers.affine_forward(x, w, b)
    wanted = [[1.49834967, 1.70660132, 1.91485297], [3.25553199, 3.5141327, 3.77273342]]
    reference.assert_within(out, wanted, 5e-9)  # printed to 8 places
    assert len(cache) == 3
    assert all(kept is given for kept, given in zip(cache, (x, w, b), strict=True))


@pytest.mark.parametrize("dtype", conditions.DTYPES)
@pytest.mark.parametrize("size", SIZES)
def test_affine_matches_float64_in_every_dtype(size, dtype, rng):
    x, w, b, dout = affine_case(rng, size, dtype)
    forward, backward = affine_bounds(x, w, b, dout, dtype)
    out, cache = layers.affine_forward(x, w, b)
    assert out.dtype == dtype
    reference.assert_within(out, reference.affine_forward(x, w, b), forward)
    found = layers.affine_backward(dout, cache)
    wanted = reference.affine_backward(dout, x, w)
    for array, value, bound in zip(found, wanted, backward, strict=True):
        assert array.dtype == dtype
        reference.assert_within(array, value, bound)


@pytest.mark.parametrize("size", SIZES)
def test_affine_relu_is_both_parts(size, rng):
    x, w, b, dout = affine_case(rng, size)
    out, (affine_cache, relu_cache) = layer_utils.affine_relu_forward(x, w, b)
    assert affine_cache[0] is x
    a = reference.affine_forward(x, w, b)
    forward, _ = affine_bounds(x, w, b, dout, np.float64)
    reference.assert_within(out, np.maximum(a, 0), forward)
    assert np.array_equal(relu_cache > 0, a > 0)
    found = layer_utils.affine_relu_backward(dout, (affine_cache, relu_cache))
    kept = np.where(a > 0, dout, 0)
    bounds = reference.affine_backward_bounds(kept, x, w, np.float64)
    for array, value, bound in zip(found, reference.affine_backward(kept, x, w), bounds,
                                   strict=True):
        reference.assert_within(array, value, bound)


@pytest.mark.parametrize("module", [layers, layer_utils])
def test_slopes_of_affine(module, rng):
    x, w, b, dout = affine_case(rng, SIZES[0])
    name = "affine" if module is layers else "affine_relu"
    forward, backward = (getattr(module, f"{name}_{way}") for way in ("forward", "backward"))
    _, cache = forward(x, w, b)
    for array, grad in zip((x, w, b), backward(dout, cache), strict=True):
        assert_slopes(lambda: forward(x, w, b)[0], array, dout, grad)


@pytest.mark.parametrize("size", SIZES)
def test_every_memory_layout_gives_the_same_numbers(size, rng):
    x, w, b, dout = affine_case(rng, size)
    plain = layers.affine_forward(x, w, b)[0], *layers.affine_backward(dout, (x, w, b))
    for kind in conditions.KINDS:
        other = [conditions.make(a, kind) for a in (x, w, b, dout)]
        out, cache = layers.affine_forward(*other[:3])
        found = out, *layers.affine_backward(other[3], cache)
        for one, two in zip(found, plain, strict=True):
            # BLAS may sum in another order for another layout: 112 terms of magnitude 1.
            reference.assert_within(one, two, 1e-13)
        assert np.array_equal(other[0], x)


def test_whole_numbers_and_mixed_dtypes_are_promoted_as_numpy_does(rng):
    x, w, b, dout = affine_case(rng, SIZES[0], np.float32)
    whole = np.arange(30).reshape(3, 2, 5)
    for given, dtype in ((whole, np.float64), (x.astype(np.float64), np.float64), (x, np.float32)):
        out, cache = layers.affine_forward(given, w, b)
        assert out.dtype == dtype
        reference.assert_within(out, reference.affine_forward(given, w, b), 1e-4)
        assert all(g.dtype == dtype for g in layers.affine_backward(dout, cache))
    with pytest.raises(DTypeError, match="affine_forward: x with dtype complex64"):
        layers.affine_forward(x * 1j, w, b)


@pytest.mark.parametrize("rows", [0, 1])
def test_small_batches(rows):
    x, w, b = np.ones((rows, 2, 3)), np.ones((6, 2)), np.zeros(2)
    out, cache = layers.affine_forward(x, w, b)
    assert np.array_equal(out, np.full((rows, 2), 6))
    dx, dw, db = layers.affine_backward(out, cache)
    assert np.array_equal(dx, np.full((rows, 2, 3), 12))
    assert np.array_equal(dw, np.full((6, 2), 6 * rows))
    assert np.array_equal(db, np.full(2, 6 * rows))


def test_relu_gives_the_numbers_of_the_course():
    out, _ = layers.relu_forward(np.linspace(-0.5, 0.5, 12).reshape(3, 4))
    wanted = [[0, 0, 0, 0], [0, 0, 0.04545455, 0.13636364],
              [0.22727273, 0.31818182, 0.40909091, 0.5]]
    reference.assert_within(out, wanted, 5e-9)  # printed to 8 places


@pytest.mark.parametrize("dtype", [*conditions.DTYPES, np.int64])
@pytest.mark.parametrize("shape", [(3, 4), (2, 3, 5), (100, 101), (401, 503)])
def test_relu_is_exact_and_its_slope_at_0_is_0(shape, dtype, rng):
    x = rng.integers(-3, 4, shape).astype(dtype)
    before = x.copy()
    out, cache = layers.relu_forward(x)
    assert cache is x
    assert out.dtype == dtype
    assert np.array_equal(out, np.maximum(x, 0))
    dout = rng.standard_normal(shape).astype(np.float32)
    dx = layers.relu_backward(dout, cache)
    assert dx.dtype == np.float32
    assert np.array_equal(dx, np.where(x > 0, dout, 0))
    assert np.array_equal(x, before)


@pytest.mark.parametrize("name", ["softmax_loss", "svm_loss"])
@pytest.mark.parametrize("dtype", conditions.DTYPES)
def test_losses(name, dtype, rng):
    x, y = reference.reals(rng, (7, 5), dtype), rng.integers(0, 5, 7)
    loss, dx = getattr(layers, name)(x, y)
    wide_loss, wide_dx = getattr(twin, name)(x.astype(np.float64), y)
    # A dozen roundings on values below 10.
    u = reference.unit_roundoff(dtype)
    assert abs(loss - wide_loss) <= 100 * u * (1 + wide_loss)
    reference.assert_within(dx, wide_dx, 100 * u)
    assert dx.dtype == dtype
    x = x.astype(np.float64)
    loss, dx = getattr(layers, name)(x, y)
    assert_slopes(lambda: np.array(getattr(layers, name)(x, y)[0]), x, 1.0, dx)


def test_a_confident_miss_has_a_finite_loss():
    loss, dx = layers.softmax_loss(np.array([[0.0, 1000.0]]), np.array([0]))
    assert loss == 1000
    assert np.array_equal(dx, [[-1, 1]])


def test_the_maximum_is_taken_in_each_row():
    x = np.array([[0.0, 1.0], [-2000.0, -2001.0]])
    loss, _ = layers.softmax_loss(x, np.array([0, 1]))
    assert loss == pytest.approx(np.log1p(np.exp(1.0)), rel=1e-15)


@pytest.mark.parametrize("dtype", conditions.DTYPES)
def test_dropout_draws_the_masks_of_the_course(dtype):
    x = np.arange(1, 13, dtype=dtype).reshape(3, 4)
    param = {"mode": "train", "p": 0.7, "seed": 123}
    np.random.seed(5)
    out, (kept_param, mask) = layers.dropout_forward(x, param)
    assert kept_param is param
    np.random.seed(123)
    keep = np.random.rand(3, 4) < 0.7
    assert out.dtype == mask.dtype == dtype
    # One rounding of 1/p, one of the product.
    reference.assert_within(out, np.where(keep, x / 0.7, 0),
                            reference.relative_bound(x / 0.7, dtype, 3))
    dout = np.ones((3, 4), dtype)
    dx = layers.dropout_backward(dout, (param, mask))
    assert dx.dtype == dtype
    assert np.array_equal(dx, mask)
    # Without a seed the stream goes on where it was.
    np.random.seed(7)
    layers.dropout_forward(x, {"mode": "train", "p": 0.7})
    after = np.random.rand()
    np.random.seed(7)
    assert np.random.rand(13)[12] == after


def test_dropout_in_test_mode_is_the_identity(rng):
    x = rng.standard_normal((3, 4))
    out, cache = layers.dropout_forward(x, {"mode": "test", "p": 0.7})
    assert out is x
    assert cache[1] is None
    assert layers.dropout_backward(x, cache) is x


def test_p_is_the_share_dropped_in_old_editions(rng):
    x = np.ones((200, 50))
    try:
        _edition.choose(2017)
        out, (_, mask) = layers.dropout_forward(x, {"mode": "train", "p": 0.2, "seed": 0})
        with pytest.raises(ArgumentError, match="p=1; wanted a share of at least 0 and below 1"):
            layers.dropout_forward(x, {"mode": "train", "p": 1})
    finally:
        _edition.choose(_edition.LATEST)
    # 10 000 draws with probability 0.8: a standard deviation is 0.004.
    assert abs((mask != 0).mean() - 0.8) < 0.02
    assert set(np.unique(out)) == {0.0, 1.25}
    _, (_, mask) = layers.dropout_forward(x, {"mode": "train", "p": 0.2, "seed": 0})
    assert abs((mask != 0).mean() - 0.2) < 0.02


def test_slopes_of_dropout(rng):
    x, dout = rng.standard_normal((4, 5)), rng.standard_normal((4, 5))
    param = {"mode": "train", "p": 0.6, "seed": 1}
    _, cache = layers.dropout_forward(x, param)
    dx = layers.dropout_backward(dout, cache)
    assert_slopes(lambda: layers.dropout_forward(x, param)[0], x, dout, dx)


def test_errors_name_the_function_and_its_arguments():
    x, w, b = np.zeros((3, 4)), np.zeros((5, 2)), np.zeros(2)
    with pytest.raises(ShapeError, match=r"affine_forward: w with shape \(5, 2\) for x with shape "
                       r"\(3, 4\); wanted w with 4 rows"):
        layers.affine_forward(x, w, b)
    with pytest.raises(ShapeError, match=r"w\.T fits"):
        layers.affine_forward(x, np.zeros((2, 4)), b)
    with pytest.raises(ShapeError, match=r"affine_forward: b with shape \(3,\); wanted \(2,\)"):
        layers.affine_forward(x, w[:4], np.zeros(3))
    with pytest.raises(ShapeError, match=r"affine_relu_forward: w with shape \(4,\)"):
        layer_utils.affine_relu_forward(x, np.zeros(4), b)
    with pytest.raises(ShapeError, match=r"affine_backward: dout with shape \(3, 3\); "
                       r"wanted \(3, 2\)"):
        layers.affine_backward(np.zeros((3, 3)), (x, w[:4], b))
    with pytest.raises(ShapeError, match=r"relu_backward: dout with shape \(2,\)"):
        layers.relu_backward(np.zeros(2), x)
    with pytest.raises(DataError, match=r"softmax_loss: y\[1\] is 4; wanted labels from 0 to 3"):
        layers.softmax_loss(x, np.array([0, 4, 1]))
    with pytest.raises(ShapeError, match=r"softmax_loss: x with shape \(3,\)"):
        layers.softmax_loss(x[:, 0], np.array([0, 1, 1]))
    with pytest.raises(ShapeError, match=r"svm_loss: y with shape \(2,\)"):
        layers.svm_loss(x, np.array([0, 1]))
    with pytest.raises(ArgumentError, match=r"dropout_forward: mode 'eval'; wanted"):
        layers.dropout_forward(x, {"mode": "eval", "p": 0.5})
    with pytest.raises(ArgumentError, match=r"dropout_forward: p=0; wanted a share above 0"):
        layers.dropout_forward(x, {"mode": "train", "p": 0})
    with pytest.raises(ShapeError, match=r"dropout_backward: dout with shape \(2,\)"):
        layers.dropout_backward(np.zeros(2), ({}, x))
