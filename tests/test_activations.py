"""Activations and their gradients against the twins; NaN, infinities, in place, any memory."""

from __future__ import annotations

import os

import conditions
import numpy as np
import pytest
import reference
from running import run

import fastbp
from fastbp import ops
from fastbp._errors import ArgumentError, DTypeError, ShapeError
from fastbp._jit import DISABLED, entry
from fastbp._program import Operand, Program
from fastbp._simd import at, data_pointer
from fastbp.emit.activations import emit_activation_backward, emit_activation_forward
from fastbp.kernels import activations

SLOW = DISABLED or os.environ.get("FASTBP_BOUNDSCHECK") == "1"
GAP = conditions.BY_NAME["C gap"]
NAMES = list(activations.NAMES)
SMOOTH = ("sigmoid", "tanh", "gelu", "softplus", "silu")
# Relative error of y in units roundoff: twice the error in units of the last place, and a product.
FORWARD = {"identity": 0, "relu": 0, "leaky_relu": 2, "gelu": 13, "silu": 5}
SIZES = conditions.VECTOR_SIZES[1:] if SLOW else (*conditions.VECTOR_SIZES[1:], 40_001)


@pytest.fixture(autouse=True)
def _no_warnings_in_plain_python():
    with np.errstate(all="ignore"):
        yield


def saved_of(name, x, y):
    return x if activations.NAMES[name] in activations.FROM_INPUT else y


def values(rng, shape, dtype):
    """Ordinary numbers, among them zeros and some far out where functions saturate."""
    x = reference.reals(rng, shape, dtype) * dtype(3)
    x[rng.random(shape) < 0.1] *= dtype(10)
    x[rng.random(shape) < 0.05] = 0
    return x


def assert_forward(name, y, x):
    expected = reference.ACTIVATIONS[name][0](x)
    bound = reference.relative_bound(expected, x.dtype, FORWARD.get(name, 4))
    if name in SMOOTH:  # a factor below the smallest normal number is 0
        bound = bound + np.finfo(x.dtype).smallest_normal * (1 + np.abs(x.astype(bound.dtype)))
    reference.assert_within(y, expected, bound, name)


def assert_backward(name, dx, dy, x):
    expected = reference.ACTIVATIONS[name][1](dy, x)
    exact = name in ("identity", "relu")
    bound = 0.0 if exact else 10 * reference.unit_roundoff(x.dtype) * np.abs(dy)
    reference.assert_within(dx, expected, bound, name)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", conditions.DTYPES)
def test_forward_and_backward_are_the_twins(dtype, name, rng):
    kind = activations.NAMES[name]
    shapes = [(1, n) for n in SIZES] + [(3, 17), (5, 33)] + ([] if SLOW else [(700, 37)])
    for shape in shapes:
        x, dy = values(rng, shape, dtype), reference.reals(rng, shape, dtype)
        y, dx = conditions.Output(shape, dtype, GAP), conditions.Output(shape, dtype, GAP)
        z, upstream = conditions.make(x, GAP), conditions.make(dy, GAP)
        program = Program(dtype)
        emit_activation_forward(program, Operand.of(y.array), Operand.of(z), kind, 0.01)
        run(program, y.array, z)
        assert_forward(name, y.array, x)
        y.assert_only_array_written()
        saved = conditions.make(saved_of(name, x, y.array.copy()), GAP)
        program = Program(dtype)
        emit_activation_backward(program, Operand.of(dx.array), Operand.of(upstream),
                                 Operand.of(saved), kind, 0.01)
        run(program, dx.array, upstream, saved)
        assert_backward(name, dx.array, dy, x)
        dx.assert_only_array_written()


@entry
def tiles(y, dz, z, dy, saved, rows, cols, step, kind):
    """Tiles of up to 14 x 32 in place of the whole, as the epilogue of a matmul goes."""
    for i in range(0, rows, 14):
        for j in range(0, cols, 32):
            k, m, n = i * step + j, min(14, rows - i), min(32, cols - j)
            activations.activate_block(at(data_pointer(y), k), step, at(data_pointer(z), k), step,
                                       m, n, kind, 0.01)
            activations.activation_gradient_block(
                at(data_pointer(dz), k), step, at(data_pointer(dy), k), step,
                at(data_pointer(saved), k), step, m, n, kind, 0.01)


@pytest.mark.parametrize("dtype", conditions.DTYPES)
def test_tiles_in_place_give_the_bits_of_the_whole(dtype, rng):
    rows, cols, step = 17, 45, 48
    for name in NAMES:
        if name == "identity":
            continue
        x, dy = values(rng, (rows, step), dtype), reference.reals(rng, (rows, step), dtype)
        y = getattr(ops, f"{name}_forward")(x)
        saved = saved_of(name, x, y)
        dx = getattr(ops, f"{name}_backward")(dy, saved)
        z, dz = x.copy(), dy.copy()
        tiles(z, dz, z, dz, saved.copy(), rows, cols, step, activations.NAMES[name])
        assert np.array_equal(z[:, :cols], y[:, :cols]), name
        assert np.array_equal(dz[:, :cols], dx[:, :cols]), name
        assert np.array_equal(z[:, cols:], x[:, cols:])
        assert np.array_equal(dz[:, cols:], dy[:, cols:])


@pytest.mark.parametrize("dtype", conditions.DTYPES)
def test_nan_and_infinities(dtype):
    x = np.array([np.nan, np.inf, -np.inf, 1e4, -1e4, 0.0, -0.0], dtype)
    limits = {
        "relu": [np.inf, 0, 1e4, 0, 0, 0],
        "leaky_relu": [np.inf, -np.inf, 1e4, -100, 0, 0],
        "sigmoid": [1, 0, 1, 0, 0.5, 0.5],
        "tanh": [1, -1, 1, -1, 0, 0],
        "gelu": [np.inf, 0, 1e4, 0, 0, 0],
        "softplus": [np.inf, 0, 1e4, 0, np.log(2), np.log(2)],
        "silu": [np.inf, 0, 1e4, 0, 0, 0],
    }
    slopes = {"leaky_relu": [1, 0.01, 1, 0.01, 0.01, 0.01], "sigmoid": [0, 0, 0, 0, 0.25, 0.25],
              "tanh": [0, 0, 0, 0, 1, 1], "relu": [1, 0, 1, 0, 0, 0]}
    for name, expected in limits.items():
        y = getattr(ops, f"{name}_forward")(x)
        assert np.isnan(y[0]), name
        np.testing.assert_allclose(y[1:], np.array(expected, dtype), rtol=4e-7, err_msg=name)
        dx = getattr(ops, f"{name}_backward")(np.ones_like(x), saved_of(name, x, y))
        slope = slopes.get(name, [1, 0, 1, 0, 0.5, 0.5])
        np.testing.assert_allclose(dx[1:], np.array(slope, dtype), rtol=4e-7, err_msg=name)
        assert np.isnan(dx[0]) or name in ("relu", "leaky_relu")
        assert np.all(np.isnan(getattr(ops, f"{name}_backward")(
            np.full_like(x[3:4], np.nan), saved_of(name, x, y)[3:4]))), name


@pytest.mark.parametrize("kind", conditions.KINDS, ids=str)
def test_any_memory_gives_the_same_bits(kind, rng):
    x, dy = values(rng, (7, 20), np.float32), reference.reals(rng, (7, 20), np.float32)
    y = ops.silu_forward(x)
    dx = ops.silu_backward(dy, x)
    given, upstream = conditions.make(x, kind), conditions.make(dy, kind)
    assert np.array_equal(ops.silu_forward(given), y)
    assert np.array_equal(ops.silu_backward(upstream, given), dx)
    assert np.array_equal(given, x)
    if kind.writeable:
        for operation, expected in (((ops.silu_forward, x), y), ((ops.silu_backward, dy, x), dx)):
            out = conditions.Output((7, 20), np.float32, kind)
            assert operation[0](*operation[1:], out=out.array) is out.array
            assert np.array_equal(out.array, expected)
            out.assert_only_array_written()
        assert np.array_equal(ops.silu_forward(given, out=given), y)


def test_an_output_that_overlaps_the_input():
    for shift in (1, -1, 5):
        buffer = np.linspace(-3, 3, 200).astype(np.float32)
        low, high = (0, shift) if shift > 0 else (-shift, 0)
        x, out = buffer[low : low + 150], buffer[high : high + 150]
        expected = ops.tanh_forward(x.copy())
        assert np.array_equal(ops.tanh_forward(x, out=out), expected)


def test_shapes_lists_and_nothing():
    assert ops.relu_forward(-1.0) == 0
    assert ops.relu_forward(2.0).shape == ()
    assert ops.relu_forward([[-1, 2]]).dtype == np.float64
    assert ops.gelu_forward(np.zeros((0, 3), np.float32)).shape == (0, 3)
    x = np.ones((2, 3, 4, 5), np.float32)
    assert np.array_equal(ops.relu_backward(2 * x, x), 2 * x)
    assert np.array_equal(ops.leaky_relu_forward(-x, slope=0.5), -0.5 * x)


def test_errors_say_what_to_do():
    x = np.ones((2, 3), np.float32)
    with pytest.raises(DTypeError, match=r"x with dtype int64; wanted float32 or float64; convert"):
        ops.relu_forward(np.arange(3))
    with pytest.raises(DTypeError, match=r"dy float64, saved float32; wanted one dtype"):
        ops.relu_backward(x.astype(np.float64), x)
    with pytest.raises(ShapeError, match=r"dy \(2, 3\), saved \(3, 2\); wanted equal shapes"):
        ops.relu_backward(x, x.reshape(3, 2))
    with pytest.raises(ShapeError, match=r"out with shape \(3, 2\); wanted \(2, 3\)"):
        ops.relu_forward(x, out=x.reshape(3, 2))
    with pytest.raises(DTypeError, match=r"out with dtype float64; wanted float32"):
        ops.relu_forward(x, out=np.ones((2, 3)))
    x.flags.writeable = False
    with pytest.raises(ArgumentError, match="out is read-only"):
        ops.relu_forward(x, out=x)
    with pytest.raises(ArgumentError, match=r"slope=-1; wanted a number of at least 0"):
        ops.leaky_relu_forward(x, slope=-1)


def test_threads_do_not_change_a_bit(rng):
    x = values(rng, (50 if SLOW else 500, 100), np.float32)
    results = []
    for threads in conditions.THREADS:
        fastbp.set_num_threads(threads)
        results.append(ops.gelu_forward(x).tobytes())
    assert len(set(results)) == 1
