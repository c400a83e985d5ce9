"""What code written for scikit-learn's estimators does with ours."""

from __future__ import annotations

import inspect
import pickle
import signal
import threading
import tracemalloc
import warnings

import joblib
import numpy as np
import oracle
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import fastbp
from fastbp import _runtime
from fastbp.sklearn import MLPClassifier, MLPRegressor, _threads

PAIRS = [(MLPClassifier, oracle.TheirClassifier), (MLPRegressor, oracle.TheirRegressor)]


@pytest.fixture(autouse=True)
def _too_few_epochs_are_no_news():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield


def fitted(problem="multiclass", **parameters):
    x, y, _ = oracle.data(problem)
    ours, _ = oracle.pair(problem, max_iter=3, **parameters)
    return ours.fit(x, y), x, y


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_signatures_begin_with_theirs(ours, theirs):
    def described(function):
        found = inspect.signature(function).parameters.values()
        return [(p.name, p.kind, p.default) for p in found]

    known = described(theirs)
    assert described(ours)[: len(known)] == known
    added = described(ours)[len(known) :]
    assert {kind for _, kind, _ in added} == {inspect.Parameter.KEYWORD_ONLY}
    for name in ("fit", "partial_fit", "predict", "score"):
        known = described(getattr(theirs, name))
        assert described(getattr(ours, name))[: len(known)] == known
    for name in dir(theirs):
        if not name.startswith("_"):
            assert hasattr(ours, name), name


@pytest.mark.parametrize("problem", oracle.PROBLEMS)
def test_public_attributes_are_theirs(problem):
    x, y, _ = oracle.data(problem)
    for solver in ("adam", "lbfgs"):
        ours, theirs = oracle.pair(problem, solver=solver, max_iter=2)
        for estimator in (ours, theirs):
            oracle.quietly(estimator.fit, pd.DataFrame(x, columns=list("abcdefg")), y)
        known = {name for name in vars(theirs) if name.endswith("_") and name[0] != "_"}
        assert known == {name for name in vars(ours) if name.endswith("_") and name[0] != "_"}
        for name in known:
            # NumPy's float64 is a float.
            assert isinstance(getattr(theirs, name), type(getattr(ours, name))), name
        assert list(ours.feature_names_in_) == list("abcdefg")


def test_pickles_copies_and_clones():
    estimator, x, y = fitted()
    again = pickle.loads(pickle.dumps(estimator))
    assert np.array_equal(again.predict_proba(x), estimator.predict_proba(x))
    for one in (estimator, again):
        one.partial_fit(x, y)
    assert np.array_equal(again.coefs_[0], estimator.coefs_[0])  # the optimizer came along
    fresh = clone(estimator)
    assert not hasattr(fresh, "coefs_")
    assert fresh.get_params() == estimator.get_params()


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_grid_search_in_a_pipeline(backend):
    x, y, _ = oracle.data("multiclass")
    pipe = make_pipeline(StandardScaler(), MLPClassifier(max_iter=5, random_state=0))
    grid = {"mlpclassifier__alpha": [1e-4, 1.0], "mlpclassifier__hidden_layer_sizes": [(5,), (9,)]}
    with joblib.parallel_config(backend=backend):
        search = GridSearchCV(pipe, grid, n_jobs=2, cv=2).fit(x, y)
        if backend == "loky":  # its processes have a share of the cores each
            counts = joblib.Parallel(n_jobs=2)(joblib.delayed(fastbp.thread_count)() for _ in "ab")
            assert max(counts) <= max(1, joblib.cpu_count() // 2)
    alone = GridSearchCV(pipe, grid, cv=2).fit(x, y)
    assert np.array_equal(search.cv_results_["mean_test_score"],
                          alone.cv_results_["mean_test_score"])


def test_fits_at_the_same_time_share_the_cores(monkeypatch):
    monkeypatch.setattr(_runtime, "_machine_limit", lambda: (8, "a test"))
    with _threads.share_of_cores(None):
        assert _runtime.thread_count() == 8
    with _threads.share_of_cores(3):
        assert _runtime.thread_count() == 3
    with _threads.running(), _threads.running(), _threads.share_of_cores(None):
        assert _runtime.thread_count() == 4
        with _threads.running(), _threads.share_of_cores(3):
            assert _runtime.thread_count() == 1
    assert _threads._running == 0


def test_memmapped_and_read_only_input(tmp_path):
    x, y, weight = oracle.data("binary")
    path = tmp_path / "x.mmap"
    joblib.dump((x, weight), path)
    mapped, mapped_weight = joblib.load(path, mmap_mode="r")
    a = MLPClassifier(max_iter=3, random_state=0).fit(x, y, weight)
    b = MLPClassifier(max_iter=3, random_state=0).fit(mapped, y, mapped_weight)
    assert np.array_equal(a.coefs_[0], b.coefs_[0])
    assert np.array_equal(a.predict_proba(x), b.predict_proba(mapped))


@pytest.mark.parametrize("form", [
    pd.DataFrame, pl.DataFrame, np.asfortranarray, lambda x: np.repeat(x, 2, axis=1)[:, ::2],
    lambda x: x[::-1][::-1], lambda x: x.astype(">f8")])  # fmt: skip
def test_forms_of_input(form):
    x, y, _ = oracle.data("regression 2")
    frame = form(x)
    if isinstance(frame, pl.DataFrame):
        frame.columns = list("abcdefg")
    a = MLPRegressor(max_iter=3, random_state=0).fit(x, y)
    b = MLPRegressor(max_iter=3, random_state=0).fit(frame, y)
    assert np.array_equal(a.coefs_[0], b.coefs_[0])
    assert np.array_equal(a.predict(x), b.predict(frame))


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize("form", [sp.csr_matrix, sp.csc_matrix, sp.csr_array, sp.csc_array])
def test_sparse_is_dense(form, solver):
    x, y, weight = oracle.data("multiclass")
    x = np.where(np.abs(x) > 1, x, 0)
    settings = {"max_iter": 4, "random_state": 0, "solver": solver, "early_stopping": True,
                "validation_fraction": 0.2}
    a = MLPClassifier(**settings).fit(x, y, weight)
    b = MLPClassifier(**settings).fit(form(x), y, weight)
    assert np.array_equal(a.coefs_[0], b.coefs_[0])
    assert np.array_equal(a.predict_proba(x), b.predict_proba(form(x)))


def test_sparse_input_stays_sparse():
    rng, rows, columns = np.random.default_rng(0), 6_000, 2_000
    places = np.repeat(np.arange(rows), 3), rng.integers(0, columns, 3 * rows)
    x = sp.csr_array((np.ones(3 * rows), places), shape=(rows, columns))
    y = rng.standard_normal(rows)
    tracemalloc.start()
    MLPRegressor(hidden_layer_sizes=(4,), max_iter=1, random_state=0).fit(x, y).predict(x)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 60e6  # dense: 96 MB, and as much again in each epoch


def test_float32_stays_float32():
    x, y, _ = oracle.data("regression")
    estimator = MLPRegressor(max_iter=5, random_state=0).fit(x.astype(np.float32), y)
    assert {a.dtype for a in estimator.coefs_ + estimator.intercepts_} == {np.dtype("float32")}
    assert estimator.predict(x.astype(np.float32)).dtype == np.float32
    assert estimator.predict(x).dtype == np.float64
    wide = MLPRegressor(max_iter=5, random_state=0).fit(x, y)
    # Some 40 steps, each with roundings of a few parts in 10 million.
    assert oracle.relative(estimator.coefs_[0], wide.coefs_[0]) < 1e-4


def test_predictions_follow_the_weights_that_a_user_sets():
    estimator, x, y = fitted("regression")
    before = estimator.predict(x)
    estimator.intercepts_[-1][:] += 1.0
    np.testing.assert_allclose(estimator.predict(x), before + 1, rtol=1e-12)
    estimator.coefs_[-1] = np.zeros_like(estimator.coefs_[-1])
    estimator.intercepts_[-1] = np.full(1, 7.0)
    assert np.array_equal(estimator.predict(x), np.full(len(x), 7.0))
    estimator.partial_fit(x, y)  # and training goes on from them
    assert np.all(np.abs(estimator.coefs_[-1]) <= 1.001e-3)
    assert abs(estimator.intercepts_[-1][0] - 7) <= 1.001e-3


def test_many_rows_and_many_threads_at_once():
    estimator, x, _ = fitted()
    rows = np.random.default_rng(0).standard_normal((5_000, x.shape[1]))
    expected = estimator.predict_proba(rows)
    parts = np.concatenate([estimator.predict_proba(rows[i : i + 7]) for i in range(0, 700, 7)])
    assert np.max(np.abs(parts - expected[:700])) < 1e-14
    assert np.array_equal(estimator.predict(rows), expected.argmax(axis=1) * 2 + 1)
    found = []
    threads = [threading.Thread(target=lambda: found.append(estimator.predict_proba(rows)))
               for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert all(np.array_equal(result, expected) for result in found)


@pytest.mark.parametrize("columns", [3, 10, 32, 33, 300])
def test_the_first_of_the_largest(columns):
    """Small whole weights: many outputs are equal. 33 columns and more go another way."""
    rng = np.random.default_rng(columns)
    x, y = rng.integers(-2, 3, (3000, 4)).astype(np.float32), np.arange(3000) % columns
    estimator = MLPClassifier((5,), max_iter=1).fit(x, y)
    estimator.coefs_ = [rng.integers(-1, 2, w.shape).astype(np.float32) for w in estimator.coefs_]
    estimator.intercepts_ = [np.zeros(b.shape, np.float32) for b in estimator.intercepts_]
    logits = np.maximum(x @ estimator.coefs_[0], 0) @ estimator.coefs_[1]
    assert (logits == logits.max(axis=1, keepdims=True)).sum() > 3000, "MISTRUSTED: no ties"
    assert np.array_equal(estimator.predict(x), logits.argmax(axis=1))


@pytest.mark.parametrize("settings", [
    {}, {"solver": "sgd", "learning_rate": "adaptive", "tol": 0.5, "max_iter": 25},
    {"early_stopping": True, "tol": 0.5, "max_iter": 25},
    {"solver": "sgd", "tol": 5.0, "n_iter_no_change": 2}])  # fmt: skip
def test_verbose_says_the_same(settings, capsys):
    x, y, _ = oracle.data("binary")
    said = []
    for estimator in oracle.pair("binary", **{"max_iter": 3, **settings}, verbose=True):
        estimator.fit(x, y)
        said.append(capsys.readouterr().out)
    assert said[0] == said[1]
    assert "Iteration 2, loss = " in said[0]


def test_interrupted_fits_end_with_a_warning(monkeypatch):
    from fastbp.sklearn._batches import Batches

    x, y, _ = oracle.data("binary")
    run, calls = Batches.run, []

    def interrupted(self, *arguments):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return run(self, *arguments)

    monkeypatch.setattr(Batches, "run", interrupted)
    estimator = MLPClassifier(random_state=0)
    with pytest.warns(UserWarning, match=r"^Training interrupted by user\.$"):
        estimator.fit(x, y)
    assert estimator.n_iter_ == 2
    assert estimator.predict(x).shape == y.shape


def test_ctrl_c_ends_a_fit_at_the_edge_of_a_step():
    class Presses(fastbp.callbacks.Callback):
        def on_epoch_end(self, trainer, row):
            if row["epoch"] == 3:
                signal.raise_signal(signal.SIGINT)

    x, y, _ = oracle.data("regression")
    estimator = MLPRegressor(random_state=0, batch_size=32, callbacks=[Presses()])
    with pytest.warns(UserWarning, match=r"^Training interrupted by user\.$"):
        estimator.fit(x, y)
    assert estimator.n_iter_ == len(estimator.loss_curve_) == 3
    assert 15 < estimator._optimizer.steps < 20  # the fourth epoch was not finished
    estimator.set_params(callbacks=None).partial_fit(x, y)


def test_a_loss_beyond_the_smallest_probability_is_cut_off():
    """Data of large numbers: scikit-learn clips probabilities, so its loss has an upper bound."""
    x, y, _ = oracle.data("multiclass")
    for problem in ("binary", "multiclass", "multilabel"):
        y = oracle.data(problem)[1]
        ours, theirs = oracle.pair(problem, max_iter=2)
        for estimator in (ours, theirs):
            estimator.fit(1000 * x, y)
        assert theirs.loss_curve_[0] > 1
        assert oracle.relative(ours.loss_curve_, theirs.loss_curve_) < 1e-6
