"""Bad input: scikit-learn's own words where it has some, and an estimator that stays as it was."""

from __future__ import annotations

import math
import re

import numpy as np
import oracle
import pytest

from fastbp import ArgumentError, DataError, schedules
from fastbp.sklearn import MLPClassifier, MLPRegressor

X, Y, WEIGHT = oracle.data("multiclass")
NAN = np.where(np.arange(X.size).reshape(X.shape) == 9, np.nan, X)

SAME_WORDS = [
    ({"hidden_layer_sizes": (3, 0)}, (X, Y)),
    ({"hidden_layer_sizes": -1}, (X, Y)),
    ({"alpha": -1}, (X, Y)),
    ({"learning_rate_init": 0}, (X, Y)),
    ({"momentum": 2}, (X, Y)),
    ({"batch_size": 0}, (X, Y)),
    ({"max_iter": 0}, (X, Y)),
    ({"shuffle": "no"}, (X, Y)),
    ({"beta_1": 1.0}, (X, Y)),
    ({"epsilon": 0.0}, (X, Y)),
    ({"n_iter_no_change": 0}, (X, Y)),
    ({"solver": "newton"}, (X, Y)),
    ({"learning_rate": "fast"}, (X, Y)),
    ({"tol": "small"}, (X, Y)),
    ({"random_state": "x"}, (X, Y)),
    ({}, (X, Y[:-1])),
    ({}, (X[0], Y)),
    ({}, (NAN, Y)),
    ({}, (X, np.where(Y == 1, np.nan, Y))),
    ({}, (X[:0], Y[:0])),
    ({}, (X + 1j, Y)),
    ({}, (X, None)),
    ({}, (X, X[:, 0])),
    ({}, (X, Y, WEIGHT[:-1])),
    ({}, (X, Y, np.where(WEIGHT > 1, np.nan, WEIGHT))),
    ({}, (X, Y, 0 * WEIGHT)),
    ({"early_stopping": True, "validation_fraction": 0.0}, (X, Y)),
    ({"early_stopping": True, "validation_fraction": 0.005}, (X, Y)),
    ({"shuffle": False, "batch_size": 10}, (X, Y, np.r_[np.zeros(10), WEIGHT[10:]])),
    ({"solver": "sgd", "learning_rate_init": 1e3, "activation": "identity"}, (1e100 * X, Y)),
]


def error_of(method, *arguments, **options):
    """(kind, words) of what a call raises; options are told as sets, in no order."""
    with np.errstate(all="ignore"), pytest.raises(Exception, match=r".") as caught:
        oracle.quietly(method, *arguments, **options)
    return type(caught.value), sorted(re.findall(r"[\w.]+", str(caught.value)))


def state(estimator):
    return {name: str(value) for name, value in vars(estimator).items()}


@pytest.mark.parametrize(("parameters", "arguments"), SAME_WORDS)
def test_the_same_words(parameters, arguments):
    ours, theirs = oracle.pair("multiclass", **{"max_iter": 5, **parameters})
    before = state(ours)
    assert error_of(ours.fit, *arguments) == error_of(theirs.fit, *arguments)
    assert state(ours) == before
    ours.set_params(**type(ours)(max_iter=5).get_params())
    oracle.quietly(ours.fit, X, Y)
    ours.set_params(**parameters)
    before = state(ours)
    error_of(ours.fit, *arguments)
    assert state(ours) == before  # a fitted one keeps its weights


def test_the_same_words_of_fitted_ones():
    for change, call in (
        ({}, lambda e: e.predict(X[:, :3])),
        ({}, lambda e: e.predict(NAN)),
        ({"warm_start": True}, lambda e: e.fit(X, Y + 1)),
        ({}, lambda e: e.partial_fit(X, Y + 1)),
        ({}, lambda e: e.partial_fit(X, Y, classes=[1, 3])),
        ({}, lambda e: e.partial_fit(X[:, :3], Y)),
        ({"early_stopping": True}, lambda e: e.partial_fit(X, Y)),
        ({"solver": "lbfgs"}, lambda e: e.partial_fit(X, Y)),
    ):
        pair = oracle.pair("multiclass", max_iter=2)
        for estimator in pair:
            oracle.quietly(estimator.fit, X, Y)
            estimator.set_params(**change)
        before = state(pair[0])
        assert error_of(call, pair[0]) == error_of(call, pair[1])
        assert state(pair[0]) == before
    pair = oracle.pair("multiclass")
    assert error_of(pair[0].partial_fit, X, Y) == error_of(pair[1].partial_fit, X, Y)
    assert error_of(pair[0].predict, X) == error_of(pair[1].predict, X)


def test_a_regressor_with_lbfgs_has_no_partial_fit():
    assert hasattr(MLPRegressor(), "partial_fit")
    assert not hasattr(MLPRegressor(solver="lbfgs"), "partial_fit")  # theirs claims to


def test_warnings_are_theirs():
    for parameters in ({"batch_size": 1000, "max_iter": 2}, {"solver": "lbfgs", "max_iter": 2},
                       {"solver": "lbfgs", "max_fun": 2}):  # fmt: skip
        ours, theirs = oracle.pair("multiclass", **parameters)
        told = oracle.quietly(ours.fit, X, Y)[1]
        assert told
        assert told == oracle.quietly(theirs.fit, X, Y)[1]


@pytest.mark.parametrize(("parameters", "text"), [
    ({"activation": ["relu"], "hidden_layer_sizes": (3, 4)}, r"\['relu'\] for 2 hidden layers"),
    ({"activation": ["relu", "x"], "hidden_layer_sizes": (3, 4)}, "wanted a name, or a list"),
    ({"solver": "lbfgs", "dropout": 0.5}, "dropout with solver='lbfgs'"),
    ({"solver": "lbfgs", "max_time": 1.0, "progress": True}, "max_time, progress with solver="),
    ({"solver": "sgd", "learning_rate": "adaptive", "schedule": schedules.Cosine()},
     "schedule with learning_rate='adaptive'"),
    ({"callbacks": ["x"]}, "callbacks with 'x'; wanted objects of fastbp.callbacks"),
    ({"dropout": 1.0}, "The 'dropout' parameter of MLPClassifier must be a float"),
    ({"dtype": "float16"}, "The 'dtype' parameter of MLPClassifier must be"),
    ({"early_stopping": "score"}, "The 'early_stopping' parameter of MLPClassifier must be"),
])  # fmt: skip
def test_words_of_our_own(parameters, text):
    estimator = MLPClassifier(max_iter=2, **parameters)
    before = state(estimator)
    with pytest.raises(ValueError, match=text):
        estimator.fit(X, Y)
    assert state(estimator) == before


def test_validation_data_must_fit():
    estimator = MLPClassifier(max_iter=2)
    with pytest.raises(DataError, match=r"y_val with \[7\]; wanted classes of y"):
        estimator.fit(X, Y, X_val=X, y_val=np.where(Y == 1, 7, Y))
    with pytest.raises(ValueError, match="X has 3 features, but MLPClassifier is expecting 7"):
        estimator.fit(X, Y, X_val=X[:, :3], y_val=Y)
    with pytest.raises(ArgumentError, match="X_val with solver='lbfgs'"):
        estimator.set_params(solver="lbfgs").fit(X, Y, X_val=X, y_val=Y)
    for one in ({"X_val": X}, {"y_val": Y}):
        with pytest.raises(ArgumentError, match="X_val and y_val"):
            estimator.set_params(solver="adam").fit(X, Y, **one)


def test_another_network_cannot_go_on():
    estimator = MLPClassifier((5,), max_iter=2, warm_start=True)
    oracle.quietly(estimator.fit, X, Y)
    estimator.set_params(hidden_layer_sizes=(6,))
    before = state(estimator)
    with pytest.raises(ArgumentError, match="wanted the same network; set hidden_layer_sizes back"):
        estimator.fit(X, Y)
    assert state(estimator) == before


def test_errors_in_callbacks_leave_the_estimator_as_it_was():
    callback = pytest.importorskip("sklearn.callback")

    class Fails(callback.ScoringMonitor):
        def on_fit_task_end(self, estimator, context, *, X=None, y=None, fitted_estimator=None,
                            metadata=None):
            raise RuntimeError("no")

        def teardown(self, estimator, context):
            torn_down.append(1)

    torn_down: list[int] = []
    estimator = MLPClassifier(max_iter=2).set_callbacks(Fails(scoring="accuracy"))
    before = set(vars(estimator))
    with pytest.raises(RuntimeError, match=r"^no$"):
        estimator.fit(X, Y)
    assert set(vars(estimator)) == before
    assert torn_down == [1]
    assert math.isclose(estimator.alpha, 1e-4)
