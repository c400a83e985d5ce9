"""The memory that programs of one caller share: scratch for threads, zeros, workspaces."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from fastbp import _pool
from fastbp._arena import (
    ALIGNMENT,
    address_of,
    allocate,
    flat_view,
    is_supplied,
    undefined,
    untouched,
)

# What each of `_pool.MOST_THREADS` has for itself: a tile of C and four packed tiles of A. Memory
# that no thread touches is never backed by pages.
SLOT_BYTES = 640 * 1024
# Workspace that `ops` keep between calls, at most.
KEPT_BYTES = 1 << 28


class Memory:
    """What programs of one caller share: scratch for each thread, zeros, and workspaces.

    A program in a network has its own; `ops` of one Python thread take turns with one, so
    that a call allocates nothing once the sizes have been seen.
    """

    def __init__(self) -> None:
        # A block per thread of what lives within a task, and zeros that nobody writes.
        self._slots = untouched(_pool.MOST_THREADS * SLOT_BYTES)
        self._zeros = allocate(1024, np.uint8)
        self.scratch, self.zeros = address_of(self._slots), address_of(self._zeros)
        self._block = undefined(0, np.uint8)
        self._used = 0
        self._large: list[np.ndarray] = []
        self._moves = np.zeros(1, np.int64)
        self._moves_word = flat_view(self._moves)

    @property
    def generation(self) -> int:
        """How often the memory of workspaces has moved."""
        return self._moves_word[0]

    @property
    def generation_word(self) -> int:
        """Address of the word, an int64, that holds `generation`."""
        return address_of(self._moves)

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
            self._moves_word[0] += 1
        self._used += size
        return address_of(self._block) + self._used - size

    def reset(self) -> None:
        """Forget all that was taken."""
        if self._large:
            self._large.clear()
            self._moves_word[0] += 1
        self._used = 0
        if len(self._block) > KEPT_BYTES:
            self._block = undefined(0, np.uint8)
            self._moves_word[0] += 1

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
