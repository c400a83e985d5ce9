"""Check 5: every byte that an instruction writes is written by exactly one of its tasks.

Each task runs alone from the same memory; what it changed is compared with what the others
changed, and put together it must be what the whole program leaves. Scratch memory of threads is no
result: tasks run with different slots.
"""

from __future__ import annotations

import numpy as np
import pytest
from conditions import DTYPES
from fuzz_operations import forget
from operations import LARGE, OPERATIONS, Operation, bits, copies, tile_sizes
from single_tasks import SingleTasks

from fastbp import _pool
from fastbp._arena import supplier
from fastbp._program import Operand, Program
from fastbp._tuning import GemmBlocks
from fastbp.emit import gemm, reduce
from fastbp.kernels.reduce import COMBINE

SMALL = GemmBlocks(task_tiles=1, task_columns=1, task_flops=2000, pack_task=256)


class Memory:
    """All memory there is for the programs of one call, so that it can be compared."""

    def __init__(self) -> None:
        self.blocks: list[np.ndarray] = []

    def __call__(self, size: int, zeroed: bool) -> np.ndarray:
        block = np.full(size + 64, 0 if zeroed else 0xFF, np.uint8)
        self.blocks.append(block)
        return block[:size]

    def take(self, array: np.ndarray) -> np.ndarray:
        """A copy of the array in a block of its own, with room around it."""
        block = np.full(array.nbytes + 128, 0xFF, np.uint8)
        self.blocks.append(block)
        view = block[64 : 64 + array.nbytes].view(array.dtype).reshape(array.shape)
        view[...] = array
        return view

    def empty(self, array: np.ndarray) -> np.ndarray:
        """As `take`, full of 0xFF: what lay there before may be the right result."""
        view = self.take(array)
        view.reshape(-1).view(np.uint8).fill(0xFF)
        return view

    def own(self, scratch: np.ndarray) -> list[np.ndarray]:
        return [block for block in self.blocks if not np.may_share_memory(block, scratch)]

    def contents(self, scratch: np.ndarray) -> list[np.ndarray]:
        return [block.copy() for block in self.own(scratch)]

    def restore(self, before: list[np.ndarray], scratch: np.ndarray) -> None:
        for block, kept in zip(self.own(scratch), before, strict=True):
            block[...] = kept


@pytest.fixture
def many_tasks(monkeypatch):
    """Blocks so small that small arrays are divided into many tasks."""
    monkeypatch.setattr(gemm, "GEMM_BLOCKS", SMALL)
    monkeypatch.setattr(_pool, "MOST_THREADS", 8)
    for module in (reduce, *(__import__(f"fastbp.emit.{name}", fromlist=["x"])
                             for name in ("update", "losses", "batchnorm", "layernorm", "conv",
                                          "pool", "planes"))):
        for name, value in (("BLOCK", 64), ("MOST_COLS", 16), ("LEAST_ROWS", 4),
                            ("TASK_FLOPS", 500)):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, value)
    forget()
    yield
    forget()


def check(program: Program, memory: Memory) -> tuple[int, int]:
    """(tasks, bytes written) of a program whose partition is right; else AssertionError."""
    single, scratch = SingleTasks(program), program.memory._slots
    count = written = 0
    for row in range(single.rows):
        before = memory.contents(scratch)
        writers = [np.zeros(b.size, np.uint8) for b in before]
        after = [b.copy() for b in before]
        for task in range(single.tasks(row)):
            memory.restore(before, scratch)
            single.run(row, task, slot=1 + task % 7)
            for number, now in enumerate(memory.contents(scratch)):
                changed = now != before[number]
                writers[number] += changed
                after[number][changed] = now[changed]
            count += 1
        assert max(w.max(initial=0) for w in writers) <= 1, f"row {row}: two tasks write a byte"
        written += sum(int(w.sum()) for w in writers)
        memory.restore(after, scratch)
    return count, written


def run_checked(op: Operation, args, memory: Memory, monkeypatch) -> tuple[tuple, list]:
    """(results, what `check` said) of a call whose programs are run task by task.

    The arrays that the operation makes for itself lie in `memory` too.
    """
    found = []
    with monkeypatch.context() as patch, supplier(memory):
        patch.setattr(np, "empty", lambda *a, **k: memory.empty(np_empty(*a, **k)))
        patch.setattr(np, "zeros", lambda *a, **k: memory.take(np_zeros(*a, **k)))

        def run(program: Program, steps: int = 1, *, parallel: bool = True) -> bool:
            with monkeypatch.context() as back:
                back.setattr(np, "empty", np_empty)
                back.setattr(np, "zeros", np_zeros)
                found.append(check(program, memory))
            return True

        patch.setattr(Program, "run", run)
        return op.run(**{name: memory.take(value) for name, value in args.items()}), found


np_empty, np_zeros = np.empty, np.zeros


@pytest.mark.parametrize("more", [0, pytest.param(200, marks=pytest.mark.nightly)])
@pytest.mark.parametrize("op", OPERATIONS, ids=str)
def test_each_byte_has_one_writer(op, more, many_tasks, monkeypatch, rng):
    """And the pieces, put together, are what the operation gives in one go."""
    tasks = written = 0
    random = [tuple(map(int, size)) for size in rng.integers(1, 60, (more, 3))]
    for size in (*tile_sizes()[1:7], (LARGE[0] // 2, LARGE[1] // 3, LARGE[2] // 2), *random):
        for dtype in DTYPES:
            args = op.make(rng, size, dtype)
            whole = bits(op.run(**copies(args)))
            forget()
            results, found = run_checked(op, args, Memory(), monkeypatch)
            assert bits(results) == whole, f"{op} {size}: the pieces are not the whole"
            forget()
            tasks += sum(count for count, _ in found)
            written += sum(size for _, size in found)
    assert tasks >= 60, "MISTRUSTED: hardly anything was divided"
    assert written > 1000, "MISTRUSTED: hardly anything was written"


def test_a_byte_with_two_writers_is_seen(many_tasks, monkeypatch, rng):
    """The control: rows of the output one element too close together."""
    memory = Memory()
    x = memory.take(rng.standard_normal((40, 40)))
    with supplier(memory):
        program = Program(np.float64)
        operand = Operand.of(x)
        reduce.emit_scale(program, operand, operand, 3.0)
        program.set(0, COMBINE, out_step=operand.row_step - 1)
        with pytest.raises(AssertionError, match="two tasks write a byte"):
            check(program, memory)

