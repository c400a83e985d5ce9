"""Who takes part, and the process each of them lives in.

One process a contestant: the threads of OpenBLAS and OpenMP spin for up to 200 ms after their work
and would take a core from whoever comes next, and runtimes clash inside one process.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

from fastbp._errors import ArgumentError
from fastbp.benchmark.rows import SUBJECT, NotMeasured

THREAD_VARIABLES = (
    "FASTBP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS",
)  # fmt: skip


@dataclass(frozen=True)
class Contestant:
    """One column of the table.

    Arguments:
        name: how the table calls it. module: its code in `fastbp.benchmark._peers`.
        package: what must be installed, and whose version is told.
        family: the name that `--peers` knows it by.
        environment: variables of its process.
    """

    name: str
    module: str
    package: str
    family: str
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def installed(self) -> bool:
        """Whether its package can be imported; imports nothing."""
        return importlib.util.find_spec(self.package) is not None


CONTESTANTS = {
    contestant.name: contestant
    for contestant in (
        Contestant(SUBJECT, "fastbp", "fastbp", SUBJECT),
        Contestant("numpy", "numpy", "numpy", "numpy"),
        Contestant("torch", "torch", "torch", "torch"),
        Contestant("torch.compile", "torch", "torch", "torch.compile",
                   {"FASTBP_BENCHMARK_VARIANT": "compile"}),
        Contestant("jax", "jax", "jax", "jax"),
        Contestant("sklearn", "sklearn", "sklearn", "sklearn"),
        # Built for, or told to use, the instructions of a CPU without AVX-512.
        Contestant("fastbp AVX2", "fastbp", "fastbp", SUBJECT, {"NUMBA_CPU_NAME": "haswell"}),
        Contestant("numpy AVX2", "numpy", "numpy", "numpy", {"OPENBLAS_CORETYPE": "Haswell"}),
    )
}  # fmt: skip
PEERS = ("numpy", "torch", "torch.compile", "jax", "sklearn")
"""What `--peers` can name, in the order of the table's columns."""


def chosen_peers(text: str | None) -> tuple[list[str], dict[str, str]]:
    """(peers that take part, reasons of those that cannot) for the value of `--peers`.

    Raises:
        ArgumentError: it names somebody unknown.
    """
    names = list(PEERS) if text is None else [name.strip() for name in text.split(",") if name]
    names = [] if names == ["none"] else names
    for name in names:
        if name not in PEERS:
            raise ArgumentError(f"--peers: {name!r}", f"one of {', '.join(PEERS)}, or none")
    absent = {name: "not installed" for name in names if not CONTESTANTS[name].installed}
    return [name for name in PEERS if name in names and name not in absent], absent


def version_of(name: str) -> str:
    """The version of a contestant's package; empty where it has none."""
    package = {"sklearn": "scikit-learn"}.get(name, name)
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def environment_of(contestant: Contestant, threads: int) -> dict[str, str]:
    """The variables of a contestant's process: so many threads for everyone, and its own."""
    root = Path(__file__).parents[2]
    paths = [os.environ.get("PYTHONPATH", "")]
    if root.name not in ("site-packages", "dist-packages"):
        paths.append(str(root))
    return {
        **os.environ,
        **dict.fromkeys(THREAD_VARIABLES, str(threads)),
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "JAX_PLATFORMS": "cpu",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        **contestant.environment,
    }


class Process:
    """A contestant's process; `ask` is one request and its answer.

    Raises (also from `ask`):
        NotMeasured: it did not start, has no number to give, failed, or died.
    """

    def __init__(self, contestant: Contestant, threads: int, python: Sequence[str] = ()) -> None:
        self.contestant = contestant
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        self._connection, theirs = Pipe()
        command = [*(python or (sys.executable, "-m", "fastbp.benchmark._worker")),
                   contestant.module, str(theirs.fileno())]  # fmt: skip
        self._process = subprocess.Popen(
            command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=self._log,
            stderr=self._log, env=environment_of(contestant, threads))  # fmt: skip
        theirs.close()
        try:
            self.end()
        except BaseException:
            self.close()
            raise

    def ask(self, name: str, *arguments: Any) -> Any:
        """What the worker's method `name` returns."""
        self.begin(name, *arguments)
        return self.end()

    def begin(self, name: str, *arguments: Any) -> None:
        """Ask without waiting for the answer."""
        try:
            self._connection.send((name, arguments))
        except OSError:
            raise NotMeasured(self._last_words()) from None

    def end(self) -> Any:
        """The answer to what `begin` asked."""
        try:
            kind, value = self._connection.recv()
        except (EOFError, OSError):
            raise NotMeasured(self._last_words()) from None
        if kind != "ok":
            raise NotMeasured(value)
        return value

    def _last_words(self) -> str:
        """Why the process is gone, from its exit status and the last line that it wrote."""
        status = self._process.wait()
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        return f"its process ended with status {status}" + (f" ({lines[-1]})" if lines else "")

    @property
    def dead(self) -> bool:
        """True once the process has ended."""
        return self._process.poll() is not None

    def close(self) -> None:
        """End the process and wait for it."""
        self._connection.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()
