"""Numbers that are not finite: the fit stops at that step, names the place, and spoils nothing."""

import numpy as np
import pytest

import fastbp
from fastbp import callbacks, training_state
from fastbp.callbacks import Checkpoint

ROWS = 200


@pytest.fixture
def data(rng):
    x = rng.normal(size=(ROWS, 12)).astype(np.float32)
    return x, x[:, :3].argmax(axis=1)


def make(*layers, optimizer=None, input_shape=None, **settings):
    layers = layers or (fastbp.Affine(12, 16, activation="relu"), fastbp.Affine(16, 3))
    network = fastbp.Sequential(list(layers), input_shape=input_shape, seed=1)
    return fastbp.Trainer(network, optimizer=optimizer or fastbp.SGD(0.1), seed=2, **settings)


def steps_before(trainer, x, y, count, batch=20, **settings):
    """Parameters after so many steps of a fit without the trouble."""
    class Stop(callbacks.Callback):
        next_step = count

        def on_steps(self, trainer, steps):
            trainer.stop_now = trainer.step_count == count

    if count:
        trainer.fit(x, y, epochs=5, batch_size=batch, callbacks=[Stop()], **settings)
    return trainer.network.values.copy()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_data(data, bad):
    x, y = data
    expected, trainer, spoilt = make(), make(), x.copy()
    spoilt[77, 3] = bad
    with pytest.raises(fastbp.NonFiniteError) as found:
        trainer.fit(spoilt, y, epochs=5, batch_size=20)
    step = found.value.step
    assert str(found.value) == (f"step {step} of epoch 1: sample 77 of x is not finite; wanted "
                                "finite data; look for it with np.isfinite(...).all(axis=1)")
    assert (found.value.epoch, found.value.layer) == (1, "")
    assert trainer.step_count == step - 1
    assert not trainer.finished
    # The step was not made: parameters are those of a fit that ends before it.
    assert np.array_equal(trainer.network.values, steps_before(expected, x, y, step - 1))
    trainer.fit(x, y, epochs=1)  # and it can go on


def test_targets(rng):
    x = rng.normal(size=(60, 4)).astype(np.float32)
    y = x[:, :1].copy()
    y[31] = np.nan
    net = fastbp.Sequential([fastbp.Affine(4, 1)], seed=0)
    with pytest.raises(fastbp.NonFiniteError, match=r"step \d of epoch 1: sample 31 of y"):
        fastbp.Trainer(net, loss="mean_squared_error").fit(x, y, epochs=1, batch_size=20)


def test_a_learning_rate_that_is_far_too_large(data):
    x, y = data
    trainer = make(optimizer=fastbp.SGD(1e30))
    with pytest.raises(fastbp.NonFiniteError, match="try a smaller learning rate") as found:
        trainer.fit(x, y, epochs=3, batch_size=20)
    assert found.value.layer in ("0", "1")
    assert f"layer {found.value.layer}, Affine(" in str(found.value)
    assert trainer.step_count == found.value.step - 1 <= 3


def test_the_layer_whose_output_overflows(data):
    """Finite parameters and data, and a product that is not."""
    x, y = data
    trainer = make(fastbp.Affine(12, 16), fastbp.ReLU(), fastbp.Affine(16, 16), fastbp.ReLU(),
                   fastbp.Affine(16, 3))
    trainer.network.parameters["2.w"][...] = 1e38
    with pytest.raises(fastbp.NonFiniteError, match=r"the output of layer 2, Affine\(") as found:
        trainer.fit(x, y, epochs=1, batch_size=20)
    assert found.value.layer == "2"
    assert found.value.step == 1


def test_parameters_that_only_the_last_step_spoils(data):
    """The losses are all finite: no later step could notice."""
    x, y = data
    trainer = make(fastbp.Affine(12, 3), optimizer=fastbp.SGD(1e38))
    x = x * 1e5
    with pytest.raises(fastbp.NonFiniteError, match=r"step 1 of epoch 1: 0.w, a parameter of laye"):
        trainer.fit(x, y, epochs=1, batch_size=ROWS)


def test_without_the_check_it_goes_on(data):
    x, y = data
    trainer = make(optimizer=fastbp.SGD(1e30), check_finite=False)
    history = trainer.fit(x, y, epochs=2, batch_size=20)
    assert trainer.step_count == 20
    assert not np.isfinite(history.loss[-1])


def with_batchnorm(images):
    if images:
        return make(fastbp.SpatialBatchNorm(3), fastbp.Flatten(), fastbp.BatchNorm(12),
                    fastbp.Affine(12, 3), input_shape=(3, 2, 2))
    return make(fastbp.BatchNorm(12), fastbp.Affine(12, 700), fastbp.BatchNorm(700), fastbp.Tanh(),
                fastbp.Affine(700, 3))


@pytest.mark.parametrize("images", [False, True], ids=["BatchNorm", "SpatialBatchNorm"])
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_running_statistics_are_those_before_the_step(data, threads, images):
    """Of a step in the middle of a run, and of a single one; gradients leave them alone too."""
    x, y = data
    spoilt = x.copy()
    spoilt[130] = np.nan
    with fastbp.threads(threads, oversubscribe=True):
        trainer, expected = with_batchnorm(images), with_batchnorm(images)
        with pytest.raises(fastbp.NonFiniteError, match="sample 130") as found:
            trainer.fit(spoilt, y, epochs=1, batch_size=20, shuffle=False)
        assert found.value.step == 7
        steps_before(expected, x, y, 6, shuffle=False)
        assert_same_state(trainer, expected)
        assert np.isnan(trainer.train_step(spoilt[120:140], y[120:140]))
        trainer.gradients(x, y)
        assert_same_state(trainer, expected)
        for one in (trainer, expected):
            one.fit(x, y, epochs=1, batch_size=20)
        assert_same_state(trainer, expected)


def assert_same_state(one, other):
    """Parameters and running statistics, bit by bit; these have moved from where they began."""
    first, second = one.network.state_dict(), other.network.state_dict()
    assert all(np.array_equal(first[name], second[name]) for name in second)
    assert any(name.endswith("running_var") for name in second)
    assert all(np.isfinite(array).all() for array in first.values())
    assert all((array != (1.0 if name.endswith("var") else 0.0)).any()
               for name, array in one.network.buffers.items())


@pytest.mark.parametrize("again", [False, True])
def test_train_step_returns_the_loss_and_makes_no_step(data, again):
    """On the long way and on the short one (the same shapes again)."""
    x, y = data
    trainer = make(fastbp.Affine(12, 3))
    spoilt = x.copy()
    spoilt[5, 5] = np.nan
    if again:
        trainer.train_step(x, y)
        trainer.train_step(x, y)
    before, count = trainer.network.values.copy(), trainer.step_count
    assert np.isnan(trainer.train_step(spoilt, y))
    assert trainer.step_count == count
    assert np.array_equal(trainer.network.values, before)
    assert np.isfinite(trainer.train_step(x, y))
    assert trainer.step_count == count + 1


def test_terminate_on_nan_stops_without_raising(data):
    x, y = data
    trainer, stop = make(optimizer=fastbp.SGD(1e30)), callbacks.TerminateOnNaN()
    history = trainer.fit(x, y, epochs=3, batch_size=20, callbacks=[stop])
    assert len(history) == 0
    assert stop.stopped_epoch == 1
    assert not trainer.finished


def test_the_last_good_checkpoint_stays(data, tmp_path):
    x, y = data

    class Explode(callbacks.Callback):
        def on_epoch_end(self, trainer, row):
            if row["epoch"] == 2:
                trainer.network.parameters["0.w"][0, 0] = np.nan

    trainer = make()
    saved = Checkpoint(tmp_path, best="loss")
    with pytest.raises(fastbp.NonFiniteError, match=r"step 21 of epoch 3: 0.w, a parameter"):
        trainer.fit(x, y, epochs=5, batch_size=20, callbacks=[Explode(), saved])
    (file,) = training_state.files(tmp_path)
    assert training_state.number_of(file) == 10
    for name in (file, tmp_path / "best.safetensors"):
        assert np.isfinite(fastbp.load(name).values).all()
    expected = make().fit(x, y, epochs=5, batch_size=20)
    assert make().fit(x, y, epochs=5, batch_size=20, resume=tmp_path).loss == expected.loss


def test_an_infinite_value_is_never_the_best(data, tmp_path):
    class Infinite(callbacks.Callback):
        def on_epoch_end(self, trainer, row):
            row["score"] = [1.0, np.inf, np.nan, 2.0][row["epoch"] - 1]

    x, y = data
    saved = Checkpoint(tmp_path, best="score")
    make().fit(x, y, epochs=3, callbacks=[Infinite(), saved])
    assert saved.best == 1.0


def test_early_stopping_gives_back_the_best_weights(data):
    x, y = data
    trainer = make(optimizer=fastbp.SGD(0.1), schedule=fastbp.schedules.Step(1, 1.0))
    stopping = callbacks.EarlyStopping(monitor="loss")
    spoil = x.copy()

    class Spoil(callbacks.Callback):
        def on_epoch_end(self, trainer, row):
            if row["epoch"] == 2:
                spoil[:] = np.nan

    with pytest.raises(fastbp.NonFiniteError):
        trainer.fit(spoil, y, epochs=5, batch_size=20, callbacks=[stopping, Spoil()])
    good = make()
    good.fit(x, y, epochs=2, batch_size=20)
    assert np.array_equal(trainer.network.values, good.network.values)
