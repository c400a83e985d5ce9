"""fastbp.compat.cs231n: convolution, pooling, im2col, and the layers made of them."""

from __future__ import annotations

import conditions
import numpy as np
import pytest
import reference
from slopes import assert_slopes

from fastbp._errors import ArgumentError, ShapeError
from fastbp.benchmark._peers import _compat_cs231n as twin
from fastbp.compat.cs231n import fast_layers, im2col, im2col_cython, layer_utils, layers

CONVS = [(layers, "naive"), (fast_layers, "fast"), (fast_layers, "strides"),
         (fast_layers, "im2col")]
GEOMETRIES = [(1, 1), (2, 1), (1, 0), (2, 0), (3, 2)]  # stride, pad


def conv_case(rng, dtype=np.float64):
    shapes = (3, 2, 7, 6), (4, 2, 3, 2), (4,)
    return tuple(reference.reals(rng, shape, dtype) for shape in shapes)


def pair(module, part, name):
    return (getattr(module, f"{part}_forward_{name}"), getattr(module, f"{part}_backward_{name}"))


@pytest.mark.parametrize(("module", "name"), CONVS)
def test_convolution_gives_the_numbers_of_the_course(module, name):
    x = np.linspace(-0.1, 0.5, 96).reshape(2, 3, 4, 4)
    w, b = np.linspace(-0.2, 0.3, 144).reshape(3, 3, 4, 4), np.linspace(-0.1, 0.2, 3)
    out, cache = pair(module, "conv", name)[0](x, w, b, {"stride": 2, "pad": 1})
    wanted = [[[[-0.08759809, -0.10987781], [-0.18387192, -0.2109216]],
               [[0.21027089, 0.21661097], [0.22847626, 0.23004637]],
               [[0.50813986, 0.54309974], [0.64082444, 0.67101435]]],
              [[[-0.98053589, -1.03143541], [-1.19128892, -1.24695841]],
               [[0.69108355, 0.66880383], [0.59480972, 0.56776003]],
               [[2.36270298, 2.36904306], [2.38090835, 2.38247847]]]]
    reference.assert_within(out, wanted, 6e-9)  # printed to 8 places
    assert cache[0] is x
    assert cache[1] is w
    assert cache[2] is b


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("dtype", conditions.DTYPES)
@pytest.mark.parametrize(("module", "name"), CONVS)
def test_convolution_matches_numpy_in_float64(module, name, dtype, geometry, rng):
    x, w, b = conv_case(rng, dtype)
    param = dict(zip(("stride", "pad"), geometry, strict=True))
    forward, backward = pair(module, "conv", name)
    before = x.copy()
    out, cache = forward(x, w, b, param)
    dout = reference.reals(rng, out.shape, dtype)
    wide = [a.astype(np.float64) for a in (x, w, b)]
    wanted, wide_cache = twin.conv_forward(*wide, param)
    found = out, *backward(dout, cache)
    expected = wanted, *twin.conv_backward(dout.astype(np.float64), wide_cache)
    # Sums: w over 12 terms, filters and taps 24, images and positions at most 252; |terms| < 25.
    for array, value, terms in zip(found, expected, (13, 24, 252, 252), strict=True):
        assert array.dtype == dtype
        reference.assert_within(array, value, 25 * terms**2 * reference.unit_roundoff(dtype))
    assert np.array_equal(x, before)


@pytest.mark.parametrize("geometry", [(1, 1), (2, 0)])
def test_slopes_of_convolution(geometry, rng):
    x, w, b = conv_case(rng)
    x = x[:2, :, :4, :4].copy()
    param = dict(zip(("stride", "pad"), geometry, strict=True))
    out, cache = layers.conv_forward_naive(x, w, b, param)
    dout = rng.standard_normal(out.shape)
    for array, grad in zip((x, w, b), layers.conv_backward_naive(dout, cache), strict=True):
        assert_slopes(lambda: layers.conv_forward_naive(x, w, b, param)[0], array, dout, grad)


def test_columns_in_the_cache_have_the_order_of_the_course(rng):
    x, w, b = conv_case(rng)
    param = {"stride": 1, "pad": 1}
    out, (*_, cols) = fast_layers.conv_forward_strides(x, w, b, param)
    n, f, oh, ow = out.shape
    again = (w.reshape(f, -1) @ cols + b[:, None]).reshape(f, n, oh, ow).transpose(1, 0, 2, 3)
    reference.assert_within(out, again, 1e-13)  # 13 terms of magnitude 1 to 10
    out, (*_, cols) = fast_layers.conv_forward_im2col(x, w, b, param)
    again = (w.reshape(f, -1) @ cols + b[:, None]).reshape(f, oh, ow, n).transpose(3, 0, 1, 2)
    reference.assert_within(out, again, 1e-13)
    assert fast_layers.conv_forward_fast(x, w, b, param)[1][4] is None


def test_mixed_and_whole_inputs_of_convolution(rng):
    x, w, b = conv_case(rng)
    whole = np.arange(x.size).reshape(x.shape)
    for given, weights, dtype in ((whole, w, np.float64), (x, w.astype(np.float32), np.float64),
                                  (whole.astype(np.float32), w.astype(np.float32), np.float32)):
        out, cache = layers.conv_forward_naive(given, weights, b.astype(weights.dtype),
                                               {"stride": 1, "pad": 0})
        assert out.dtype == dtype
        grads = layers.conv_backward_naive(np.ones(out.shape, np.float32), cache)
        assert all(g.dtype == dtype for g in grads)


POOLS = [(layers, "naive"), (fast_layers, "fast"), (fast_layers, "im2col")]


@pytest.mark.parametrize("geometry", [(2, 2, 2), (3, 2, 1), (2, 3, 2), (4, 6, 3)])
@pytest.mark.parametrize(("module", "name"), POOLS)
def test_pooling_takes_the_maximum_of_every_window(module, name, geometry, rng):
    x = reference.reals(rng, (2, 3, 8, 6), np.float32)
    height, width, stride = geometry
    param = {"pool_height": height, "pool_width": width, "stride": stride}
    forward, backward = pair(module, "max_pool", name)
    out, cache = forward(x, param)
    seen = np.lib.stride_tricks.sliding_window_view(x, (height, width), axis=(2, 3))
    wanted = seen[:, :, ::stride, ::stride].max(axis=(4, 5))
    assert out.dtype == np.float32
    assert np.array_equal(out, wanted)
    dout = reference.reals(rng, out.shape, np.float32)
    dx = np.zeros(x.shape)
    for n, c, i, j in np.ndindex(*out.shape):
        window = x[n, c, i * stride : i * stride + height, j * stride : j * stride + width]
        u, v = np.unravel_index(np.argmax(window), window.shape)
        dx[n, c, i * stride + u, j * stride + v] += dout[n, c, i, j]
    # At most 6 windows meet in an element.
    reference.assert_within(backward(dout, cache), dx, 20 * reference.unit_roundoff(np.float32))


def test_ties_go_to_the_first_maximum_or_are_shared():
    x = np.zeros((1, 1, 2, 4))
    x[0, 0, :, 3] = 1
    param = {"pool_height": 2, "pool_width": 2, "stride": 2}
    dout = np.array([[[[4.0, 6.0]]]])
    first = [[4, 0, 0, 6], [0, 0, 0, 0]]
    shared = [[1, 1, 0, 3], [1, 1, 0, 3]]
    for module, name, wanted in ((layers, "naive", first), (fast_layers, "im2col", first),
                                 (fast_layers, "reshape", shared), (fast_layers, "fast", shared)):
        forward, backward = pair(module, "max_pool", name)
        _, cache = forward(x, param)
        assert np.array_equal(backward(dout, cache)[0, 0], wanted), name
        dx = backward(dout.astype(np.float32), forward(x.astype(np.float32), param)[1])
        assert dx.dtype == np.float32
    assert fast_layers.max_pool_forward_fast(x, param)[1][0] == "reshape"
    assert fast_layers.max_pool_forward_fast(x, param | {"stride": 1})[1][0] == "im2col"


def test_reshape_pooling_keeps_nan():
    x = np.array([[[[np.nan, 1.0], [2.0, 3.0]]]])
    out, cache = fast_layers.max_pool_forward_reshape(
        x, {"pool_height": 2, "pool_width": 2, "stride": 2})
    assert np.isnan(out).all()
    assert np.isnan(fast_layers.max_pool_backward_reshape(np.ones((1, 1, 1, 1)), cache)).all()


@pytest.mark.parametrize("kind", conditions.KINDS, ids=str)
def test_every_memory_layout_gives_the_same_numbers(kind, rng):
    x, w, b = conv_case(rng)
    param, pooling = {"stride": 1, "pad": 1}, {"pool_height": 2, "pool_width": 2, "stride": 1}
    dout = rng.standard_normal((3, 4, 7, 7))

    def everything(*arrays):
        images, weights, bias, upstream = arrays
        out, cache = layers.conv_forward_naive(images, weights, bias, param)
        pooled, pool_cache = layers.max_pool_forward_naive(images, pooling)
        return (out, *layers.conv_backward_naive(upstream, cache), pooled,
                layers.max_pool_backward_naive(pooled, pool_cache),
                fast_layers.conv_forward_strides(images, weights, bias, param)[1][4])

    arrays = x, w, b, dout
    pairs = zip(everything(*(conditions.make(a, kind) for a in arrays)), everything(*arrays),
                strict=True)
    for one, two in pairs:
        reference.assert_within(one, two, 1e-12)  # at most 252 terms of magnitude 10


@pytest.mark.parametrize("name", ["conv_relu", "conv_relu_pool", "conv_bn_relu"])
def test_slopes_of_layers_used_together(name, rng):
    x, w, b = conv_case(rng)
    x = x[:2, :, :4, :4].copy()
    w = w[:, :, :2].copy()
    arrays = [x, w, b]
    more = [{"stride": 1, "pad": 0}]
    if name == "conv_relu_pool":
        more.append({"pool_height": 3, "pool_width": 3, "stride": 3})
    if name == "conv_bn_relu":
        arrays += [1 + rng.random(4), rng.standard_normal(4)]
        more.append({"mode": "train"})
    forward, backward = (getattr(layer_utils, f"{name}_{way}") for way in ("forward", "backward"))
    out, cache = forward(*arrays, *more)
    assert len(cache) == name.count("_") + 1
    dout = rng.standard_normal(out.shape)
    for array, grad in zip(arrays, backward(dout, cache), strict=True):
        assert_slopes(lambda: forward(*arrays, *more)[0], array, dout, grad, name)


@pytest.mark.parametrize("geometry", [(3, 2, 1, 1), (2, 3, 0, 2), (2, 2, 1, 3)])
def test_im2col_and_its_transpose(geometry, rng):
    fh, fw, padding, stride = geometry
    x = rng.standard_normal((2, 3, 5, 6))
    n, c, h, w = x.shape
    cols = im2col.im2col_indices(x, fh, fw, padding, stride)
    k, i, j = im2col.get_im2col_indices(x.shape, fh, fw, padding, stride)
    padded = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    by_index = padded[:, k, i, j]
    assert np.array_equal(cols, by_index.transpose(1, 2, 0).reshape(c * fh * fw, -1))
    out_h, out_w = (h + 2 * padding - fh) // stride + 1, (w + 2 * padding - fw) // stride + 1
    for column, (row, place, sample) in enumerate(np.ndindex(out_h, out_w, n)):
        top, left = stride * row, stride * place
        window = padded[sample, :, top : top + fh, left : left + fw]
        assert np.array_equal(cols[:, column], window.reshape(-1))
    back = rng.standard_normal(cols.shape)
    image = im2col.col2im_indices(back, x.shape, fh, fw, padding, stride)
    assert image.shape == x.shape
    # The transpose: <im2col(x), back> = <x, col2im(back)>, sums of 400 terms of magnitude 1.
    assert abs(np.vdot(cols, back) - np.vdot(x, image)) < 1e-12
    assert np.array_equal(im2col_cython.im2col_cython(x, fh, fw, padding, stride), cols)
    again = im2col_cython.col2im_cython(back, n, c, h, w, fh, fw, padding, stride)
    assert np.array_equal(again, image)
    six = back.reshape(c, fh, fw, out_h, out_w, n).transpose(0, 1, 2, 5, 3, 4)
    again = im2col_cython.col2im_6d_cython(six, n, c, h, w, fh, fw, padding, stride)
    assert np.array_equal(again, image)
    assert im2col.im2col_indices(x.astype(np.float32), 3, 3).dtype == np.float32


def test_errors_name_the_function_and_its_arguments(rng):
    x, w, b = conv_case(rng)
    param = {"stride": 1, "pad": 1}
    with pytest.raises(ShapeError, match=r"conv_forward_naive: .*w"):
        layers.conv_forward_naive(x, w[:, :1], b, param)
    with pytest.raises(ShapeError, match=r"conv_forward_fast: .*x"):
        fast_layers.conv_forward_fast(x[0], w, b, param)
    with pytest.raises(ArgumentError, match=r"conv_forward_naive: pad=-1"):
        layers.conv_forward_naive(x, w, b, {"stride": 1, "pad": -1})
    with pytest.raises(ShapeError, match=r"conv_backward_naive: dout with shape"):
        layers.conv_backward_naive(x, (x, w, b, param))
    pooling = {"pool_height": 2, "pool_width": 2, "stride": 2}
    with pytest.raises(ShapeError, match=r"max_pool_backward_naive: dout with shape"):
        layers.max_pool_backward_naive(x, (x, pooling))
    for wrong in (pooling, pooling | {"stride": 1}):
        with pytest.raises(ArgumentError, match=r"max_pool_forward_reshape: pool_param .* for x "
                           r"with shape \(3, 2, 7, 6\); wanted pool_height = pool_width = stride"):
            fast_layers.max_pool_forward_reshape(x, wrong)
    with pytest.raises(ShapeError, match=r"max_pool_forward_reshape: x with shape \(2, 7, 6\)"):
        fast_layers.max_pool_forward_fast(x[0], pooling)
    with pytest.raises(ArgumentError, match=r"max_pool_forward_naive: stride=None"):
        layers.max_pool_forward_naive(x, pooling | {"stride": None})
    with pytest.raises(ValueError, match='Unrecognized method "other"'):
        fast_layers.max_pool_backward_fast(x, ("other", None))
    with pytest.raises(ShapeError, match="im2col_indices: a window of 9x9 for images of 7x6"):
        im2col.im2col_indices(x, 9, 9, padding=0)
    with pytest.raises(ShapeError, match=r"col2im_indices: cols with shape \(2, 2\)"):
        im2col.col2im_indices(np.ones((2, 2)), x.shape)
