"""What differs between versions of scikit-learn from 1.5 on, and the few names it calls private.

The estimators take from here what is not in scikit-learn's documented interface, so that a change
there is a change of this file.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sklearn.base import BaseEstimator, _fit_context
from sklearn.utils._param_validation import Interval, Options, StrOptions
from sklearn.utils.multiclass import _check_partial_fit_first_call
from sklearn.utils.validation import _check_sample_weight

__all__ = [
    "CallbackSupport",
    "Interval",
    "Options",
    "StrOptions",
    "TakesSeveralLabels",
    "TakesSparse",
    "check_sample_weight",
    "fit_context",
    "is_first_partial_fit",
    "validate_data",
    "with_callbacks",
]

fit_context = _fit_context
is_first_partial_fit = _check_partial_fit_first_call
check_sample_weight = _check_sample_weight

try:
    from sklearn.utils.validation import validate_data
except ImportError:  # before 1.6 it was a method

    def validate_data(estimator: Any, *arguments: Any, **options: Any) -> Any:
        """Checked arrays, with the number and the names of features noted or compared."""
        return estimator._validate_data(*arguments, **options)


try:
    from sklearn.callback import CallbackSupportMixin as CallbackSupport
    from sklearn.callback import with_callbacks
except ImportError:  # before 1.9

    class CallbackSupport:  # type: ignore[no-redef]
        """Estimators without scikit-learn's callbacks."""

    def with_callbacks(method: Callable[..., Any]) -> Callable[..., Any]:
        """The method as it is."""
        return method


class TakesSparse(BaseEstimator):
    """An estimator whose tags say that X may be sparse."""

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


class TakesSeveralLabels:
    """A classifier whose tags say that y may have several labels a sample."""

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()  # type: ignore[misc]
        tags.classifier_tags.multi_label = True
        return tags

    def _more_tags(self) -> dict[str, Any]:
        """The same for scikit-learn 1.5, which knows tags as a dict (sparse input is no tag)."""
        return {"multilabel": True}
