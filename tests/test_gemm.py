"""The matmul instructions themselves: epilogues, partial sums, division into tasks, bounds."""

from __future__ import annotations

import os

import conditions
import numpy as np
import pytest
import reference
from running import run

import fastbp
import fastbp.emit.update
from fastbp._arena import allocate, padded
from fastbp._jit import DISABLED
from fastbp._program import Operand, Program
from fastbp._simd import OutOfBoundsError, guard, machine
from fastbp.emit.affine import Producer, emit_affine_dw, emit_affine_dx, emit_affine_forward
from fastbp.emit.gemm import Finish, emit_gemm, grid, k_split, registers, tile_count
from fastbp.emit.reduce import emit_gather_labels
from fastbp.kernels import update
from fastbp.kernels._instruction import HEADER
from fastbp.kernels.activations import FROM_INPUT, NAMES
from fastbp.kernels.gemm import GEMM, PACK, UPDATE

SLOW = DISABLED or os.environ.get("FASTBP_BOUNDSCHECK") == "1"
SIZES = [(3, 7, 2), (29, 33, 17)] if SLOW else [(1, 1, 1), (3, 7, 2), (29, 33, 17), (130, 300, 65),
                                                (15, 1025, 40)]


def matrix(rows: int, cols: int, dtype) -> np.ndarray:
    """A matrix with rows padded to cache lines, as networks have them; NaN everywhere."""
    block = allocate(rows * padded(cols, dtype), dtype).reshape(rows, -1)
    block[...] = np.nan
    return block[:, :cols]


def filled(values: np.ndarray) -> np.ndarray:
    found = matrix(*values.shape, values.dtype)
    found[...] = values
    return found


def operand(x: np.ndarray) -> Operand:
    o = Operand.of(x)
    return Operand(o.address, o.rows, o.cols, o.row_step, o.col_step, readable=True)


@pytest.mark.parametrize("dtype", conditions.DTYPES)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("activation", NAMES)
def test_forward_with_bias_and_activation(activation, size, dtype, rng):
    m, n, k = size
    x, w, b = (reference.reals(rng, s, dtype) for s in ((m, k), (k, n), (n,)))
    kind, y, z = NAMES[activation], matrix(m, n, dtype), matrix(m, n, dtype)
    for layout in conditions.LAYOUTS:
        weights = filled(w if layout == "column" else np.ascontiguousarray(w.T))
        rows, bias = filled(x), filled(b[None])
        program = Program(dtype)
        emit_affine_forward(program, operand(y), operand(rows), operand(weights),
                            bias.ctypes.data, layout=layout, kind=kind, slope=0.01,
                            z=operand(z) if kind in FROM_INPUT else None)
        run(program, y, z, rows, weights, bias)
        expected = reference.affine_forward(x, w, b, activation=activation)
        bound = reference.affine_forward_bound(x, w, b, dtype) * 1.2
        bound = bound + 16 * reference.unit_roundoff(dtype) * (1 + np.abs(expected))
        reference.assert_within(y, expected, bound)
        if kind in FROM_INPUT:
            reference.assert_within(z, reference.affine_forward(x, w, b),
                                    reference.affine_forward_bound(x, w, b, dtype))


@pytest.mark.parametrize("dtype", conditions.DTYPES)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("activation", ["identity", "relu", "tanh", "silu"])
def test_backward_through_the_activation_before_with_column_sums(activation, size, dtype, rng):
    """dx = (dz W^T) * f'(saved), and its column sums: exact where all numbers are integers."""
    m, n, k = size
    dz, w = reference.integers(rng, (m, k), dtype), reference.integers(rng, (n, k), dtype)
    saved = reference.integers(rng, (m, n), dtype)
    kind = NAMES[activation]
    dx, kept, up, weights = matrix(m, n, dtype), filled(saved), filled(dz), filled(w)
    program = Program(dtype)
    sums = emit_affine_dx(program, operand(dx), operand(up), operand(weights), layout="column",
                          through=Producer(kind, 0.0, operand(kept)))
    assert sums is not None
    run(program, dx, kept, up, weights)
    plain = reference.exact_matmul(dz, w.T)
    if activation in ("identity", "relu"):
        expected = plain if activation == "identity" else plain * (saved > 0)
        assert np.array_equal(dx, expected)
        total = program.memory.view(sums.address, sums.rows * n, dtype).reshape(-1, n).sum(axis=0)
        assert np.array_equal(total, expected.sum(axis=0))
        assert sums.rows == grid(m, n, k, np.dtype(dtype).itemsize).row_groups
    else:
        rule = 1 - saved.astype(np.float64) ** 2
        if activation == "silu":
            s = 1 / (1 + np.exp(-saved.astype(np.float64)))
            rule = s * (1 + saved * (1 - s))
        bound = 16 * reference.unit_roundoff(dtype) * (np.abs(plain) + 1) * (1 + np.abs(rule))
        reference.assert_within(dx, plain * rule, bound)


@pytest.mark.parametrize("dtype", conditions.DTYPES)
@pytest.mark.parametrize("layout", conditions.LAYOUTS)
@pytest.mark.parametrize("kind", range(7))
def test_update_in_the_epilogue_equals_gradient_then_update(kind, layout, dtype, rng):
    m, n, k = (9, 20, 5) if SLOW else (65, 100, 70)
    shape = (m, n) if layout == "column" else (n, m)
    x, dz = reference.reals(rng, (k, m), dtype), reference.reals(rng, (k, n), dtype)
    hyper = np.array([1e-2, 0.9, 0.99, 0.9, 0.999, 1e-8])
    rates = np.array([[0.1, 1.9, 2.1, 0.0]])
    results = []
    start = reference.reals(rng, shape, dtype)
    for fused in (True, False):
        w, s1, s2 = filled(start), filled(np.abs(start)), filled(start * start)
        g, rows, up = matrix(*shape, dtype), filled(x), filled(dz)
        program = Program(dtype)
        finish = Finish(UPDATE, kind, slots=(s1.ctypes.data, s2.ctypes.data),
                        hyper=hyper.ctypes.data, rates=rates.ctypes.data)
        emit_affine_dw(program, operand(w if fused else g), operand(up), operand(rows),
                       layout=layout, finish=finish if fused else None)
        if not fused:
            for i in range(shape[0]):
                slots = (s1[i].ctypes.data, s2[i].ctypes.data)[: update.SLOTS[kind]]
                fastbp.emit.update.emit_update(program, kind, w[i].ctypes.data, g[i].ctypes.data,
                                               shape[1], hyper=hyper.ctypes.data,
                                               rates=rates.ctypes.data, slots=slots)
        run(program, w, s1, s2, g, rows, up, hyper, rates)
        results.append((w.copy(), s1.copy(), s2.copy()))
    assert not np.array_equal(results[0][0], start)
    for one, two in zip(*results, strict=True):
        assert np.array_equal(one, two)


def test_accumulating_over_several_k_ranges(monkeypatch, rng):
    """Where packed operands would be too large, k is cut: the sum goes on in C."""
    from fastbp._tuning import GemmBlocks
    from fastbp.emit import gemm

    monkeypatch.setattr(gemm, "GEMM_BLOCKS", GemmBlocks(packed_most=400, k_most=7, task_flops=500))
    a = reference.integers(rng, (20, 45), np.float32)
    b = reference.integers(rng, (45, 33), np.float32)
    c, bias = matrix(20, 33, np.float32), reference.integers(rng, (33,), np.float32)
    program = Program(np.float32)
    emit_gemm(program, operand(c), Operand.of(a), Operand.of(b), bias=bias.ctypes.data, floor=0.0)
    assert sum(row[0] == GEMM.number for row in program.tables()[0]) > 2
    run(program, c, a, b, bias)
    assert np.array_equal(c, np.maximum(reference.exact_matmul(a, b) + bias, 0))


@pytest.mark.parametrize("dtype", conditions.DTYPES)
@pytest.mark.parametrize("add", [False, True])
@pytest.mark.parametrize("k", [1, 5, 40])
def test_a_single_column_has_the_same_bits_wherever_its_elements_lie(k, add, dtype, rng):
    """Contiguous, it is computed as a row; with gaps, as a column of a tile."""
    for m in (1, 2, 33, 100):
        a, b = reference.reals(rng, (k, m), dtype), reference.reals(rng, (k, 1), dtype)
        start = reference.reals(rng, (m, 1), dtype)
        found = []
        for gap in (1, 3):
            c = np.full((m, gap), np.nan, dtype)
            c[:, :1] = start
            program = Program(dtype)
            emit_gemm(program, Operand.of(c[:, :1]), Operand.of(a).transposed, Operand.of(b),
                      add=add, floor=0.0)
            run(program, a, b, c)
            assert np.isnan(c[:, 1:]).all()
            found.append(c[:, 0].copy())
        exact = a.T.astype(np.float64) @ b.astype(np.float64) + (start if add else 0)
        bound = (k + 2) * reference.unit_roundoff(dtype) * (
            np.abs(a.T).astype(np.float64) @ np.abs(b) + np.abs(start))
        reference.assert_within(found[0], np.maximum(exact, 0)[:, 0], bound[:, 0])
        assert np.array_equal(*found)


@pytest.mark.parametrize("dtype", conditions.DTYPES)
def test_a_factor_from_far_away_goes_by_fewer_panels_if_few_rows_read_it(dtype, monkeypatch, rng):
    from fastbp._tuning import GemmBlocks
    from fastbp.emit import gemm

    item, width = np.dtype(dtype).itemsize, gemm.registers(np.dtype(dtype).itemsize)[1]
    blocks = GemmBlocks()
    least, panels = blocks.far_rows, blocks.task_columns // width
    k = blocks.far_bytes // (4 * panels * width * item)
    near, far, often = (gemm.grid(rows, count * width, k, item).col_groups
                        for rows, count in ((least - 1, 2 * panels), (least - 1, 4 * panels),
                                            (least, 4 * panels)))
    assert near == 2
    assert far == min(4 * panels // 16, blocks.tasks)
    assert often == min(4 * panels // min(panels, 32), blocks.tasks)
    monkeypatch.setattr(gemm, "GEMM_BLOCKS", GemmBlocks(far_bytes=1, far_panels=2, task_flops=500))
    m, n, k = 40, 7 * width - 3, 30
    a, b = reference.integers(rng, (m, k), dtype), reference.integers(rng, (k, n), dtype)
    with fastbp.threads(2):
        np.testing.assert_array_equal(fastbp.ops.matmul(a, b), a @ b)


@pytest.mark.parametrize("dtype", conditions.DTYPES)
@pytest.mark.parametrize("layout", conditions.LAYOUTS)
def test_columns_of_a_packed_factor_go_to_threads_by_half(layout, dtype, monkeypatch, rng):
    """Exact, for an odd number of panels too, alone and shared; and column sums are added once."""
    from fastbp._tuning import GemmBlocks
    from fastbp.emit import gemm

    blocks = GemmBlocks(direct_reuse=0, direct_bytes=0, direct_b_bytes=0, halved_panels=2,
                        halved_least=0, task_flops=500, pack_task=256)
    monkeypatch.setattr(gemm, "GEMM_BLOCKS", blocks)
    width = gemm.registers(np.dtype(dtype).itemsize)[1]
    for m, n, k in ((3, 2 * width, 5), (17, 3 * width, 9), (31, 5 * width - 3, 20)):
        m = min(m, n)  # where there are more rows, A is what is packed once
        dz, w = reference.integers(rng, (m, k), dtype), reference.integers(rng, (n, k), dtype)
        saved = reference.integers(rng, (m, n), dtype)
        weights = filled(w if layout == "column" else np.ascontiguousarray(w.T))
        dx, kept, up = matrix(m, n, dtype), filled(saved), filled(dz)
        program = Program(dtype)
        sums = emit_affine_dx(program, operand(dx), operand(up), operand(weights), layout=layout,
                              through=Producer(NAMES["relu"], 0.0, operand(kept)))
        row = next(row for row in program.tables()[0] if row[0] == GEMM.number)
        words = dict(zip(GEMM.words, row[HEADER:], strict=False))
        assert words["col_groups"] == 2
        assert words["b_panel"] != 0
        expected = reference.exact_matmul(dz, w.T) * (saved > 0)
        parts = program.memory.view(sums.address, sums.rows * n, dtype).reshape(-1, n)
        for threads in (1, 2):
            dx[...] = parts[...] = np.nan
            with fastbp.threads(threads, oversubscribe=True):
                run(program, dx, kept, up, weights)
            assert np.array_equal(dx, expected)
            assert np.array_equal(parts.sum(axis=0), expected.sum(axis=0))


@pytest.mark.parametrize("dtype", conditions.DTYPES)
def test_a_factor_of_any_width_is_read_in_place_or_packed(dtype, rng):
    """Where its last register is not full, nothing behind its last row is touched."""
    width = registers(np.dtype(dtype).itemsize)[1]
    lanes, packed = width // 2, set()
    for n in range(2, 2 * width + 2):
        a, b = reference.integers(rng, (20, 7), dtype), reference.integers(rng, (7, n), dtype)
        c, program = matrix(20, n, dtype), Program(dtype)
        emit_gemm(program, operand(c), Operand.of(a), Operand.of(b))
        if any(row[0] == PACK.number for row in program.tables()[0]):
            packed.add(n)
        run(program, c, a, b)
        assert np.array_equal(c, reference.exact_matmul(a, b))
    is_masked = machine().has_masks
    assert packed == {n for n in range(2, 2 * width + 2)
                      if n % lanes and not (is_masked and n % width < lanes)}


@pytest.mark.parametrize("dtype", conditions.DTYPES)
def test_two_threads_have_the_same_number_of_tiles(dtype, monkeypatch):
    """20 tiles in 8 tasks: column sums of ones tell how many rows each task has."""
    from fastbp._tuning import GemmBlocks
    from fastbp.emit import gemm

    height, width = registers(np.dtype(dtype).itemsize)
    m, k = 20 * height, 8
    blocks = GemmBlocks(task_flops=2 * m * width * (k + GemmBlocks().tile_ends) // 8)
    monkeypatch.setattr(gemm, "GEMM_BLOCKS", blocks)
    dz, w = filled(np.ones((m, k), dtype)), filled(np.ones((width, k), dtype))
    dx, kept, program = matrix(m, width, dtype), filled(np.ones((m, width), dtype)), Program(dtype)
    sums = emit_affine_dx(program, operand(dx), operand(dz), operand(w), layout="column",
                          through=Producer(NAMES["identity"], 0.0, operand(kept)))
    run(program, dx, kept, dz, w)
    parts = program.memory.view(sums.address, sums.rows * width, dtype).reshape(-1, width)
    assert tile_count(m, np.dtype(dtype).itemsize) == 20
    assert len(parts) == 8
    assert parts[:4, 0].sum() == parts[4:, 0].sum() == m // 2 * k


@pytest.mark.parametrize("itemsize", [4, 8])
def test_every_grid_covers_the_product_and_fits_the_scratch(itemsize):
    from fastbp.emit.gemm import _packed_rows, _room

    height, width = registers(itemsize)
    for m in (1, 2, height, 100, 784, 5000, 100_000):
        for n in (1, 10, width, 513, 4096):
            for k in (1, 64, 784, 1023, 5000):
                found = grid(m, n, k, itemsize)
                tiles, panels = -(-m // height), -(-n // width)
                assert 1 <= found.row_groups <= tiles
                assert 1 <= found.col_groups <= panels
                per_task = -(-tiles // found.row_groups)
                assert per_task * _packed_rows(itemsize) * k_split(k, itemsize) <= _room(itemsize)


@pytest.mark.skipif(not guard.ENABLED or DISABLED, reason="bounds checks are off")
def test_the_bounds_check_sees_one_element_too_many(rng):
    a, b, c = (reference.reals(rng, (6, 6), np.float32) for _ in "abc")
    program = Program(np.float32)
    emit_gemm(program, Operand.of(c), Operand.of(a), Operand.of(b))
    run(program, a, b, c)
    wide = Operand(a.ctypes.data, 6, 6, 7)  # the last row ends 5 elements behind the array
    program = Program(np.float32)
    emit_gemm(program, Operand.of(c), wide, Operand.of(b))
    with pytest.raises(OutOfBoundsError):
        run(program, a, b, c)


@pytest.mark.skipif(not guard.ENABLED or DISABLED, reason="bounds checks are off")
def test_the_bounds_check_sees_single_elements():
    source, out = np.arange(4), np.zeros(5, np.int64)
    program = Program(np.float32)
    emit_gather_labels(program, out.ctypes.data, source.ctypes.data, 5)
    with pytest.raises(OutOfBoundsError):
        run(program, source, out)
