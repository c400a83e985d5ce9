"""The table of operations against the twins: bounds, threads, gradients (checks 3, 4, 8, 25)."""

from __future__ import annotations

import numpy as np
import pytest
import reference
from conditions import DTYPES
from operations import LARGE, OPERATIONS, Operation, bits, copies, tile_sizes

import fastbp
from fastbp import ops

# Largest share of zeros among results, where it is not 0.3.
ZEROS = {"hinge": 0.8, "max_pool2d_backward": 0.8, "relu": 0.6, "dropout": 0.6}
SLOPES = [op for op in OPERATIONS if op.gradient is not None]


def results_of(op: Operation, args) -> tuple:
    return tuple(np.array(r) for r in op.run(**copies(args)))


def test_every_public_operation_is_in_the_table():
    named = " ".join(op.name for op in OPERATIONS).replace("nesterov_step", "momentum_step")
    missing = [name for name in ops.__all__ if name.removesuffix("_forward") not in named
               and name.removesuffix("_backward") not in named and name not in named
               and not name.startswith("affine_relu")]
    assert not missing


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("op", OPERATIONS, ids=str)
def test_results_are_within_the_bound_of_the_twin(op, dtype, rng):
    compared = zeros = 0
    for size in (*tile_sizes(), LARGE):
        args = op.make(rng, size, dtype)
        results, expected, bounds = results_of(op, args), op.twin(**args), op.bounds(args)
        for number, (got, want, bound) in enumerate(zip(results, expected, bounds, strict=True)):
            reference.assert_within(got, np.asarray(want), bound, f"{op} {number} {size}")
            assert got.dtype == (np.float64 if got.ndim == 0 else dtype)
            compared += got.size
            zeros += np.count_nonzero(got == 0)
    assert compared > 1000, "MISTRUSTED: compared next to nothing"
    most = next((share for part, share in ZEROS.items() if part in op.name), 0.3)
    assert zeros <= most * compared, "MISTRUSTED: mostly zeros"


@pytest.mark.parametrize("op", OPERATIONS, ids=str)
def test_every_number_of_threads_gives_the_same_bits(op, rng):
    for dtype in DTYPES:
        for size in (*tile_sizes()[3:6], LARGE, (LARGE[1], LARGE[0], 300)):
            args = op.make(rng, size, dtype)
            found = set()
            for count in (1, 2, 3, 4, 8):
                with fastbp.threads(count, oversubscribe=True):
                    found.add(bits(results_of(op, args)))
            assert len(found) == 1, f"{op} {size} depends on the number of threads"


def _directional(op: Operation, args, name: str, direction, upstream) -> float:
    """d/dt of <upstream, result(args + t direction)> by differences of five points."""
    step = 1e-3
    values = []
    for k in (-2, -1, 1, 2):
        moved = {**args, name: args[name] + k * step * direction}
        values.append(float((upstream * op.run(**copies(moved))[0]).sum()))
    return (values[0] - 8 * values[1] + 8 * values[2] - values[3]) / (12 * step)


@pytest.mark.parametrize("op", SLOPES, ids=str)
def test_gradients_equal_differences_along_random_directions(op, rng):
    """float64; relative to the sizes of what is multiplied, 1e-7."""
    for size in ((3, 5, 4), (15, 17, 6), (8, 33, 9)):
        args = op.make(rng, size, np.float64)
        y = op.run(**copies(args))[0]
        upstream = rng.standard_normal(np.shape(y))
        gradients = op.gradient(**copies(args), dy=upstream)
        for name, gradient in gradients.items():
            for _ in range(3):
                direction = rng.standard_normal(gradient.shape)
                numeric = _directional(op, args, name, direction, upstream)
                analytic = float((gradient * direction).sum())
                scale = np.linalg.norm(gradient) * np.linalg.norm(direction) + 1e-3
                assert abs(numeric - analytic) <= 1e-7 * scale, f"{op} by {name} {size}"


@pytest.mark.parametrize("op", SLOPES, ids=str)
def test_float32_gradients_are_those_of_float64(op, rng):
    """As vectors: the relative error in the L2 norm is at most 2e-6."""
    args = op.make(rng, (33, 37, 29), np.float32)
    wide = {k: v.astype(np.float64) if v.dtype.kind == "f" else v for k, v in args.items()}
    y = op.run(**copies(args))[0]
    dy = np.ones((), np.float32) if np.ndim(y) == 0 else reference.reals(rng, y.shape, np.float32)
    narrow, exact = op.gradient(**args, dy=dy), op.gradient(**wide, dy=dy.astype(np.float64))
    for name, gradient in narrow.items():
        error = np.linalg.norm(gradient - exact[name]) / max(np.linalg.norm(exact[name]), 1e-3)
        assert error <= 2e-6, f"{op} by {name}: {error}"
