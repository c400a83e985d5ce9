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
    if not is_idx(stream):
        raise DataError(f"{source}: not an IDX file")
    magic = stream.read(4)
    header = stream.read(4 * magic[3])
    if len(header) != 4 * magic[3]:
        raise DataError(f"{source}: truncated in the IDX header")
    shape = tuple(int(n) for n in np.frombuffer(header, ">u4"))
    dtype = np.dtype(_DTYPES[magic[2]])
    data = stream.read()
    wanted = math.prod(shape) * dtype.itemsize
    if len(data) != wanted:
        raise DataError(f"{source}: {len(data)} bytes of numbers",
                        f"{wanted} bytes, as the header says shape {shape}",
                        "the file is truncated or damaged; fetch it again")
    return np.frombuffer(data, dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)


def read_idx(images: PathLike, labels: PathLike | None = None) -> Table:
    """Read MNIST-style images and labels (plain or gzip).

    Returns:
        x (N, height*width): 8-bit images as float32 scaled by 1/255, other types as they are;
        y (N,), or None without a labels file.
    """
    source = os.fspath(images)
    with reading(images) as stream:
        pixels = load_idx(stream, source)
    targets = None
    if labels is not None:
        with reading(labels) as stream:
            targets = load_idx(stream, os.fspath(labels))
    return idx_table(pixels, targets, source)


def idx_table(pixels: NDArray[Any], labels: NDArray[Any] | None, source: str) -> Table:
    """The checked table of images (N, ...) and labels (N,)."""
    if pixels.ndim < 2:
        raise DataError(f"{source}: holds {pixels.ndim}-dimensional data",
                        "images", "is this the labels file?")
    if labels is not None and labels.ndim != 1:
        raise DataError(f"{source}: the labels file holds {labels.ndim}-dimensional data",
                        "labels", "were images and labels exchanged?")
    is_byte = pixels.dtype == np.uint8
    x = pixels.reshape(pixels.shape[0], math.prod(pixels.shape[1:]))
    if is_byte:
        x = x.astype(np.float32)
        x /= np.float32(PIXEL_MAX)
    return checked(Table(x, labels, source, np.arange(pixels.shape[0]),
                         arrays=("images", "labels"), pixels=is_byte))
