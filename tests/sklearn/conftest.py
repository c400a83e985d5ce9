"""What the tests of fastbp.sklearn share; they know the numbers of scikit-learn 1.9."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Iterator

import pytest

if importlib.util.find_spec("sklearn") is None:
    collect_ignore_glob = ["test_*.py"]
elif tuple(map(int, importlib.metadata.version("scikit-learn").split(".")[:2])) < (1, 9):
    collect_ignore_glob = ["test_[!e]*.py", "test_errors.py"]  # its own checks are left


@pytest.fixture(autouse=True, scope="package")
def _one_thread_for_the_oracle() -> Iterator[None]:
    """scikit-learn's small products are slower with several."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        yield
