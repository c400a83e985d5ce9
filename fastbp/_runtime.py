"""How many threads, and why.

    threads = least of: CPUs this process may run on, the container's CPU quota,
              OMP_NUM_THREADS, NUMBA_NUM_THREADS, FASTBP_NUM_THREADS, PYTHON_CPU_COUNT,
              set_num_threads(n)

Limits are read once, at first use. Results do not depend on the number of threads, only time does.
"""

from __future__ import annotations

import array
import contextlib
import contextvars
import functools
import operator
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fastbp._errors import ArgumentError

__all__ = ["set_num_threads", "show_versions", "thread_count", "thread_reason", "threads"]

_ENVIRONMENT = ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "FASTBP_NUM_THREADS", "PYTHON_CPU_COUNT")

Limit = tuple[int, str]
"""A number of threads and where it comes from."""

_asked: tuple[int, bool] | None = None
scope: contextvars.ContextVar[tuple[int, bool] | None] = contextvars.ContextVar(
    "fastbp_threads", default=None
)
"""What `threads` asks for in a context."""
known_limits = array.array("q", [0, 0])
"""For compiled code (kernels/calls.py): the number of threads where `scope` is None, 0 while that
is not known, and whether `scope` has ever been set."""


def thread_count() -> int:
    """How many threads a run uses, the calling one included."""
    asked = scope.get()
    if asked is not None:
        return _count(asked)
    asked = _asked
    known_limits[0] = count = _count(asked)
    if asked is not _asked:  # another thread has just asked for something else
        known_limits[0] = 0
    return count


def _count(asked: tuple[int, bool] | None) -> int:
    least = _machine_limit()[0]
    if asked is None:
        return least
    count, oversubscribe = asked
    return count if oversubscribe else min(count, least)


def thread_reason() -> str:
    """What decided `thread_count()`, in words."""
    asked = scope.get() or _asked
    least, why = _machine_limit()
    if asked is not None and (asked[1] or asked[0] < least):
        return "fastbp.threads" if scope.get() else "fastbp.set_num_threads"
    return why


def set_num_threads(n: int | None, *, oversubscribe: bool = False) -> None:
    """Use at most `n` threads from now on, in the whole process; None takes the limit away.

    The limits of the machine (affinity, quota, environment) stay in force, unless
    `oversubscribe`: then it is exactly `n`, for tests of what does not depend on the machine.
    """
    global _asked
    _asked = None if n is None else (_checked(n), oversubscribe)
    known_limits[0] = 0


@contextlib.contextmanager
def threads(n: int, *, oversubscribe: bool = False) -> Iterator[None]:
    """`set_num_threads` inside a `with` block and for the calling thread only."""
    token = scope.set((_checked(n), oversubscribe))
    known_limits[1] = 1  # for good: a copy of the context may outlive the block
    try:
        yield
    finally:
        scope.reset(token)


def _checked(n: Any) -> int:
    try:
        count = 0 if isinstance(n, bool) else operator.index(n)
    except TypeError:
        count = 0
    if count < 1:
        raise ArgumentError(f"number of threads {n!r}", "an integer of 1 or more")
    return count


# ---- the machine's limits -------------------------------------------------------------------


@functools.cache
def _machine_limit() -> Limit:
    limits = [_affinity(), *filter(None, [_quota()]), *_environment()]
    return min(limits, key=lambda limit: limit[0])


def _affinity() -> Limit:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0)), "CPUs that this process may run on (affinity)"
    return os.cpu_count() or 1, "CPUs of the machine"


def _environment() -> Iterator[Limit]:
    """The limits set by variables; a malformed value of our own is an error, others' are not."""
    for name in _ENVIRONMENT:
        text = os.environ.get(name, "").strip()
        first = text.split(",")[0].strip()  # OpenMP: a list, one entry a nesting level
        if first.isdecimal() and int(first) > 0:
            yield int(first), name
        elif text and name.startswith("FASTBP"):
            raise ArgumentError(f"{name}={text!r}", "an integer of 1 or more")


def _quota() -> Limit | None:
    """The CPU quota of this process's control group and of all groups around it."""
    quotas = [*_quotas_v2(), *_quotas_v1()]
    if not quotas:
        return None
    least = min(quotas)
    return max(1, int(least)), f"container's CPU quota ({least:g} CPUs)"


def _read(path: str) -> str:
    """A small file's text; empty where it cannot be read."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _mounts(kind: str, option: str = "") -> Iterator[tuple[str, str]]:
    """(group at the mount point, mount point) of the mounts of a kind: `man proc_pid_mountinfo`."""
    for line in _read("/proc/self/mountinfo").splitlines():
        left, _, right = line.partition(" - ")
        fields, system = left.split(), right.split()
        if len(fields) < 5 or len(system) < 3 or system[0] != kind:
            continue
        if not option or option in system[2].split(","):
            yield fields[3], fields[4]


def _group(controller: str) -> str | None:
    """This process's control group: of a v1 controller, or of v2 for ""."""
    for line in _read("/proc/self/cgroup").splitlines():
        parts = line.split(":", 2)
        if len(parts) == 3 and controller in parts[1].split(","):
            return parts[2]
    return None


def _folders(controller: str, kind: str) -> Iterator[str]:
    """The group's folder and those above it, up to the mount point."""
    group = _group(controller)
    if group is None:
        return
    for root, mount in _mounts(kind, controller):
        inside = [part for part in group.split("/") if part]
        above = [part for part in root.split("/") if part]
        parts = inside[len(above) :] if inside[: len(above)] == above else []
        for depth in range(len(parts), -1, -1):
            yield "/".join([mount, *parts[:depth]])


def _quotas_v2() -> Iterator[float]:
    for folder in _folders("", "cgroup2"):
        words = _read(f"{folder}/cpu.max").split()  # "200000 100000" or "max 100000"
        if len(words) == 2 and all(word.isdecimal() for word in words) and int(words[1]) > 0:
            yield int(words[0]) / int(words[1])


def _quotas_v1() -> Iterator[float]:
    for folder in _folders("cpu", "cgroup"):
        quota = _read(f"{folder}/cpu.cfs_quota_us").strip()  # -1: none
        period = _read(f"{folder}/cpu.cfs_period_us").strip()
        if quota.isdecimal() and period.isdecimal() and int(quota) > 0 and int(period) > 0:
            yield int(quota) / int(period)


# ---- versions -------------------------------------------------------------------------------


def _processor() -> str:
    """The CPU's name as its maker spells it, or the architecture."""
    import platform

    for line in _read("/proc/cpuinfo").splitlines():
        if line.lower().startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _subnormals() -> str:
    """How this thread's processor treats numbers below the smallest normal one."""
    import numpy

    halves = numpy.full(16, numpy.finfo(numpy.float32).tiny) / numpy.float32(2)
    if (halves > 0).all():
        return "kept by operations, taken as zero while networks train"
    return "taken as zero: a library in this process has changed the processor's control word"


def show_versions() -> str:
    """What a bug report needs: versions, CPU, vectors, threads, cache. One fact a line."""
    import platform
    from importlib.metadata import version

    import numpy

    from fastbp._cache import cache_folder, cache_is_cold
    from fastbp._simd.machine import cpu_features, cpu_name, machine
    from fastbp._version import __version__

    unit = machine()
    told = ("avx", "avx2", "fma", "avx512f", "avx512vl", "avx512dq", "avx512bw", "neon", "sve")
    features = [name for name in told if cpu_features().get(name)]
    folder = cache_folder()
    facts = {
        "fastbp": __version__,
        "Python": f"{platform.python_version()} ({platform.platform()})",
        "NumPy": numpy.__version__,
        "Numba": f"{version('numba')} (llvmlite {version('llvmlite')})",
        "CPU": f"{_processor()} (LLVM: {cpu_name()})",
        "CPU features": " ".join(features) or "none of those that kernels ask for",
        "vectors": f"{unit.name}: {8 * unit.vector_bytes} bits, {unit.registers} registers",
        "matmul tile": f"float32 {unit.tile_rows}x{2 * unit.lanes(4)}, "
        f"float64 {unit.tile_rows}x{2 * unit.lanes(8)}",
        "subnormal numbers": _subnormals(),
        "threading": "fastbp's own threads (no Numba threading layer)",
        "threads": f"{thread_count()}: {thread_reason()}",
        "compile cache": f"{folder or 'none: no folder can be written'}"
        f"{' (empty: the first run compiles)' if cache_is_cold() else ''}",
    }
    width = max(map(len, facts))
    return "\n".join(f"{name:<{width}}  {fact}" for name, fact in facts.items())
