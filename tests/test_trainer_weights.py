"""Weights of samples and sparse inputs in steps, fits and evaluation."""

import numpy as np
import pytest
import reference

import fastbp

ROWS = 90


@pytest.fixture
def data(rng):
    x = rng.normal(size=(ROWS, 7))
    return x, x[:, :3].argmax(axis=1), rng.random(ROWS) + 0.1


def make(dtype="float64", **settings):
    network = fastbp.Sequential([fastbp.Affine(7, 9, activation="tanh"), fastbp.Affine(9, 3)],
                                dtype=dtype, seed=4)
    return fastbp.Trainer(network, optimizer=fastbp.SGD(0.1), seed=5, **settings)


def test_loss_and_gradients_are_weighted_means(data):
    x, y, w = data
    trainer = make()
    logits = trainer.network.predict(x)
    expected, dlogits = reference.softmax_cross_entropy(logits, y, sample_weight=w)
    p = trainer.network.parameters
    h = reference.affine_forward(x, p["0.w"], p["0.b"], activation="tanh")
    _, dw, db = reference.affine_backward(dlogits, h, p["1.w"], p["1.b"])
    loss, gradients = trainer.gradients(x, y, sample_weight=w)
    assert abs(loss - expected) <= 1e-13 * abs(expected)
    # Sums over 90 rows of numbers that the forward pass knows to about 20 units.
    for actual, twin in ((gradients["1.w"], dw), (gradients["1.b"], db)):
        assert np.abs(actual - twin).max() <= 200 * 2.0**-53 * np.abs(twin).max()
    assert trainer.train_step(x, y, sample_weight=w) == loss
    assert trainer.step_count == 1


def test_weights_that_are_equal_are_none(data):
    x, y, _ = data
    plain, weighted = make(), make()
    a = plain.fit(x, y, epochs=2, batch_size=16)
    b = weighted.fit(x, y, epochs=2, batch_size=16, sample_weight=np.full(ROWS, 4.0))
    # 1/16 and 4/64 are the same number; the last batch has 10 rows, whose mean is rounded.
    assert np.abs(plain.network.values - weighted.network.values).max() <= 1e-14
    assert np.abs(np.subtract(a.loss, b.loss)).max() <= 1e-14


def test_a_weight_of_two_is_the_sample_twice(data):
    x, y, _ = data
    once, twice = make(), make()
    w = np.where(np.arange(ROWS) < 30, 2.0, 1.0)
    once.fit(x, y, epochs=3, batch_size=ROWS, sample_weight=w)
    twice.fit(np.vstack([x, x[:30]]), np.append(y, y[:30]), epochs=3, batch_size=2 * ROWS)
    assert np.abs(once.network.values - twice.network.values).max() <= 1e-14


def test_samples_of_weight_zero_teach_nothing(data):
    x, y, _ = data
    w = (np.arange(ROWS) % 3 > 0).astype(float)
    some, none = make(), make()
    some.fit(x, y, epochs=2, batch_size=ROWS, sample_weight=w, shuffle=False)
    spoilt = x.copy()
    spoilt[w == 0] = 1e3
    none.fit(spoilt, y, epochs=2, batch_size=ROWS, sample_weight=w, shuffle=False)
    assert np.array_equal(some.network.values, none.network.values)


def test_a_batch_without_weight_makes_no_step(data):
    x, y, _ = data
    trainer = make()
    before = trainer.network.values.copy()
    history = trainer.fit(x, y, epochs=2, batch_size=16, sample_weight=np.zeros(ROWS))
    assert np.array_equal(trainer.network.values, before)
    assert history.loss == [0.0, 0.0]


def test_the_loss_of_an_epoch_is_the_mean_over_its_weights(data):
    """With a rate so small that the parameters stay."""
    x, y, w = data
    network = make().network
    trainer = fastbp.Trainer(network, optimizer=fastbp.SGD(1e-300))
    history = trainer.fit(x, y, epochs=1, batch_size=16, sample_weight=w)
    expected = trainer.evaluate(x, y, sample_weight=w)["loss"]
    assert abs(history.loss[0] - expected) <= 1e-13 * expected


def test_evaluation_with_weights(data):
    x, y, w = data
    trainer = make()
    right = trainer.network.predict(x).argmax(axis=1) == y
    scores = trainer.evaluate(x, y, sample_weight=w)
    assert scores["accuracy"] == pytest.approx((w * right).sum() / w.sum(), rel=1e-14)
    history = trainer.fit(x, y, epochs=1, validation_data=(x, y, w))
    scores = trainer.evaluate(x, y, w)
    assert (history["val_loss"], history["val_accuracy"]) == (
        [scores["loss"]], [scores["accuracy"]])


def test_weights_of_regressions_with_one_output(rng):
    x = rng.normal(size=(40, 3))
    y, w = x @ [1.0, 2.0, 3.0], rng.random(40)
    trainer = fastbp.Trainer(fastbp.Sequential([fastbp.Affine(3, 1)], dtype="float64", seed=0),
                             loss="mean_squared_error", optimizer=fastbp.SGD(0.1))
    error = trainer.network.predict(x)[:, 0] - y
    expected = (w * error**2).sum() / w.sum()
    assert abs(trainer.train_step(x, y, sample_weight=w) - expected) <= 1e-13 * expected


@pytest.mark.parametrize(("weights", "error", "message"), [
    (np.ones(ROWS - 1), fastbp.ShapeError, r"sample_weight with shape \(89,\); wanted \(90,\)"),
    (np.ones((ROWS, 1)), fastbp.ShapeError, r"sample_weight with shape \(90, 1\)"),
    (-np.ones(ROWS), fastbp.ArgumentError, "negative or not finite numbers; wanted finite weights"),
    (np.full(ROWS, np.nan), fastbp.ArgumentError, "negative or not finite"),
    (np.full(ROWS, np.inf), fastbp.ArgumentError, "negative or not finite"),
])
def test_weights_that_are_none(data, weights, error, message):
    x, y, _ = data
    trainer = make()
    for call in (trainer.fit, trainer.train_step, trainer.gradients, trainer.evaluate):
        with pytest.raises(error, match=message):
            call(x, y, sample_weight=weights)
    assert trainer.step_count == 0


def test_sparse_inputs_train_like_dense_ones(data, rng):
    sparse = pytest.importorskip("scipy.sparse")
    x, y, w = data
    x = x * (rng.random(x.shape) < 0.4)
    dense, compressed = make(), make()
    a = dense.fit(x, y, epochs=3, batch_size=16, sample_weight=w, validation_data=(x, y))
    rows = sparse.csr_array(x)
    b = compressed.fit(rows, y, epochs=3, batch_size=16, sample_weight=w,
                       validation_data=(rows, y))
    # The products of a row are summed in another order: 7 terms, 18 steps.
    assert np.abs(dense.network.values - compressed.network.values).max() <= 1e-13
    assert np.abs(np.subtract(a.loss, b.loss)).max() <= 1e-13
    assert a["val_accuracy"] == b["val_accuracy"]
    loss = compressed.train_step(rows, y)
    assert abs(loss - dense.train_step(x, y)) <= 1e-13
    rows.data[3] = np.nan
    row = int(np.searchsorted(rows.indptr, 3, side="right")) - 1
    with pytest.raises(fastbp.NonFiniteError, match=f"sample {row} of x is not finite"):
        compressed.fit(rows, y, epochs=1)
