"""Programs that a fit leaves for the next: faster, and nothing else."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from sklearn.datasets import load_digits

from fastbp.sklearn import MLPClassifier, MLPRegressor
from fastbp.sklearn import _batches as batches_module
from fastbp.sklearn._kept import Spares, spares

X, Y = load_digits(return_X_y=True)
X = (X / 16)[:450]
Y = Y[:450]

SETTINGS = [
    {}, {"solver": "sgd"}, {"solver": "sgd", "momentum": 0.0}, {"early_stopping": True},
    {"batch_size": 64, "alpha": 0.1}, {"hidden_layer_sizes": (20, 10), "activation": "tanh"},
    {"batch_norm": True}, {"dropout": 0.2}, {"shuffle": False},
]  # fmt: skip


@pytest.fixture(autouse=True)
def _no_spares():
    spares.clear()
    yield
    spares.clear()


def fitted(seed=0, x=X, y=Y, kind=MLPClassifier, **settings):
    settings = {"hidden_layer_sizes": (15,), "max_iter": 4, "random_state": seed, **settings}
    return kind(**settings).fit(x, y)


def state(model):
    """All that a fit leaves, to the bit."""
    arrays = [*model.coefs_, *model.intercepts_, *model._optimizer.slots]
    return [a.tobytes() for a in arrays], model.loss_curve_, model._optimizer.steps


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_a_fit_with_programs_of_another_is_as_one_with_its_own(settings):
    alone = state(fitted(seed=2, **settings))
    spares.clear()
    first = fitted(seed=1, x=X[::-1], y=Y[::-1], **settings)
    before = state(first)
    assert state(fitted(seed=2, **settings)) == alone
    assert state(first) == before


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
@pytest.mark.parametrize(("settings", "are_kept"), [
    ({}, True), ({"dropout": 0.1}, False), ({"batch_norm": True}, False),
    ({"max_time": 100.0}, False), ({"hidden_layer_sizes": (800, 800), "max_iter": 1}, False)])
def test_programs_are_made_once_where_they_can_be_used_again(settings, are_kept, monkeypatch):
    made = []

    class Counted(batches_module.TrainingPlan):
        def __init__(self, *args, **named):
            made.append(args)
            super().__init__(*args, **named)

    monkeypatch.setattr(batches_module, "TrainingPlan", Counted)
    fitted(seed=1, **settings)
    first = len(made)
    assert first == 2  # for full batches and for the last one
    fitted(seed=2, **settings)
    assert len(made) == (first if are_kept else 2 * first)


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_what_programs_depend_on_tells_fits_apart():
    different = [{}, {"alpha": 0.5}, {"solver": "sgd"}, {"batch_size": 50}, {"beta_1": 0.8},
                 {"hidden_layer_sizes": (16,)}, {"activation": "tanh"}, {"gradient_clip": 0.1},
                 {"x": X[:400], "y": Y[:400]}, {"x": X.astype("float32")},
                 {"y": Y % 2}, {"y": np.eye(10, dtype=int)[Y]}, {"label_smoothing": 0.1}]
    alone = []
    for settings in different:
        spares.clear()
        alone.append(state(fitted(**settings)))
    spares.clear()
    assert [state(fitted(**settings)) for settings in different] == alone
    weights = np.linspace(0.5, 2, len(X))
    spares.clear()
    weighted = MLPRegressor(max_iter=3, random_state=0).fit(X, Y, sample_weight=weights)
    MLPRegressor(max_iter=3, random_state=1).fit(X, Y)
    again = MLPRegressor(max_iter=3, random_state=0).fit(X, Y, sample_weight=weights)
    assert state(again) == state(weighted)


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_a_fitted_estimator_goes_on_as_if_nobody_had_its_programs():
    """Its optimizer's slots are its own, whoever trains in the memory where they were."""
    expected = state(fitted().partial_fit(X[:99], Y[:99]))
    model = fitted()
    fitted(seed=5)
    assert state(model.partial_fit(X[:99], Y[:99])) == expected


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_fits_in_several_threads_do_not_share_programs():
    alone = {seed: state(fitted(seed)) for seed in range(4)}
    found = {}

    def work(seed):
        for _ in range(5):
            found.setdefault(seed, []).append(state(fitted(seed)))

    workers = [threading.Thread(target=work, args=(seed,)) for seed in alone]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert all(result == alone[seed] for seed, results in found.items() for result in results)
    assert len(found) == 4


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_a_fit_that_fails_leaves_no_programs():
    alone = state(fitted(3, solver="sgd"))
    with pytest.raises(ValueError, match="non-finite"), np.errstate(all="ignore"):
        fitted(solver="sgd", learning_rate_init=1e200)
    assert not spares._entries
    assert state(fitted(3, solver="sgd")) == alone


def test_the_oldest_spares_go_first():
    class Kind:
        batch_size = 1

        class model:
            units = (1, 1)

            class network:
                class layout:
                    size = 1

                dtype = np.dtype("float32")

        def leave(self):
            return True

    kept, many = Spares(), [Kind() for _ in range(6)]
    for number, one in enumerate(many):
        kept.put((number,), one)
    assert [kept.take((number,)) for number in range(6)] == [None, None, *many[2:]]
    assert kept.take((5,)) is None
