"""The conditions every operation is tested under: sizes, memory layouts, dtypes.

Use the tables with `pytest.mark.parametrize`; `make(values, kind)` lays values out in memory as
a kind says, `Output` is an array to write into that knows whether its surroundings were touched.
Slack around an array is filled with NaN (for integers the largest value), so that an element
read from outside shows in the result.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp._simd.machine import machine

Array = npt.NDArray[Any]

DTYPES = (np.float32, np.float64)
THREADS = (1, 2)
LAYOUTS = ("column", "row")
PRIME = 37
ALIGNMENT = 64
"""Bytes of a cache line, and of the widest vector register."""


def around(*sizes: int) -> tuple[int, ...]:
    """Each size with its neighbours, sorted, without negative ones."""
    return tuple(sorted({s + d for s in sizes for d in (-1, 0, 1) if s + d >= 0}))


def tile_columns(dtype: npt.DTypeLike) -> int:
    """Columns of the matmul register tile: two vectors of the machine the kernels run on."""
    return 2 * machine().lanes(np.dtype(dtype).itemsize)


def row_sizes() -> tuple[int, ...]:
    """0, 1, around one and two tiles of rows, a prime."""
    rows = machine().tile_rows
    return tuple(sorted({0, 1, PRIME, *around(rows, 2 * rows)}))


def column_sizes(dtype: npt.DTypeLike) -> tuple[int, ...]:
    """0, 1, around half a tile (one vector), one tile and two tiles of columns, a prime."""
    columns = tile_columns(dtype)
    return tuple(sorted({0, 1, PRIME, *around(columns // 2, columns, 2 * columns)}))


DEPTHS = (0, 1, 2, 3, 7, 8, 9, PRIME, 127, 128, 129)
"""Lengths of a reduction (K of a matmul) short enough for the exact-integer test of every shape."""

VECTOR_SIZES = tuple(sorted({0, 1, 2, 3, PRIME, *around(4, 8, 16, 32, 64), 127, 1009}))
"""Lengths for elementwise kernels: around every register width, and a long prime."""

BATCH_SIZES = (1, 2, 3, 16, PRIME)


@dataclass(frozen=True)
class Kind:
    """How an array lies in memory.

    `order` is that of the buffer, `first` and `last` the steps along the first and last axis,
    `gap` the unused elements after each row (column in F order), `offset` the address of the
    buffer modulo 64 in bytes, None for one element.
    """

    name: str
    order: str = "C"
    first: int = 1
    last: int = 1
    gap: int = 0
    offset: int | None = 0
    writeable: bool = True
    swapped: bool = False

    def __str__(self) -> str:
        return self.name


KINDS = (
    Kind("C"),
    Kind("F", order="F"),
    Kind("C gap", gap=3),
    Kind("F gap", order="F", gap=3),
    Kind("every second row", first=2),
    Kind("every third column", last=3),
    Kind("rows reversed", first=-1),
    Kind("columns reversed", last=-1),
    Kind("all reversed", order="F", first=-1, last=-1),
    Kind("every second backwards", first=-2, last=-2),
    Kind("address one element past 64", offset=None),
    Kind("read-only", writeable=False),
)
"""What every operation must take for an input, at full correctness."""

ODD_KINDS = (
    Kind("address not a multiple of the element", offset=1),
    Kind("byte-swapped", swapped=True),
)
"""What an operation must either take or refuse with a clear message."""

OUTPUT_KINDS = tuple(kind for kind in KINDS if kind.writeable)
"""What may be given as `out=`."""

BY_NAME = {kind.name: kind for kind in (*KINDS, *ODD_KINDS)}


def _slack(dtype: np.dtype[Any]) -> Any:
    """The value that fills memory around an array."""
    return np.nan if dtype.kind == "f" else np.iinfo(dtype).max


def _buffer(size: int, dtype: np.dtype[Any], offset: int) -> tuple[Array, Array]:
    """(whole, core), all slack: the core's address is `offset` modulo 64, 64 bytes lie around."""
    around_core = ALIGNMENT // dtype.itemsize
    whole_bytes = (size + 2 * around_core) * dtype.itemsize
    raw = np.empty(whole_bytes + ALIGNMENT, np.uint8)
    start = (offset - raw.ctypes.data) % ALIGNMENT
    whole = raw[start : start + whole_bytes].view(dtype)
    whole[...] = _slack(dtype)
    return whole, whole[around_core : around_core + size]


def _view(core: Array, shape: tuple[int, ...], kind: Kind) -> Array:
    """The part of the core that is the array: steps and gap as the kind says."""
    steps = [1] * len(shape)
    steps[-1] *= kind.last
    steps[0] *= kind.first
    box = core.reshape(_extent(shape, kind), order="F" if kind.order == "F" else "C")
    window = tuple(slice(0, n * abs(step)) for n, step in zip(shape, steps, strict=True))
    stepped = tuple(slice(None, None, step) for step in steps)
    return box[window][stepped]


def _extent(shape: tuple[int, ...], kind: Kind) -> tuple[int, ...]:
    """The shape of the box that the array is cut from."""
    extent = list(shape)
    extent[-1] *= abs(kind.last)
    extent[0] *= abs(kind.first)
    extent[-1 if kind.order == "C" else 0] += kind.gap
    return tuple(extent)


def _place(shape: tuple[int, ...], dtype: npt.DTypeLike, kind: Kind) -> tuple[Array, Array]:
    """(whole, array): the memory and the array of the given kind in it, all slack."""
    dtype = np.dtype(dtype)
    if kind.swapped:
        dtype = dtype.newbyteorder()
    offset = dtype.itemsize if kind.offset is None else kind.offset
    whole, core = _buffer(int(np.prod(_extent(shape, kind))), dtype, offset)
    return whole, _view(core, shape, kind)


def make(values: Array, kind: Kind | str = "C") -> Array:
    """An array equal to `values` (at least one dimension) that lies in memory as `kind` says."""
    kind = BY_NAME[kind] if isinstance(kind, str) else kind
    values = np.asarray(values)
    _, array = _place(values.shape, values.dtype, kind)
    array[...] = values
    array.flags.writeable = kind.writeable
    return array


class Output:
    """An array to write into, filled with NaN, with slack around it.

    `array` goes to the operation; afterwards `assert_only_array_written()` tells whether any byte
    of the slack changed. `whole` is all the memory, one-dimensional.
    """

    def __init__(
        self, shape: tuple[int, ...], dtype: npt.DTypeLike, kind: Kind | str = "C"
    ) -> None:
        kind = BY_NAME[kind] if isinstance(kind, str) else kind
        self.whole, self.array = _place(shape, dtype, kind)
        self._before = self.whole.tobytes()

    def assert_only_array_written(self) -> None:
        """Fill the array as it was at first: then the whole buffer must be as it was."""
        kept = self.array.copy()
        self.array[...] = _slack(self.array.dtype)
        unchanged = self.whole.tobytes() == self._before
        self.array[...] = kept
        assert unchanged, "memory around the output was written"


def nan_filled(shape: tuple[int, ...], dtype: npt.DTypeLike, kind: Kind | str = "C") -> Array:
    """An output full of NaN: what was not written, or was read before, shows."""
    return Output(shape, dtype, kind).array
