"""Check 29: the same tests for other vector widths than this machine's; no code from outside."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fastbp import _cache, _pool
from fastbp._jit import DISABLED
from fastbp._simd.machine import cpu_features

pytestmark = pytest.mark.skipif(DISABLED, reason="nothing is compiled")
HERE = Path(__file__).parent
CPUS = {"generic": "sse2", "haswell": "avx2", "skylake-avx512": "avx512bw", "znver4": "avx512bf16"}
TESTS = ("test_products.py", "test_poison.py", "test_table.py", "test_guard_pages.py",
         "test_layouts.py")
# Hash of results that are exact, so the same on every machine.
EXACT = """
import hashlib, numpy as np, reference
from conditions import DTYPES
from operations import OPERATIONS, bits
rng = np.random.Generator(np.random.PCG64(1))
digest = hashlib.sha256()
for op in (op for op in OPERATIONS if op.exact):
    for dtype in DTYPES:
        for size in ((1, 1, 1), (13, 31, 7), (29, 65, 37), (150, 260, 70)):
            args = {name: reference.integers(rng, a.shape, dtype)
                    for name, a in op.make(rng, size, dtype).items()}
            digest.update(bits(op.run(**args)))
print(digest.hexdigest())
"""


def child(cpu: str, *command: str) -> subprocess.CompletedProcess:
    paths = os.pathsep.join(str(folder) for folder in (HERE.parents[1], HERE.parent))
    return subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False,
                          timeout=1800, cwd=HERE.parents[1],
                          env={**os.environ, "NUMBA_CPU_NAME": cpu, "PYTHONPATH": paths})


@pytest.mark.nightly
@pytest.mark.parametrize("cpu", CPUS)
def test_the_tests_pass_for_another_cpu(cpu):
    if not cpu_features().get(CPUS[cpu]):
        pytest.skip(f"this machine has no {CPUS[cpu]}")
    done = child(cpu, "-m", "pytest", "-q", "-x", *(str(HERE / name) for name in TESTS))
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout


@pytest.mark.nightly
def test_exact_results_are_the_same_for_all_cpus():
    found = {child(cpu, "-c", EXACT).stdout for cpu, needs in CPUS.items()
             if cpu_features().get(needs)}
    assert len(found) == 1
    assert len(found.pop()) == 65


@pytest.mark.parametrize("native", [_pool.work, _pool.work_with_images],
                         ids=lambda native: native.function.__name__)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_no_vector_library_takes_part(dtype, native):
    """Intel's SVML, where it is installed, would change bits: kernels have functions of their own.

    The object file names what it calls from outside.
    """
    kind = np.dtype(dtype)
    native(kind)
    code = _cache.read(native.name(kind))
    if code is None:
        pytest.skip("this process keeps no code")
    assert native.name(kind).encode() in code, "MISTRUSTED: names are not to be seen"
    assert b"svml" not in code.lower()
    for name in (b"expf\0", b"exp\0", b"tanh\0", b"tanhf\0", b"log\0", b"logf\0", b"erf\0"):
        assert b"\0" + name not in code
