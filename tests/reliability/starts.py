"""Starting fastbp in processes of its own, with a cache of its own and a compiler that is only
slow: it hands out the code that this process has compiled already, and notes that it was asked."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from fastbp import _cache, _pool

ANSWER = "8.0 8.0"
PROGRAM = """
import os, sys, time, pathlib
import numpy as np
{before}
from fastbp import _native

def compile_slowly(function, words, dtype, name):
    with open(os.environ["TEST_LOG"], "a") as log:
        log.write(f"{{name}} {{os.environ.get('NUMBA_SLP_VECTORIZE')}}\\n")
    time.sleep(float(os.environ.get("TEST_SECONDS", "0")))
    return (pathlib.Path(os.environ["TEST_CODE"]) / f"{{name}}.code").read_bytes()

_native._compile = compile_slowly
{after}
import fastbp
print(*[float(fastbp.ops.matmul(np.ones((1, 8), t), np.ones((8, 1), t))[0, 0])
        for t in (np.float32, np.float64)])
"""


def stored_code(folder: Path) -> Path:
    """A folder with this machine's code for both dtypes, for the children's compiler."""
    target = folder / "code"
    target.mkdir()
    for dtype in (np.float32, np.float64):
        kind = np.dtype(dtype)
        _pool.work(kind)
        name = _pool.work.name(kind)
        code = _cache.read(name)
        if code is None:  # this process has no cache
            from fastbp._compiler import object_code

            code = object_code(_pool.work.function, _pool.work.words, kind, name)
        (target / f"{name}.code").write_bytes(code)
    return target


class Starts:
    """Children that begin with the cache folder `cache`; `compiled()` are the names they made."""

    def __init__(self, folder: Path) -> None:
        self.cache, self.log = folder / "cache", folder / "log"
        self.cache.mkdir(mode=0o700)
        self._code = stored_code(folder)
        self._environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("FASTBP", "XDG_CACHE"))},
            "FASTBP_CACHE_DIR": str(self.cache), "TEST_LOG": str(self.log),
            "TEST_CODE": str(self._code), "OMP_NUM_THREADS": "1"}

    def begin(self, *, before: str = "", after: str = "", **environment: str | None
              ) -> subprocess.Popen:
        """A child under way; an environment variable of None is taken away."""
        together = {**self._environment, **environment}
        return subprocess.Popen(
            [sys.executable, "-c", PROGRAM.format(before=before, after=after)], text=True,
            env={k: v for k, v in together.items() if v is not None}, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE)

    def run(self, **options: str | None) -> str:
        """What a child warned of; its answer must be right."""
        child = self.begin(**options)
        out, err = child.communicate(timeout=120)
        assert child.returncode == 0, err
        assert out.strip() == ANSWER, out
        return err

    def compiled(self) -> list[str]:
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return sorted(lines)

    def files(self) -> list[Path]:
        """The stored code of all keys."""
        return sorted(self.cache.glob("*/*.bin"))
