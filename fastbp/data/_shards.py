"""A folder of `.npy` or `.npz` files as one long set of samples."""

from __future__ import annotations

import itertools
import os
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastbp._errors import DataError
from fastbp.data._blocks import Block, Index, bytes_of_row, in_file_order
from fastbp.data._mapped import Rows


@dataclass(frozen=True)
class _Shard:
    """One file with x and y (.npz), or two (.npy)."""

    x: Path
    y: Path
    rows: int
    shape: tuple[int, ...]
    dtype: np.dtype
    target_shape: tuple[int, ...]

    @property
    def is_archive(self) -> bool:
        return self.x == self.y


class Shards:
    """The samples of all files in a folder, in the order of the files' names.

    Arguments:
        folder: with `.npz` files, each holding arrays "x" and "y", or with pairs of `.npy` files
            whose names begin with "x" and "y" (x_000.npy, y_000.npy), or with both.

    `.npy` files are mapped and shuffled row by row over all files. An `.npz` has to be read as a
    whole: with such files an epoch shuffles the files, and the rows within each.

    Raises:
        DataError: naming the file: no data, a missing y, unequal lengths, shapes or dtypes.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise DataError(f"{self.folder}: no such folder", "a folder of .npy or .npz files")
        archives = [_archive(path) for path in self.folder.glob("*.npz")]
        pairs = [_pair(path) for path in self.folder.glob("x*.npy")]
        self._shards = sorted(archives + pairs, key=lambda shard: shard.x.name)
        if not self._shards:
            raise DataError(f"{self.folder}: no .npz and no x*.npy file", "x and y arrays in them")
        first = self._shards[0]
        for shard in self._shards[1:]:
            for what in ("shape", "dtype", "target_shape"):
                if getattr(shard, what) != getattr(first, what):
                    raise DataError(f"{shard.x}: {what} {getattr(shard, what)}",
                                    f"{getattr(first, what)} as in {first.x.name}")
        self._starts = np.cumsum([0, *(shard.rows for shard in self._shards)])
        self._open: dict[int, tuple[Rows, Rows]] = {}

    @property
    def rows(self) -> int:
        """How many samples there are in all files."""
        return int(self._starts[-1])

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one sample."""
        return self._shards[0].shape

    @property
    def row_bytes(self) -> int:
        """Bytes that a sample takes."""
        x, y = self._rows(0)
        return bytes_of_row(x.array) + bytes_of_row(y.array)

    def order(self, permute: Callable[[int], Index]) -> Index:
        """Rows at random; with archives, files at random and rows at random within a file."""
        if not any(shard.is_archive for shard in self._shards):
            return permute(self.rows)
        files = permute(len(self._shards))
        return np.concatenate([self._starts[f] + permute(self._shards[f].rows) for f in files])

    def take(self, numbers: Index) -> Block:
        """The samples with these numbers, file by file."""
        ascending, index = in_file_order(numbers)
        cuts = np.searchsorted(ascending, self._starts)
        xs, ys = [], []
        for number, (begin, end) in enumerate(itertools.pairwise(cuts)):
            if begin < end:
                rows = ascending[begin:end] - self._starts[number]
                x, y = self._rows(number)
                xs.append(x.take(rows))
                ys.append(y.take(rows))
        return Block(_joined(xs), _joined(ys), index)

    def _rows(self, number: int) -> tuple[Rows, Rows]:
        """A shard's arrays: `.npy` mapped, `.npz` read, of which the last one is kept."""
        if number not in self._open:
            shard = self._shards[number]
            if shard.is_archive:
                for other in [n for n in self._open if self._shards[n].is_archive]:
                    del self._open[other]
                x, y = _read(shard.x)
            else:
                x, y = (np.load(path, mmap_mode="r", allow_pickle=False)
                        for path in (shard.x, shard.y))
            self._open[number] = Rows(x), Rows(y)
        return self._open[number]


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _shard(x: Path, y: Path, header_x: Any, header_y: Any) -> _Shard:
    (shape, dtype), (target, _) = header_x, header_y
    if not shape or not target or shape[0] != target[0]:
        raise DataError(f"{x}: x of shape {shape} with y of shape {target}",
                        "equal numbers of rows")
    if dtype.kind not in "biuf":
        raise DataError(f"{x}: x holds {dtype}", "numbers")
    return _Shard(x, y, shape[0], tuple(shape[1:]), dtype, tuple(target[1:]))


def _pair(x: Path) -> _Shard:
    y = x.with_name("y" + x.name[1:])
    if not y.exists():
        raise DataError(f"{x}: no {y.name} beside it", "one y file for each x file")
    with x.open("rb") as of_x, y.open("rb") as of_y:
        return _shard(x, y, _header(of_x, x), _header(of_y, y))


def _archive(path: Path) -> _Shard:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            missing = [name for name in ("x.npy", "y.npy") if name not in names]
            if missing:
                raise DataError(f"{path}: no array {missing[0].removesuffix('.npy')!r} among "
                                f"{', '.join(n.removesuffix('.npy') for n in names)}",
                                "arrays named x and y")
            with archive.open("x.npy") as of_x, archive.open("y.npy") as of_y:
                return _shard(path, path, _header(of_x, path), _header(of_y, path))
    except (zipfile.BadZipFile, OSError) as error:
        raise DataError(f"{path}: not a readable .npz file ({error})") from None


def _read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return archive["x"], archive["y"]
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({error})") from None


def _header(stream: Any, path: Path) -> tuple[tuple[int, ...], np.dtype]:
    """(shape, dtype) of an array in a file, without its data."""
    try:
        version = np.lib.format.read_magic(stream)
        read = {(1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0}[version]
        shape, _, dtype = read(stream)
    except (ValueError, KeyError) as error:
        raise DataError(f"{path}: not a NumPy array ({error})") from None
    return shape, dtype
