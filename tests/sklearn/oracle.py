"""Data, and the comparison with scikit-learn's own estimators."""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any

import numpy as np
from sklearn.neural_network import MLPClassifier as TheirClassifier
from sklearn.neural_network import MLPRegressor as TheirRegressor

from fastbp.sklearn import MLPClassifier, MLPRegressor

PROBLEMS = ("binary", "multiclass", "multilabel", "regression", "regression 2", "poisson")
SAMPLES, FEATURES = 130, 7

# float64 paths of the same algorithm: they part by roundings, which training multiplies.
PATH = 1e-9


@cache
def data(problem: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(X, y, sample_weight) of a problem, float64."""
    rng = np.random.default_rng(PROBLEMS.index(problem))
    x = rng.standard_normal((SAMPLES, FEATURES))
    z = x @ rng.standard_normal((FEATURES, 3)) + 0.5 * rng.standard_normal((SAMPLES, 3))
    y = {
        "binary": lambda: np.array(["no", "yes"])[(z[:, 0] > 0).astype(int)],
        "multiclass": lambda: z.argmax(axis=1) * 2 + 1,
        "multilabel": lambda: (z > 0).astype(int),
        "regression": lambda: z[:, 0],
        "regression 2": lambda: z[:, :2],
        "poisson": lambda: rng.poisson(np.exp(z[:, 0] / 4)).astype(float),
    }[problem]()
    return x, y, rng.uniform(0.2, 2.0, SAMPLES)


def pair(problem: str, **parameters: Any) -> tuple[Any, Any]:
    """(ours, theirs): unfitted estimators for a problem."""
    if problem == "poisson":
        parameters["loss"] = "poisson"
    classes = ((MLPRegressor, TheirRegressor) if problem in PROBLEMS[3:]
               else (MLPClassifier, TheirClassifier))
    ours, theirs = (kind(**{"random_state": 3, **parameters}) for kind in classes)
    return ours, theirs


def quietly(method: Any, *arguments: Any, **options: Any) -> tuple[Any, list[tuple[type, str]]]:
    """(result, warnings) of a call."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = method(*arguments, **options)
    return result, [(w.category, str(w.message)) for w in caught]


def relative(ours: Any, theirs: Any) -> float:
    """The largest difference, by the largest number of `theirs`."""
    a, b = np.asarray(ours, float), np.asarray(theirs, float)
    assert a.shape == b.shape, (a.shape, b.shape)
    if not a.size:
        return 0.0
    return float(np.max(np.abs(a - b)) / max(np.max(np.abs(b)), 1e-300))


def outputs(estimator: Any, x: np.ndarray) -> np.ndarray:
    """Probabilities of a classifier, predictions of a regressor."""
    method = getattr(estimator, "predict_proba", estimator.predict)
    return np.asarray(method(x))


def assert_same_path(ours: Any, theirs: Any, x: np.ndarray) -> None:
    """Weights, curves, counters and outputs after some epochs."""
    for name in ("n_iter_", "t_", "n_layers_", "n_outputs_", "out_activation_",
                 "_no_improvement_count"):
        assert getattr(ours, name) == getattr(theirs, name), name
    for name in ("loss_", "loss_curve_", "best_loss_", "validation_scores_",
                 "best_validation_score_"):
        a, b = getattr(ours, name), getattr(theirs, name)
        assert (a is None) == (b is None), name
        if b is not None:
            assert relative(a, b) <= PATH, name
    for a, b in zip(ours.coefs_ + ours.intercepts_, theirs.coefs_ + theirs.intercepts_,
                    strict=True):
        assert a.dtype == b.dtype
        assert relative(a, b) <= PATH
    assert relative(outputs(ours, x), outputs(theirs, x)) <= PATH
    if hasattr(theirs, "classes_"):
        assert np.array_equal(ours.predict(x), theirs.predict(x))
