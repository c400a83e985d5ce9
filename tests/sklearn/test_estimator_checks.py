"""scikit-learn's own checks of an estimator, for both classes; none is expected to fail.

As for its own MLPs max_iter is 100, and weights are also compared with repetitions for L-BFGS and
for SGD.
"""

from __future__ import annotations

import warnings

import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.estimator_checks import (
    check_sample_weight_equivalence_on_dense_data,
    parametrize_with_checks,
)

from fastbp.sklearn import MLPClassifier, MLPRegressor


@pytest.fixture(autouse=True)
def _too_few_epochs_are_no_news():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield


@parametrize_with_checks([MLPClassifier(max_iter=100), MLPRegressor(max_iter=100)])
def test_estimators(estimator, check):
    check(estimator)


@pytest.mark.parametrize(
    "estimator",
    [MLPClassifier(max_iter=100, solver="lbfgs"),
     MLPRegressor(max_iter=100, solver="sgd", tol=1e-2, random_state=42)],
    ids=["classifier lbfgs", "regressor sgd"])
def test_weights_are_repetitions(estimator):
    check_sample_weight_equivalence_on_dense_data(type(estimator).__name__, estimator)
