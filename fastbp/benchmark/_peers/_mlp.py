"""scikit-learn's MLPClassifier, or fastbp's in its place: whole fits and predictions."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from fastbp.benchmark import workloads as data
from fastbp.benchmark.rows import Case


def _samples(spec: dict[str, Any]) -> tuple[data.Array, data.Array]:
    """The digits, or normal random numbers (rows, features) of ten classes."""
    if "rows" not in spec:
        return data.digits()
    x = data.reals(spec["rows"], spec["features"])
    return x, (x @ data.reals(spec["features"], 10, seed=1)).argmax(axis=1)


def fit_case(kind: type[Any], spec: dict[str, Any]) -> Case:
    """A new estimator with `spec["settings"]`, and its fit."""
    # The number of epochs is the benchmark's, so that it is reached is no news.
    warnings.filterwarnings("ignore", category=Warning)
    x, y = _samples(spec)

    def run() -> Any:
        return kind(random_state=0, **spec["settings"]).fit(x, y)

    return Case(run, lambda: [np.array(run().score(x, y))])


def predict_case(kind: type[Any], spec: dict[str, Any]) -> Case:
    """Predictions for many rows, by an estimator fitted to the digits."""
    warnings.filterwarnings("ignore", category=Warning)
    model = kind(random_state=0, **spec["settings"]).fit(*data.digits())
    x, _ = _samples(spec)
    return Case(lambda: model.predict(x), lambda: [model.predict_proba(x[:1000])])


def search_case(kind: type[Any], spec: dict[str, Any]) -> Case:
    """A grid search on the digits with two processes."""
    from sklearn.model_selection import GridSearchCV

    warnings.filterwarnings("ignore", category=Warning)
    x, y = data.digits()
    grid = {"alpha": [1e-4, 1e-2], "hidden_layer_sizes": [(50,), (100,)]}

    def run() -> Any:
        model = kind(random_state=0, **spec["settings"])
        return GridSearchCV(model, grid, cv=3, n_jobs=2).fit(x, y)

    return Case(run, lambda: [run().cv_results_["mean_test_score"]])
