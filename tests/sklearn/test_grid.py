"""Ours against scikit-learn's, float64, the same random_state: every combination of settings.

CI takes a spread-out part of the grid; `-m nightly` takes all of it.
"""

from __future__ import annotations

import itertools

import numpy as np
import oracle
import pytest

EPOCHS = 10
SOLVERS = [("adam", {}), ("adam", {"beta_1": 0.8, "beta_2": 0.95, "epsilon": 1e-3}),
           *(("sgd", {"learning_rate": mode, "learning_rate_init": 0.02, **more})
             for mode in ("constant", "invscaling", "adaptive")
             for more in ({}, {"nesterovs_momentum": False}, {"momentum": 0}))]
ACTIVATIONS = ("identity", "logistic", "tanh", "relu")
CASES = list(itertools.product(
    oracle.PROBLEMS, SOLVERS, ACTIVATIONS, (False, True), (False, True), ("auto", 32),
    (True, False)))
# A prime, so that every value of every setting comes up with the others.
STRIDE = 23


def compare(case):
    problem, (solver, settings), activation, early, weighted, batch_size, shuffle = case
    x, y, weight = oracle.data(problem)
    ours, theirs = oracle.pair(
        problem, solver=solver, activation=activation, early_stopping=early, max_iter=EPOCHS,
        hidden_layer_sizes=(9, 5), batch_size=batch_size, shuffle=shuffle, alpha=0.01,
        validation_fraction=0.2, n_iter_no_change=2, tol=1e-3, **settings)
    _, told = oracle.quietly(ours.fit, x, y, sample_weight=weight if weighted else None)
    _, expected = oracle.quietly(theirs.fit, x, y, sample_weight=weight if weighted else None)
    assert told == expected, case
    oracle.assert_same_path(ours, theirs, x)
    assert ours._optimizer.learning_rate > 0


@pytest.mark.parametrize("problem", oracle.PROBLEMS)
def test_paths_in_part(problem):
    cases = [case for case in CASES[::STRIDE] if case[0] == problem]
    assert len(cases) > 20
    for case in cases:
        compare(case)


@pytest.mark.nightly
@pytest.mark.parametrize("part", range(STRIDE))
def test_paths_of_the_whole_grid(part):
    for case in CASES[part::STRIDE]:
        compare(case)


@pytest.mark.parametrize("solver", ["adam", "sgd"])
@pytest.mark.parametrize("problem", oracle.PROBLEMS)
def test_stops_at_the_same_epoch(problem, solver):
    x, y, _ = oracle.data(problem)
    modes = ("constant", "adaptive") if solver == "sgd" else ("constant",)
    for early, mode in itertools.product((False, True), modes):
        ours, theirs = oracle.pair(
            problem, solver=solver, early_stopping=early, max_iter=300, tol=3e-3,
            learning_rate=mode, hidden_layer_sizes=(9,), learning_rate_init=0.02,
            n_iter_no_change=3)
        _, told = oracle.quietly(ours.fit, x, y)
        _, expected = oracle.quietly(theirs.fit, x, y)
        assert told == expected
        assert ours.n_iter_ == theirs.n_iter_
        assert 3 < ours.n_iter_ < 300 or mode == "adaptive"
        assert oracle.relative(ours.loss_curve_, theirs.loss_curve_) < 1e-6


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("problem", oracle.PROBLEMS)
def test_lbfgs_ends_at_the_same_loss(problem, weighted):
    x, y, weight = oracle.data(problem)
    weight = weight if weighted else None
    for activation in ACTIVATIONS:
        ours, theirs = oracle.pair(problem, solver="lbfgs", activation=activation, alpha=0.1,
                                   hidden_layer_sizes=(5,), max_iter=30)
        _, told = oracle.quietly(ours.fit, x, y, weight)
        _, expected = oracle.quietly(theirs.fit, x, y, weight)
        assert told == expected
        assert ours.n_iter_ == theirs.n_iter_
        assert abs(ours.loss_ / theirs.loss_ - 1) < 1e-4
        assert oracle.relative(oracle.outputs(ours, x), oracle.outputs(theirs, x)) < 1e-4


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize("solver", ["adam", "sgd"])
@pytest.mark.parametrize("problem", oracle.PROBLEMS)
def test_warm_starts_go_on_alike(problem, solver, early):
    x, y, weight = oracle.data(problem)
    ours, theirs = oracle.pair(
        problem, solver=solver, warm_start=True, early_stopping=early, max_iter=4,
        learning_rate="adaptive", learning_rate_init=0.01, hidden_layer_sizes=(6,))
    for weights in (None, weight, None):
        for estimator in (ours, theirs):
            oracle.quietly(estimator.fit, x, y, weights)
        oracle.assert_same_path(ours, theirs, x)


@pytest.mark.parametrize("settings", [
    {"solver": "adam"}, {"solver": "sgd", "learning_rate": "invscaling"},
    {"solver": "sgd", "learning_rate": "adaptive", "n_iter_no_change": 1, "tol": 10.0}])
@pytest.mark.parametrize("problem", oracle.PROBLEMS)
def test_partial_fits_go_on_alike(problem, settings):
    x, y, weight = oracle.data(problem)
    ours, theirs = oracle.pair(problem, hidden_layer_sizes=(6,), **settings)
    labels = np.arange(3) if problem == "multilabel" else np.unique(y)
    classes = {"classes": labels} if hasattr(ours, "predict_proba") else {}
    for rows in (slice(0, 60), slice(60, 130), slice(0, 130), slice(100, 130)):
        for estimator in (ours, theirs):
            estimator.partial_fit(x[rows], y[rows], weight[rows] if rows.start else None,
                                  **classes)
        oracle.assert_same_path(ours, theirs, x)
    for estimator in (ours, theirs):  # a fit, and on from there
        oracle.quietly(estimator.set_params(max_iter=2).fit, x, y)
        estimator.partial_fit(x, y)
    oracle.assert_same_path(ours, theirs, x)


def test_partial_fits_of_any_size_and_with_other_settings():
    """Programs are kept between calls of one kind; whatever changes, the path is the same."""
    x, y, weight = oracle.data("regression")
    for settings in ({}, {"shuffle": False}, {"solver": "sgd", "batch_size": 32}):
        ours, theirs = oracle.pair("regression", hidden_layer_sizes=(6,), **settings)
        for rows, change in ((50, {}), (50, {}), (51, {}), (51, {"alpha": 10.0}), (51, {}),
                             (51, {"activation": "tanh"}), (40, {"batch_size": 20}), (40, {}),
                             (40, {"n_iter_no_change": 3})):  # fmt: skip
            for estimator in (ours, theirs):
                estimator.set_params(**change)
                estimator.partial_fit(x[-rows:].copy(), y[-rows:].copy())
                if rows == 51:
                    estimator.coefs_[0][0] += 0.1
                    estimator.predict(x)
            oracle.assert_same_path(ours, theirs, x)
        for estimator in (ours, theirs):
            estimator.partial_fit(x[:40], y[:40], weight[:40]).partial_fit(x[:40], y[:40])
        oracle.assert_same_path(ours, theirs, x)


def test_a_failing_partial_fit_leaves_the_optimizer_as_it_was():
    x, y, _ = oracle.data("regression")
    ours, same = (oracle.pair("regression", hidden_layer_sizes=(6,), solver="sgd")[0]
                  for _ in range(2))
    for _ in range(2):
        ours.partial_fit(x, y)
    slots, steps = [slot.copy() for slot in ours._optimizer.slots], ours._optimizer.steps
    with pytest.raises(ValueError, match="non-finite"):
        ours.partial_fit(x, np.full_like(y, 1.7e308))
    assert ours._optimizer.steps == steps
    assert all(np.array_equal(*pair) for pair in zip(ours._optimizer.slots, slots, strict=True))
    for _ in range(3):
        same.partial_fit(x, y)
    assert np.array_equal(ours.partial_fit(x, y).coefs_[0], same.coefs_[0])
