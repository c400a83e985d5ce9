"""Arrays and text in one file that is always whole: the safetensors format, checked and durable.

A file appears under its name only when all of it is on disk (write beside it, fsync, rename, fsync
the folder), so whatever happens in between leaves the old one. Reading runs no code from the
file: there is no pickle in it.

The metadata holds a SHA-256 of the whole file, computed with zeros in the digest's own place.
Other readers see one more text. Files of other writers have none and are read without it; in
a file of ours it must be there and right, so that not one flipped bit passes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from fastbp._errors import CheckpointError, DurabilityWarning

__all__ = ["encode", "load", "save", "write"]

StrPath = str | os.PathLike[str]

# Either entry in a file's metadata demands the other, so a bit flipped in one name is noticed.
WRITER, DIGEST = "fastbp.writer", "fastbp.sha256"
_VERSION = "1"
# How the name of a file ends that is being written; a process killed then leaves one behind.
PART = ".part"
# How the names of arrays begin that belong to a training, not to the model, and the name of the
# text about it (`training_state`).
EXTRA = "training/"
RECORD = "fastbp.training"
_PLACEHOLDER = "0" * 64
_LONGEST_HEADER = 100_000_000  # the format's own limit
_BLOCK = 1 << 20
# Names of NumPy's dtypes in the format.
_DTYPES = {
    "b1": "BOOL", "u1": "U8", "i1": "I8", "u2": "U16", "i2": "I16", "f2": "F16", "u4": "U32",
    "i4": "I32", "f4": "F32", "u8": "U64", "i8": "I64", "f8": "F64",
}  # fmt: skip


def save(
    path: StrPath, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None
) -> None:
    """Write named arrays and named texts.

    Arguments:
        path: the file; one that exists is replaced as a whole or, on any failure, left alone.
        arrays: any strides (views of padded rows too); copied to C order.
        metadata: texts; put structure into them as JSON.
    Raises:
        CheckpointError: an array's dtype has no place in the format.
        OSError: the file cannot be written; the old one is as it was.
    Warns:
        DurabilityWarning: the file is in its place, but its folder could not be synced.
    """
    try:
        data = encode(arrays, metadata)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error.given}", error.wanted) from error
    write(path, *data)


def encode(arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None
           ) -> list[bytes | memoryview]:
    """The content of the file that `save` writes, in pieces: the header, then each array.

    Contiguous arrays are not copied: a checkpoint of any size needs next to no memory.
    """
    texts = {**(metadata or {}), WRITER: _VERSION, DIGEST: _PLACEHOLDER}
    # By falling size of elements, so that each array is aligned in the file.
    plain = sorted(((name, _contiguous(array)) for name, array in arrays.items()),
                   key=lambda entry: (-entry[1].itemsize, entry[0]))
    header = _encode_header(plain, texts)
    pieces = [array.reshape(-1).view(np.uint8).data for _, array in plain if array.size]
    state = hashlib.sha256(header)
    for piece in pieces:
        state.update(piece)
    place = _digest_place(header)
    digest = state.hexdigest().encode()
    return [header[:place] + digest + header[place + len(digest) :], *pieces]


def _encode_header(arrays: Sequence[tuple[str, np.ndarray]], texts: Mapping[str, str]) -> bytes:
    """Its size and the JSON of names, dtypes, shapes and places, filled up to whole words."""
    entries: dict[str, Any] = {"__metadata__": texts}
    end = 0
    try:
        for name, array in arrays:
            if name in entries:
                raise KeyError(name)
            begin, end = end, end + array.nbytes
            entries[name] = {"dtype": _DTYPES[array.dtype.str[1:]], "shape": array.shape,
                             "data_offsets": [begin, end]}
        if not all(isinstance(text, str) for text in (*texts, *texts.values())):
            raise TypeError("metadata that is no text")
        text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    except (KeyError, TypeError, ValueError) as error:
        kinds = sorted({str(array.dtype) for _, array in arrays})
        raise CheckpointError(
            f"arrays of {', '.join(kinds)} and metadata cannot be stored ({error})",
            "numeric arrays and texts",
        ) from error
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def load(path: StrPath) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Read what `save` or another writer of the format wrote: (arrays, metadata).

    Raises:
        CheckpointError: no such file, or one that is damaged or of another kind.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with Path(path).open("rb") as stream:
            header = _header(stream)
            place = _digest_place(header)
            found = _digest(stream, header, place) if place >= 0 else ""
            read = os.fstat(stream.fileno())
            with safe_open(os.fspath(path), framework="numpy") as file:
                metadata = dict(file.metadata() or {})
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        replaced = not os.path.samestat(read, os.stat(path))  # noqa: PTH116
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such file", "a saved model") from error
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({_reason(error)})") from error
    except (SafetensorError, ValueError, TypeError, AttributeError, MemoryError) as error:
        raise CheckpointError(
            f"{path}: damaged, or no safetensors file ({_reason(error)})",
            "a file written by fastbp or another safetensors writer",
        ) from error
    if replaced:  # another process saved meanwhile: the digest may be that of the other file
        return load(path)
    writer, digest = metadata.pop(WRITER, None), metadata.pop(DIGEST, None)
    if (writer or digest) and not (writer and digest and digest == found):
        raise CheckpointError(f"{path}: damaged (its checksum does not fit)",
                              "the file as fastbp wrote it", "take an older copy")
    return arrays, metadata


def _header(stream: BinaryIO) -> bytes:
    """The first bytes of a file: the header's size and the header."""
    start = stream.read(8)
    size = int.from_bytes(start, "little")
    most = min(_LONGEST_HEADER, os.fstat(stream.fileno()).st_size)
    return start + stream.read(size) if size <= most else start


def _digest_place(header: bytes) -> int:
    """Where in the file the digest begins; -1 where there is none."""
    # Within texts quotation marks are escaped, so this can only be the entry itself.
    name = f'"{DIGEST}":"'.encode()
    found = header.find(name)
    return found + len(name) if found >= 0 else -1


def _digest(stream: BinaryIO, header: bytes, place: int) -> str:
    """SHA-256 of a file with zeros in the digest's place; the stream stands behind the header."""
    end = place + len(_PLACEHOLDER)
    state = hashlib.sha256(header[:place])
    state.update(_PLACEHOLDER.encode())
    state.update(header[end:])
    while block := stream.read(_BLOCK):
        state.update(block)
    return state.hexdigest()


def _contiguous(array: np.ndarray) -> np.ndarray:
    """C order and the file's byte order; a scalar keeps its shape ()."""
    plain = np.asarray(array)
    plain = plain.astype(plain.dtype.newbyteorder("<"), copy=False)
    return np.ascontiguousarray(plain).reshape(plain.shape)


def _reason(error: BaseException) -> str:
    return str(getattr(error, "strerror", None) or error).strip() or type(error).__name__


def write(path: StrPath, *data: bytes | memoryview) -> None:
    """Put pieces of data under the name `path`: all of them, on disk, or nothing.

    Raises and warns as `save`.
    """
    target = Path(os.path.realpath(path))  # a link stays a link
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}{PART}")
    try:
        handle = os.open(
            part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666
        )
        try:
            for piece in data:
                rest = memoryview(piece)
                while rest:
                    rest = rest[os.write(handle, rest) :]
            os.fsync(handle)
        finally:
            os.close(handle)
        os.replace(part, target)  # noqa: PTH105
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink()
        raise
    _sync_folder(target)


def _sync_folder(target: Path) -> None:
    """Make the new name itself durable; a failure here is no loss of the file."""
    if sys.platform == "win32":
        return  # folders cannot be opened there; renames are journalled
    try:
        handle = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        warnings.warn(
            f"{target}: written, but its folder could not be synced ({_reason(error)}); "
            "a power failure now may bring the old file back",
            DurabilityWarning,
            stacklevel=4,
        )
