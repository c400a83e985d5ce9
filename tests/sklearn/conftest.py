"""What the tests of fastbp.sklearn share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from threadpoolctl import threadpool_limits


@pytest.fixture(autouse=True, scope="package")
def _one_thread_for_the_oracle() -> Iterator[None]:
    """scikit-learn's small products are slower with several."""
    with threadpool_limits(1):
        yield
