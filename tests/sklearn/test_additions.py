"""What fastbp's estimators have beyond scikit-learn's."""

from __future__ import annotations

import warnings

import numpy as np
import oracle
import pytest
from sklearn.exceptions import ConvergenceWarning

import fastbp
from fastbp import callbacks, schedules
from fastbp.sklearn import MLPClassifier, MLPRegressor


@pytest.fixture(autouse=True)
def _too_few_epochs_are_no_news():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield


def classifier(**parameters):
    return MLPClassifier(**{"random_state": 0, "max_iter": 20, "hidden_layer_sizes": (8,),
                            "learning_rate_init": 0.01, **parameters})


def regressor(**parameters):
    return MLPRegressor(**{"random_state": 0, "max_iter": 20, "hidden_layer_sizes": (8,),
                           "learning_rate_init": 0.01, **parameters})


def test_class_weights_are_sample_weights():
    x, y, weight = oracle.data("multiclass")
    by_class = {1: 0.5, 3: 3.0, 5: 1.0}
    a = classifier(class_weight=by_class).fit(x, y, weight)
    b = classifier().fit(x, y, weight * np.array([by_class[label] for label in y]))
    assert np.array_equal(a.coefs_[0], b.coefs_[0])
    counts = {label: np.sum(y == label) for label in by_class}
    balanced = {label: len(y) / (3 * count) for label, count in counts.items()}
    a, b = classifier(class_weight="balanced").fit(x, y), classifier(class_weight=balanced)
    assert np.array_equal(a.coefs_[0], b.fit(x, y).coefs_[0])
    with pytest.raises(fastbp.ArgumentError, match="class_weight='balanced' in partial_fit"):
        a.partial_fit(x, y)
    one = classifier(class_weight=by_class)
    one.partial_fit(x, y, classes=np.unique(y))
    two = classifier().partial_fit(x, y, [by_class[label] for label in y], np.unique(y))
    assert np.array_equal(one.coefs_[0], two.coefs_[0])


@pytest.mark.parametrize("problem", ["binary", "multiclass", "multilabel"])
def test_smoothed_labels_hold_probabilities_back(problem):
    x, y, _ = oracle.data(problem)
    plain, smooth = (classifier(label_smoothing=s, max_iter=300, tol=0).fit(x, y)
                     for s in (0.0, 0.3))
    sure = [np.mean(np.abs(model.predict_proba(x) - 0.5)) for model in (plain, smooth)]
    assert sure[1] < sure[0] - 0.03
    assert smooth.score(x, y) > 0.8
    assert smooth.loss_ > 0.4 > plain.loss_  # the entropy of the smoothed labels remains


@pytest.mark.parametrize("problem", ["multiclass", "regression"])
def test_dropout_and_batch_norm(problem):
    x, y, _ = oracle.data(problem)
    make = classifier if problem == "multiclass" else regressor
    for extra in ({"dropout": 0.2}, {"batch_norm": True}, {"batch_norm": True, "dropout": 0.2}):
        model = make(**extra, max_iter=80, hidden_layer_sizes=(16, 8)).fit(x, y)
        assert model.score(x, y) > 0.7, extra
        assert np.array_equal(model.predict(x), model.predict(x))
        same = make(**extra, max_iter=80, hidden_layer_sizes=(16, 8)).fit(x, y)
        assert np.array_equal(model.coefs_[0], same.coefs_[0])
        assert ("batch_norm" in extra) == hasattr(model, "batch_norm_")
        model.partial_fit(x, y)
    assert [set(parts) for parts in model.batch_norm_] == 2 * [
        {"gamma", "beta", "running_mean", "running_var"}]
    shift = model.batch_norm_[0]["running_mean"]
    before, shift[:] = model.predict(x), 100
    assert not np.array_equal(model.predict(x), before)  # they count, too


def test_an_activation_for_each_layer():
    x, y, _ = oracle.data("binary")
    a = classifier(hidden_layer_sizes=(6, 5), activation=["tanh", "tanh"]).fit(x, y)
    b = classifier(hidden_layer_sizes=(6, 5), activation="tanh").fit(x, y)
    assert np.array_equal(a.coefs_[0], b.coefs_[0])
    names = ["gelu", "silu", "softplus", "leaky_relu", "identity"]
    model = classifier(hidden_layer_sizes=(8, 8, 8, 8, 8), activation=names, max_iter=60)
    assert model.fit(x, y).score(x, y) > 0.8
    h = x
    functions = [
        lambda z: z * 0.5 * (1 + np.vectorize(__import__("math").erf)(z / np.sqrt(2))),
        lambda z: z / (1 + np.exp(-z)), lambda z: np.log1p(np.exp(z)),
        lambda z: np.where(z > 0, z, 0.01 * z), lambda z: z, lambda z: 1 / (1 + np.exp(-z))]
    for w, b, function in zip(model.coefs_, model.intercepts_, functions, strict=True):
        h = function(h @ w + b)
    np.testing.assert_allclose(model.predict_proba(x)[:, 1], h[:, 0], rtol=1e-10)


@pytest.mark.parametrize(("loss", "settings"), [
    ("absolute_error", {}), ("huber", {"delta": 0.5}), ("quantile", {"quantile": 0.8})])
def test_losses_of_regression(loss, settings):
    x, y, weight = oracle.data("regression 2")
    model = regressor(loss=loss, max_iter=300, alpha=0, batch_size=130, **settings)
    model.fit(x, y, weight)
    d = model.predict(x) - y
    value = {
        "absolute_error": np.abs(d),
        "huber": np.where(np.abs(d) < 0.5, d**2 / 2, 0.5 * (np.abs(d) - 0.25)),
        "quantile": np.maximum(0.2 * d, -0.8 * d),
    }[loss]
    total = np.average(value.sum(axis=1), weights=weight)
    assert abs(model.loss_ - total) < 0.05 * total  # one step later
    assert model.loss_ < 0.5 * model.loss_curve_[0]
    if loss == "quantile":
        assert np.all(np.abs(np.average(d > 0, axis=0, weights=weight) - 0.8) < 0.1)


@pytest.mark.parametrize("problem", oracle.PROBLEMS)
def test_validation_data_of_the_users_own(problem):
    x, y, _ = oracle.data(problem)
    make = classifier if problem in oracle.PROBLEMS[:3] else regressor
    extra = {"loss": "poisson"} if problem == "poisson" else {}
    model = make(max_iter=6, **extra).fit(x[:100], y[:100], X_val=x[100:], y_val=y[100:])
    assert len(model.validation_scores_) == len(model.validation_loss_curve_) == 6
    assert model.best_validation_score_ == max(model.validation_scores_)
    assert abs(model.validation_scores_[-1] - model.score(x[100:], y[100:])) < 1e-12
    z, t = oracle.outputs(model, x[100:]), y[100:]
    expected = {
        "binary": lambda: -np.log(z[np.arange(30), (t == "yes").astype(int)]).mean(),
        "multiclass": lambda: -np.log(z[np.arange(30), t // 2]).mean(),
        "multilabel": lambda: -np.log(np.where(t == 1, z, 1 - z)).sum(axis=1).mean(),
        "regression": lambda: 0.5 * ((z - t) ** 2).mean(),
        "regression 2": lambda: 0.5 * ((z - t) ** 2).mean(),
        "poisson": lambda: (z - t * np.log(z) + t * np.log(np.maximum(t, 1)) - t).mean(),
    }[problem]()
    assert abs(model.validation_loss_curve_[-1] / expected - 1) < 1e-9
    plain = make(max_iter=6, **extra).fit(x[:100], y[:100])
    assert np.array_equal(plain.coefs_[0], model.coefs_[0])  # looking on changes nothing


def test_early_stopping_by_the_validation_loss():
    x, y, _ = oracle.data("multiclass")
    model = classifier(early_stopping="loss", max_iter=500, learning_rate_init=0.05, alpha=0,
                       hidden_layer_sizes=(50,))
    model.fit(x[:60], y[:60], X_val=x[60:], y_val=y[60:])
    curve = model.validation_loss_curve_
    assert 10 < model.n_iter_ < 500
    assert model.best_validation_loss_ == min(curve) < curve[-1]
    assert model.best_loss_ is None
    z = model.predict_proba(x[60:])[np.arange(70), y[60:] // 2]
    assert abs(-np.log(z).mean() - min(curve)) < 1e-12  # the best epoch's weights are back
    held = classifier(early_stopping="loss", max_iter=20).fit(x, y)
    assert len(held.validation_loss_curve_) == held.n_iter_


def test_optimizers_and_schedules_of_fastbp():
    x, y, _ = oracle.data("regression")
    model = regressor(optimizer=fastbp.SGD(0.01, momentum=0.9, weight_decay=1e-3), shuffle=False,
                      max_iter=4, batch_size=130)
    model.fit(x, y)
    net = fastbp.Sequential([fastbp.Affine(7, 8), fastbp.ReLU(), fastbp.Affine(8, 1)],
                            dtype="float64")
    start = regressor(max_iter=1, solver="sgd", learning_rate_init=1e-300).fit(x, y)
    for layer, w, b in zip(("0", "2"), start.coefs_, start.intercepts_, strict=True):
        net.parameters[f"{layer}.w"][...], net.parameters[f"{layer}.b"][...] = w, b
    trainer = fastbp.Trainer(net, "mean_squared_error",
                             fastbp.SGD(0.005, momentum=0.9, weight_decay=2e-3))
    trainer.fit(x, y, epochs=4, batch_size=130, shuffle=False)
    # Half the squared error at twice the rate, and half of its weight decay.
    np.testing.assert_allclose(model.coefs_[0], net.parameters["0.w"], rtol=1e-10)
    seen = []

    class Rates(callbacks.Callback):
        def on_epoch_end(self, trainer, row):
            seen.append(row["lr"])

    for extra in ({"solver": "sgd"}, {"optimizer": fastbp.AdamW(0.01)}):
        seen.clear()
        regressor(schedule=schedules.Cosine(), max_iter=5, callbacks=[Rates()], batch_size=130,
                  **extra).fit(x, y)
        assert np.allclose(seen, 0.01 * (1 + np.cos(np.pi * np.arange(5) / 5)) / 2)
    plateau = schedules.Plateau(patience=0, monitor="loss", min_delta=100.0)
    seen.clear()
    regressor(schedule=plateau, solver="sgd", max_iter=4, callbacks=[Rates()]).fit(x, y)
    assert np.allclose(seen, [1e-2, 1e-2, 1e-3, 1e-4])
    assert plateau.current == 1.0  # parameters are not changed by a fit


def test_clipped_gradients():
    x, y, _ = oracle.data("regression")
    settings = {"solver": "sgd", "momentum": 0, "max_iter": 1, "batch_size": 130, "alpha": 0}
    start = regressor(**{**settings, "learning_rate_init": 1e-300}).fit(x, y)
    model = regressor(**settings, gradient_clip=0.5).fit(x, y)
    moved = np.sqrt(sum(((a - b) ** 2).sum() for a, b in zip(
        model.coefs_ + model.intercepts_, start.coefs_ + start.intercepts_, strict=True)))
    assert abs(moved - 0.01 * 0.5) < 1e-6


def test_time_limit_and_number_of_threads():
    x, y, _ = oracle.data("regression")
    model = regressor(max_time=0.05, max_iter=10**9, tol=0, n_iter_no_change=np.inf).fit(x, y)
    assert 1 <= model.n_iter_ < 10**6
    for settings in ({}, {"solver": "lbfgs"}):
        one = regressor(n_threads=1, **settings).fit(x, y)
        with fastbp.threads(4, oversubscribe=True):
            several = regressor(**settings).fit(x, y)
        assert np.array_equal(one.coefs_[0], several.coefs_[0])


def test_a_full_warm_start_is_one_long_fit():
    x, y, _ = oracle.data("multiclass")
    for solver in ("adam", "sgd"):
        whole = classifier(solver=solver, shuffle=False, max_iter=8).fit(x, y)
        parts = classifier(solver=solver, shuffle=False, max_iter=4, warm_start="full")
        parts.fit(x, y).fit(x, y)
        np.testing.assert_allclose(parts.coefs_[0], whole.coefs_[0], rtol=1e-12)
        assert parts.loss_curve_ == whole.loss_curve_
        cold = classifier(solver=solver, shuffle=False, max_iter=4, warm_start=True)
        assert not np.allclose(cold.fit(x, y).fit(x, y).coefs_[0], whole.coefs_[0], rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", np.float64])
def test_dtype_whatever_the_input_is(dtype):
    x, y, _ = oracle.data("regression")
    model = regressor(dtype=dtype).fit(x.astype(np.float32), y)
    assert {a.dtype for a in model.coefs_} == {np.dtype(dtype)}
    same = regressor().fit(x.astype(np.float32).astype(dtype), y)
    assert np.array_equal(model.coefs_[0], same.coefs_[0])


def test_the_fast_generator_is_reproducible_and_another():
    x, y, _ = oracle.data("regression")
    a, b = (regressor(rng="fast").fit(x, y) for _ in range(2))
    assert np.array_equal(a.coefs_[0], b.coefs_[0])
    assert not np.array_equal(a.coefs_[0], regressor().fit(x, y).coefs_[0])


def test_progress_and_callbacks_of_fastbp(capsys, monkeypatch):
    x, y, _ = oracle.data("regression")
    stop = callbacks.EarlyStopping("val_loss", patience=2, min_delta=100.0)
    model = regressor(max_iter=50, callbacks=[stop])
    model.fit(x[:99], y[:99], X_val=x[99:], y_val=y[99:])
    assert model.n_iter_ == stop.stopped_epoch == 3
    first = regressor(max_iter=1).fit(x[:99], y[:99])
    assert np.array_equal(model.coefs_[0], first.coefs_[0])  # the best epoch's weights
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    regressor(max_iter=3, progress=True).fit(x, y)
    assert "3/3" in capsys.readouterr().err


def test_callbacks_of_scikit_learn():
    callback = pytest.importorskip("sklearn.callback")  # from 1.9 on
    x, y, weight = oracle.data("multiclass")
    monitor = callback.ScoringMonitor(scoring="accuracy")
    model = classifier(max_iter=4).set_callbacks(monitor).fit(x, y)
    scores = [row["accuracy"] for row in monitor.get_logs().data if row["task_name"] == "epoch"]
    assert len(scores) == 4
    assert scores[-1] == model.score(x, y)

    class Stop:
        told: list[str] = []  # noqa: RUF012

        def setup(self, estimator, context):
            self.told.append("setup")

        def teardown(self, estimator, context):
            self.told.append("teardown")

        def on_fit_task_begin(self, estimator, context, *, X=None, y=None, metadata=None):
            self.told.append(f"{context.task_name} begins")
            assert len(metadata["sample_weight"]) == len(X) == len(y)

        def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
            self.told.append(f"{context.task_name} ends")
            assert fitted_estimator.predict(x).shape == (len(x),)
            return context.task_name == "epoch" and context.task_id == 1

    model = classifier().set_callbacks(Stop()).fit(x, y, weight)
    assert model.n_iter_ == 2
    assert Stop.told == ["setup", "fit begins", *2 * ["epoch begins", "epoch ends"], "fit ends",
                         "teardown"]
