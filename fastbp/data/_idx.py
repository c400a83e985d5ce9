"""The IDX format of the MNIST files: a magic number, the sizes, then the numbers, big-endian."""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp._errors import DataError
from fastbp.data._files import PathLike, Stream, reading
from fastbp.data._table import Table, checked

PIXEL_MAX = 255
"""The largest value of an 8-bit pixel."""

_DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_MAX_DIMENSIONS = 8
# Bytes converted at a time; they stay in the cache.
_BLOCK = 1 << 18


def is_idx(stream: Stream) -> bool:
    """Whether the stream begins with 0, 0, a known type and a number of dimensions."""
    magic = stream.peek(4)[:4]
    return (len(magic) == 4 and magic[:2] == b"\0\0" and magic[2] in _DTYPES
            and 1 <= magic[3] <= _MAX_DIMENSIONS)


def load_idx(stream: Stream, source: str) -> NDArray[Any]:
    """The array of an IDX file, in its own dtype.

    Raises:
        DataError: not an IDX file, or its length is not what its header says.
    """
    shape, dtype = _header(stream, source)
    data = stream.read()
    _check_length(len(data), shape, dtype, source)
    return np.frombuffer(data, dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)


def load_images(stream: Stream, source: str) -> tuple[NDArray[Any], bool]:
    """The array of an IDX file, and whether it was 8-bit images: those are float32 in [0, 1].

    Raises:
        DataError: as `load_idx`.
    """
    if not is_idx(stream) or _DTYPES[stream.peek(4)[2]] != ">u1":
        return load_idx(stream, source), False
    return _scaled(stream, *_header(stream, source), source), True


def _header(stream: Stream, source: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and dtype; the stream stands at the numbers then."""
    if not is_idx(stream):
        raise DataError(f"{source}: not an IDX file")
    magic = stream.read(4)
    header = stream.read(4 * magic[3])
    if len(header) != 4 * magic[3]:
        raise DataError(f"{source}: truncated in the IDX header")
    return tuple(int(n) for n in np.frombuffer(header, ">u4")), np.dtype(_DTYPES[magic[2]])


def _check_length(found: int, shape: tuple[int, ...], dtype: np.dtype[Any], source: str) -> None:
    wanted = math.prod(shape) * dtype.itemsize
    if found != wanted:
        raise DataError(f"{source}: {found} bytes of numbers",
                        f"{wanted} bytes, as the header says shape {shape}",
                        "the file is truncated or damaged; fetch it again")


def _scaled(stream: Stream, shape: tuple[int, ...], dtype: np.dtype[Any],
            source: str) -> NDArray[np.float32]:
    """Bytes as float32 in [0, 1], block by block: a copy of all bytes would be a quarter as large
    again, and its memory takes longer to get than the numbers to convert.
    """
    wanted, found = math.prod(shape), 0
    try:
        x = np.empty(wanted, np.float32)
    except (MemoryError, ValueError):  # a damaged header may say anything
        x = np.empty(0, np.float32)
    block = np.empty(_BLOCK, np.uint8)
    while count := stream.readinto(block.data):
        if found + count <= x.size:
            np.divide(block[:count], np.float32(PIXEL_MAX), out=x[found : found + count],
                      dtype=np.float32)
        found += count
    _check_length(found, shape, dtype, source)
    if x.size != wanted:
        raise DataError(f"{source}: {wanted} pixels as float32 do not fit into memory")
    return x.reshape(shape)


def read_idx(images: PathLike, labels: PathLike | None = None) -> Table:
    """Read MNIST-style images and labels (plain or gzip).

    Returns:
        x (N, height*width): 8-bit images as float32 scaled by 1/255, other types as they are;
        y (N,), or None without a labels file.
    """
    source = os.fspath(images)
    with reading(images) as stream:
        found, are_bytes = load_images(stream, source)
    targets = None
    if labels is not None:
        with reading(labels) as stream:
            targets = load_idx(stream, os.fspath(labels))
    return idx_table(found, are_bytes, targets, source)


def idx_table(images: NDArray[Any], are_bytes: bool, labels: NDArray[Any] | None,
              source: str) -> Table:
    """The checked table of images (N, ...), from `load_images`, and labels (N,)."""
    if images.ndim < 2:
        raise DataError(f"{source}: holds {images.ndim}-dimensional data",
                        "images", "is this the labels file?")
    if labels is not None and labels.ndim != 1:
        raise DataError(f"{source}: the labels file holds {labels.ndim}-dimensional data",
                        "labels", "were images and labels exchanged?")
    x = images.reshape(images.shape[0], math.prod(images.shape[1:]))
    return checked(Table(x, labels, source, np.arange(images.shape[0]),
                         arrays=("images", "labels"), pixels=are_bytes))
