"""fastbp.compat.cs231n.classifiers and Solver."""

# ruff: noqa: NPY002 - the course draws from the global random numbers

from __future__ import annotations

import pickle
import re

import numpy as np
import pytest
import reference
from slopes import assert_slopes

from fastbp._errors import ArgumentError, DataError, ShapeError
from fastbp.benchmark._peers import _compat_cs231n as twin
from fastbp.compat.cs231n import _edition
from fastbp.compat.cs231n.classifiers import LinearSVM, Softmax, neural_net
from fastbp.compat.cs231n.classifiers.cnn import ThreeLayerConvNet
from fastbp.compat.cs231n.classifiers.fc_net import FullyConnectedNet, TwoLayerNet
from fastbp.compat.cs231n.classifiers.linear_svm import svm_loss_naive, svm_loss_vectorized
from fastbp.compat.cs231n.classifiers.softmax import softmax_loss_naive, softmax_loss_vectorized
from fastbp.compat.cs231n.solver import Solver


@pytest.fixture
def edition():
    yield _edition.choose
    _edition.choose(_edition.LATEST)


def assert_net_slopes(model, x, y):
    _, grads = model.loss(x, y)
    assert set(grads) == set(model.params)
    for name, grad in grads.items():
        assert_slopes(lambda: np.array(model.loss(x, y)[0]), model.params[name], 1.0, grad, name)


def small_problem():
    np.random.seed(231)
    x = np.random.randn(2, 15)
    return x, np.random.randint(10, size=2)


def test_two_layer_net_gives_the_numbers_of_the_course():
    n, d, h, c = 3, 5, 50, 7
    model = TwoLayerNet(input_dim=d, hidden_dim=h, num_classes=c)
    model.params.update(
        W1=np.linspace(-0.7, 0.3, d * h).reshape(d, h), b1=np.linspace(-0.1, 0.9, h),
        W2=np.linspace(-0.3, 0.4, h * c).reshape(h, c), b2=np.linspace(-0.9, 0.1, c))
    x = np.linspace(-5.5, 4.5, n * d).reshape(d, n).T
    y = np.array([0, 5, 1])
    assert model.loss(x).shape == (n, c)
    reference.assert_within(model.loss(x)[0, :3], [11.53165108, 12.2917344, 13.05181771], 5e-9)
    assert model.loss(x, y)[0] == pytest.approx(3.4702243556, abs=5e-11)
    model.reg = 1.0
    assert model.loss(x, y)[0] == pytest.approx(26.5948426952, abs=5e-11)


def test_two_layer_net_draws_its_weights_in_order():
    np.random.seed(3)
    model = TwoLayerNet(4, 5, 6, weight_scale=0.5)
    np.random.seed(3)
    assert np.array_equal(model.params["W1"], 0.5 * np.random.randn(4, 5))
    assert np.array_equal(model.params["W2"], 0.5 * np.random.randn(5, 6))
    assert model.params["W1"].dtype == np.float64
    assert not model.params["b2"].any()


def test_fully_connected_net_gives_the_initial_losses_of_the_course():
    x, y = small_problem()
    for reg, wanted in ((0, 2.3004790897684924), (3.14, 7.052114776533016)):
        model = FullyConnectedNet([20, 30], input_dim=15, num_classes=10, reg=reg,
                                  weight_scale=5e-2, dtype=np.float64)
        # Some 2000 squares summed in another order: 2000 u.
        assert model.loss(x, y)[0] == pytest.approx(wanted, rel=1e-12)


def test_dropout_gives_the_initial_losses_of_the_course():
    x, y = small_problem()
    for keep, wanted in ((1, 2.3004790897684924), (0.75, 2.302371489704412),
                         (0.5, 2.3042759220785896)):
        model = FullyConnectedNet([20, 30], input_dim=15, num_classes=10, weight_scale=5e-2,
                                  dtype=np.float64, dropout=keep, seed=123)
        assert model.loss(x, y)[0] == pytest.approx(wanted, rel=1e-13)


@pytest.mark.parametrize("normalization", [None, "batchnorm", "layernorm"])
def test_slopes_of_a_fully_connected_net(normalization):
    x, y = small_problem()
    model = FullyConnectedNet([6, 5], input_dim=15, num_classes=10, weight_scale=0.3, reg=0.7,
                              dtype=np.float64, normalization=normalization,
                              dropout_keep_ratio=0.7, seed=4)
    if normalization == "batchnorm":  # two samples a batch would make every xhat 1 or -1
        x = np.random.randn(7, 15)
        y = np.random.randint(10, size=7)
    assert_net_slopes(model, x, y)


def test_slopes_of_the_other_nets():
    np.random.seed(1)
    x, y = np.random.randn(4, 5), np.array([0, 2, 1, 2])
    assert_net_slopes(TwoLayerNet(5, 6, 3, weight_scale=0.5, reg=0.3), x, y)
    images = np.random.randn(2, 2, 4, 4)
    model = ThreeLayerConvNet(input_dim=(2, 4, 4), num_filters=3, filter_size=3, hidden_dim=5,
                              num_classes=3, weight_scale=0.5, reg=0.3, dtype=np.float64)
    assert_net_slopes(model, images, y[:2])


def test_attributes_and_names_of_parameters():
    model = FullyConnectedNet([4, 3], input_dim=5, num_classes=2, normalization="batchnorm",
                              dropout_keep_ratio=0.5, seed=9)
    assert set(model.params) == {"W1", "b1", "gamma1", "beta1", "W2", "b2", "gamma2", "beta2",
                                 "W3", "b3"}
    assert all(p.dtype == np.float32 for p in model.params.values())
    assert (model.num_layers, model.use_dropout, model.normalization) == (3, True, "batchnorm")
    assert model.dropout_param == {"mode": "train", "p": 0.5, "seed": 9}
    assert model.bn_params == [{"mode": "train"}, {"mode": "train"}]
    scores = model.loss(np.ones((2, 5)))
    assert scores.dtype == np.float32
    assert model.dropout_param["mode"] == model.bn_params[0]["mode"] == "test"
    loss, grads = model.loss(np.ones((2, 5)), np.array([0, 1]))
    assert np.isfinite(loss)
    assert all(g.dtype == np.float32 for g in grads.values())


def test_every_edition_s_words_for_dropout_and_batchnorm(edition):
    def made(*args, **kwargs):
        model = FullyConnectedNet([4], 5, 3, *args, **kwargs)
        return model.dropout_param.get("p"), model.normalization

    assert made() == made(dropout=0) == made(dropout=1) == (None, None)
    assert made(dropout_keep_ratio=0.8) == made(0.8) == made(dropout=0.8) == (0.8, None)
    assert made(0.8, "layernorm") == (0.8, "layernorm")
    assert made(0.25, True) == made(dropout=0.25, use_batchnorm=True) == (0.75, "batchnorm")
    assert made(dropout=0.25, use_batchnorm=False) == (0.75, None)
    assert made(0, False) == (None, None)
    assert made(use_batchnorm=True) == (None, "batchnorm")
    edition(2017)
    assert made(dropout=0.25) == (0.25, None)  # as dropout_forward reads p now
    for wrong in ({"dropout": 0.5, "dropout_keep_ratio": 0.5}, {"dropout_keep_ratio": 0},
                  {"use_batchnorm": True, "normalization": "layernorm"},
                  {"normalization": "groupnorm"}):
        with pytest.raises(ArgumentError):
            made(**wrong)


def toy_data():
    np.random.seed(0)
    net = neural_net.TwoLayerNet(4, 10, 3, std=1e-1)
    np.random.seed(1)
    return net, 10 * np.random.randn(5, 4), np.array([0, 1, 2, 2, 1])


def test_the_old_two_layer_net_gives_the_numbers_of_the_course(edition):
    net, x, y = toy_data()
    wanted = [[-0.81233741, -1.27654624, -0.70335995], [-0.17129677, -1.18803311, -0.47310444],
              [-0.51590475, -1.01354314, -0.8504215], [-0.15419291, -0.48629638, -0.52901952],
              [-0.00618733, -0.12435261, -0.15226949]]
    reference.assert_within(net.loss(x), wanted, 6e-9)  # printed to 8 places
    assert net.loss(x, y, reg=0.05)[0] == pytest.approx(1.30378789133, abs=5e-12)
    _, grads = net.loss(x, y, reg=0.05)
    for name, grad in grads.items():
        assert_slopes(lambda: np.array(net.loss(x, y, reg=0.05)[0]), net.params[name], 1.0, grad,
                      name)
    edition(2016)
    assert net.loss(x, y, reg=0.1)[0] == pytest.approx(1.30378789133, abs=5e-12)


def test_the_old_two_layer_net_trains_itself(capsys):
    net, x, y = toy_data()
    stats = net.train(x, y, x, y, learning_rate=1e-1, reg=5e-6, num_iters=100, verbose=True)
    assert stats["loss_history"][-1] < 0.03
    assert len(stats["loss_history"]) == len(stats["val_acc_history"]) == 100
    assert stats["val_acc_history"][-1] == 1
    assert np.array_equal(net.predict(x), y)
    out = capsys.readouterr().out
    assert re.fullmatch(r"iteration 0 / 100: loss \d\.\d{6}\n", out)


@pytest.mark.parametrize(("losses", "scores_loss"), [
    ((softmax_loss_naive, softmax_loss_vectorized), twin.softmax_loss),
    ((svm_loss_naive, svm_loss_vectorized), twin.svm_loss)])
def test_linear_losses(losses, scores_loss, rng, edition):
    w, x = 0.1 * rng.standard_normal((6, 4)), rng.standard_normal((9, 6))
    y = rng.integers(0, 4, 9)
    data, dscores = scores_loss(x @ w, y)
    for function in losses:
        loss, dw = function(w, x, y, 0.3)
        assert loss == pytest.approx(data + 0.3 * np.sum(w * w), rel=1e-14)
        reference.assert_within(dw, x.T @ dscores + 0.6 * w, 1e-14)
        assert_slopes(lambda: np.array(losses[0](w, x, y, 0.3)[0]), w, 1.0, dw)
    edition(2016)
    assert losses[0](w, x, y, 0.3)[0] == pytest.approx(data + 0.15 * np.sum(w * w), rel=1e-14)


@pytest.mark.parametrize("kind", [Softmax, LinearSVM])
def test_linear_classifiers_train_predict_save_and_load(kind, tmp_path, monkeypatch, capsys):
    np.random.seed(0)
    y = np.random.randint(3, size=90)
    x = np.random.randn(3, 8)[y] + 0.3 * np.random.randn(90, 8)
    model = kind()
    np.random.seed(5)
    history = model.train(x, y, learning_rate=0.1, reg=1e-4, num_iters=101, batch_size=20,
                          verbose=True)
    np.random.seed(5)
    w = 0.001 * np.random.randn(8, 3)
    batch = np.random.choice(90, 20)
    assert history[0] == pytest.approx(
        type(model).loss(_with(kind, w), x[batch], y[batch], 1e-4)[0], rel=1e-14)
    assert len(history) == 101
    assert history[-1] < 0.3 * history[0]
    assert (model.predict(x) == y).mean() > 0.9
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    model.save("best.npy")
    other = kind()
    assert other.load("best.npy")
    assert np.array_equal(other.W, model.W)
    assert not other.load("none.npy")
    assert capsys.readouterr().out == ("best.npy saved.\nbest.npy loaded.\n"
                                       "none.npy not available.\n")


def _with(kind, w):
    model = kind()
    model.W = w
    return model


def test_networks_save_and_load(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for model in (TwoLayerNet(4, 5, 3), FullyConnectedNet([5], 4, 3)):
        params = model.params
        model.save("model.npy")
        model.params = {}
        assert model.load("model.npy")
        assert all(np.array_equal(model.params[name], w) for name, w in params.items())


def solver_data():
    np.random.seed(2)
    y = np.random.randint(3, size=70)
    x = np.random.randn(3, 6)[y] + 0.2 * np.random.randn(70, 6)
    return {"X_train": x[:50], "y_train": y[:50], "X_val": x[50:], "y_val": y[50:]}


def test_solver_prints_counts_and_keeps_what_was_best(capsys):
    model = TwoLayerNet(6, 8, 3, weight_scale=0.3)
    solver = Solver(model, solver_data(), optim_config={"learning_rate": 0.5}, lr_decay=0.5,
                    num_epochs=2, batch_size=20, print_every=3)
    solver.train()
    lines = capsys.readouterr().out.splitlines()
    number = r"\d+\.\d{6}"
    patterns = [rf"\(Iteration 1 / 4\) loss: {number}",
                rf"\(Epoch 0 / 2\) train acc: {number}; val_acc: {number}",
                rf"\(Epoch 1 / 2\) train acc: {number}; val_acc: {number}",
                rf"\(Iteration 4 / 4\) loss: {number}",
                rf"\(Epoch 2 / 2\) train acc: {number}; val_acc: {number}"]
    assert len(lines) == len(patterns)
    assert all(re.fullmatch(*pair) for pair in zip(patterns, lines, strict=True))
    assert len(solver.loss_history) == 4
    assert len(solver.train_acc_history) == len(solver.val_acc_history) == 3
    assert solver.epoch == 2
    assert all(config["learning_rate"] == 0.125 for config in solver.optim_configs.values())
    assert solver.best_val_acc == max(solver.val_acc_history)
    assert model.params is solver.best_params
    data = solver_data()
    assert solver.check_accuracy(data["X_val"], data["y_val"]) == solver.best_val_acc
    # A last short batch counts as it should.
    assert solver.check_accuracy(data["X_val"], data["y_val"], batch_size=7) == solver.best_val_acc


def test_solver_draws_its_batches_with_replacement():
    model = TwoLayerNet(6, 8, 3)
    solver = Solver(model, solver_data(), optim_config={"learning_rate": 0.1}, batch_size=20)
    seen = []
    loss = model.loss
    model.loss = lambda x, y=None: seen.append(x) or loss(x, y)
    np.random.seed(8)
    solver._step()
    np.random.seed(8)
    assert np.array_equal(seen[0], solver.X_train[np.random.choice(50, 20)])


def test_solver_refuses_what_it_does_not_know():
    model = TwoLayerNet(6, 8, 3)
    with pytest.raises(ValueError, match=r'^Unrecognized arguments "epochs", "rate"$'):
        Solver(model, solver_data(), epochs=3, rate=1)
    with pytest.raises(ValueError, match=r'^Invalid update_rule "adamw"$'):
        Solver(model, solver_data(), update_rule="adamw")


def test_solver_without_a_right_answer_leaves_no_parameters():
    """As the original does: nothing was better than 0."""
    data = solver_data()
    data["y_val"] = np.full(20, 7)
    model = TwoLayerNet(6, 8, 3)
    Solver(model, data, optim_config={"learning_rate": 0.1}, num_epochs=1, verbose=False).train()
    assert model.params == {}


def test_checkpoints_hold_the_model(tmp_path, capsys):
    model = FullyConnectedNet([5], 6, 3, normalization="batchnorm")
    name = str(tmp_path / "run")
    Solver(model, solver_data(), update_rule="adam", optim_config={"learning_rate": 0.01},
           num_epochs=1, batch_size=25, checkpoint_name=name).train()
    assert f'Saving checkpoint to "{name}_epoch_1.pkl"' in capsys.readouterr().out
    state = pickle.loads((tmp_path / "run_epoch_1.pkl").read_bytes())
    assert state["epoch"] == 1
    assert len(state["loss_history"]) == 2
    assert state["model"].loss(np.ones((2, 6))).shape == (2, 3)


def test_errors():
    model = TwoLayerNet(6, 8, 3)
    with pytest.raises(ShapeError, match=r"affine_relu_forward: w with shape \(6, 8\) for x"):
        model.loss(np.ones((2, 5)))
    with pytest.raises(DataError, match=r"softmax_loss: y\[0\] is 3"):
        model.loss(np.ones((1, 6)), np.array([3]))
    with pytest.raises(ShapeError, match=r"svm_loss_vectorized: X with shape \(2, 5\), W with"):
        svm_loss_vectorized(np.ones((6, 3)), np.ones((2, 5)), np.array([0, 1]), 0.1)
    with pytest.raises(NotImplementedError, match="a subclass says which loss"):
        Softmax.__mro__[1]().loss(None, None, 0)
    with pytest.raises(ArgumentError, match="edition=2015; wanted a year from 2016 on"):
        _edition.choose(2015)
