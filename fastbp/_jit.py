"""The only door to Numba: two decorators, each option with its reason, and the compile cache.

`kernel` marks a function that compiled code calls; `entry` one that Python calls. Entries
contain the kernels they use, so only they are kept on disk.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import platform
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np
from numba.core import config
from numba.core.caching import CompileResultCacheImpl, FunctionCache, _CacheLocator

from fastbp._compiler import KernelCompiler

OPTIONS: dict[str, Any] = {
    # x/0 is inf or nan as in NumPy: a kernel never raises.
    "error_model": "numpy",
    # Pointers only; `FASTBP_BOUNDSCHECK=1` checks them (fastbp/_simd/guard.py).
    "boundscheck": False,
    # a*b+c may be one instruction. Nothing else: "nnan" would fold isnan to False.
    "fastmath": {"contract"},
}


def kernel(function: Callable) -> Callable:
    """Compile for use from other compiled code; compiled anew inside each entry."""
    return numba.njit(pipeline_class=KernelCompiler, **OPTIONS)(function)


def entry(function: Callable) -> Callable:
    """Compile for calls from Python: releases the GIL, kept in the disk cache."""
    compiled = numba.njit(nogil=True, **OPTIONS)(function)
    if not config.DISABLE_JIT and os.environ.get("FASTBP_BOUNDSCHECK") != "1":
        with_cache(compiled)
    return compiled


# ---- the compile cache ----------------------------------------------------------------------


@functools.cache
def cache_key() -> str:
    """Hash of everything compiled code depends on.

    Numba looks at one file's time stamp only: a change in a *called* file, in a frozen
    constant or in llvmlite would leave stale code behind (numba#1833).
    """
    from fastbp._simd.machine import cpu_features, cpu_name

    digest = hashlib.sha256()
    root = Path(__file__).parent
    own = [root / "_jit.py", root / "_compiler.py"]
    for path in sorted([*own, *root.glob("_simd/*.py"), *root.glob("kernels/*.py")]):
        digest.update(path.name.encode())
        digest.update(path.read_bytes())
    features = ",".join(k for k, v in sorted(cpu_features().items()) if v)
    words = (numba.__version__, numba.core.config.OPT, _llvmlite_version(), np.__version__,
             sys.version, platform.machine(), cpu_name(), features)
    digest.update(repr(words).encode())
    return digest.hexdigest()[:24]


def _llvmlite_version() -> str:
    import importlib.metadata

    return importlib.metadata.version("llvmlite")


@functools.cache
def cache_folder() -> Path | None:
    """Where compiled code is kept, or None where no folder can be written.

    The first that works of `FASTBP_CACHE_DIR`, `NUMBA_CACHE_DIR`, the user's cache folder and
    the temporary folder. A subfolder is named by `cache_key()`.
    """
    asked = os.environ.get("FASTBP_CACHE_DIR") or config.CACHE_DIR
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
                continue  # entries are pickles: never read another user's
            with tempfile.TemporaryFile(dir=folder):
                return folder
        except OSError:
            continue
    return None


def cache_is_cold() -> bool:
    """True where the next call has to compile."""
    folder = cache_folder()
    return not config.DISABLE_JIT and (folder is None or not any(folder.glob("*.nbi")))


class _Locator(_CacheLocator):
    """Numba's interface to `cache_folder`; freshness is the folder name's business."""

    def __init__(self, folder: Path, py_func: Any) -> None:
        self._folder, self._name = folder, f"{py_func.__module__}"

    def get_cache_path(self) -> str:
        return str(self._folder)

    def get_source_stamp(self) -> str:
        return cache_key()

    def get_disambiguator(self) -> str:
        return hashlib.sha256(self._name.encode()).hexdigest()[:8]

    @classmethod
    def from_function(cls, py_func: Any, py_file: str) -> _Locator | None:
        folder = cache_folder()
        return None if folder is None else cls(folder, py_func)


class _Impl(CompileResultCacheImpl):
    _locator_classes = (_Locator,)


def announce_compilation(wanted: bool | None) -> None:
    """Say on stderr when kernels are about to be compiled: always, never, or (None) to
    terminals.
    """
    global _announces
    _announces = wanted


_announces: bool | None = None


class _Cache(FunctionCache):
    """A damaged or unwritable cache means compiling again, never a failure."""

    _impl_class = _Impl

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        found = None
        try:
            found = super().load_overload(sig, target_context)
        except Exception as error:  # any damage at all: pickle, index, object code
            _warn_once(f"fastbp: unreadable compile cache ({type(error).__name__}); compiling")
        if found is None and (sys.stderr.isatty() if _announces is None else _announces):
            sys.stderr.write("fastbp: compiling kernels for this CPU, once, about 15 s ...\n")
            sys.stderr.flush()
        return found

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            super().save_overload(sig, data)
        except OSError as error:
            _warn_once(f"fastbp: cannot write the compile cache ({error}); going on without")


@functools.cache
def _warn_once(message: str) -> None:
    warnings.warn(message, RuntimeWarning, stacklevel=3)


def with_cache(compiled: Any) -> None:
    """Give an entry its place in the disk cache, where there is one."""
    if cache_folder() is not None:
        compiled._cache = _Cache(compiled.py_func)
