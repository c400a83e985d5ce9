"""Where compiled code is kept on disk, and what it depends on.

One file a compiled function: a checksum, then its object files (`pack`). The folder's name is a
hash of everything the code depends on, so that a file is never out of date; a damaged or unwritable
cache means compiling again, never a failure. What is loaded is run, so it must be this user's own
(`_folders.py`).
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import llvmlite

from fastbp._folders import candidates, is_private, own_subfolder, warn_once
from fastbp._jit import DISABLED

# Kept on disk at all? Bounds checks compile the address of this process's table in.
ENABLED = os.environ.get("FASTBP_BOUNDSCHECK") != "1"

# Numba's settings that change what it compiles.
_SETTINGS = ("NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES", "NUMBA_OPT", "NUMBA_LOOP_VECTORIZE",
             "NUMBA_SLP_VECTORIZE")
_SOURCES = ("_arena.py", "_jit.py", "_compiler/*.py", "_native.py", "_simd/*.py", "kernels/*.py")
_CHECKSUM = hashlib.sha256
_KEY_DIGITS = 24
# Folders of other keys that nobody has used for so long are removed when code is stored.
_KEPT_SECONDS = 30 * 86_400
# A process waits so long at most for another one that compiles the same.
_PATIENCE_SECONDS, _LOOK_SECONDS = 180.0, 0.05


@functools.cache
def cache_key() -> str:
    """Hash of everything compiled code depends on.

    Numba's own cache looks at one file's time stamp only: a change in a *called* file, in a frozen
    constant or in llvmlite would leave stale code behind (numba#1833).
    """
    from fastbp._simd.machine import cpu_features, cpu_name

    digest = hashlib.sha256()
    root = Path(__file__).parent
    for path in sorted(path for pattern in _SOURCES for path in root.glob(pattern)):
        digest.update(path.name.encode())
        digest.update(path.read_bytes())
    features = ",".join(k for k, v in sorted(cpu_features().items()) if v)
    settings = [os.environ.get(name) for name in _SETTINGS]
    words = (_numba_version(), llvmlite.__version__, sys.version, platform.machine(),
             sys.platform, cpu_name(), features, settings)
    digest.update(repr(words).encode())
    return digest.hexdigest()[:_KEY_DIGITS]


def _numba_version() -> bytes:
    """What tells Numba's version, without importing it."""
    spec = importlib.util.find_spec("numba")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        with contextlib.suppress(OSError):
            return (Path(folder) / "_version.py").read_bytes()
    return b"none"


@functools.cache
def cache_folder() -> Path | None:
    """Where compiled code is kept, or None where no folder can be written.

    The first that works of `FASTBP_CACHE_DIR`, `NUMBA_CACHE_DIR`, the user's cache folder and
    the temporary folder. A subfolder is named by `cache_key()`; nobody else may write there.
    """
    for base in candidates():
        folder = own_subfolder(base, cache_key())
        if folder is not None:
            return folder
    return None


def cache_is_cold() -> bool:
    """True where the next call has to compile."""
    folder = cache_folder() if ENABLED else None
    return not DISABLED and (folder is None or not any(folder.glob("*.bin")))


def read(name: str) -> bytes | None:
    """The object code stored under a name; None where there is none, or it is damaged."""
    folder = cache_folder() if ENABLED else None
    if folder is None:
        return None
    path = folder / f"{name}.bin"
    try:
        with path.open("rb") as file:
            if not is_private(os.fstat(file.fileno())):
                warn_once(f"fastbp: {path} may be written by other users; compiling")
                return None
            content = file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        warn_once(f"fastbp: cannot read the compile cache ({error.strerror}); compiling")
        return None
    size = _CHECKSUM().digest_size
    if _CHECKSUM(content[size:]).digest() != content[:size]:
        warn_once(f"fastbp: damaged file in the compile cache ({path}); compiling")
        return None
    with contextlib.suppress(OSError):
        os.utime(folder)  # still in use: not to be pruned
    return content[size:]


def stored_objects(suffix: str) -> dict[str, bytes]:
    """All object files in the cache whose functions' names end so, by their names."""
    folder = cache_folder() if ENABLED else None
    found: dict[str, bytes] = {}
    for path in sorted(folder.glob(f"*{suffix}.bin")) if folder else ():
        content = read(path.stem)
        if content is not None:
            found |= unpack(content)
    return found


def pack(objects: dict[str, bytes]) -> bytes:
    """One or more object files as one: a line for each (name, length), an empty line, all files."""
    lines = [f"{name} {len(code)}\n" for name, code in objects.items()]
    return "".join([*lines, "\n"]).encode() + b"".join(objects.values())


def unpack(content: bytes) -> dict[str, bytes]:
    """The object files in `pack`ed content, by name; ValueError for what is none."""
    lines, _, rest = content.partition(b"\n\n")
    objects, begin = {}, 0
    for line in lines.decode().splitlines():
        name, _, length = line.partition(" ")
        objects[name] = rest[begin : begin + int(length)]
        begin += int(length)
    if begin != len(rest):
        raise ValueError(f"{len(rest)} bytes in place of {begin}")
    return objects


def write(name: str, code: bytes) -> None:
    """Store object code: beside its place first, then renamed, so that no reader sees half."""
    folder = cache_folder() if ENABLED else None
    if folder is None:
        return
    try:
        folder.mkdir(mode=0o700, exist_ok=True)  # pruned by a process of another version
        with tempfile.NamedTemporaryFile(dir=folder, prefix=f"{name}-", delete=False) as file:
            temporary = Path(file.name)
            try:
                file.write(_CHECKSUM(code).digest() + code)
                file.close()
                temporary.replace(folder / f"{name}.bin")
            except BaseException:
                temporary.unlink()
                raise
    except OSError as error:
        warn_once(f"fastbp: cannot write the compile cache ({error.strerror}); going on without")
    _prune(folder)


@contextlib.contextmanager
def only_writer(name: str) -> Iterator[None]:
    """One process at a time, so that of many that start together one compiles.

    The others wait for it, for a few minutes at most: a lock that cannot be had, for whatever
    reason, costs time and nothing else. The system releases a dead process's.
    """
    folder = cache_folder() if ENABLED else None
    try:
        import fcntl
    except ImportError:  # not a POSIX system
        folder = None
    if folder is None:
        yield
        return
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            file = stack.enter_context((folder / f"{name}.lock").open("ab"))
            end = time.monotonic() + _PATIENCE_SECONDS
            while time.monotonic() < end:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    time.sleep(_LOOK_SECONDS)
        yield


def _prune(folder: Path) -> None:
    """Remove the folders of other keys beside this one that have not been used for long."""
    oldest = time.time() - _KEPT_SECONDS
    with contextlib.suppress(OSError):
        for other in folder.parent.iterdir():
            named = len(other.name) == _KEY_DIGITS and not set(other.name) - set("0123456789abcdef")
            if named and other != folder and is_private(status := other.lstat()) \
                    and status.st_mtime < oldest:
                shutil.rmtree(other, ignore_errors=True)
