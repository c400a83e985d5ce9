"""Convolution and Pooling of `fastbp.compat.dlfs` against plain NumPy twins.

Sums of at most 500 products of numbers around 1: float64 agrees within 1e-12 of the largest number,
float32 within 1e-4. Pooling copies numbers: no error.
"""

import pickle

import numpy as np
import pytest

from fastbp._errors import ArgumentError, ShapeError
from fastbp.benchmark._peers import _numpy_dlfs as plain
from fastbp.compat.dlfs import layers


def normal(*shape, seed=0, dtype=np.float64):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def close(mine, theirs, bound=1e-12):
    assert mine.shape == theirs.shape
    scale = np.max(np.abs(theirs), initial=1e-300)
    np.testing.assert_allclose(mine, theirs, rtol=0, atol=bound * scale)


# (x, filters, window, stride, pad); some leave a border that no filter reaches.
CONVOLUTIONS = [
    ((3, 1, 12, 12), 4, (5, 5), 1, 0), ((2, 3, 7, 8), 5, (3, 2), 1, 1),
    ((1, 2, 4, 4), 3, (4, 4), 1, 0), ((2, 2, 8, 9), 3, (3, 3), 2, 0),
    ((2, 1, 7, 7), 2, (2, 2), 3, 0),
    # Enough work for each image of one channel to be products (_gradient_of_one_channel).
    ((3, 1, 31, 30), 16, (4, 5), 1, 2), ((2, 1, 65, 64), 16, (5, 4), 2, 1)]  # fmt: skip


@pytest.mark.parametrize(("shape", "filters", "window", "stride", "pad"), CONVOLUTIONS)
@pytest.mark.parametrize("kinds", [(np.float64, np.float64), (np.float32, np.float64),
                                   (np.float32, np.float32)])  # fmt: skip
def test_convolution(shape, filters, window, stride, pad, kinds):
    x = normal(*shape, dtype=kinds[0])
    w, b = normal(filters, shape[1], *window, dtype=kinds[1]), normal(filters, dtype=kinds[1])
    mine, theirs = (module.Convolution(w, b, stride, pad) for module in (layers, plain))
    bound = 1e-4 if kinds[1] == np.float32 else 1e-12
    y, wanted = mine.forward(x), theirs.forward(x)
    assert y.dtype == kinds[1]  # the book's im2col would make float64 of everything
    close(y, wanted, bound)
    np.testing.assert_array_equal(mine.col, theirs.col)
    np.testing.assert_array_equal(mine.col_W, theirs.col_W)
    assert mine.x is x
    dout = normal(*wanted.shape, seed=3, dtype=kinds[1])
    close(mine.backward(dout), theirs.backward(dout), bound)
    close(mine.dW, theirs.dW, bound)
    close(mine.db, theirs.db, bound)
    assert mine.dW.dtype == kinds[1]
    assert mine.W is w


def test_convolution_sees_what_changes_its_filters_in_place():
    w, b, x = normal(2, 1, 3, 3), normal(2), normal(1, 1, 5, 5)
    layer = layers.Convolution(w, b)
    before = layer.forward(x)
    w *= 2
    b *= 2
    close(layer.forward(x), 2 * before)


def test_what_is_computed_may_be_assigned_until_the_next_pass():
    """Scripts drop what is large before they store a layer."""
    convolution, pooling = layers.Convolution(normal(2, 1, 3, 3), normal(2)), layers.Pooling(2, 2)
    x = normal(2, 1, 6, 6)
    for _ in range(2):
        pooling.forward(convolution.forward(x))
        assert convolution.col.shape == (32, 9)
        assert pooling.arg_max.shape == (16,)
        convolution.col = convolution.col_W = pooling.arg_max = None
        assert convolution.col is convolution.col_W is pooling.arg_max is None
        assert pickle.loads(pickle.dumps(convolution)).col is None


def test_convolution_before_forward():
    layer = layers.Convolution(normal(2, 1, 3, 3), normal(2))
    assert (layer.stride, layer.pad) == (1, 0)
    assert layer.x is layer.col is layer.col_W is layer.dW is layer.db is None
    with pytest.raises(ArgumentError, match=r"Convolution\.backward before Convolution\.forward"):
        layer.backward(normal(1, 2, 3, 3))


def test_convolution_says_what_does_not_fit():
    layer = layers.Convolution(normal(2, 3, 3, 3), normal(2))
    with pytest.raises(ShapeError, match=r"^Convolution: x with 1 channels, w with shape"):
        layer.forward(normal(1, 1, 5, 5))
    with pytest.raises(ShapeError, match=r"^Convolution: "):
        layer.forward(normal(1, 3, 2, 2))
    layer.forward(normal(1, 3, 5, 5))
    with pytest.raises(ShapeError, match=r"^Convolution: dy with shape"):
        layer.backward(normal(1, 2, 5, 5))
    assert layer.dW is None


# (x, pool_h, pool_w, stride, pad); with borders that no window reaches, and windows that overlap.
POOLS = [((3, 2, 8, 8), 2, 2, 2, 0), ((2, 3, 7, 9), 2, 3, 2, 0), ((1, 1, 6, 6), 3, 3, 1, 0),
         ((2, 2, 5, 5), 2, 2, 3, 0), ((2, 1, 4, 4), 2, 2, 5, 1)]  # fmt: skip


@pytest.mark.parametrize(("shape", "pool_h", "pool_w", "stride", "pad"), POOLS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_pooling(shape, pool_h, pool_w, stride, pad, dtype):
    x = np.round(normal(*shape, dtype=dtype))  # with many equal elements
    mine, theirs = (module.Pooling(pool_h, pool_w, stride, pad) for module in (layers, plain))
    y, wanted = mine.forward(x), theirs.forward(x)
    np.testing.assert_array_equal(y, wanted)
    assert y.dtype == dtype
    np.testing.assert_array_equal(mine.arg_max, theirs.arg_max)
    dout = normal(*wanted.shape, seed=1, dtype=dtype)
    close(mine.backward(dout), theirs.backward(dout), 4 * np.finfo(dtype).eps)
    assert mine.x is x


def test_pooling_of_float32_with_a_float64_gradient():
    x, dout = np.round(normal(2, 1, 6, 6, dtype=np.float32)), normal(2, 1, 3, 3)
    mine, theirs = layers.Pooling(2, 2), plain.Pooling(2, 2)
    mine.forward(x)
    theirs.forward(x)
    for _ in range(2):
        np.testing.assert_array_equal(mine.backward(dout), theirs.backward(dout))


def test_pooling_defaults_to_stride_2():
    layer = layers.Pooling(2, 3)
    assert (layer.pool_h, layer.pool_w, layer.stride, layer.pad) == (2, 3, 2, 0)
    assert layer.x is layer.arg_max is None


def test_pooling_says_what_does_not_fit():
    with pytest.raises(ShapeError, match=r"^Pooling: pad=1 on 4 points adds windows of 2 with str"):
        layers.Pooling(2, 2, pad=1).forward(normal(1, 1, 4, 4))
    with pytest.raises(ShapeError, match=r"^Pooling: "):
        layers.Pooling(5, 5).forward(normal(1, 1, 4, 4))
    layer = layers.Pooling(2, 2)
    with pytest.raises(ArgumentError, match=r"Pooling\.backward before Pooling\.forward"):
        layer.backward(normal(1, 1, 2, 2))
    layer.forward(normal(1, 1, 4, 4))
    with pytest.raises(ShapeError, match=r"^Pooling: dy with shape"):
        layer.backward(normal(1, 1, 3, 3))
