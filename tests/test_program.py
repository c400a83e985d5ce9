"""The executor: order, overlap, threads."""

from __future__ import annotations

import ast
import inspect
import threading

import numpy as np
import pytest

import fastbp
from fastbp import _pool
from fastbp._arena import Layout, allocate
from fastbp._program import Operand, Program
from fastbp.emit.reduce import emit_add, emit_fill
from fastbp.kernels import program as executor
from fastbp.kernels.reduce import GATHER_LABELS


def test_every_instruction_has_its_branch():
    """The chains of `run_task` and the list of instructions are in the same order."""
    branches = [node for function in (executor.run_task, executor.run_image_task)
                for node in ast.walk(ast.parse(inspect.getsource(function)))
                if isinstance(node, ast.If)]
    found = {branch.test.comparators[0].value: branch.body[0].value.func.attr
             for branch in branches}
    expected = {number: run.__name__ for number, (_, run) in enumerate(executor.INSTRUCTIONS)}
    assert found == expected
    assert [i.number for i, _ in executor.INSTRUCTIONS] == list(expected)


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


def test_layout_pads_rows_to_cache_lines():
    layout = Layout(np.float32)
    layout.add("w", (3, 10))
    layout.add("b", (10,))
    layout.add("t", (2, 3, 5))
    views = layout.views(allocate(layout.size, np.float32))
    assert layout.size == (3 + 1 + 2) * 16
    assert [v.shape for v in views.values()] == [(3, 10), (10,), (2, 3, 5)]
    for view in views.values():
        view[...] = 1
        assert view.ctypes.data % 64 == 0
    assert views["t"][1].ctypes.data % 64 == 0
    assert views["t"][1].flags.c_contiguous
    with pytest.raises(ValueError, match="twice"):
        layout.add("w", (1,))
