"""What all tests share: seeds, the number of threads, and which tests are about kernels."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from fastbp import _cache, _pool, _runtime
from fastbp._jit import DISABLED
from fastbp._simd import guard

# The first example of a property compiles kernels, so no example has a deadline; CI sees the same
# examples every time, and prints how to repeat one that fails.
settings.register_profile(
    "fastbp",
    deadline=None,
    derandomize=True,
    print_blob=True,
    max_examples=50,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("fastbp")

# Short runs are shared among threads here, however long the test before has taken.
_pool.PAUSE_SECONDS = math.inf

# CI runs these again in plain Python and with bounds checks (see .ci/run).
KERNEL_FILES = {
    "test_activations",
    "test_affine",
    "test_batchnorm",
    "test_conv",
    "test_dropout",
    "test_gemm",
    "test_gemv",
    "test_largest",
    "test_layernorm",
    "test_losses",
    "test_matmul",
    "test_planes",
    "test_pool2d",
    "test_random",
    "test_reduce",
    "test_simd",
    "test_softmax",
    "test_sparse",
    "test_transcendental",
    "test_update",
}
# These come first: the compiled function that they need serves all others too.
IMAGE_FILES = {"test_conv", "test_planes", "test_pool2d"}
MATMUL_FILES = {"test_affine", "test_gemm", "test_gemv", "test_matmul"}

# From so many tests on, all of them together need the kernels of both dtypes.
MANY_TESTS = 300
COMPILE = """
import sys
import numpy as np
from fastbp import _pool
for name in sys.argv[2:]:
    getattr(_pool, name)(np.dtype(sys.argv[1]))
"""


def pytest_configure() -> None:
    """Let Ctrl-C work: a shell that starts us in the background has it ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the tests of kernels by their files; leave nightly ones to `-m nightly`."""
    if "nightly" not in config.option.markexpr:
        items[:] = [item for item in items if not item.get_closest_marker("nightly")]
    for item in items:
        stem = Path(item.path).stem
        if stem in KERNEL_FILES:
            item.add_marker(pytest.mark.kernels)
        if stem in IMAGE_FILES:
            item.add_marker(pytest.mark.images)
        if stem in MATMUL_FILES:
            item.add_marker(pytest.mark.matmul)
    if guard.ENABLED:
        items.sort(key=lambda item: item.get_closest_marker("images") is None)


def pytest_collection_finish(session: pytest.Session) -> None:
    """A first start of many tests: compile for both dtypes side by side, a process each."""
    if (DISABLED or not _cache.cache_is_cold() or len(session.items) < MANY_TESTS
            or session.config.option.collectonly or not _cache.ENABLED):
        return
    doors = ["work"]
    if any(Path(item.path).stem in IMAGE_FILES for item in session.items):
        # With bounds checks tests for images come first, and their door serves the others too.
        doors = ["work_with_images"] if guard.ENABLED else ["work", "work_with_images"]
    paths = [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    children = [subprocess.Popen([sys.executable, "-c", COMPILE, dtype, *doors], env=environment)
                for dtype in ("float32", "float64")]
    for child in children:
        child.wait()  # what it could not do the tests do themselves


@pytest.fixture(autouse=True)
def _same_threads_as_before() -> Iterator[None]:
    """A test that sets the number of threads does not set it for the next one."""
    before = _runtime._asked
    yield
    _runtime._asked, _runtime.known_limits[0] = before, 0


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers with a fixed seed."""
    return np.random.Generator(np.random.PCG64(20240229))


@pytest.fixture(params=[math.inf, -1.0], ids=["lock held", "lock let go"])
def every_call_is_learnt(request, monkeypatch):
    """Built-in functions make every call that has been made a few times, however long it takes.

    On one thread: whether they may share a program depends on whether workers are awake.
    """
    from fastbp.ops import _again, _builtin

    if not _builtin.is_possible():
        pytest.skip("there are no built-in functions here")
    _again.forget()
    monkeypatch.setattr(_again, "_HOLD_SECONDS", request.param)
    monkeypatch.setattr(_again, "_FROM", 0)
    _runtime.set_num_threads(1)
    yield
    _again.forget()
