"""The Python side of a program: a table that grows by `emit` and is run by `run`."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastbp import _pool
from fastbp._arena import ALIGNMENT, address_of, allocate, flat_view, is_supplied, undefined
from fastbp.kernels._instruction import HEADER, REALS, WORDS, Instruction
from fastbp.kernels.program import (
    CLASSES,
    FLUSH,
    HALTED,
    IMAGES,
    JOB_WORDS,
    KIND,
    LABEL_COUNT,
    LABELS,
    MOST_STRANDS,
    ROWS,
    SCALARS,
    SHARED,
    STRANDS,
    TABLE,
    TICKETS,
)
from fastbp.kernels.tasks import FIRST_FOR_IMAGES, ROW

# What each of `_pool.MOST_THREADS` has for itself: a tile of C and four packed tiles of A. Memory
# that no thread touches is never backed by pages.
SLOT_BYTES = 640 * 1024
# Workspace that `ops` keep between calls, at most.
KEPT_BYTES = 1 << 28


@dataclass(frozen=True)
class Operand:
    """A matrix in memory: absolute address, shape, and steps between elements (in elements)."""

    address: int
    rows: int
    cols: int
    row_step: int
    col_step: int = 1
    # Memory may be read up to the end of the last register of a row (arena memory is padded).
    readable: bool = False

    @classmethod
    def of(cls, array: np.ndarray) -> Operand:
        """The operand over a 1-D (one row) or 2-D array whose strides are whole elements."""
        item = array.itemsize
        if array.size == 0:  # NumPy's strides of empty arrays mean nothing
            rows, cols = array.shape if array.ndim == 2 else (1, 0)
            return cls(address_of(array), rows, cols, cols)
        if array.ndim == 1:
            return cls(address_of(array), 1, array.shape[0], array.shape[0],
                       array.strides[0] // item)
        return cls(address_of(array), array.shape[0], array.shape[1],
                   array.strides[0] // item, array.strides[1] // item)

    @property
    def transposed(self) -> Operand:
        """The same memory seen as the transpose."""
        return Operand(self.address, self.cols, self.rows, self.col_step, self.row_step,
                       self.readable)

    def part(self, dtype: np.dtype, rows: slice, cols: slice) -> Operand:
        """The operand over some rows and columns (slices with explicit ends, step 1)."""
        where = rows.start * self.row_step + cols.start * self.col_step
        return Operand(self.address + where * dtype.itemsize, rows.stop - rows.start,
                       cols.stop - cols.start, self.row_step, self.col_step, self.readable)


class Memory:
    """What programs of one caller share: scratch for each thread, zeros, and workspaces.

    A program in a network has its own; `ops` of one Python thread take turns with one, so
    that a call allocates nothing once the sizes have been seen.
    """

    def __init__(self) -> None:
        # A block per thread of what lives within a task, and zeros that nobody writes.
        self._slots = undefined(_pool.MOST_THREADS * SLOT_BYTES, np.uint8)
        self._zeros = allocate(1024, np.uint8)
        self.scratch, self.zeros = address_of(self._slots), address_of(self._zeros)
        self._block = undefined(0, np.uint8)
        self._used = 0
        self._large: list[np.ndarray] = []
        # How often the memory of workspaces has moved.
        self.generation = 0

    def take(self, size: int) -> int:
        """Address of `size` bytes, of undefined content, until `reset`."""
        if is_supplied():
            self._large.append(undefined(size, np.uint8))
            return address_of(self._large[-1])
        size = -(-size // ALIGNMENT) * ALIGNMENT
        if self._used + size > len(self._block):
            self._large.append(self._block)
            more = min(2 * len(self._block), KEPT_BYTES)
            self._block = undefined(max(more, size, 1 << 16), np.uint8)
            self._used = 0
            self.generation += 1
        self._used += size
        return address_of(self._block) + self._used - size

    def reset(self) -> None:
        """Forget all that was taken."""
        if self._large:
            self._large.clear()
            self.generation += 1
        self._used = 0
        if len(self._block) > KEPT_BYTES:
            self._block = undefined(0, np.uint8)
            self.generation += 1

    def blocks(self) -> list[np.ndarray]:
        """All memory there is, for bounds checks."""
        return [self._slots, self._zeros, self._block, *self._large]

    def view(self, address: int, count: int, dtype: Any) -> np.ndarray:
        """`count` elements of a workspace as an array."""
        size = count * np.dtype(dtype).itemsize
        for block in self.blocks():
            begin = address - address_of(block)
            if begin >= 0 and begin + size <= len(block):
                return block[begin : begin + size].view(dtype)
        raise ValueError(f"no workspace at {address:#x}")


_local = threading.local()


def local_memory() -> Memory:
    """The memory in which this Python thread's `ops` take turns."""
    memory: Memory | None = getattr(_local, "memory", None)
    if memory is None:
        memory = _local.memory = Memory()
    return memory


class Program:
    """A table of instructions over absolute addresses, with the memory they need.

    Whoever owns the memory that addresses point to must outlive the program; `workspace` memory
    belongs to the program, and `keep` ties an array's life to it.
    """

    def __init__(self, dtype: Any, memory: Memory | None = None, *, flush: bool = False,
                 halts: bool = False) -> None:
        """flush: take subnormal numbers as zero (see _simd/control.py).

        halts: a loss that is not finite ends the run: all that comes after it does nothing.
        """
        self.dtype = np.dtype(dtype)
        self.halts = halts
        self.memory = memory or Memory()
        # Rows in the order OP, TASKS, FIRST, WAIT, words (kernels/_instruction.py).
        self._rows: list[list[int]] = []
        self._reals: list[list[float]] = []
        self._kept: list[np.ndarray] = []
        self._mark = 0
        self._tickets = 0
        self._is_parallel = False
        # The entry whose strands are being emitted.
        self._strands: list[int] | None = None
        # Where the columns of an operand are packed, for all products that read it (emit/gemm.py).
        self.packed: dict[Operand, tuple[int, int, int]] = {}
        self._kind = self.dtype.itemsize
        self._finished: tuple[np.ndarray, np.ndarray] | None = None
        self._job = np.zeros(JOB_WORDS, np.int64)
        self._job[FLUSH] = flush
        self._job_address = address_of(self._job)
        self._job_words = flat_view(self._job)

    def emit(self, instruction: Instruction, *, tasks: int = 1, overlap: bool = False,
             **operands: float) -> int:
        """Append an instruction; returns its row number (for `set`).

        It starts when everything before it is done; with `overlap` it may run together with
        the instruction before it (which must not write what this one touches, nor the reverse).
        Every declared word and real must be given by name.
        """
        if operands.keys() != instruction.names:
            given, wanted = set(operands), set(instruction.names)
            raise TypeError(f"{instruction.name}: missing {sorted(wanted - given)}, "
                            f"unknown {sorted(given - wanted)}")
        if self._finished is not None:
            raise ValueError("this program has been run; emit into a new one")
        if instruction.number >= FIRST_FOR_IMAGES:
            self._kind |= IMAGES
        words = [int(operands[name]) for name in instruction.words]
        if self._strands is None:
            self._count(tasks, overlap)
        self._rows.append([instruction.number, tasks, self._tickets, self._mark, *words,
                           *instruction.empty_words])
        self._reals.append([*[operands[name] for name in instruction.reals],
                            *instruction.empty_reals])
        if self._strands is None:
            self._tickets += tasks
        return len(self._rows) - 1

    @contextmanager
    def strands(self, count: int, *, overlap: bool = False) -> Iterator[Iterator[int]]:
        """Emit `count` runs of instructions that are tasks: each is done in order by one thread.

            with program.strands(4) as strands:
                for number in strands:
                    ...  # emit those of strand `number`

        No strand may touch what another one writes. At most MOST_STRANDS.
        """
        if self._strands is not None or not 0 < count <= MOST_STRANDS:
            raise ValueError(f"{count} strands, or strands within strands")
        self._count(count, overlap)
        row = self._strands = [STRANDS, count, self._tickets, self._mark, *[0] * WORDS]
        self._rows.append(row)
        self._reals.append([0.0] * REALS)
        yield self._each(count)
        row[HEADER + count] = len(self._rows)
        self._tickets += count
        self._strands = None

    def _each(self, count: int) -> Iterator[int]:
        for number in range(count):
            assert self._strands is not None
            self._strands[HEADER + number] = len(self._rows)
            yield number

    def _count(self, tasks: int, overlap: bool) -> None:
        """Note whether threads can share the tasks, and what they wait for."""
        self._is_parallel = self._is_parallel or tasks > 1
        if not overlap:
            self._mark = self._tickets

    @property
    def size(self) -> int:
        """Instructions emitted so far."""
        return len(self._rows)

    @property
    def halted_word(self) -> int:
        """Address of the word that an instruction sets to end the run."""
        return self._job_address + 8 * HALTED

    @property
    def shared_word(self) -> int:
        """Address of the word that is not 0 while several threads share a run's tasks."""
        return self._job_address + 8 * SHARED

    @property
    def in_strand(self) -> bool:
        """True while a strand is being emitted: one thread will do all of it."""
        return self._strands is not None

    @property
    def halted(self) -> bool:
        """True where the last run ended early."""
        return bool(self._job_words[HALTED])

    @property
    def scratch(self) -> tuple[int, int]:
        """(address, elements per thread) of memory whose content lives within a task."""
        return self.memory.scratch, SLOT_BYTES // self.dtype.itemsize

    @property
    def zeros(self) -> int:
        """Address of zeros (a row of a register tile) that nobody writes."""
        return self.memory.zeros

    def workspace(self, count: int, dtype: Any = None) -> int:
        """Address of `count` elements (of the program's dtype unless told), 64-byte aligned.

        Their content is undefined at the start of a run; they live as long as the memory does not
        move.
        """
        return self.memory.take(int(count) * np.dtype(dtype or self.dtype).itemsize)

    def keep(self, array: np.ndarray) -> np.ndarray:
        """Tie the array's life to the program's."""
        self._kept.append(array)
        return array

    def set(self, row: int, instruction: Instruction, **operands: float) -> None:
        """Change operands of an emitted instruction (the address of a new batch, say)."""
        code, reals = self.tables()
        for name, value in operands.items():
            if name in instruction.words:
                code[row, HEADER + instruction.words.index(name)] = int(value)
            else:
                reals[row, instruction.reals.index(name)] = value

    def words(self) -> Any:
        """The instruction table as one line of int64, for setting words quickly (`place`)."""
        return flat_view(self.tables()[0])

    @staticmethod
    def place(row: int, instruction: Instruction, name: str) -> int:
        """Where in `words` an operand of an emitted instruction is."""
        return row * ROW + HEADER + instruction.words.index(name)

    def require_labels(self, address: int, count: int, classes: int) -> None:
        """Runs do nothing, and say so, unless these int64 are in 0 .. classes-1 (count 0: all)."""
        job = self._job_words
        job[LABELS], job[LABEL_COUNT], job[CLASSES] = address, count, classes

    @property
    def required_labels(self) -> tuple[int, int, int]:
        """What `require_labels` was told."""
        job = self._job_words
        return job[LABELS], job[LABEL_COUNT], job[CLASSES]

    def tables(self) -> tuple[np.ndarray, np.ndarray]:
        """(instruction table, scalar table), as the executor takes them; no more can be emitted."""
        if self._finished is None:
            code = np.array(self._rows, np.int64).reshape(-1, ROW)
            reals = np.array(self._reals, np.float64).reshape(-1, REALS)
            self._finished = code, reals
            job = self._job
            job[TABLE], job[SCALARS] = address_of(code), address_of(reals)
            job[ROWS], job[TICKETS] = len(code), self._tickets
            job[KIND] = self._kind
        return self._finished

    def run(self, steps: int = 1, *, parallel: bool = True) -> bool:
        """Run all instructions `steps` times; `parallel=False` keeps it on this thread.

        False, and nothing has run, where `require_labels` does not hold.
        """
        if self._finished is None:
            self.tables()
        rows = len(self._rows)
        if parallel and self._is_parallel:
            return _pool.run(self._job_address, rows, steps, self._kind)
        return rows == 0 or _pool.run_alone(self._job_address, steps, self._kind)
