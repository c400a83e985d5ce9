"""Arrays between pages that nobody may touch: one element too many is a signal, not a guess.

A block's data lies flush against the page after it ("right") or the page before it ("left"); the
rest of its own pages is filled with 0xFF, and so is the data before it is written: as floating
point that is NaN. Inputs can be sealed against writing. Linux and macOS.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
from collections.abc import Iterator

import numpy as np

from fastbp import _arena

PAGE = mmap.PAGESIZE
_libc = ctypes.CDLL(None, use_errno=True)
_libc.mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)


def _protect(address: int, size: int, rights: int) -> None:
    if _libc.mprotect(address, size, rights):
        raise OSError(ctypes.get_errno(), "mprotect")


class Block:
    """`size` bytes between two pages without any rights; `slack` is what else is on its pages.

    right: the last byte lies before the page behind, else the first one behind the page before.
    """

    def __init__(self, size: int, *, right: bool) -> None:
        inner = -(-max(size, 1) // PAGE) * PAGE
        self._map = mmap.mmap(-1, inner + 2 * PAGE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        whole = np.frombuffer(self._map, np.uint8)
        self._begin, self._size = whole.ctypes.data + PAGE, inner
        middle = whole[PAGE : PAGE + inner]
        middle.fill(0xFF)
        self.data = middle[inner - size :] if right else middle[:size]
        self.slack = middle[: inner - size] if right else middle[size:]
        _protect(self._begin - PAGE, PAGE, 0)
        _protect(self._begin + inner, PAGE, 0)

    def seal(self) -> None:
        """Reading only, from now on."""
        _protect(self._begin, self._size, mmap.PROT_READ)

    def assert_slack_untouched(self, what: str) -> None:
        assert (self.slack == 0xFF).all(), f"{what}: bytes beside it were written"


class Fence:
    """All memory that kernels get from the library, in blocks; for `_arena.supplier`."""

    def __init__(self, *, right: bool) -> None:
        self.right = right
        self.blocks: list[Block] = []

    def __call__(self, size: int, zeroed: bool) -> np.ndarray:
        # Whole words, so that counters are aligned; workspaces of float32 are flush to 4 bytes.
        block = Block(size, right=self.right)
        if zeroed:
            block.data.fill(0)
        self.blocks.append(block)
        return block.data

    def assert_slack_untouched(self) -> None:
        for block in self.blocks:
            block.assert_slack_untouched("memory of the library")


@contextlib.contextmanager
def fenced(*, right: bool) -> Iterator[Fence]:
    """All memory of the library that is asked for inside the block lies between guard pages."""
    fence = Fence(right=right)
    with _arena.supplier(fence):
        yield fence
    fence.assert_slack_untouched()


def place(shape: tuple[int, ...], strides: tuple[int, ...], dtype: object, *, right: bool
          ) -> tuple[Block, np.ndarray]:
    """(block, array) with strides in elements, all 0xFF; exactly the memory the array spans."""
    kind = np.dtype(dtype)  # type: ignore[call-overload]
    if 0 in shape:
        return Block(0, right=right), np.empty(shape, kind)
    reach = [(n - 1) * step for n, step in zip(shape, strides, strict=True)]
    low, high = sum(min(r, 0) for r in reach), sum(max(r, 0) for r in reach)
    block = Block((high - low + 1) * kind.itemsize, right=right)
    first = block.data.view(kind)[-low:]
    array = np.lib.stride_tricks.as_strided(first, shape, [s * kind.itemsize for s in strides])
    return block, array
