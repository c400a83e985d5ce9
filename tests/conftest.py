"""What all tests share: seeds, the number of threads, and which tests are about kernels."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from fastbp import _runtime
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

# CI runs these again in plain Python and with bounds checks (see .ci/run).
KERNEL_FILES = {
    "test_activations",
    "test_affine",
    "test_batchnorm",
    "test_conv",
    "test_dropout",
    "test_gemm",
    "test_gemv",
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


@pytest.fixture(autouse=True)
def _same_threads_as_before() -> Iterator[None]:
    """A test that sets the number of threads does not set it for the next one."""
    before = _runtime._asked
    yield
    _runtime._asked = before


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers with a fixed seed."""
    return np.random.Generator(np.random.PCG64(20240229))
