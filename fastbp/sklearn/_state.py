"""All or nothing: an estimator that a failing fit leaves as it was."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

# What scikit-learn's callbacks take down after the fit, failed or not.
KEPT = ("_callback_fit_ctx", "_skl_callbacks_to_teardown")


@contextlib.contextmanager
def unchanged_on_failure(estimator: Any) -> Iterator[None]:
    """Put all attributes back where the block raises.

    Attributes must be replaced by the block, not changed.
    """
    before = dict(estimator.__dict__)
    try:
        yield
    except BaseException:
        kept = {name: value for name, value in estimator.__dict__.items() if name in KEPT}
        estimator.__dict__.clear()
        estimator.__dict__.update({**before, **kept})
        raise
