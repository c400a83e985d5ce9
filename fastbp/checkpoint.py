"""Arrays and text in one file that is always whole: the safetensors format, written durably.

A file appears under its name only when all of it is on disk (write beside it, fsync, rename, fsync
the folder), so whatever happens in between leaves the old one. Reading runs no code from the
file: there is no pickle in it.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from fastbp._errors import CheckpointError

__all__ = ["load", "save"]

StrPath = str | os.PathLike[str]


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
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save as to_bytes

    target = Path(os.path.realpath(path))  # a link stays a link
    plain = {name: _contiguous(array) for name, array in arrays.items()}
    try:
        data = to_bytes(plain, metadata=dict(metadata or {}))
    except (SafetensorError, KeyError, TypeError) as error:
        kinds = sorted({str(array.dtype) for array in plain.values()})
        raise CheckpointError(
            f"{target}: arrays of {', '.join(kinds)} and metadata cannot be stored ({error})",
            "numeric arrays and texts",
        ) from error
    _replace(target, data)


def load(path: StrPath) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Read what `save` wrote: (arrays, metadata).

    Raises:
        CheckpointError: no such file, or one that is damaged or of another kind.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(os.fspath(path), framework="numpy") as file:
            metadata = dict(file.metadata() or {})
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such file", "a saved model") from error
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({_reason(error)})") from error
    except (SafetensorError, ValueError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{path}: damaged, or no safetensors file ({_reason(error)})",
            "a file written by fastbp or another safetensors writer",
        ) from error
    return arrays, metadata


def _contiguous(array: np.ndarray) -> np.ndarray:
    """C order and this machine's byte order; a scalar keeps its shape ()."""
    plain = np.asarray(array)
    plain = plain.astype(plain.dtype.newbyteorder("="), copy=False)
    return np.ascontiguousarray(plain).reshape(plain.shape)


def _reason(error: BaseException) -> str:
    return str(getattr(error, "strerror", None) or error).strip() or type(error).__name__


def _replace(target: Path, data: bytes) -> None:
    """Put `data` under the name `target`: all of it, on disk, or nothing."""
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        handle = os.open(
            part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666
        )
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(target)
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
            RuntimeWarning,
            stacklevel=4,
        )
