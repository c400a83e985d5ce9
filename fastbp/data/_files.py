"""Opening a data file: plain or gzip, with one clear error for everything that can go wrong."""

from __future__ import annotations

import gzip
import io
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fastbp._errors import DataError

Stream = io.BufferedReader | gzip.GzipFile
"""A readable, seekable byte stream with `peek`."""

PathLike = str | os.PathLike[str]

_GZIP_MAGIC = b"\x1f\x8b"


@contextmanager
def reading(path: PathLike) -> Iterator[Stream]:
    """Open `path` for reading bytes; gzip is recognised by its first two bytes.

    Raises:
        DataError: no such file, a folder, no permission, or damaged gzip data (also where the
            damage shows only while the caller reads).
    """
    name = os.fspath(path)
    try:
        with Path(path).open("rb") as raw:
            if raw.peek(2)[:2] == _GZIP_MAGIC:
                with gzip.GzipFile(fileobj=raw) as unpacked:
                    yield unpacked
            else:
                yield raw
    except FileNotFoundError:
        raise DataError(f"{name}: no such file") from None
    except IsADirectoryError:
        raise DataError(f"{name}: is a folder", "a data file") from None
    except PermissionError:
        raise DataError(f"{name}: permission to read it is missing") from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{name}: damaged or truncated gzip file ({error})") from None
    except OSError as error:
        raise DataError(f"{name}: cannot be read ({error.strerror or error})") from None
