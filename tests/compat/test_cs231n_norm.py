"""fastbp.compat.cs231n.layers: the normalising layers."""

from __future__ import annotations

import conditions
import numpy as np
import pytest
import reference
from slopes import assert_slopes

from fastbp._errors import ArgumentError, ShapeError
from fastbp.benchmark._peers import _compat_cs231n as twin
from fastbp.compat.cs231n import layers


def case(rng, name, dtype=np.float64):
    """(x, gamma, beta, further arguments, dout)."""
    shape = SHAPES.get(name, (3, 6, 4, 5))
    vector = (1, 6, 1, 1) if name == "spatial_groupnorm" else (shape[1],)
    more = (2, {}) if name == "spatial_groupnorm" else ({"mode": "train"},)
    x = 3 * reference.reals(rng, shape, dtype) + dtype(2)
    gamma, beta, dout = (reference.reals(rng, s, dtype) for s in (vector, vector, shape))
    return x.astype(dtype), gamma, beta, more, dout


# Few numbers are left to NumPy, many go to the kernels.
SHAPES = {"batchnorm": (6, 5), "layernorm": (6, 5), "large batchnorm": (50, 60),
          "large layernorm": (50, 60)}
NAMES = [*SHAPES, "spatial_batchnorm", "spatial_groupnorm"]


def pair(name, module=layers):
    name = name.removeprefix("large ")
    return getattr(module, f"{name}_forward"), getattr(module, f"{name}_backward")


@pytest.mark.parametrize("dtype", conditions.DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_forward_and_backward_match_numpy_in_float64(name, dtype, rng):
    x, gamma, beta, more, dout = case(rng, name, dtype)
    forward, backward = pair(name)
    out, cache = forward(x, gamma, beta, *more)
    found = out, *backward(dout, cache)
    wide_forward, wide_backward = pair(name, twin)
    wide = [a.astype(np.float64) for a in (x, gamma, beta)]
    expected, wide_cache = wide_forward(*wide, *case(rng, name)[3])
    wanted = expected, *wide_backward(dout.astype(np.float64), wide_cache)
    for array, value in zip(found, wanted, strict=True):
        assert array.dtype == dtype
        # Sums of at most 60 terms, normalised to magnitude 1, in chains of some 10 operations.
        scale = 1 + np.abs(value).max()
        reference.assert_within(array, value, 500 * reference.unit_roundoff(dtype) * scale)


@pytest.mark.parametrize("name", [name for name in NAMES if "large" not in name])
def test_slopes(name, rng):
    x, gamma, beta, more, dout = case(rng, name)
    if x.ndim == 4:
        x, dout = x[:2, :, :2, :2].copy(), dout[:2, :, :2, :2].copy()
    forward, backward = pair(name)
    _, cache = forward(x, gamma, beta, *more)
    for array, grad in zip((x, gamma, beta), backward(dout, cache), strict=True):
        assert_slopes(lambda: forward(x, gamma, beta, *more)[0], array, dout, grad, name)


def test_batchnorm_after_another_layer_sends_its_gradient_through(rng):
    """A backward pass that takes mean and variance as constants passes simpler checks."""
    x, w, b = (reference.reals(rng, s, np.float64) for s in ((5, 4), (4, 3), (3,)))
    dout = rng.standard_normal((5, 3))

    def forward():
        a, affine = layers.affine_forward(x, w, b)
        out, norm = layers.batchnorm_forward(a, np.ones(3), np.zeros(3), {"mode": "train"})
        return out, affine, norm

    _, affine, norm = forward()
    dx, dw, db = layers.affine_backward(layers.batchnorm_backward(dout, norm)[0], affine)
    assert_slopes(lambda: forward()[0], x, dout, dx)
    assert_slopes(lambda: forward()[0], w, dout, dw)
    # The mean takes the bias away: 5 terms of magnitude 1 to 10 cancel.
    assert np.abs(db).max() < 1e-13


@pytest.mark.parametrize("name", ["batchnorm", "large batchnorm", "spatial_batchnorm"])
@pytest.mark.parametrize("dtype", conditions.DTYPES)
def test_running_statistics_are_written_back_as_new_arrays(name, dtype, rng):
    x, gamma, beta, _, _ = case(rng, name, dtype)
    forward, _ = pair(name)
    param = {"mode": "train"}
    forward(x, gamma, beta, param)
    axes = (0,) if x.ndim == 2 else (0, 2, 3)
    mean, var = (getattr(x.astype(np.float64), f)(axis=axes) for f in ("mean", "var"))
    u = reference.unit_roundoff(dtype)
    # Means of 60 terms below 20.
    reference.assert_within(param["running_mean"], 0.1 * mean, 200 * u * np.abs(x).max())
    reference.assert_within(param["running_var"], 0.1 * var, 200 * u * var.max())
    assert param["running_mean"].dtype == param["running_var"].dtype == dtype
    first = param["running_mean"], param["running_mean"].copy()
    param["momentum"] = 0.5
    forward(x, gamma, beta, param)
    assert np.array_equal(*first), "the caller's array is left alone"
    reference.assert_within(param["running_mean"], 0.55 * mean, 200 * u * np.abs(x).max())
    # Test mode uses them, keeps them, and has nothing to save.
    param["mode"] = "test"
    before = param["running_mean"], param["running_var"]
    out, cache = forward(x, gamma, beta, param)
    assert cache is None
    assert (param["running_mean"], param["running_var"]) == before
    wide_forward, _ = pair(name, twin)
    wide = {key: value.astype(np.float64) for key, value in zip(
        ("running_mean", "running_var"), before, strict=True)}
    wanted, _ = wide_forward(*(a.astype(np.float64) for a in (x, gamma, beta)),
                             {"mode": "test", **wide})
    reference.assert_within(out, wanted, 50 * u * (1 + np.abs(wanted).max()))


def test_large_batches_use_running_statistics_too(rng):
    x = rng.standard_normal((300, 64))
    mean, var = rng.standard_normal(64), 1 + rng.random(64)
    param = {"mode": "test", "running_mean": mean, "running_var": var, "eps": 1e-3}
    out, _ = layers.batchnorm_forward(x, np.ones(64), np.zeros(64), param)
    reference.assert_within(out, (x - mean) / np.sqrt(var + 1e-3), 1e-14)


def test_running_statistics_of_another_dtype_keep_it(rng):
    x = rng.standard_normal((6, 3)).astype(np.float32)
    one = np.ones(3, np.float32)
    param = {"mode": "train", "running_mean": np.zeros(3), "running_var": np.ones(3)}
    out, cache = layers.batchnorm_forward(x, one, one, param)
    assert out.dtype == np.float32
    assert param["running_mean"].dtype == np.float64
    dx, *_ = layers.batchnorm_backward(np.ones((6, 3)), cache)
    assert dx.dtype == np.float64


def test_whole_numbers_are_float64():
    x = np.arange(12).reshape(4, 3)
    out, _ = layers.batchnorm_forward(x, np.ones(3), np.zeros(3), {"mode": "train"})
    reference.assert_within(out, twin.batchnorm_forward(x.astype(float), np.ones(3), np.zeros(3),
                                                        {"mode": "train"})[0], 1e-14)


@pytest.mark.parametrize("name", NAMES)
def test_an_update_of_gamma_before_the_backward_pass_does_not_show(name, rng):
    x, gamma, beta, more, dout = case(rng, name)
    forward, backward = pair(name)
    _, cache = forward(x, gamma, beta, *more)
    before = backward(dout, cache)
    gamma += 1
    for one, two in zip(backward(dout, cache), before, strict=True):
        assert np.array_equal(one, two)


def test_both_backward_functions_agree(rng):
    x, gamma, beta, more, dout = case(rng, "batchnorm")
    _, cache = layers.batchnorm_forward(x, gamma, beta, *more)
    pairs = zip(layers.batchnorm_backward(dout, cache), layers.batchnorm_backward_alt(dout, cache),
                strict=True)
    assert all(np.array_equal(one, two) for one, two in pairs)


@pytest.mark.parametrize("name", NAMES)
def test_every_memory_layout_gives_the_same_numbers(name, rng):
    x, gamma, beta, more, dout = case(rng, name)
    forward, backward = pair(name)
    out, cache = forward(x, gamma, beta, *more)
    plain = out, *backward(dout, cache)
    for kind in conditions.KINDS:
        y, cache = forward(*(conditions.make(a, kind) for a in (x, gamma, beta)), *more)
        for one, two in zip((y, *backward(conditions.make(dout, kind), cache)), plain, strict=True):
            reference.assert_within(one, two, 1e-13)  # at most 60 terms of magnitude 1


def test_errors(rng):
    x, gamma, beta, _, dout = case(rng, "batchnorm")
    param = {"mode": "eval"}
    with pytest.raises(ValueError, match=r'^Invalid forward batchnorm mode "eval"$'):
        layers.batchnorm_forward(x, gamma, beta, param)
    assert param == {"mode": "eval"}
    param = {"mode": "train"}
    with pytest.raises(ShapeError, match=r"batchnorm_forward: gamma with shape \(4,\)"):
        layers.batchnorm_forward(x, gamma[:4], beta, param)
    assert param == {"mode": "train"}
    for mode in ("train", "test"):
        with pytest.raises(ShapeError, match=r"batchnorm_forward: bn_param\['running_var'\] with "
                           r"shape \(1,\); wanted \(5,\)"):
            layers.batchnorm_forward(x, gamma, beta, {"mode": mode, "running_var": np.ones(1)})
    with pytest.raises(ArgumentError, match=r"batchnorm_forward: eps=-1"):
        layers.batchnorm_forward(x, gamma, beta, {"mode": "train", "eps": -1})
    with pytest.raises(ArgumentError, match=r"batchnorm_backward: the cache is None; wanted"):
        layers.batchnorm_backward(dout, None)
    _, cache = layers.batchnorm_forward(x, gamma, beta, param)
    with pytest.raises(ShapeError, match=r"batchnorm_backward: dout with shape \(6, 4\); wanted "
                       r"\(6, 5\)"):
        layers.batchnorm_backward(dout[:, :4], cache)
    with pytest.raises(ShapeError, match=r"layernorm_forward: x with shape \(5,\)"):
        layers.layernorm_forward(x[0], gamma, beta, {})
    with pytest.raises(ShapeError, match=r"spatial_batchnorm_forward: x with shape \(6, 5\)"):
        layers.spatial_batchnorm_forward(x, gamma, beta, {"mode": "train"})
    images = np.ones((2, 4, 3, 3))
    with pytest.raises(ArgumentError, match=r"spatial_groupnorm_forward: G=3"):
        layers.spatial_groupnorm_forward(images, np.ones((1, 4, 1, 1)), np.ones((1, 4, 1, 1)), 3,
                                         {})
