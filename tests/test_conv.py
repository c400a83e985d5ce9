"""Convolution against its twin: shapes, strides, borders, memory, threads."""

from __future__ import annotations

import os

import conditions
import numpy as np
import pytest
import reference
from running import run

import fastbp
from fastbp import ops
from fastbp._arena import address_of
from fastbp._errors import ArgumentError, DTypeError, ShapeError
from fastbp._jit import DISABLED
from fastbp._program import Operand, Program
from fastbp.emit._window import Window
from fastbp.emit.conv import Conv, emit_conv2d_dw, emit_conv2d_dx, emit_conv2d_forward

SLOW = DISABLED or os.environ.get("FASTBP_BOUNDSCHECK") == "1"

# (N, C, H, W), (F, HH, WW), settings
SMALL = [
    ((1, 1, 1, 1), (1, 1, 1), {}),
    ((2, 3, 5, 4), (4, 3, 3), {"padding": 1}),
    ((1, 2, 3, 3), (2, 5, 7), {"padding": (1, 2)}),  # a window larger than the image
    ((3, 4, 7, 5), (6, 3, 2), {"stride": 2, "padding": 1, "groups": 2}),
    ((2, 2, 9, 8), (3, 3, 3), {"stride": (2, 3), "padding": (1, 2), "dilation": (2, 1)}),
    ((1, 2, 5, 7), (3, 2, 2), {"stride": 4}),  # pixels that no window sees
    ((2, 4, 4, 4), (4, 3, 3), {"padding": 1, "groups": 4}),
    ((1, 3, 4, 5), (2, 1, 1), {"stride": 2}),
    ((1, 1, 6, 6), (2, 3, 3), {"padding": 4, "stride": 3, "dilation": 2}),
    ((1, 1, 5, 21), (2, 3, 3), {}),  # rows of outputs longer than a register
    ((1, 17, 5, 6), (2, 2, 3), {"stride": 2, "padding": 1}),  # dx by phases, not by shares
]
LARGER = [
    ((3, 3, 32, 32), (33, 7, 7), {"padding": 3}),
    ((40, 2, 4, 4), (5, 3, 3), {"padding": 1}),  # several samples in a panel
    ((3, 130, 6, 6), (9, 3, 3), {"padding": 1}),  # several blocks of channels
    ((2, 40, 14, 14), (70, 3, 3), {"stride": 2, "padding": 1}),
    ((1, 1, 23, 3001), (2, 3, 4), {"padding": 2}),  # bands of some rows
    ((1, 2, 20, 31), (17, 1, 1), {}),
    ((7, 37, 13, 11), (29, 2, 3), {"stride": (1, 2), "dilation": (3, 2), "padding": 2}),
    ((1, 1, 260, 251), (1, 3, 3), {"dilation": 120, "padding": 7}),
    ((1, 300, 5, 5), (150, 3, 3), {"padding": 1}),
    ((33, 6, 17, 19), (12, 4, 5), {"groups": 3, "padding": (2, 1), "stride": (3, 1)}),
]
SHAPES = SMALL if SLOW else SMALL + LARGER


def case(rng, image, kernel, settings, dtype, draw=reference.reals):
    f, hh, ww = kernel
    x = draw(rng, image, dtype)
    w = draw(rng, (f, image[1] // settings.get("groups", 1), hh, ww), dtype)
    b = draw(rng, (f,), dtype)
    shape = reference.conv2d_forward(x, w, **settings).shape
    return x, w, b, draw(rng, shape, dtype)


@pytest.mark.parametrize("dtype", conditions.DTYPES)
@pytest.mark.parametrize(("image", "kernel", "settings"), SHAPES, ids=str)
def test_it_is_the_twins(image, kernel, settings, dtype, rng):
    """Bounds: a sum of K terms is off by K+3 roundings of the sum of their sizes."""
    if dtype == np.float64 and (image, kernel, settings) in LARGER:
        pytest.skip("the twin's long doubles are slow; whole numbers are compared below")
    x, w, b, dy = case(rng, image, kernel, settings, dtype)
    u = reference.unit_roundoff(dtype)
    y = ops.conv2d_forward(x, w, b, **settings)
    size = reference.conv2d_forward(abs(x), abs(w), abs(b), **settings)
    bound = (w[0].size + 3) * u * size
    reference.assert_within(y, reference.conv2d_forward(x, w, b, **settings), bound, "y")
    assert y.dtype == dtype
    got = ops.conv2d_backward(dy, x, w, **settings)
    sizes = reference.conv2d_backward(abs(dy), abs(x), abs(w), **settings)
    terms = (w.size // w.shape[1], dy[:, 0].size, dy[:, 0].size)
    for name, a, e, s, k in zip(("dx", "dw", "db"), got,
                                reference.conv2d_backward(dy, x, w, **settings), sizes, terms,
                                strict=True):
        assert a.dtype == dtype
        reference.assert_within(a, e, (k + 3) * u * s, name)


@pytest.mark.parametrize("dtype", conditions.DTYPES)
def test_whole_numbers_are_exact(dtype, rng):
    for image, kernel, settings in SHAPES:
        numbers = case(rng, image, kernel, settings, np.float32, reference.integers)
        x, w, b, dy = (a.astype(dtype) for a in numbers)
        y = ops.conv2d_forward(x, w, b, **settings)
        assert np.array_equal(y, reference.conv2d_forward(*numbers[:3], **settings))
        pairs = zip(ops.conv2d_backward(dy, x, w, **settings),
                    reference.conv2d_backward(numbers[3], *numbers[:2], **settings), strict=True)
        assert all(np.array_equal(a, e) for a, e in pairs), (image, kernel, settings)


@pytest.mark.parametrize("kind", conditions.KINDS, ids=str)
def test_any_kind_of_memory_gives_the_bits_of_a_contiguous_copy(kind, rng):
    x, w, b, dy = case(rng, (4, 3, 6, 5), (4, 3, 2), {"padding": 1}, np.float32)
    y = ops.conv2d_forward(x, w, b, padding=1)
    gradients = ops.conv2d_backward(dy, x, w, padding=1)
    x, w, b, dy = (conditions.make(a, kind) for a in (x, w, b, dy))
    assert np.array_equal(ops.conv2d_forward(x, w, b, padding=1), y)
    others = ops.conv2d_backward(dy, x, w, padding=1)
    assert all(np.array_equal(a, b) for a, b in zip(gradients, others, strict=True))


@pytest.mark.parametrize("kind", conditions.OUTPUT_KINDS, ids=str)
def test_out_may_be_any_kind_of_memory(kind, rng):
    x, w, b, _ = case(rng, (3, 2, 6, 5), (4, 3, 2), {}, np.float32)
    y = ops.conv2d_forward(x, w, b)
    out = conditions.Output(y.shape, np.float32, kind)
    assert ops.conv2d_forward(x, w, b, out=out.array) is out.array
    assert np.array_equal(out.array, y)
    out.assert_only_array_written()


def test_out_may_be_the_input(rng):
    x, w, _, _ = case(rng, (2, 3, 6, 5), (3, 1, 1), {}, np.float32)
    expected = ops.conv2d_forward(x, w)
    assert np.array_equal(ops.conv2d_forward(x, w, out=x), expected)


def test_channels_last_is_the_same_convolution(rng):
    settings = {"stride": 2, "padding": 1, "groups": 2}
    x, w, b, dy = case(rng, (3, 4, 7, 6), (6, 3, 2), settings, np.float32)
    y, (dx, dw, db) = ops.conv2d_forward(x, w, b, **settings), ops.conv2d_backward(
        dy, x, w, **settings)
    last, up = (np.ascontiguousarray(a.transpose(0, 2, 3, 1)) for a in (x, dy))
    out = np.full(y.transpose(0, 2, 3, 1).shape, np.nan, np.float32)
    other = ops.conv2d_forward(last, w, b, data_format="NHWC", out=out, **settings)
    assert other is out
    assert np.array_equal(out, y.transpose(0, 2, 3, 1))
    back = ops.conv2d_backward(up, last, w, data_format="NHWC", **settings)
    assert np.array_equal(back[0], dx.transpose(0, 2, 3, 1))
    assert np.array_equal(back[1], dw)
    assert np.array_equal(back[2], db)
    assert ops.conv2d_backward(dy, x, w, need_dx=False, **settings)[0] is None


@pytest.mark.parametrize("dtype", conditions.DTYPES)
def test_rows_of_a_network_keep_their_padding(dtype, rng):
    """As in a network: samples padded with NaN, ReLU as the floor, W in padded rows."""
    shape = Conv(3, 5, 6, 4, Window((3, 3), (2, 1), (1, 1)))
    x, w, b, dy = case(rng, (3, 3, 5, 6), (4, 3, 3), {"stride": (2, 1), "padding": 1}, dtype)
    expected = np.maximum(ops.conv2d_forward(x, w, b, stride=(2, 1), padding=1), 0)
    gradients = ops.conv2d_backward(dy, x, w, stride=(2, 1), padding=1)
    sizes = (x[0].size, dy[0].size, dy[0].size, x[0].size)
    inputs = [conditions.Output((3, n), dtype, "C gap") for n in sizes]
    weights = [conditions.Output((4, w[0].size), dtype, "C gap") for _ in range(2)]
    inputs[0].array[...], inputs[1].array[...] = x.reshape(3, -1), dy.reshape(3, -1)
    weights[0].array[...] = w.reshape(4, -1)
    rows, up, y, dx = (Operand.of(p.array) for p in inputs)
    db, program = np.full(4, np.nan, dtype), Program(dtype)
    emit_conv2d_forward(program, y, rows, Operand.of(weights[0].array), address_of(b), shape,
                        floor=0.0)
    emit_conv2d_dx(program, dx, up, Operand.of(weights[0].array), shape)
    emit_conv2d_dw(program, Operand.of(weights[1].array), address_of(db), up, rows, shape)
    run(program, *(p.whole for p in (*inputs, *weights)), b, db)
    for got, want in zip((inputs[2].array, inputs[3].array, weights[1].array, db),
                         (expected, *gradients), strict=True):
        assert np.array_equal(got.reshape(want.shape), want)
    for place in (*inputs, *weights):
        place.assert_only_array_written()


def test_no_samples_and_no_bias(rng):
    x, w = np.zeros((0, 2, 5, 5), np.float32), np.ones((3, 2, 3, 3), np.float32)
    y = ops.conv2d_forward(x, w)
    assert y.shape == (0, 3, 3, 3)
    dx, dw, db = ops.conv2d_backward(y, x, w)
    assert dx is not None
    assert dx.shape == x.shape
    assert np.array_equal(dw, np.zeros_like(w))
    assert np.array_equal(db, np.zeros(3))
    x = reference.reals(rng, (2, 2, 5, 5), np.float32)
    plain = ops.conv2d_forward(x, w)
    assert np.array_equal(plain, ops.conv2d_forward(x, w, np.zeros(3, np.float32)))


def test_a_pixel_that_is_nan_stays_in_its_windows(rng):
    x, w, _, _ = case(rng, (2, 2, 6, 6), (3, 3, 3), {}, np.float32)
    x[1, 0, 0, 0] = np.nan
    y = ops.conv2d_forward(x, w)
    assert np.isnan(y[1, :, 0, 0]).all()
    assert np.isnan(y).sum() == 3


@pytest.mark.parametrize("value", [np.nan] if DISABLED else [np.nan, np.inf])
@pytest.mark.parametrize(("image", "kernel", "settings"), SHAPES[3:5] if DISABLED else SHAPES[:-2],
                         ids=str)
def test_what_is_not_finite_reaches_its_own_products_only(image, kernel, settings, value, rng):
    """In x and w, at either end, anywhere, everywhere: where the twin has it; all else keeps its
    bits.
    """
    x, w, _, dy = case(rng, image, kernel, settings, np.float32)
    clean = ops.conv2d_backward(dy, x, w, **settings)
    for name, array in (("x", x), ("w", w)):
        for place in (0, -1, rng.integers(array.size), slice(None)):
            args = {"x": x, "w": w, name: array.copy()}
            args[name].reshape(-1)[place] = value
            with np.errstate(invalid="ignore"):
                got = ops.conv2d_backward(dy, args["x"], args["w"], **settings)
                expected = reference.conv2d_backward(dy, args["x"], args["w"], **settings)
            for which, a, e, before in zip(("dx", "dw", "db"), got, expected, clean, strict=True):
                finite = np.isfinite(e)
                assert np.array_equal(np.isnan(a), np.isnan(e)), (name, place, which)
                assert np.array_equal(a[finite], before[finite]), (name, place, which)
                assert np.array_equal(a[~finite], e[~finite], equal_nan=True)


@pytest.mark.skipif(SLOW, reason="large; threads do not matter in plain Python")
def test_the_same_bits_for_every_number_of_threads(rng):
    for image, kernel, settings in LARGER[:4]:
        x, w, b, dy = case(rng, image, kernel, settings, np.float32)
        results = set()
        for threads in (1, 2, 4):
            with fastbp.threads(threads, oversubscribe=True):
                arrays = (ops.conv2d_forward(x, w, b, **settings),
                          *ops.conv2d_backward(dy, x, w, **settings))
            results.add(b"".join(a.tobytes() for a in arrays))
        assert len(results) == 1


@pytest.mark.skipif(SLOW, reason="not about kernels")
def test_scipy_agrees(rng):
    signal = pytest.importorskip("scipy.signal")
    x, w, _, _ = case(rng, (2, 3, 9, 11), (4, 3, 5), {}, np.float64)
    y = ops.conv2d_forward(x, w)
    for n in range(2):
        for f in range(4):
            expected = sum(signal.correlate2d(x[n, c], w[f, c], mode="valid") for c in range(3))
            # 45 terms of size 1 on either side.
            assert np.abs(y[n, f] - expected).max() <= 2 * 45 * 2.0**-53 * 45


@pytest.mark.skipif(SLOW, reason="not about kernels")
def test_torch_agrees(rng):
    torch = pytest.importorskip("torch")
    for image, kernel, settings in SMALL + LARGER[:3]:
        x, w, b, dy = case(rng, image, kernel, settings, np.float64, reference.integers)
        tensors = [torch.tensor(a, requires_grad=True) for a in (x, w, b)]
        y = torch.nn.functional.conv2d(*tensors, **settings)
        y.backward(torch.tensor(dy))
        assert np.array_equal(ops.conv2d_forward(x, w, b, **settings), y.detach().numpy())
        for got, tensor in zip(ops.conv2d_backward(dy, x, w, **settings), tensors, strict=True):
            assert np.array_equal(got, tensor.grad.numpy())


def test_what_does_not_fit_is_refused():
    x, w = np.ones((2, 3, 5, 5), np.float32), np.ones((4, 3, 3, 3), np.float32)
    for error, text, call in (
        (ShapeError, r"x with shape \(3, 5, 5\); wanted \(N, C, H, W\); one image is x\[None\]",
         lambda: ops.conv2d_forward(x[0], w)),
        (ShapeError, r"w with shape \(3, 3, 3\); wanted \(F, C/groups, HH, WW\)",
         lambda: ops.conv2d_forward(x, w[0])),
        (ShapeError, r"x with 3 channels, w with shape \(4, 2, 3, 3\), groups=1; wanted x with 2",
         lambda: ops.conv2d_forward(x, w[:, :2])),
        (ShapeError, r"data_format='NHWC' would fit",
         lambda: ops.conv2d_forward(x.transpose(0, 2, 3, 1), w)),
        (ShapeError, r"images of 5x5 with padding \(0, 0\) under a window that reaches 7x7",
         lambda: ops.conv2d_forward(x, w, dilation=3)),
        (ArgumentError, r"groups=3 for 4 filters; wanted an integer of 1 or more that divides",
         lambda: ops.conv2d_forward(x, w[:, :1], groups=3)),
        (ArgumentError, r"stride=0; wanted an integer of 1 or more, or two of them",
         lambda: ops.conv2d_forward(x, w, stride=0)),
        (ArgumentError, r"padding=\(1, 2, 3\); wanted an integer of 0 or more",
         lambda: ops.conv2d_forward(x, w, padding=(1, 2, 3))),
        (ArgumentError, r"data_format='HWC'; wanted 'NCHW' or 'NHWC'",
         lambda: ops.conv2d_forward(x, w, data_format="HWC")),
        (ShapeError, r"b with shape \(3,\); wanted \(4,\)",
         lambda: ops.conv2d_forward(x, w, np.ones(3, np.float32))),
        (DTypeError, "x float32, w float64; wanted one dtype",
         lambda: ops.conv2d_forward(x, w.astype(float))),
        (ShapeError, r"out with shape \(2, 4, 3, 4\); wanted \(2, 4, 3, 3\)",
         lambda: ops.conv2d_forward(x, w, out=np.ones((2, 4, 3, 4), np.float32))),
        (ShapeError, r"dy with shape \(2, 4, 3, 2\); wanted y's shape \(2, 4, 3, 3\)",
         lambda: ops.conv2d_backward(np.ones((2, 4, 3, 2), np.float32), x, w)),
    ):
        with pytest.raises(error, match=text):
            call()
