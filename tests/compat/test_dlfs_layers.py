"""The layers of `fastbp.compat.dlfs` against plain NumPy twins, and what their interface promises.

Both sides round differently, in sums of at most 784 products of normal numbers: float64 results
agree within 1e-12 of the largest number, float32 within 1e-4.
"""

import numpy as np
import pytest

from fastbp import ops
from fastbp._errors import ArgumentError, DataError, ShapeError
from fastbp.benchmark._peers import _numpy_dlfs as plain
from fastbp.compat.dlfs import layers

BOUND = {np.dtype(np.float32): 1e-4, np.dtype(np.float64): 1e-12}
DTYPES = (np.float32, np.float64)


def close(mine, theirs, dtype=None):
    """Same shape and dtype (that of the twin unless told), and equal within the bound."""
    assert mine.shape == np.shape(theirs)
    assert mine.dtype == (dtype or np.asarray(theirs).dtype)
    scale = np.max(np.abs(theirs), initial=1e-300)
    np.testing.assert_allclose(mine, theirs, rtol=0, atol=BOUND[mine.dtype] * scale)


def normal(*shape, dtype=np.float64, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


# Small ones are NumPy's on both sides, large ones kernels': see _arithmetic.
AFFINE_SHAPES = ((1, 3, 2), (7, 50, 10), (100, 784, 50), (33, 129, 65))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n", "d", "m"), AFFINE_SHAPES)
def test_affine(n, d, m, dtype):
    x, w, b, dout = (normal(*shape, dtype=dtype, seed=i)
                     for i, shape in enumerate([(n, d), (d, m), (m,), (n, m)]))  # fmt: skip
    mine, theirs = layers.Affine(w, b), plain.Affine(w, b)
    close(mine.forward(x), theirs.forward(x))
    close(mine.backward(dout), theirs.backward(dout))
    close(mine.dW, theirs.dW)
    close(mine.db, theirs.db)
    assert mine.W is w
    assert mine.b is b
    assert np.shares_memory(mine.x, x)


def test_affine_of_images_keeps_their_shape():
    x, w, b = normal(4, 3, 5, 5), normal(75, 6), normal(6)
    mine, theirs = layers.Affine(w, b), plain.Affine(w, b)
    close(mine.forward(x), theirs.forward(x))
    assert mine.x.shape == (4, 75)
    assert mine.original_x_shape == (4, 3, 5, 5)
    dout = normal(4, 6)
    close(mine.backward(dout), theirs.backward(dout))


@pytest.mark.parametrize("rows", [2, 300])
@pytest.mark.parametrize("lie", [np.asfortranarray, lambda a: a.repeat(2, 0)[::2],
                                 lambda a: a[::-1].copy()[::-1]])  # fmt: skip
def test_affine_of_other_strides(rows, lie):
    x, w, dout = lie(normal(rows, 60)), lie(normal(60, 70)), lie(normal(rows, 70))
    b = normal(140)[::2]
    mine, theirs = layers.Affine(w, b), plain.Affine(w, b)
    close(mine.forward(x), theirs.forward(x))
    close(mine.backward(dout), theirs.backward(dout))
    close(mine.dW, theirs.dW)


@pytest.mark.parametrize("rows", [3, 200])
def test_affine_of_a_float32_batch_and_float64_weights_is_float64(rows):
    x, w, b = normal(rows, 784, dtype=np.float32), normal(784, 50), normal(50)
    mine, theirs = layers.Affine(w, b), plain.Affine(w, b)
    close(mine.forward(x), theirs.forward(x), np.float64)
    dout = normal(rows, 50)
    close(mine.backward(dout), theirs.backward(dout), np.float64)
    close(mine.dW, theirs.dW, np.float64)
    assert mine.x.dtype == np.float32


def test_affine_sees_what_changes_its_parameters_in_place():
    w, b, x = normal(5, 4), normal(4), normal(2, 5)
    layer = layers.Affine(w, b)
    before = layer.forward(x)
    w *= 2
    b += 1
    np.testing.assert_allclose(layer.forward(x), x @ w + b, rtol=1e-13)
    assert not np.allclose(layer.forward(x), before)


def test_affine_sees_a_batch_that_was_changed_in_place():
    w, b, x = normal(784, 50), normal(50), normal(100, 784)
    layer = layers.Affine(w, b)
    layer.forward(x)
    x[0, 0] += 10
    np.testing.assert_allclose(layer.forward(x), x @ w + b, atol=1e-11)


def test_affine_says_what_does_not_fit():
    layer = layers.Affine(normal(5, 4), normal(4))
    with pytest.raises(ShapeError, match=r"Affine: x with shape \(2, 6\), W with shape \(5, 4\), b "
                       r"with shape \(4,\); wanted W \(6, M\) and b \(M,\)"):  # fmt: skip
        layer.forward(normal(2, 6))
    with pytest.raises(ArgumentError, match=r"Affine\.backward before Affine\.forward"):
        layer.backward(normal(2, 4))
    layer.forward(normal(2, 5))
    with pytest.raises(ShapeError, match=r"Affine: dout with shape \(3, 4\); wanted \(2, 4\)"):
        layer.backward(normal(3, 4))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(3,), (100, 50), (200, 200), (2, 3, 4, 5)])
def test_relu(shape, dtype):
    x, dout = normal(*shape, dtype=dtype), normal(*shape, dtype=dtype, seed=1)
    x.flat[0], x.flat[1] = 0, -0.0
    kept = x.copy()
    mine, theirs = layers.Relu(), plain.Relu()
    np.testing.assert_array_equal(mine.forward(x), theirs.forward(x))
    np.testing.assert_array_equal(x, kept)
    np.testing.assert_array_equal(mine.mask, theirs.mask)
    given = dout.copy()
    assert mine.backward(given) is given
    np.testing.assert_array_equal(given, theirs.backward(dout.copy()))


def test_relu_of_nan_and_infinity():
    x = np.array([-1.0, 1.0, -1.0, np.nan, -np.inf])
    layer = layers.Relu()
    np.testing.assert_array_equal(layer.forward(x), [0, 1, 0, np.nan, 0])
    dout = np.array([np.nan, np.nan, np.inf, 2.0, -np.inf])
    np.testing.assert_array_equal(layer.backward(dout), [0, np.nan, 0, 2.0, 0])


def test_relu_forgets_nothing_when_its_result_is_changed():
    layer = layers.Relu()
    y = layer.forward(normal(200, 200))
    mask = layer.mask.copy()
    y -= 5
    dout = np.ones((200, 200))
    np.testing.assert_array_equal(layer.backward(dout), ~mask)


def test_relu_says_what_does_not_fit():
    layer = layers.Relu()
    layer.forward(normal(2, 3))
    with pytest.raises(ShapeError, match=r"Relu: dout with shape \(3, 2\); wanted \(2, 3\)"):
        layer.backward(np.ones((3, 2)))
    dout = np.ones((2, 3))
    dout.setflags(write=False)
    with pytest.raises(ArgumentError, match="Relu: dout is read-only; wanted a writeable array"):
        layer.backward(dout)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(4,), (100, 50), (300, 300)])
def test_sigmoid(shape, dtype):
    x, dout = normal(*shape, dtype=dtype), normal(*shape, dtype=dtype, seed=1)
    mine, theirs = layers.Sigmoid(), plain.Sigmoid()
    out = mine.forward(x)
    close(out, theirs.forward(x))
    assert mine.out is out
    close(mine.backward(dout), theirs.backward(dout))


def test_dropout_draws_the_books_numbers():
    x, dout = normal(30, 40, dtype=np.float32), normal(30, 40, dtype=np.float32, seed=1)
    mine, theirs = layers.Dropout(0.3), plain.Dropout(0.3)
    results = []
    for layer in (mine, theirs):
        np.random.seed(5)  # noqa: NPY002
        results.append((layer.forward(x), layer.backward(dout), layer.forward(x, False)))
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.dtype == np.float32
    assert 0.6 < mine.mask.mean() < 0.8
    np.testing.assert_array_equal(mine.forward(x, train_flg=False), x * np.float32(0.7))
    assert layers.Dropout().dropout_ratio == 0.5


@pytest.mark.parametrize("shape", [(6, 3), (100, 100), (700, 300), (3, 1), (5, 2, 3, 4)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_batchnormalization(shape, dtype):
    width = int(np.prod(shape[1:]))
    gamma, beta = normal(width, dtype=dtype, seed=2), normal(width, dtype=dtype, seed=3)
    mine = layers.BatchNormalization(gamma, beta)
    theirs = plain.BatchNormalization(gamma, beta)
    for seed in (0, 1):
        x = 3 * normal(*shape, dtype=dtype, seed=seed) + 1
        close(mine.forward(x), theirs.forward(x))
    dout = normal(*shape, dtype=dtype, seed=9)
    close(mine.backward(dout), theirs.backward(dout))
    for name in ("dgamma", "dbeta", "std", "xc", "xn"):
        close(getattr(mine, name), getattr(theirs, name))
    # float32 statistics are averaged into float64 zeros.
    for name in ("running_mean", "running_var"):
        assert getattr(mine, name).dtype == np.float64
        np.testing.assert_allclose(getattr(mine, name), getattr(theirs, name),
                                   rtol=0, atol=10 * BOUND[np.dtype(dtype)])  # fmt: skip
    assert mine.batch_size == shape[0]
    x = normal(*shape, dtype=dtype, seed=4)
    result, wanted = mine.forward(x, train_flg=False), theirs.forward(x, train_flg=False)
    assert result.dtype == wanted.dtype == np.float64
    np.testing.assert_allclose(result, wanted, rtol=0, atol=100 * BOUND[np.dtype(dtype)])


@pytest.mark.parametrize("lie", [np.asfortranarray, lambda a: a.repeat(2, 0)[::2],
                                 lambda a: a[::-1].copy()[::-1]])  # fmt: skip
def test_batchnormalization_of_other_strides(lie):
    gamma, beta = normal(40)[::2], normal(40, seed=1)[::-2]
    mine, theirs = (module.BatchNormalization(gamma, beta) for module in (layers, plain))
    x, dout = lie(normal(30, 20)), lie(normal(30, 20, seed=2))
    close(mine.forward(x), theirs.forward(x))
    close(mine.backward(dout), theirs.backward(dout))
    close(mine.forward(x, False), theirs.forward(x, False))


def test_batchnormalization_of_float32_with_a_float64_gradient():
    gamma, beta, x = (normal(*s, dtype=np.float32) for s in ((5,), (5,), (8, 5)))
    mine, theirs = (module.BatchNormalization(gamma, beta) for module in (layers, plain))
    mine.forward(x)
    theirs.forward(x)
    dout = normal(8, 5, seed=1)
    result, wanted = mine.backward(dout), theirs.backward(dout)
    assert result.dtype == wanted.dtype == mine.dgamma.dtype == np.float64
    np.testing.assert_allclose(result, wanted, rtol=0, atol=1e-5)


def test_batchnormalization_rebinds_running_statistics():
    given = np.zeros(3), np.ones(3)
    layer = layers.BatchNormalization(np.ones(3), np.zeros(3), 0.5, *given)
    x = normal(8, 3)
    layer.forward(x)
    np.testing.assert_array_equal(given, [np.zeros(3), np.ones(3)])
    np.testing.assert_allclose(layer.running_mean, 0.5 * x.mean(axis=0), rtol=1e-13)
    np.testing.assert_allclose(layer.running_var, 0.5 + 0.5 * x.var(axis=0), rtol=1e-13)


def test_what_is_computed_may_be_assigned_until_the_next_pass():
    layer = layers.BatchNormalization(np.ones(3), np.zeros(3))
    x = normal(4, 3)
    for _ in range(2):
        layer.forward(x)
        np.testing.assert_allclose(layer.xc, x - x.mean(axis=0), atol=1e-15)
        layer.xc = layer.xn = layer.std = None
        assert layer.xc is layer.xn is layer.std is None


def test_batchnormalization_says_what_does_not_fit():
    layer = layers.BatchNormalization(np.ones(3), np.zeros(3))
    with pytest.raises(ShapeError, match=r"^BatchNormalization: gamma with shape \(3,\)"):
        layer.forward(normal(2, 4))
    with pytest.raises(ShapeError, match=r"^BatchNormalization: x with shape \(0, 3\): no samples"):
        layer.forward(np.empty((0, 3)))
    assert layer.running_mean is layer.input_shape is None
    layer.running_mean, layer.running_var = np.ones(3), np.ones(2)
    with pytest.raises(ShapeError, match=r"^BatchNormalization: running_var with shape \(2,\)"):
        layer.forward(normal(2, 3), train_flg=False)
    with pytest.raises(ArgumentError, match=r"BatchNormalization\.backward before"):
        layer.backward(normal(2, 3))
    layer = layers.BatchNormalization(np.ones(3), np.zeros(3))
    layer.forward(normal(2, 3))
    with pytest.raises(ShapeError, match=r"BatchNormalization: dout with shape \(2, 4\)"):
        layer.backward(normal(2, 4))


@pytest.mark.parametrize("dtype", DTYPES)
def test_softmax_with_loss(dtype):
    x = 5 * normal(20, 10, dtype=dtype)
    labels = np.arange(20) % 10
    rows = np.eye(10, dtype=dtype)[labels]
    for t in (labels, labels.astype(np.uint8), rows):
        mine, theirs = layers.SoftmaxWithLoss(), plain.SoftmaxWithLoss()
        np.testing.assert_allclose(mine.forward(x, t), theirs.forward(x, t), rtol=10 * BOUND[
            np.dtype(dtype)])  # fmt: skip
        close(mine.y, theirs.y)
        close(mine.backward(), theirs.backward())
        np.testing.assert_array_equal(mine.backward(dout=100), mine.backward())
        assert mine.t is t
        assert mine.loss == pytest.approx(theirs.loss)


def test_the_loss_of_a_sure_miss_stops_at_the_books_number():
    layer = layers.SoftmaxWithLoss()
    loss = layer.forward(np.array([[0.0, 1000.0]]), np.array([0]))
    assert loss == pytest.approx(16.118, abs=1e-3)
    np.testing.assert_allclose(layer.backward(), [[-1, 1]])


def test_labels_of_shape_1_1():
    """As the gradient check of chapter 7 passes them."""
    x, t = normal(1, 10), np.array([[3]])
    mine, theirs = layers.SoftmaxWithLoss(), plain.SoftmaxWithLoss()
    np.testing.assert_allclose(mine.forward(x, t), theirs.forward(x, t), rtol=1e-13)
    close(mine.backward(), theirs.backward())


def test_labels_that_do_not_fit():
    layer = layers.SoftmaxWithLoss()
    with pytest.raises(DataError, match="t from 0 to 3; wanted labels from 0 to 2"):
        layer.forward(normal(2, 3), np.array([0, 3]))
    with pytest.raises(ShapeError, match=r"t with shape \(4,\) and dtype int64; wanted whole"):
        layer.forward(normal(2, 3), np.array([0, 1, 2, 0]))
    with pytest.raises(ArgumentError, match=r"SoftmaxWithLoss\.backward before"):
        layers.SoftmaxWithLoss().backward()


def test_the_softmax_is_the_kernels(monkeypatch):
    calls = []
    monkeypatch.setattr(ops, "softmax", lambda x: calls.append(1) or np.full(x.shape, 0.5))
    layer = layers.SoftmaxWithLoss()
    assert layer.forward(normal(4, 2), np.zeros(4, int)) == pytest.approx(np.log(2), abs=1e-6)
    assert calls == [1]
