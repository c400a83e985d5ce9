"""The executor: order, overlap, threads."""

from __future__ import annotations

import ast
import inspect
import threading

import numpy as np
import pytest

import fastbp
from fastbp import _pool
from fastbp._arena import Layout, address_of, allocate, row_width
from fastbp._program import Operand, Program
from fastbp.emit.gemm import emit_gemm
from fastbp.emit.losses import emit_mean_squared_error
from fastbp.emit.reduce import emit_add, emit_fill, emit_gather_rows
from fastbp.kernels import tasks
from fastbp.kernels._instruction import FIRST, OP, TASKS, WAIT
from fastbp.kernels.gemm import GEMM, PACK
from fastbp.kernels.reduce import FLOAT64, GATHER_LABELS


def test_every_instruction_has_its_branch():
    """The chains in `run_task` and the list of instructions are in the same order."""
    found = {}
    for chain_of in (tasks.run_task, tasks.run_image_task):
        source = inspect.getsource(getattr(chain_of, "py_func", chain_of))
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.If) and isinstance(node.test.ops[0], ast.Eq):
                number = node.test.comparators[0].value
                assert (number >= tasks.FIRST_FOR_IMAGES) == (chain_of != tasks.run_task)
                found[number] = node.body[0].value.func.attr
    expected = {number: run.__name__ for number, (_, run) in enumerate(tasks.INSTRUCTIONS)}
    assert found == expected
    assert [i.number for i, _ in tasks.INSTRUCTIONS] == list(expected)


def chain(rows: int, cols: int, length: int) -> tuple[Program, np.ndarray]:
    """x = 1; then `length` times x += x: each instruction needs all tasks of the one before."""
    x = np.zeros((rows, cols))
    program = Program(np.float64)
    operand = Operand.of(x)
    emit_fill(program, operand, 1.0)
    for _ in range(length):
        emit_add(program, operand, operand, operand)
    return program, x


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
def test_instructions_wait_for_all_tasks_before_them(threads):
    program, x = chain(200, 700, 40)
    assert program.tables()[0][:, 1].min() > 4
    with fastbp.threads(threads, oversubscribe=True):
        for _ in range(20):
            x[...] = 0
            program.run()
            assert (x == 2.0**40).all()
        program.run(steps=5)
        assert (x == 2.0**40).all()


def test_two_dtypes_take_turns_with_the_same_workers():
    with fastbp.threads(2, oversubscribe=True):
        for _ in range(10):
            for dtype in (np.float32, np.float64):
                a = np.ones((300, 300), dtype)
                assert (fastbp.ops.matmul(a, a) == 300).all()


def test_a_busy_pool_means_working_alone():
    program, x = chain(100, 700, 10)
    with fastbp.threads(2, oversubscribe=True):
        assert _pool._pool.busy.acquire(timeout=10)
        try:
            program.run()
        finally:
            _pool._pool.busy.release()
    assert (x == 2.0**10).all()


def test_many_threads_call_operations_at_once(rng):
    a = rng.integers(-2, 3, (200, 300)).astype(np.float32)
    b = rng.integers(-2, 3, (300, 250)).astype(np.float32)
    expected, wrong = a @ b, []

    def work() -> None:
        for _ in range(30):
            if not np.array_equal(fastbp.ops.matmul(a, b), expected):
                wrong.append(1)

    with fastbp.threads(2, oversubscribe=True):
        threads = [threading.Thread(target=work) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not wrong


def test_emit_wants_every_operand_by_name():
    with pytest.raises(TypeError, match=r"missing .*'rows'.*unknown .*'colour'"):
        Program(np.float32).emit(GATHER_LABELS, out=0, source=0, source_step=1, index=0, colour=3)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_side_by_side_packs_first_then_runs_all_at_once(threads, rng):
    a, b = (rng.standard_normal((90, 90)) for _ in "ab")
    one, two = np.zeros((90, 90)), np.zeros((90, 90))
    program = Program(np.float64)
    emit_fill(program, Operand.of(one), 1.0)
    with program.side_by_side():
        emit_gemm(program, Operand.of(one), Operand.of(a), Operand.of(b).transposed,
                  b_stands=True)
        emit_gemm(program, Operand.of(two), Operand.of(b), Operand.of(a).transposed)
    emit_add(program, Operand.of(one), Operand.of(one), Operand.of(two))
    code = program.tables()[0]
    # B of the first product may be packed while `one` is filled, that of the second may not.
    assert code[1:5, OP].tolist() == [PACK.number] * 2 + [GEMM.number] * 2
    before = [0, *np.cumsum(code[:, TASKS])]
    assert code[:, FIRST].tolist() == before[:-1]
    assert code[:, WAIT].tolist() == [0, 0, before[2], before[3], before[3], before[5]]
    with fastbp.threads(threads, oversubscribe=True):
        for _ in range(20):
            program.run()
            np.testing.assert_allclose(one, a @ b.T + b @ a.T, rtol=0, atol=1e-11)


def test_rows_do_not_share_the_sets_of_the_first_cache():
    assert [row_width((3, n), "float32") for n in (511, 512, 513, 1024)] == [528, 528, 528, 1040]
    assert [row_width((3, n), "float64") for n in (255, 256, 264)] == [264, 264, 264]
    assert row_width((3, 0), "float32") == row_width((0, 0), "float64") == 0
    layout = Layout(np.float32)
    layout.add("w", (3, 512))
    views = layout.views(allocate(layout.size, np.float32))
    assert views["w"].strides == (4 * 528, 4)
    assert layout.size == 3 * 528


def test_layout_pads_rows_to_cache_lines():
    layout = Layout(np.float32)
    layout.add("w", (3, 10))
    layout.add("b", (10,))
    layout.add("t", (2, 3, 5))
    layout.add("column", (20, 1))
    views = layout.views(allocate(layout.size, np.float32))
    # A column lies side by side, with a line behind it, for registers read from its last element.
    assert layout.size == (3 + 1 + 2 + 2 + 1) * 16
    assert [v.shape for v in views.values()] == [(3, 10), (10,), (2, 3, 5), (20, 1)]
    assert views["column"].flags.c_contiguous
    for view in views.values():
        view[...] = 1
        assert view.ctypes.data % 64 == 0
    assert views["t"][1].ctypes.data % 64 == 0
    assert views["t"][1].flags.c_contiguous
    with pytest.raises(ValueError, match="twice"):
        layout.add("w", (1,))


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("halts", [True, False])
def test_a_loss_that_is_not_finite_ends_the_run(threads, halts):
    """Step 3 of 6 has a NaN: a sum that grows by 1 after each loss tells how many were done."""
    x, target = np.zeros((6 * 100, 300)), np.zeros((100, 300))
    x[350, 7] = np.nan
    batch, gradient, total, ones = np.zeros((4, 100, 300))
    ones[...] = 1.0
    losses = np.full(6, -1.0)
    program = Program(np.float64, halts=halts)
    emit_gather_rows(program, Operand.of(batch), Operand.of(x), FLOAT64)
    emit_mean_squared_error(program, Operand.of(gradient), Operand.of(batch), Operand.of(target),
                            address_of(losses))
    emit_add(program, Operand.of(total), Operand.of(total), Operand.of(ones))
    with fastbp.threads(threads, oversubscribe=True):
        program.run(steps=6)
        assert program.halted == halts
        assert (total == (3 if halts else 6)).all()
        assert np.flatnonzero(np.isnan(losses)).tolist() == [3]
        assert (losses[4:] == (-1.0 if halts else 0.0)).all()
        x[350, 7] = 0.0
        program.run(steps=6)
    assert not program.halted, "each run starts anew"
    assert (losses == 0.0).all()
