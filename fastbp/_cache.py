"""Where compiled code is kept on disk, and what it depends on.

One file a compiled function: a checksum, then object code. The folder's name is a hash of
everything the code depends on, so that a file is never out of date; a damaged or unwritable cache
means compiling again, never a failure.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import os
import platform
import sys
import tempfile
import warnings
from pathlib import Path

import llvmlite

from fastbp._jit import DISABLED

# Kept on disk at all? Bounds checks compile the address of this process's table in.
ENABLED = os.environ.get("FASTBP_BOUNDSCHECK") != "1"

# Numba's settings that change what it compiles.
_SETTINGS = ("NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES", "NUMBA_OPT", "NUMBA_LOOP_VECTORIZE",
             "NUMBA_SLP_VECTORIZE")
_SOURCES = ("_jit.py", "_compiler.py", "_native.py", "_simd/*.py", "kernels/*.py")
_CHECKSUM = hashlib.sha256


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
    return digest.hexdigest()[:24]


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
    the temporary folder. A subfolder is named by `cache_key()`.
    """
    asked = os.environ.get("FASTBP_CACHE_DIR") or os.environ.get("NUMBA_CACHE_DIR")
    candidates = [Path(asked)] if asked else []
    home = os.environ.get("XDG_CACHE_HOME")
    if home:
        candidates.append(Path(home) / "fastbp")
    with contextlib.suppress(RuntimeError):  # no home directory
        candidates.append(Path.home() / ".cache" / "fastbp")
    user = os.getuid() if hasattr(os, "getuid") else "user"
    candidates.append(Path(tempfile.gettempdir()) / f"fastbp-{user}")
    for base in candidates:
        folder = base / cache_key()
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if hasattr(os, "getuid") and folder.stat().st_uid != os.getuid():
                continue  # it holds machine code: never run another user's
            with tempfile.TemporaryFile(dir=folder):
                return folder
        except OSError:
            continue
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
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        warn_once(f"fastbp: cannot read the compile cache ({error.strerror}); compiling")
        return None
    size = _CHECKSUM().digest_size
    if _CHECKSUM(content[size:]).digest() != content[:size]:
        warn_once(f"fastbp: damaged file in the compile cache ({path}); compiling")
        return None
    return content[size:]


def write(name: str, code: bytes) -> None:
    """Store object code: beside its place first, then renamed, so that no reader sees half."""
    folder = cache_folder() if ENABLED else None
    if folder is None:
        return
    try:
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


@functools.cache
def warn_once(message: str) -> None:
    """A RuntimeWarning, once for each message."""
    warnings.warn(message, RuntimeWarning, stacklevel=3)
