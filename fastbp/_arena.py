"""Aligned memory: one buffer with named views, and growable scratch.

Everything kernels write that the user did not pass comes from `allocate` and `undefined`; both ask
`supplier`, so that tests can give memory between pages that nobody may touch.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import mmap
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

ALIGNMENT = 64  # bytes: one cache line, one AVX-512 register
# Rows a multiple of so many bytes apart share a few sets of the first cache: they get a line more,
# and products read them where they lie.
SAME_SETS = 2048
# Blocks from this size on ask for huge pages: rows of a matrix of some MB lie on pages of their
# own, more than a core's table of pages holds.
HUGE_PAGE = 1 << 21
HUGE_FROM = 1 << 20


Supplier = Callable[[int, bool], np.ndarray]
"""Gives so many bytes, zeroed if the second argument says so; kernels ask for no alignment, only
gain by it."""


def _from_the_system(size: int, zeroed: bool, huge: bool = True) -> np.ndarray:
    """Zeroed bytes in any case (NumPy's own large buffers sit at 16 modulo 64)."""
    del zeroed
    if size < HUGE_FROM or not hasattr(mmap, "MADV_HUGEPAGE"):
        raw, alignment = np.zeros(size + ALIGNMENT, np.uint8), ALIGNMENT
    else:
        try:
            block = mmap.mmap(-1, size + HUGE_PAGE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        except OSError as error:
            raise MemoryError(f"{size} bytes of memory for kernels to work in") from error
        with contextlib.suppress(OSError):  # a kernel without huge pages
            block.madvise(mmap.MADV_HUGEPAGE if huge else mmap.MADV_NOHUGEPAGE)
        raw, alignment = np.frombuffer(block, np.uint8), HUGE_PAGE
    start = -address_of(raw) % alignment
    return raw[start : start + size]


_supplier: Supplier = _from_the_system


@contextlib.contextmanager
def supplier(other: Supplier) -> Iterator[None]:
    """All memory of this process comes from `other` inside the block: for tests."""
    global _supplier
    before, _supplier = _supplier, other
    try:
        yield
    finally:
        _supplier = before


def is_supplied() -> bool:
    """True inside a `supplier` block: then every workspace is a block of its own."""
    return _supplier is not _from_the_system


def allocate(count: int, dtype: object) -> np.ndarray:
    """`count` zeroed elements, contiguous and 64-byte aligned."""
    return _elements(count, dtype, True)


def undefined(count: int, dtype: object) -> np.ndarray:
    """As `allocate`, but nobody may rely on what is in it."""
    return _elements(count, dtype, False)


def untouched(size: int) -> np.ndarray:
    """`size` bytes of undefined content, most of which will never be used.

    On small pages: the first use of a huge one clears 2 MiB, in some 0.5 ms.
    """
    return _supplier(size, False) if is_supplied() else _from_the_system(size, False, huge=False)


def _elements(count: int, dtype: object, zeroed: bool) -> np.ndarray:
    kind = np.dtype(dtype)  # type: ignore[call-overload]
    size = int(count) * kind.itemsize
    return _supplier(max(size, kind.itemsize), zeroed)[:size].view(kind)


class Room:
    """Memory that is handed out in pieces, from blocks whose pages are all there at once.

    Pieces of their own would meet their pages one by one, at 0.8 us each (0.35 all at once).
    """

    LEAST, MOST = 1 << 16, HUGE_FROM

    def __init__(self) -> None:
        self._block = np.empty(0, np.uint8)
        self._next = self.LEAST

    def take(self, count: int, dtype: object) -> np.ndarray:
        """`count` elements as `undefined` gives them: nobody may rely on the zeros there."""
        kind = np.dtype(dtype)  # type: ignore[call-overload]
        size = max(1, -(-int(count) * kind.itemsize // ALIGNMENT)) * ALIGNMENT
        if is_supplied() or size >= self.MOST:
            return undefined(count, kind)
        if size > len(self._block):
            self._block = _populated(max(self._next, size))
            self._next = min(2 * self._next, self.MOST)
        piece, self._block = self._block[:size], self._block[size:]
        return piece[: int(count) * kind.itemsize].view(kind)


def _populated(size: int) -> np.ndarray:
    """Zeroed bytes on pages that the system has put there already, where it can."""
    if not hasattr(mmap, "MAP_POPULATE"):
        return allocate(size, np.uint8)
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE
    try:
        return np.frombuffer(mmap.mmap(-1, size, flags), np.uint8)
    except OSError:  # perhaps for the flag: say it without
        return allocate(size, np.uint8)


def address_of(array: np.ndarray) -> int:
    """Address of an array's first element."""
    return array.__array_interface__["data"][0]


def addresses_of(arrays: Iterable[np.ndarray]) -> list[int]:
    """Addresses of several arrays."""
    return [*map(address_of, arrays)]


def _data_field() -> int:
    """Where an array object keeps the address of its data, or -1 where that cannot be told.

    NumPy's C interface fixes it: the first field behind the object's header. Reading it takes
    0.1 us, `__array_interface__` 1 us, and a training step of a small network asks for two.
    """
    offset = object.__basicsize__
    if sys.implementation.name != "cpython" or not 16 <= offset <= np.ndarray.__basicsize__ - 8:
        return -1
    probes: list[np.ndarray] = [np.zeros(3), np.zeros((4, 5), np.float32)[1:, 2:]]
    seen = [ctypes.c_int64.from_address(id(p) + offset).value for p in probes]
    return offset if seen == [p.__array_interface__["data"][0] for p in probes] else -1


_DATA_FIELD = _data_field()

if _DATA_FIELD > 0:
    # All memory as words: number id(x) // 8 is the one _DATA_FIELD bytes into object x (which lies
    # at a multiple of 16). Reading it takes 70 ns, a ctypes object made for it 110.
    _data_words = (ctypes.c_int64 * (1 << 59)).from_address(_DATA_FIELD)

    def address_of(array: np.ndarray) -> int:
        """Address of an array's first element."""
        return _data_words[id(array) >> 3]

    def addresses_of(arrays: Iterable[np.ndarray]) -> list[int]:
        """Addresses of several arrays."""
        found = []
        for array in arrays:  # twice as fast as a comprehension: no call
            found.append(_data_words[id(array) >> 3])
        return found


def flat_view(array: np.ndarray) -> Any:
    """A contiguous array's elements in a row, each read or set in half an array's time."""
    return memoryview(array.reshape(-1))  # type: ignore[arg-type]


def padded(count: int, dtype: object) -> int:
    """`count` rounded up to whole cache lines."""
    per_line = ALIGNMENT // np.dtype(dtype).itemsize  # type: ignore[call-overload]
    return -(-int(count) // per_line) * per_line


def row_width(shape: tuple[int, ...], dtype: object) -> int:
    """Elements from one row (first axis) of an array in a `Layout` to the next: whole cache lines,
    no multiple of SAME_SETS of them.

    A single column is a vector: its elements lie side by side, so that they fill registers.
    A row of a filter bank (F, C, H, W) is a filter: C*H*W elements side by side.
    """
    width = math.prod(shape[1:])
    if width <= 1:
        return width
    width, item = padded(width, dtype), np.dtype(dtype).itemsize  # type: ignore[call-overload]
    return width if width * item % SAME_SETS else width + ALIGNMENT // item


def extent(shape: tuple[int, ...], dtype: object) -> int:
    """Elements that an array takes in a `Layout`, whole cache lines.

    With these a register may be read from the start of any row: behind a column is a line more.
    """
    if len(shape) < 2:
        return padded(math.prod(shape), dtype)
    width = row_width(shape, dtype)
    return padded(shape[0] * width, dtype) + (padded(1, dtype) if width == 1 else 0)


class Layout:
    """Places of named arrays in one buffer, rows as far apart as `row_width` says.

    `add` returns the offset in elements; `views(buffer)` gives the arrays by name.
    """

    def __init__(self, dtype: object) -> None:
        self.dtype = np.dtype(dtype)  # type: ignore[call-overload]
        self.size = 0
        self.places: dict[str, tuple[int, tuple[int, ...]]] = {}

    def add(self, name: str, shape: tuple[int, ...]) -> int:
        """Reserve room for an array of `shape`."""
        if name in self.places:
            raise ValueError(f"the name {name!r} is used twice")
        offset = self.size
        self.places[name] = (offset, shape)
        self.size += extent(shape, self.dtype)
        return offset

    def views(self, buffer: np.ndarray) -> dict[str, np.ndarray]:
        """The named arrays over `buffer` (of at least `size` elements)."""
        result = {}
        for name, (offset, shape) in self.places.items():
            block = buffer[offset : offset + extent(shape, self.dtype)]
            if len(shape) < 2:
                result[name] = block[: math.prod(shape)].reshape(shape)
                continue
            item = buffer.itemsize
            steps = [item * math.prod(shape[axis + 1 :]) for axis in range(1, len(shape))]
            result[name] = np.lib.stride_tricks.as_strided(
                block, shape, (row_width(shape, self.dtype) * item, *steps))
        return result
