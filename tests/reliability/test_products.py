"""Checks 2 and 3: products, forward and backward: exact on integers at every edge of the tiles,
within the hard bound and a sharp one on real data."""

from __future__ import annotations

import itertools

import conditions
import numpy as np
import pytest
import reference
from conditions import DTYPES, LAYOUTS, machine, tile_columns

from fastbp import ops
from fastbp._jit import DISABLED
from fastbp._program import Program
from fastbp.kernels.gemm import GEMM

pytestmark = pytest.mark.skipif(DISABLED, reason="sizes that only compiled code handles in time")
DEPTHS = (1, 2, 3, 7, 8, 9, 15, 16, 17, 127, 128, 129, 1023, 1025)
SHARP = 2.5
"""Largest error seen in sqrt(K) u |A||B|, rounded up: the hard bound goes blind as K grows."""


def shapes(dtype: object, every: int) -> list[tuple[int, int, int]]:
    """One in `every` of all (m, n, k) up to two tiles and one more."""
    rows, cols = range(1, 2 * machine().tile_rows + 2), range(1, 2 * tile_columns(dtype) + 2)
    return list(itertools.product(rows, cols, DEPTHS))[::every]


def check_layer(rng, m: int, n: int, k: int, dtype, layout: str, kind) -> tuple[int, int]:
    """One affine layer on integers; (elements compared, zeros among them)."""
    x, w = reference.integers(rng, (m, k), dtype), reference.integers(rng, (k, n), dtype)
    b, dy = reference.integers(rng, (n,), dtype), reference.integers(rng, (m, n), dtype)
    turn = (lambda a: a) if layout == "column" else (lambda a: np.ascontiguousarray(a.T))
    y = ops.affine_forward(conditions.make(x, kind), turn(w), b, layout=layout)
    dx, dw, db = ops.affine_backward(dy, conditions.make(x, kind), turn(w), layout=layout)
    wide = [a.astype(np.int64) for a in (x, w, b, dy)]
    expected = (wide[0] @ wide[1] + wide[2], wide[3] @ wide[1].T, turn(wide[0].T @ wide[3]),
                wide[3].sum(axis=0))
    for name, got, want in zip(("y", "dx", "dw", "db"), (y, dx, dw, db), expected, strict=True):
        assert np.array_equal(got, want), f"{name} of {m}x{n}x{k} {layout} {kind}"
    return sum(e.size for e in expected), sum(int((e == 0).sum()) for e in expected)


def check_layers(rng, dtype, every: int) -> int:
    kinds, compared, zeros = itertools.cycle(conditions.KINDS), 0, 0
    for (m, n, k), layout in zip(shapes(dtype, every), itertools.cycle(LAYOUTS), strict=False):
        found = check_layer(rng, m, n, k, dtype, layout, next(kinds))
        compared, zeros = compared + found[0], zeros + found[1]
    assert zeros <= 0.3 * compared, "MISTRUSTED: mostly zeros"
    return compared


@pytest.mark.parametrize("dtype", DTYPES)
def test_layers_are_exact_on_integers(dtype, rng):
    assert check_layers(rng, dtype, 41) > 50_000


@pytest.mark.nightly
@pytest.mark.parametrize("dtype", DTYPES)
def test_layers_of_every_size_are_exact_on_integers(dtype, rng):
    assert check_layers(rng, dtype, 1) > 10_000_000


def test_a_dropped_last_term_is_seen(monkeypatch, rng):
    """The control of the tests above: k of every product is one too small."""
    emit = Program.emit

    def planted(self, instruction, **operands):
        if instruction is GEMM:
            operands["k"] -= 1
        return emit(self, instruction, **operands)

    monkeypatch.setattr(Program, "emit", planted)
    with pytest.raises(AssertionError, match="of 11x13x333"):
        check_layer(rng, 11, 13, 333, np.float32, "column", "C")


def errors(rng, dtype, count: int) -> tuple[np.ndarray, float]:
    """(largest errors of products in sqrt(K) u |A||B|, the largest in the hard bound)."""
    sharp, hard = [], 0.0
    for _ in range(count):
        m, n, k = (int(s) for s in (rng.integers(2, 50), rng.integers(2, 70), rng.integers(1, 400)))
        if rng.random() < 0.02:
            k = int(rng.integers(1000, 5000))
        a, b = reference.reals(rng, (m, k), dtype), reference.reals(rng, (k, n), dtype)
        wide = [v.astype(np.float64 if dtype is np.float32 else np.longdouble) for v in (a, b)]
        error = np.abs(ops.matmul(a, b) - wide[0] @ wide[1]).astype(np.float64)
        size = np.abs(a).astype(np.float64) @ np.abs(b)
        u = reference.unit_roundoff(dtype)
        sharp.append((error / (np.sqrt(k) * u * size)).max())
        hard = max(hard, (error / ((k + 2) * u * size)).max())
    return np.array(sharp), hard


@pytest.mark.parametrize(("dtype", "count"), [
    (np.float32, 500), (np.float64, 40),
    pytest.param(np.float32, 10_000, marks=pytest.mark.nightly),
    pytest.param(np.float64, 1_000, marks=pytest.mark.nightly)])
def test_errors_of_products_of_reals(dtype, count, rng):
    """Never above (K+2) u |A||B|; and never above the sharp bound, which does not grow with K."""
    sharp, hard = errors(rng, dtype, count)
    assert hard <= 1
    assert sharp.max() <= SHARP, f"99.9 %: {np.quantile(sharp, 0.999):.2f}, all: {sharp.max():.2f}"
    assert sharp.max() > 0.05, "MISTRUSTED: no rounding at all"
