"""Samples that do not fit into memory: read block by block, in any order, one block ahead."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from fastbp.data._mapped import Rows

# Bytes of samples that are read at once. Three blocks exist at a time: the one that is trained on,
# the next, and the one that is being read.
BLOCK_BYTES = 32 << 20
Index = NDArray[np.int64]


@dataclass(frozen=True)
class Block:
    """Some samples, and the order in which they are wanted: x[index], y[index]."""

    x: Any
    y: Any
    index: Index


@runtime_checkable
class Blocks(Protocol):
    """Samples by number, 0 .. rows-1."""

    @property
    def rows(self) -> int:
        """How many samples there are."""

    @property
    def row_bytes(self) -> int:
        """Bytes that a sample takes."""

    def order(self, permute: Callable[[int], Index]) -> Index:
        """An order of all samples that is good to read, from `permute(n)`: an order of 0 .. n-1."""

    def take(self, numbers: Index) -> Block:
        """The samples with these numbers."""


class ArrayBlocks:
    """Blocks of arrays; of `np.memmap` only what is read is in memory.

    Arguments:
        x, y: arrays with one row a sample, or tuples of them for several inputs or outputs.
    """

    def __init__(self, x: Any, y: Any) -> None:
        self._x, self._y = x, y
        self._rows_x = tuple(Rows(a) for a in _parts(x))
        self._rows_y = tuple(Rows(a) for a in _parts(y))

    @property
    def rows(self) -> int:
        """How many samples there are."""
        return len(_parts(self._x)[0])

    @property
    def row_bytes(self) -> int:
        """Bytes that a sample takes."""
        return sum(bytes_of_row(a) for a in (*_parts(self._x), *_parts(self._y)))

    def order(self, permute: Callable[[int], Index]) -> Index:
        """Any order is as good as another."""
        return permute(self.rows)

    def take(self, numbers: Index) -> Block:
        """The samples, read in the order of the file: a disk is fastest forwards."""
        ascending, index = in_file_order(numbers)
        x, y = (tuple(rows.take(ascending) for rows in parts)
                for parts in (self._rows_x, self._rows_y))
        return Block(x if isinstance(self._x, tuple) else x[0],
                     y if isinstance(self._y, tuple) else y[0], index)


def in_file_order(numbers: Index) -> tuple[Index, Index]:
    """(the numbers sorted, where each of `numbers` is among them)."""
    by_number = np.argsort(numbers, kind="stable")
    index = np.empty(len(numbers), np.int64)
    index[by_number] = np.arange(len(numbers))
    return numbers[by_number], index


def _parts(x: Any) -> tuple[Any, ...]:
    return x if isinstance(x, tuple) else (x,)


def bytes_of_row(array: Any) -> int:
    """Bytes of one row of an array."""
    return int(array.nbytes // max(1, len(array)))


def blocks_in_order(source: Blocks, order: Index, batch_size: int) -> Iterator[Block]:
    """All samples in `order`, in blocks of whole batches (the last may be short), read ahead."""
    batches = max(1, BLOCK_BYTES // max(1, source.row_bytes * batch_size))
    size = batches * batch_size
    parts = (order[begin : begin + size] for begin in range(0, len(order), size))
    return read_ahead(source.take, parts)


def read_ahead(read: Callable[[Any], Any], tasks: Iterator[Any] | Sequence[Any]) -> Iterator[Any]:
    """read(task) for each task, in order, by a thread that is one result ahead.

    What `read` raises is raised here. Left early, the generator stops the thread.
    """
    results: queue.Queue[tuple[bool, Any]] = queue.Queue(maxsize=1)
    stopped = threading.Event()

    def put(found: tuple[bool, Any]) -> None:
        while not stopped.is_set():
            with suppress(queue.Full):
                results.put(found, timeout=0.1)
                return

    def work() -> None:
        try:
            for task in tasks:
                put((True, read(task)))
                if stopped.is_set():
                    return
            put((False, None))
        except BaseException as error:
            put((False, error))

    thread = threading.Thread(target=work, name="fastbp read-ahead", daemon=True)
    thread.start()
    try:
        while True:
            more, found = results.get()
            if not more:
                if found is not None:
                    raise found
                return
            yield found
            del found  # so that it can go before the next is waited for
    finally:
        stopped.set()
        thread.join()
