"""Checks of input and parameters: scikit-learn's, but for what is plainly right.

Of a fit of ten epochs on 1800 samples scikit-learn's checks would be a tenth. What they would pass
as it is passes here; everything else goes to them, and so all messages are theirs.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastbp._arena import address_of, allocate
from fastbp._program import Program
from fastbp.emit.losses import emit_norm, norm_tasks
from fastbp.sklearn._compat import validate_data

DTYPES = (np.float64, np.float32)
_PLAIN_VALUES = (bool, int, float, str, type(None))
# Values of parameters that have passed, by their types too: 1, 1.0 and True are equal.
_passed: set[tuple[Any, ...]] = set()
_MOST_PASSED = 1000
# Numbers from which on a look at all of them is shared by threads.
MANY = 1 << 20


def checked(estimator: Any, X: Any, *y: Any, reset: bool, **options: Any) -> Any:
    """`validate_data(estimator, X[, y], reset=reset, **options)` for dense and sparse X."""
    if _is_matrix(X) and all(_are_targets(targets, len(X)) for targets in y):
        known = estimator.__dict__
        if reset:
            known.pop("feature_names_in_", None)
            estimator.n_features_in_ = X.shape[1]
        if known.get("n_features_in_") == X.shape[1] and "feature_names_in_" not in known:
            return (X, *y) if y else X
    return validate_data(estimator, X, *y, accept_sparse=["csr", "csc"], reset=reset, **options)


def _is_matrix(x: Any) -> bool:
    return type(x) is np.ndarray and x.ndim == 2 and x.size > 0 and _are_finite(x)


def _are_targets(y: Any, count: int) -> bool:
    """True for a number for each of `count` samples."""
    return (type(y) is np.ndarray and y.ndim == 1 and len(y) == count
            and (y.dtype.kind in "iu" or _are_finite(y)))


def _are_finite(x: np.ndarray) -> bool:
    """False also for other numbers than DTYPES, and for some that are very large."""
    if x.dtype not in DTYPES:
        return False
    if x.size >= MANY and x.flags.c_contiguous and x.flags.aligned:
        return bool(np.isfinite(_squared_norm(x)))
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(x.sum()))


def _squared_norm(x: np.ndarray) -> float:
    """The sum of the squares of contiguous numbers, by all threads."""
    program = Program(x.dtype)
    parts = program.keep(allocate(norm_tasks(x.size), np.float64))
    emit_norm(program, address_of(parts), address_of(x), x.size)
    program.run()
    return float(parts.sum())


def parameters_have_passed(estimator: Any) -> bool:
    """True where an estimator of the class with the same parameters has passed their checks."""
    return _key(estimator) in _passed


def note_passed(estimator: Any) -> None:
    """The estimator's parameters have passed their checks."""
    key = _key(estimator)
    if key is not None and len(_passed) < _MOST_PASSED:
        _passed.add(key)


def _key(estimator: Any) -> tuple[Any, ...] | None:
    """Class and parameters, or None where these are not all plain values."""
    values = tuple(getattr(estimator, name) for name in estimator._parameter_constraints)
    kinds = tuple(map(type, values))
    for value, kind in zip(values, kinds, strict=True):
        if kind not in _PLAIN_VALUES and not (kind is tuple and {*map(type, value)} <= {int}):
            return None
    return type(estimator), values, kinds
