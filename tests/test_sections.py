"""Sections train as one piece does."""

from __future__ import annotations

import itertools
import signal
import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

import fastbp
from fastbp import _chunks, fitting, training_plan
from fastbp._home import Homes
from fastbp._program import Program
from fastbp.sections import affine_chain
from fastbp.sklearn import MLPClassifier, _batches, _kept

LAYOUTS = list(itertools.product(("column", "row"), repeat=2))


@pytest.fixture
def sections(monkeypatch):
    """Cuts whatever can be cut into so many sections, in runs of any length."""

    def choose(count):
        def count_of(plan):
            fits = affine_chain(plan) and plan.update is not None and plan.updates_weights()
            return count if fits else 1

        monkeypatch.setattr(training_plan, "section_count", count_of)
        for module in (fitting, _batches):
            monkeypatch.setattr(module, "is_long_run", lambda rows: rows > 0)

    return choose


# 70 hidden neurons are 5 lines of float32, 9 of float64.
HIDDEN = ((70,), (70, 53), (50, 70, 64))


def network(dtype="float64", layouts=("column", "row"), activation="relu", outputs=3, bias=True,
            hidden=(70,)):
    """Layers in the two layouts in turn; activations but behind the last."""
    sizes, kinds = (7, *hidden, outputs), [activation] * len(hidden) + ["identity"]
    return fastbp.Sequential([
        fastbp.Affine(a, b, layout=layout, activation=kind, bias=bias)
        for (a, b), layout, kind in zip(itertools.pairwise(sizes), itertools.cycle(layouts), kinds,
                                        strict=False)], dtype=dtype, seed=1)


def hidden_weights(net):
    return next(view for name, view in net.parameters.items() if name.endswith("w"))


def plan_of(trainer):
    """The plan of the whole batches of the trainer's last fit."""
    return next(p.plan for p in trainer._plans.values() if p.plan.rows > 1)


def fit(net, x, y, loss="softmax_cross_entropy", epochs=3, **settings):
    trainer = fastbp.Trainer(net, loss, settings.pop("optimizer", "adam"))
    history = trainer.fit(x, y, epochs=epochs, batch_size=8, **settings)
    return net.state_dict(), [row["loss"] for row in history], trainer


def assert_close(found, expected, dtype="float64"):
    """Sums over neurons in another order, steps that go on from there."""
    bound = {"float64": 1e-10, "float32": 1e-5}[dtype]
    for name, value in expected[0].items():
        assert np.abs(found[0][name] - value).max() <= bound * np.abs(value).max(), name
    np.testing.assert_allclose(found[1], expected[1], rtol=bound)


def mlp(*sizes):
    return fastbp.Sequential([fastbp.Affine(a, b) for a, b in itertools.pairwise(sizes)])


def test_runs_of_few_samples_are_not_cut(rng):
    for rows, expected in ((1000, True), (500, False)):
        x, y = rng.standard_normal((rows, 64)).astype("float32"), rng.integers(0, 10, rows)
        trainer = fastbp.Trainer(mlp(64, 100, 10))
        trainer.fit(x, y, epochs=1, batch_size=100)
        assert bool(plan_of(trainer).parts) == expected
        trainer.train_step(x[:100], y[:100])
        plan = trainer.plan_of(trainer._samples(x[:100], y[:100], None), 100).plan
        assert not plan.parts, "a single step is not worth copying"


@pytest.mark.parametrize("parts", [2, 3, 4])
@pytest.mark.parametrize("hidden", HIDDEN, ids=str)
@pytest.mark.parametrize("layouts", LAYOUTS, ids="-".join)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_fit_is_that_of_one_piece(dtype, layouts, hidden, parts, sections, rng):
    """60 samples: the last batch is smaller, and its plan goes on in the same homes.

    Not by Adam, whose steps are as long where a gradient is nothing but rounding; in float32 not
    with ReLU, whose gradient jumps where a sum is.
    """
    kind = "relu" if dtype == "float64" else "tanh"
    x, y = rng.standard_normal((60, 7)).astype(dtype), rng.integers(0, 3, 60)
    results = []
    for number in (1, parts):
        sections(number)
        results.append(fit(network(dtype, layouts, kind, hidden=hidden), x, y,
                           optimizer=fastbp.SGD(0.05, momentum=0.9)))
    assert len(plan_of(results[1][2]).parts) == 1
    assert not plan_of(results[0][2]).parts
    assert_close(results[1], results[0], dtype)


@pytest.mark.parametrize("activation", ["identity", "gelu", "tanh", "leaky_relu"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("hidden", HIDDEN, ids=str)
def test_activations_and_biases(activation, bias, hidden, sections, rng):
    x, y = rng.standard_normal((60, 7)), rng.integers(0, 3, 60)
    results = []
    for number in (1, 2):
        sections(number)
        results.append(fit(network(activation=activation, bias=bias, hidden=hidden), x, y))
    assert_close(results[1], results[0])


@pytest.mark.parametrize("optimizer", [
    fastbp.SGD(0.01), fastbp.SGD(0.01, momentum=0.9, nesterov=True, weight_decay=0.1),
    fastbp.RMSprop(0.01), fastbp.AdamW(0.01, weight_decay=0.1)], ids=repr)
@pytest.mark.parametrize("outputs", [1, 3, 20])
def test_optimizers_and_regression(optimizer, outputs, sections, rng):
    """Targets of the whole, shuffled uint8 rows, weights of samples."""
    x, y = rng.integers(0, 2, (60, 7)).astype(np.uint8), rng.standard_normal((60, outputs))
    weights = rng.random(60) + 0.5
    for weight, hidden in itertools.product((None, weights), HIDDEN[:2]):
        results = []
        for number in (1, 3):
            sections(number)
            results.append(fit(network(outputs=outputs, hidden=hidden), x, y, "mean_squared_error",
                               optimizer=optimizer, sample_weight=weight))
        assert_close(results[1], results[0])


def test_a_smaller_last_batch_stays_in_the_homes(sections, rng, monkeypatch):
    x, y = rng.standard_normal((60, 7)), rng.integers(0, 3, 60)
    sections(2)
    _, _, trainer = fit(network(), x, y)
    whole, rest = sorted((p.plan for p in trainer._plans.values()), key=lambda p: -p.rows)
    assert (whole.rows, rest.rows) == (8, 4)
    assert len(rest.parts) == 1
    assert rest.homes is whole.homes
    ends = []
    choose = Program.choose_ends
    monkeypatch.setattr(Program, "choose_ends",
                        lambda self, **ends_: (ends.append(ends_), choose(self, **ends_)))
    monkeypatch.setattr(_chunks, "SECONDS", 1e-9)  # a step each, but for the last one
    trainer.fit(x, y, epochs=1, batch_size=8)
    both = {"opens": True, "closes": True}
    assert ends == [both] * 6 + [{"opens": True, "closes": False}, {"opens": False, "closes": True}]
    ends.clear()
    trainer.fit(x, y, epochs=1, batch_size=8, callbacks=[fastbp.callbacks.Callback()])
    assert ends == [both] * 8, "callbacks look at the network"


class _Interruption:
    """Ctrl-C behind so many runs."""

    def __init__(self, monkeypatch, runs):
        self.left, run = runs, Homes.run

        def count(homes, *arguments, **settings):
            done = run(homes, *arguments, **settings)
            self.left -= 1
            if self.left == 0:
                signal.raise_signal(signal.SIGINT)
            return done

        monkeypatch.setattr(Homes, "run", count)


def test_ctrl_c_before_the_last_batch(sections, rng, monkeypatch):
    """Parameters are still in the homes then."""
    x, y = rng.standard_normal((60, 7)), rng.integers(0, 3, 60)
    sections(1)
    whole = network()
    fastbp.Trainer(whole).fit(x[:56], y[:56], epochs=1, batch_size=8, shuffle=False)
    sections(2)
    monkeypatch.setattr(_chunks, "SECONDS", 10.0)
    net = network()
    trainer = fastbp.Trainer(net)
    interruption = _Interruption(monkeypatch, 2)  # of 1 and 6 steps
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(x, y, epochs=1, batch_size=8, shuffle=False)
    assert interruption.left <= 0
    assert trainer.step_count == 7
    assert_close((net.state_dict(), []), (whole.state_dict(), []))
    assert not plan_of(trainer).homes.filled
    assert not net.turn.is_mine(), "others may have it"


def test_a_fit_goes_on_where_something_else_has_been(sections, rng):
    """Steps by other programs and changed weights between two runs, the optimizer's slots too."""
    x, y = rng.standard_normal((60, 7)), rng.integers(0, 3, 60)
    results = []
    for number in (1, 2):
        sections(number)
        net = network()
        _, losses, trainer = fit(net, x, y)
        for _ in range(3):
            losses.append(trainer.train_step(x[:20], y[:20]))
        hidden_weights(net)[:] *= 0.5
        losses += [row["loss"] for row in trainer.fit(x, y, epochs=2, batch_size=8)]
        results.append((net.state_dict(), losses))
    assert_close(results[1], results[0])


def test_penalties_join_the_loss(sections, rng):
    """scikit-learn's alpha: the squared norm of all weights, of which each section has some."""
    x, y = rng.standard_normal((60, 7)), rng.integers(0, 3, 60)
    for solver, hidden in itertools.product(("sgd", "adam"), HIDDEN[:2]):
        curves = []
        for number in (1, 2, 3):
            sections(number)
            model = MLPClassifier(hidden_layer_sizes=hidden, solver=solver, alpha=0.5, batch_size=8,
                                  max_iter=5, random_state=3, n_iter_no_change=9)
            with pytest.warns(UserWarning, match="iterations"):
                curves.append(model.fit(x, y).loss_curve_)
        np.testing.assert_allclose(curves[1], curves[0], rtol=1e-10)
        np.testing.assert_allclose(curves[2], curves[0], rtol=1e-10)


def sklearn_curves(sections, x, y, **settings):
    """Loss curves and weights without sections and with two and three of them."""
    found = []
    for number in (1, 2, 3):
        sections(number)
        _kept.spares.clear()
        model = MLPClassifier(hidden_layer_sizes=(70,), batch_size=8, random_state=3, **settings)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(x, y)
        found.append((model.loss_curve_, *model.coefs_))
    return found


@pytest.mark.parametrize("settings", [
    {"learning_rate": "invscaling"}, {"learning_rate": "adaptive", "tol": 0.5},
    {"learning_rate": "adaptive", "tol": 0.5, "momentum": 0.0}, {"early_stopping": True},
    {"early_stopping": "loss", "validation_fraction": 0.3}], ids=str)
def test_whoever_changes_or_reads_slots_or_weights_between_epochs(settings, sections, rng):
    """The rate's modes change the slots, validation reads the weights."""
    x, y = rng.standard_normal((60, 7)), rng.integers(0, 3, 60)
    whole, *cut = sklearn_curves(sections, x, y, solver="sgd", max_iter=12, n_iter_no_change=2,
                                 **settings)
    for found in cut:
        for a, b in zip(found, whole, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


def test_callbacks_of_both_kinds_see_the_weights_of_each_epoch(sections, rng):
    x, y = rng.standard_normal((60, 7)), rng.integers(0, 3, 60)
    found = []
    for number in (1, 2):
        sections(number)
        seen = []

        class Look(fastbp.callbacks.Callback):
            def on_epoch_end(self, trainer, row):
                seen.append(trainer.network.values.copy())  # noqa: B023

        sklearn_curves(lambda _: None, x, y, max_iter=3, callbacks=[Look()])
        network_ = network()
        fastbp.Trainer(network_).fit(x, y, epochs=3, batch_size=8, callbacks=[Look()])
        found.append(np.concatenate(seen))
    np.testing.assert_allclose(found[1], found[0], rtol=1e-9, atol=1e-12)


def test_an_interrupted_fit_of_scikit_learns_kind(sections, rng, monkeypatch):
    """Behind the last step of the first epoch: the weights are those of a fit of one epoch."""
    x, y = rng.standard_normal((60, 7)), rng.integers(0, 3, 60)
    sections(1)
    whole = MLPClassifier(hidden_layer_sizes=(70,), batch_size=8, random_state=3, max_iter=1)
    with pytest.warns(ConvergenceWarning):
        whole.fit(x, y)
    sections(2)
    _kept.spares.clear()
    monkeypatch.setattr(_chunks, "SECONDS", 10.0)
    model = MLPClassifier(hidden_layer_sizes=(70,), batch_size=8, random_state=3, max_iter=9)
    _Interruption(monkeypatch, 3)  # runs of 1 and 6 steps, then the smaller batch
    with pytest.warns(UserWarning, match="interrupted"):
        model.fit(x, y)
    assert model.loss_curve_ == []
    assert model._optimizer.steps == 8
    for a, b in zip(model.coefs_, whole.coefs_, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_bits_do_not_depend_on_threads(optimizer, rng):
    """A network that is cut by itself, into two sections and into four."""
    x, y = rng.standard_normal((900, 64)).astype("float32"), rng.integers(0, 10, 900)
    for hidden in ((100,), (256,), (100, 64), (64, 128, 80)):
        found = set()
        for threads in (1, 2, 3, 8):
            net = mlp(64, *hidden, 10)
            trainer = fastbp.Trainer(net, optimizer=optimizer)
            fastbp.set_num_threads(threads, oversubscribe=True)
            try:
                trainer.fit(x, y, epochs=3, batch_size=32)
            finally:
                fastbp.set_num_threads(None)
            assert plan_of(trainer).parts
            found.add(b"".join(v.tobytes() for v in net.state_dict().values()))
        assert len(found) == 1


@pytest.mark.parametrize("hidden", HIDDEN, ids=str)
def test_a_bad_row_ends_a_run_and_steps_before_it_count(hidden, sections, rng):
    """Also what is too small for a normal number is still there, bit by bit."""
    x, y = rng.standard_normal((64, 7)), rng.integers(0, 3, 64)
    x[37, 2] = np.nan
    results = []
    for number in (1, 2):
        sections(number)
        net = network(hidden=hidden)
        trainer = fastbp.Trainer(net, optimizer=fastbp.SGD(0.1))
        with pytest.raises(fastbp.NonFiniteError):
            trainer.fit(x, y, epochs=1, batch_size=8, shuffle=False)
        results.append((net.state_dict(), [trainer.step_count]))
    assert_close(results[1], results[0])

    sections(2)
    net = network(hidden=hidden)
    hidden_weights(net)[0, :5] = 1e-310
    before = net.state_dict()
    with pytest.raises(fastbp.NonFiniteError):
        fastbp.Trainer(net).fit(x[37:], y[37:], epochs=1, batch_size=8, shuffle=False)
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


def test_the_report_on_a_bad_step_is_of_its_weights(sections, rng):
    """A rate so large that the outputs overflow in the last run before the smaller batch."""
    x, y = rng.standard_normal((60, 7)), rng.integers(0, 3, 60)
    reports = []
    for number in (1, 2):
        sections(number)
        trainer = fastbp.Trainer(network(activation="identity"), optimizer=fastbp.SGD(1e32))
        with pytest.raises(fastbp.NonFiniteError) as caught:
            trainer.fit(x, y, epochs=1, batch_size=8, shuffle=False)
        reports.append(str(caught.value))
        assert 5 <= trainer.step_count < 7
    assert reports[1] == reports[0]


@pytest.mark.parametrize("hidden", HIDDEN, ids=str)
def test_a_plan_knows_the_values_of_all_sections(hidden, sections, rng):
    x, y = rng.standard_normal((8, 7)), rng.integers(0, 3, 8)
    sections(2)
    net = network(layouts=("column",), hidden=hidden)
    _, _, trainer = fit(net, x, y, optimizer=fastbp.SGD(1e-300), epochs=1, shuffle=False)
    plan, (*nodes, outputs) = plan_of(trainer), affine_chain(plan_of(trainer))
    np.testing.assert_array_equal(plan.array_of(0), x)
    np.testing.assert_allclose(plan.array_of(outputs), net.predict(x), rtol=1e-12, atol=1e-13)
    weights, h = [v for name, v in net.parameters.items() if name.endswith("w")], x
    for node, w in zip(nodes, weights, strict=False):
        assert plan.has_value(node)
        h = np.maximum(h @ w, 0)  # biases are 0, but for 1e-300
        np.testing.assert_allclose(plan.array_of(node), h, rtol=1e-12, atol=1e-13)
