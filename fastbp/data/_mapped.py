"""Rows of arrays that are mapped from a file, read without keeping the file in memory.

Touching one row of a mapped file makes the system map up to 2 MB around it, which count as memory
of the process: 500 rows at random, and a gigabyte is resident. So rows are read from the file by
their place in it; where that cannot be told, a few at a time through the map, which is then let go.
"""

from __future__ import annotations

import itertools
import mmap
import os
import weakref
from contextlib import suppress
from typing import Any

import numpy as np

Index = np.ndarray

# Rows that lie at most so many bytes apart are read in one piece, ...
_GAP = 1 << 14
# ... which ends at multiples of so many bytes.
_SPAN = 1 << 22
# Rows touched through the map before it is let go.
_TOUCHED = 32
# Modes whose maps are the file itself: a private one (mode "c") has changes of its own.
_SHARED = ("r", "r+", "w+")


class Rows:
    """Reads rows of an array; of a `np.memmap` without mapping them.

    Arguments:
        array: any array with at least one dimension.
    """

    def __init__(self, array: np.ndarray) -> None:
        self.array = array
        self._owner = _owner(array)
        self._handle, self._start = -1, 0
        if self._owner is not None and len(array) and hasattr(os, "preadv") \
                and array[0].flags.c_contiguous and array.strides[0] > 0:
            self._open(self._owner)

    def _open(self, owner: np.memmap) -> None:
        """Find the array in its file; the first row tells whether it is still that file."""
        try:
            handle = os.open(os.fspath(owner.filename), os.O_RDONLY)  # type: ignore[arg-type]
        except (OSError, TypeError):
            return
        weakref.finalize(self, os.close, handle)
        self._start = owner.offset + self.array.ctypes.data - owner.ctypes.data
        first = np.empty(self.array.shape[1:], self.array.dtype)
        with suppress(OSError):
            if _read(handle, first, self._start) and first.tobytes() == self.array[0].tobytes():
                self._handle = handle

    def take(self, ascending: Index) -> np.ndarray:
        """Copies of the rows with these numbers, which do not descend."""
        if self._owner is None:
            return np.take(self.array, ascending, axis=0)
        rows = np.empty((len(ascending), *self.array.shape[1:]), self.array.dtype)
        if self._handle < 0 or not self._read_rows(rows, ascending):
            for begin in range(0, len(ascending), _TOUCHED):
                rows[begin : begin + _TOUCHED] = self.array[ascending[begin : begin + _TOUCHED]]
                let_go(self.array)
        return rows

    def _read_rows(self, rows: np.ndarray, ascending: Index) -> bool:
        """Fill `rows` from the file; False where it has become too short."""
        step = self.array.strides[0]
        places = ascending * step
        ends = (np.diff(places) > _GAP) | (np.diff(places // _SPAN) > 0)
        cuts = [0, *(np.flatnonzero(ends) + 1).tolist(), len(ascending)]
        for begin, end in itertools.pairwise(cuts):
            first, count = int(ascending[begin]), int(ascending[end - 1] - ascending[begin]) + 1
            if count == 1 and end - begin == 1:
                done = _read(self._handle, rows[begin:end], self._start + first * step)
            else:
                size = (count - 1) * step + rows[begin : begin + 1].nbytes
                piece = np.empty(size, np.uint8)
                done = _read(self._handle, piece, self._start + first * step)
                there = np.ndarray((count, *rows.shape[1:]), rows.dtype, piece.data, 0,
                                   self.array.strides)
                rows[begin:end] = there[ascending[begin:end] - first]
            if not done:
                return False
        return True


def _read(handle: int, out: np.ndarray, place: int) -> bool:
    """Fill a contiguous array with the file's bytes from `place`; False at the end of the file."""
    left = memoryview(out.reshape(-1).view(np.uint8))  # type: ignore[arg-type]
    while left:
        count = os.preadv(handle, [left], place)
        if count == 0:
            return False
        left, place = left[count:], place + count
    return True


def let_go(array: np.ndarray) -> None:
    """Unmap the pages of a file. They stay in the system's cache, but not in this process."""
    owner = _owner(array)
    if owner is not None and owner.mode in _SHARED and hasattr(mmap, "MADV_DONTNEED"):
        with suppress(OSError, ValueError):
            owner.base.madvise(mmap.MADV_DONTNEED)  # type: ignore[union-attr]


def _owner(array: Any) -> np.memmap | None:
    """The array over the whole map that `array` is a part of; None for other arrays."""
    while isinstance(array, np.ndarray):
        if isinstance(array, np.memmap) and isinstance(array.base, mmap.mmap):
            return array if array.mode in _SHARED else None  # type: ignore[unreachable]
        array = array.base
    return None


def is_mapped(x: Any, least: int) -> bool:
    """True for a `np.memmap`, or a tuple with one, of more than `least` bytes."""
    parts = x if isinstance(x, tuple) else (x,)
    return any(isinstance(a, np.memmap) and a.nbytes > least for a in parts)
