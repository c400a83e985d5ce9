"""The Python side of a program: a table that grows by `emit` and is run by `run`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastbp import _pool
from fastbp._arena import address_of, flat_view
from fastbp._memory import SLOT_BYTES, Memory
from fastbp.kernels._instruction import (
    FIRST,
    HEADER,
    OP,
    REALS,
    TASKS,
    WAIT,
    WORDS,
    Instruction,
)
from fastbp.kernels.gemm import PACK
from fastbp.kernels.program import (
    BODY,
    CLASSES,
    CLOSES,
    CLOSING,
    CLOSING_TICKETS,
    FLUSH,
    HALTED,
    IMAGES,
    JOB_WORDS,
    KIND,
    LABEL_COUNT,
    LABELS,
    MOST_STRANDS,
    OPENING_TICKETS,
    OPENS,
    ROWS,
    SCALARS,
    SHARED,
    STRANDS,
    TABLE,
    TICKETS,
)
from fastbp.kernels.tasks import FIRST_FOR_IMAGES, ROW


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

    def as_row(self) -> Operand:
        """All elements of a matrix without gaps, in one row."""
        if self.col_step != 1 or self.row_step != self.cols:
            raise ValueError("the rows of a matrix that is to be one row must follow each other")
        size = self.rows * self.cols
        return Operand(self.address, 1, size, size, readable=self.readable)

    def shifted(self, bytes_: int) -> Operand:
        """A matrix like this one, so many bytes further."""
        return Operand(self.address + bytes_, self.rows, self.cols, self.row_step, self.col_step,
                       self.readable)

    def part(self, dtype: np.dtype, rows: slice, cols: slice) -> Operand:
        """The operand over some rows and columns (slices with explicit ends, step 1)."""
        where = rows.start * self.row_step + cols.start * self.col_step
        return Operand(self.address + where * dtype.itemsize, rows.stop - rows.start,
                       cols.stop - cols.start, self.row_step, self.col_step, self.readable)


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
        # Where the body of a run ended and the tasks it has, once what closes a run is emitted.
        self._body: tuple[int, int] | None = None
        self._opening = (0, 0)
        self._is_parallel = False
        # The entry whose strands are being emitted.
        self._strands: list[int] | None = None
        self._kind = self.dtype.itemsize
        self._finished: tuple[np.ndarray, np.ndarray] | None = None
        self._words: Any = None
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
        try:
            words, reals = instruction.split(operands)
        except KeyError:
            given, wanted = set(operands), instruction.names
            raise TypeError(f"{instruction.name}: missing {sorted(wanted - given)}, "
                            f"unknown {sorted(given - wanted)}") from None
        if self._finished is not None:
            raise ValueError("this program has been run; emit into a new one")
        if instruction.number >= FIRST_FOR_IMAGES:
            self._kind |= IMAGES
        if self._strands is None:
            self._count(tasks, overlap)
        self._rows.append([instruction.number, tasks, self._tickets, self._mark, *words])
        self._reals.append(reals)
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

    def end_opening(self) -> None:
        """What has been emitted so far runs once, before the first step of each run."""
        if self._opening != (0, 0) or self._body is not None:
            raise ValueError("a run is opened once, before its steps")
        self._opening = len(self._rows), self._tickets
        self._mark = self._tickets = 0

    def begin_closing(self) -> None:
        """What is emitted from here on runs once, behind the last step, even where that halted."""
        if self._body is not None:
            raise ValueError("a run is closed once")
        self._body = len(self._rows), self._tickets
        self._mark = self._tickets = 0

    @contextmanager
    def side_by_side(self) -> Iterator[None]:
        """Let what is emitted inside run at once, but for packing, which comes first, at once too.

        None of it may write what another touches, or read it where it is not packed. Packing that
        was emitted with `overlap` goes on being together with what was before.
        """
        begin, tickets = len(self._rows), self._tickets
        yield
        if self._strands is not None:
            return  # one thread does it all, one after the other
        early: list[Any] = []
        packs: list[Any] = []
        rest: list[Any] = []
        for pair in zip(self._rows[begin:], self._reals[begin:], strict=True):
            row = pair[0]
            stage = rest if row[OP] != PACK.number else early if row[WAIT] < tickets else packs
            stage.append(pair)
        for row, _ in early:
            row[FIRST] = tickets
            tickets += row[TASKS]
        for stage in filter(None, (packs, rest)):
            self._mark = tickets
            for row, _ in stage:
                row[FIRST], row[WAIT] = tickets, self._mark
                tickets += row[TASKS]
        pairs = [*early, *packs, *rest]
        self._rows[begin:], self._reals[begin:] = [p[0] for p in pairs], [p[1] for p in pairs]

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
    def is_parallel(self) -> bool:
        """True where an instruction has several tasks. Single tasks that may run at once are too
        small to be shared: handing them over takes longer.
        """
        return self._is_parallel

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
        words, first = self.words(), row * ROW + HEADER
        for name, value in operands.items():
            place = instruction.places.get(name)
            if place is None:
                self.tables()[1][row, instruction.reals.index(name)] = value
            else:
                words[first + place] = int(value)

    def words(self) -> Any:
        """The instruction table as one line of int64, for setting words quickly (`place`)."""
        if self._words is None:
            self._words = flat_view(self.tables()[0])
        return self._words

    @staticmethod
    def place(row: int, instruction: Instruction, name: str) -> int:
        """Where in `words` an operand of an emitted instruction is."""
        return row * ROW + HEADER + instruction.places[name]

    def require_labels(self, address: int, count: int, classes: int) -> None:
        """Runs do nothing, and say so, unless these int64 are in 0 .. classes-1 (count 0: all)."""
        job = self._job_words
        job[LABELS], job[LABEL_COUNT], job[CLASSES] = address, count, classes

    @property
    def required_labels(self) -> tuple[int, int, int]:
        """What `require_labels` was told."""
        job = self._job_words
        return job[LABELS], job[LABEL_COUNT], job[CLASSES]

    @property
    def native(self) -> tuple[int, int]:
        """Addresses of the compiled function that runs it, and of its JOB_WORDS."""
        self.tables()
        return _pool.address_of_door(self._kind), self._job_address

    def tables(self) -> tuple[np.ndarray, np.ndarray]:
        """(instruction table, scalar table), as the executor takes them; no more can be emitted."""
        if self._finished is None:
            code = np.array(self._rows, np.int64).reshape(-1, ROW)
            reals = np.array(self._reals, np.float64).reshape(-1, REALS)
            self._finished = code, reals
            job = self._job
            job[TABLE], job[SCALARS] = address_of(code), address_of(reals)
            body = self._body or (len(code), self._tickets)
            job[BODY], job[OPENING_TICKETS] = self._opening
            job[CLOSING], job[TICKETS] = body
            job[ROWS], job[CLOSING_TICKETS] = len(code), self._tickets if self._body else 0
            job[KIND] = self._kind
            job[OPENS] = job[CLOSES] = 1
        return self._finished

    def choose_ends(self, *, opens: bool, closes: bool) -> None:
        """Whether runs from now on do what opens a run, and what closes it; they do unless told."""
        self.tables()
        self._job_words[OPENS], self._job_words[CLOSES] = opens, closes

    def run(self, steps: int = 1, *, parallel: bool = True) -> bool:
        """Run all instructions `steps` times; `parallel=False` keeps it on this thread.

        False, and nothing has run, where `require_labels` does not hold.
        """
        if self._finished is None:
            self.tables()
        rows = len(self._rows)
        if parallel and self.is_parallel:
            tasks = steps * self._job_words[TICKETS]
            return _pool.run(self._job_address, rows, tasks, steps, self._kind)
        return rows == 0 or _pool.run_alone(self._job_address, steps, self._kind)
