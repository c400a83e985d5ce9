"""functions, gradient, util and optimizer of `fastbp.compat.dlfs` against plain NumPy twins.

float64 results of a few operations agree within 1e-13 (relative to the largest number).
"""

import copy
import pickle

import numpy as np
import pytest

from fastbp._errors import ShapeError
from fastbp.benchmark._peers import _numpy_dlfs as plain
from fastbp.benchmark._peers import _numpy_dlfs_training as plain_training
from fastbp.compat.dlfs import functions, gradient, optimizer, util


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


@pytest.mark.parametrize("name", ["sigmoid", "sigmoid_grad", "relu", "relu_grad", "softmax"])
@pytest.mark.parametrize("shape", [(5,), (4, 3), (300, 200)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_functions_of_arrays(name, shape, dtype):
    x = normal(*shape).astype(dtype)
    x.flat[0] = 0
    mine, theirs = getattr(functions, name)(x), getattr(plain, name)(x)
    assert mine.dtype == dtype
    np.testing.assert_allclose(mine, theirs, rtol=0, atol=8 * np.finfo(dtype).eps)


def test_functions_of_numbers_and_integers():
    assert functions.sigmoid(0) == 0.5
    assert functions.sigmoid(0.0) == 0.5
    assert functions.relu(-2) == 0
    assert functions.relu(np.array([-1, 2])).dtype == int
    np.testing.assert_allclose(functions.sigmoid(np.array([-1, 1])), [0.26894142, 0.73105858],
                               atol=1e-8)  # fmt: skip
    np.testing.assert_allclose(functions.softmax(np.array([1, 1])), [0.5, 0.5])
    x = [1, 2]
    assert functions.identity_function(x) is x


def test_step_function_gives_integers():
    result = functions.step_function(np.array([-1.0, 0.0, 2.0]))
    np.testing.assert_array_equal(result, [0, 0, 1])
    assert result.dtype == int


def test_relu_and_its_slope_differ_from_the_layer_at_zero():
    np.testing.assert_array_equal(functions.relu_grad(np.array([-1.0, 0.0, 1.0])), [0, 1, 1])


def test_softmax_of_a_vector_and_of_large_numbers():
    np.testing.assert_allclose(functions.softmax(np.array([0.3, 2.9, 4.0])),
                               [0.01821127, 0.24519181, 0.73659691], atol=1e-8)  # fmt: skip
    np.testing.assert_allclose(functions.softmax(np.array([1010.0, 1000.0, 990.0])),
                               [9.99954600e-01, 4.53978686e-05, 2.06106005e-09], rtol=1e-8)


def test_errors_of_the_book():
    """The two results printed in chapter 4, with labels one-hot and as numbers."""
    t = np.array([0, 0, 1, 0, 0, 0, 0, 0, 0, 0])
    y = np.array([0.1, 0.05, 0.6, 0.0, 0.05, 0.1, 0.0, 0.1, 0.0, 0.0])
    assert functions.sum_squared_error(y, t) == pytest.approx(0.0975)
    assert functions.mean_squared_error(y, t) == functions.sum_squared_error(y, t)
    assert functions.cross_entropy_error(y, t) == pytest.approx(0.510825457099338)
    assert functions.cross_entropy_error(y, np.array([2])) == pytest.approx(0.510825457099338)
    many = np.tile(y, (3, 1))
    assert functions.cross_entropy_error(many, np.array([2, 2, 2])) == pytest.approx(0.5108254571)
    assert functions.softmax_loss(np.log(y + 1e-9), t) == pytest.approx(0.5108254571, abs=1e-6)


# ---- gradient -------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(4,), (3, 2), (2, 2, 2, 2)])
def test_numerical_gradient(shape):
    x = normal(*shape)
    kept = x.copy()
    seen = []
    result = gradient.numerical_gradient(lambda a: seen.append(a is x) or np.sum(a**3), x)
    # The error is h^2 f'''/6 = 1e-8, and rounding of f (10) over 2h: 1e-11.
    np.testing.assert_allclose(result, 3 * x**2, atol=2e-8)
    np.testing.assert_array_equal(x, kept)
    assert all(seen)
    assert len(seen) == 2 * x.size


def test_numerical_gradient_by_rows():
    x = normal(5, 3)
    result = gradient.numerical_gradient_2d(lambda row: np.sum(row**2), x)
    np.testing.assert_allclose(result, 2 * x, atol=1e-8)
    result = gradient.numerical_gradient_2d(lambda v: np.sum(v**2), x[0])
    np.testing.assert_allclose(result, 2 * x[0], atol=1e-8)
    assert gradient._numerical_gradient_1d(lambda v: v[0], x[0])[0] == pytest.approx(1)


# ---- util -----------------------------------------------------------------------------------


def test_smooth_curve():
    values = normal(40)
    smooth = util.smooth_curve(list(values))
    assert smooth.shape == (40,)
    window = np.kaiser(11, 2)
    np.testing.assert_allclose(smooth[20], values[15:26] @ window / window.sum(), rtol=1e-12)
    np.testing.assert_allclose(util.smooth_curve(np.ones(30)), np.ones(30), rtol=1e-12)


def test_shuffle_dataset():
    x, images, t = np.arange(10.0)[:, None], np.zeros((10, 1, 2, 2)), np.arange(10)
    np.random.seed(3)  # noqa: NPY002
    order = np.random.permutation(10)  # noqa: NPY002
    np.random.seed(3)  # noqa: NPY002
    shuffled, labels = util.shuffle_dataset(x, t)
    np.testing.assert_array_equal(labels, order)
    np.testing.assert_array_equal(shuffled[:, 0], order)
    assert util.shuffle_dataset(images, t)[0].shape == images.shape


def test_conv_output_size_is_not_rounded():
    assert util.conv_output_size(28, 5) == 24.0
    assert util.conv_output_size(6, 3, stride=2, pad=0) == 2.5
    assert util.conv_output_size(28, 3, pad=1) == 28


@pytest.mark.parametrize(("shape", "fh", "fw", "stride", "pad"), [
    ((2, 3, 7, 6), 3, 2, 1, 0), ((1, 1, 5, 5), 5, 5, 1, 0), ((2, 2, 8, 9), 3, 3, 2, 1),
    ((3, 1, 6, 6), 2, 2, 3, 2), ((0, 2, 4, 4), 2, 2, 1, 0)])  # fmt: skip
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8])
def test_im2col_and_col2im(shape, fh, fw, stride, pad, dtype):
    x = (10 * normal(*shape)).astype(dtype)
    col = util.im2col(x, fh, fw, stride, pad)
    np.testing.assert_array_equal(col, plain.im2col(x, fh, fw, stride, pad)
                                  if len(x) else np.empty((0, 8)))  # fmt: skip
    assert col.dtype == np.float64
    assert col.flags.writeable
    if len(x):
        back = util.col2im(col, shape, fh, fw, stride, pad)
        np.testing.assert_array_equal(back, plain.col2im(col, shape, fh, fw, stride, pad))
        assert back.dtype == np.float64


def test_im2col_of_a_filter_that_does_not_fit():
    with pytest.raises(ShapeError, match="a filter of 5 on 4 points with pad 0"):
        util.im2col(normal(1, 1, 4, 4), 5, 5)
    with pytest.raises(ShapeError, match=r"im2col: input_data with shape \(4, 4\); wanted \(N, C,"):
        util.im2col(normal(4, 4), 2, 2)


# ---- optimizer ------------------------------------------------------------------------------

OPTIMIZERS = ("SGD", "Momentum", "Nesterov", "AdaGrad", "RMSprop", "Adam")
SLOTS = {"Momentum": "v", "Nesterov": "v", "AdaGrad": "h", "RMSprop": "h", "Adam": "mv"}


def parameters(dtype=np.float64, seed=0):
    return {"W": normal(350, 200, seed=seed).astype(dtype), "b": normal(7, seed=seed).astype(dtype),
            "g": normal(2, 3, 4, seed=seed).astype(dtype)}  # fmt: skip


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_optimizers_change_parameters_in_place(name, dtype):
    mine, theirs = getattr(optimizer, name)(), getattr(plain_training, name)()
    params, wanted = parameters(dtype), parameters(dtype)
    arrays = dict(params)
    for seed in range(1, 6):
        mine.lr = theirs.lr = 0.02 / seed  # a rate may change on the way
        mine.update(params, parameters(dtype, seed))
        theirs.update(wanted, parameters(dtype, seed))
    slots = [(getattr(mine, slot), getattr(theirs, slot)) for slot in SLOTS.get(name, "")]
    for one, other in [(params, wanted), *slots]:
        for key in wanted:
            assert one[key].dtype == dtype
            np.testing.assert_allclose(one[key], other[key], rtol=0, atol=64 * np.finfo(dtype).eps)
    assert all(params[key] is arrays[key] for key in params)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers_of_numbers_and_awkward_arrays(name):
    """Floats are replaced; views, mixed dtypes and overlapping gradients are NumPy's."""

    def make():
        base = normal(6, 4)
        shared = normal(70_000)
        params = {"x": -7.0, "view": base[:, ::2], "mixed": normal(5).astype(np.float32),
                  "overlap": shared[:-1], "fortran": np.asfortranarray(normal(350, 200))}
        grads = {"x": 0.3, "view": normal(6, 2, seed=1), "mixed": normal(5, seed=2),
                 "overlap": shared[1:], "fortran": normal(350, 200, seed=3)}
        return params, grads

    mine, theirs = getattr(optimizer, name)(lr=0.1), getattr(plain_training, name)(lr=0.1)
    params, grads = make()
    wanted, same = make()
    for _ in range(3):
        mine.update(params, grads)
        theirs.update(wanted, same)
    for key in params:
        np.testing.assert_allclose(params[key], wanted[key], rtol=1e-6 if key == "mixed" else 1e-12)
    assert isinstance(params["x"], float)
    assert params["mixed"].dtype == np.float32


def test_two_names_of_one_array_are_updated_twice():
    w, g = np.ones(70_000), np.ones(70_000)
    optimizer.SGD(0.5).update({"a": w, "b": w}, {"a": g, "b": g})
    np.testing.assert_array_equal(w, np.zeros(70_000))


def test_defaults():
    assert optimizer.SGD().lr == 0.01
    assert (optimizer.Momentum().momentum, optimizer.Momentum().v) == (0.9, None)
    assert optimizer.RMSprop().decay_rate == 0.99
    adam = optimizer.Adam()
    assert (adam.lr, adam.beta1, adam.beta2, adam.iter, adam.m) == (0.001, 0.9, 0.999, 0, None)


def test_an_optimizer_can_be_copied_and_stored():
    rule = optimizer.Momentum()
    params = {"w": np.ones(3)}
    rule.update(params, {"w": np.ones(3)})
    for copied in (copy.deepcopy(rule), pickle.loads(pickle.dumps(rule))):
        np.testing.assert_array_equal(copied.v["w"], rule.v["w"])
        assert copied.v["w"] is not rule.v["w"]


def test_a_missing_gradient_leaves_everything_as_it_was():
    params = {"a": np.ones(3), "b": np.ones(3)}
    with pytest.raises(KeyError):
        optimizer.Adam().update(params, {"a": np.ones(3)})
    np.testing.assert_array_equal(params["a"], np.ones(3))
