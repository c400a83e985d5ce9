"""Layers for images: alone, in networks, in training, in files."""

from __future__ import annotations

import numpy as np
import pytest

import fastbp
from fastbp import (
    Add,
    Affine,
    AvgPool2D,
    Conv2D,
    Flatten,
    GroupNorm,
    MaxPool2D,
    ReLU,
    Sequential,
    SpatialBatchNorm,
    Tanh,
    Trainer,
)
from fastbp.datasets import load_digits

DOUBLE = {"dtype": "float64"}


@pytest.mark.parametrize("layer", [
    Conv2D(4, 6, 3, padding=1, **DOUBLE),
    Conv2D(4, 6, (3, 2), stride=(2, 1), dilation=(1, 2), groups=2, activation="silu", **DOUBLE),
    Conv2D(4, 2, 1, bias=False, activation="tanh", **DOUBLE),
    MaxPool2D(2, **DOUBLE),
    MaxPool2D((3, 2), stride=1, padding=1, **DOUBLE),
    AvgPool2D(2, stride=1, **DOUBLE),
    AvgPool2D(3, padding=1, count_include_pad=False, **DOUBLE),
    SpatialBatchNorm(4, **DOUBLE),
    GroupNorm(2, 4, **DOUBLE),
    Flatten(**DOUBLE),
], ids=repr)
def test_gradients_of_every_layer_alone(layer, rng):
    x = rng.normal(size=(3, 4, 5, 6))
    for array in layer.parameters.values():
        array += 0.1 * rng.normal(size=array.shape)
    report = fastbp.gradcheck_layer(layer, x)
    assert report, str(report)
    assert layer.forward(x).shape == (3, *layer.output_shape((4, 5, 6)))


def network(**settings):
    return Sequential([
        Conv2D(2, 6, 3, padding=1, activation="tanh"), SpatialBatchNorm(6), MaxPool2D(2),
        Conv2D(6, 8, 2, stride=(1, 2), groups=2), Tanh(), GroupNorm(4, 8),
        AvgPool2D((2, 1), stride=1), Flatten(), Affine(32, 5), Tanh(), Affine(5, 3)],
        input_shape=(2, 8, 9), **settings)


def test_gradients_through_a_network(rng):
    net = network(dtype="float64", seed=3)
    x, y = rng.normal(size=(5, 2, 8, 9)), rng.integers(0, 3, 5)
    report = fastbp.gradcheck_network(net, x, y, "softmax_cross_entropy")
    assert report, str(report)


def test_a_network_is_its_layers_one_after_the_other(rng):
    net = network(dtype="float32", seed=1)
    x, dy = rng.normal(size=(7, 2, 8, 9)).astype(np.float32), rng.integers(0, 3, 7)
    h = x
    for step in net.steps[1:]:
        step.layer.training = False
        h = step.layer.forward(h)
    assert np.array_equal(net.predict(x), h)
    assert np.array_equal(net.predict(x.reshape(7, -1)), h)
    loss, gradients = Trainer(net).gradients(x, dy)
    assert np.isfinite(loss)
    assert gradients["0.w"].shape == (6, 2, 3, 3)
    assert {g.shape == net.parameters[name].shape for name, g in gradients.items()} == {True}


@pytest.mark.parametrize("kind", ["relu", "leaky_relu", "tanh", "gelu"])
def test_a_fused_activation_equals_a_layer_of_its_own(kind, rng):
    layer = {"relu": fastbp.ReLU, "leaky_relu": fastbp.LeakyReLU, "tanh": fastbp.Tanh,
             "gelu": fastbp.GELU}[kind]
    nets = [Sequential(layers, input_shape=(3, 6, 5), seed=2) for layers in (
        [Conv2D(3, 4, 3, activation=kind), Affine(48, 2)],
        [Conv2D(3, 4, 3), layer(), Affine(48, 2)],
        [Conv2D(3, 4, 3), fastbp.Identity(), layer(), Affine(48, 2)])]
    x, y = rng.normal(size=(9, 3, 6, 5)).astype(np.float32), rng.integers(0, 2, 9)
    results = [Trainer(net).gradients(x, y) for net in nets]
    for loss, gradients in results[1:]:
        assert loss == results[0][0]
        pairs = zip(gradients.values(), results[0][1].values(), strict=True)
        assert all(np.array_equal(a, b) for a, b in pairs)


def test_a_residual_block_in_a_graph(rng):
    net = fastbp.Graph(dtype="float64", seed=0)
    x = net.input((3, 6, 6))
    a = ReLU()(SpatialBatchNorm(4)(Conv2D(3, 4, 3, padding=1)(x)))
    b = Conv2D(4, 4, 3, padding=1)(a)
    net.output(Affine(4, 3)(Flatten()(AvgPool2D(6)(Add()(a, b)))))
    images, labels = rng.normal(size=(4, 3, 6, 6)), rng.integers(0, 3, 4)
    report = fastbp.gradcheck_network(net, images, labels, "softmax_cross_entropy")
    assert report, str(report)


def test_an_update_moves_every_weight_by_its_gradient(rng):
    net = network(dtype="float64", seed=4)
    x, y = rng.normal(size=(6, 2, 8, 9)), rng.integers(0, 3, 6)
    before = net.state_dict()
    _, gradients = Trainer(net).gradients(x, y)
    gradients = {name: g.copy() for name, g in gradients.items()}
    Trainer(net, optimizer=fastbp.SGD(0.5, momentum=0.0)).train_step(x, y)
    for name, g in gradients.items():
        expected = before[name] - 0.5 * g
        # One product and one difference.
        assert np.abs(net.parameters[name] - expected).max() <= 4 * 2.0**-53 * (
            1 + np.abs(expected).max())


def test_the_same_bits_for_every_number_of_threads(rng):
    x, y = rng.normal(size=(64, 2, 8, 9)).astype(np.float32), rng.integers(0, 3, 64)
    states = set()
    for threads in (1, 2, 4):
        with fastbp.threads(threads, oversubscribe=True):
            net = network(seed=0)
            Trainer(net, optimizer=fastbp.Adam(1e-2)).fit(x, y, epochs=2, batch_size=16)
            states.add(b"".join(a.tobytes() for a in net.state_dict().values()))
    assert len(states) == 1


def test_save_and_load(tmp_path, rng):
    net = network(seed=5)
    x = rng.normal(size=(5, 2, 8, 9)).astype(np.float32)
    Trainer(net).train_step(x, rng.integers(0, 3, 5))
    net.save(tmp_path / "m.safetensors")
    again = fastbp.load(tmp_path / "m.safetensors")
    assert np.array_equal(again.predict(x), net.predict(x))
    assert again.steps[1].layer.config() == net.steps[1].layer.config()
    assert again.parameters["0.w"].shape == (6, 2, 3, 3)


def test_a_small_network_learns_the_digits():
    x, y = load_digits()
    images = x.reshape(-1, 1, 8, 8)
    net = Sequential([Conv2D(1, 16, 3, padding=1), ReLU(), MaxPool2D(2),
                      Conv2D(16, 32, 3, padding=1), ReLU(), MaxPool2D(2), Affine(128, 10)],
                     input_shape=(1, 8, 8), seed=0)
    trainer = Trainer(net, optimizer=fastbp.Adam(3e-3))
    unseen = np.arange(len(y)) % 5 == 0
    history = trainer.fit(images[~unseen], y[~unseen], epochs=12, batch_size=32)
    assert history.loss[-1] < 0.05
    assert trainer.evaluate(images[unseen], y[unseen])["accuracy"] > 0.97


def test_what_does_not_fit_is_refused():
    for error, text, call in (
        (fastbp.ShapeError, r"Conv2D\(3, 4\) after a layer with 2 channels \(2, 8, 8\); wanted 3",
         lambda: Sequential([Conv2D(3, 4, 3)], input_shape=(2, 8, 8))),
        (fastbp.ShapeError, r"Conv2D after a layer with samples of shape \(64,\); wanted \(C, H, W",
         lambda: Sequential([Conv2D(1, 4, 3)], input_shape=64)),
        (fastbp.ArgumentError, r"Sequential\(layers, input_shape=...\); \(C, H, W\) where",
         lambda: Sequential([Conv2D(1, 4, 3), Affine(4, 2)])),
        (fastbp.ShapeError, "images of 4x4 with padding .* under a window that reaches 5x5",
         lambda: Sequential([MaxPool2D(5)], input_shape=(1, 4, 4))),
        (fastbp.ShapeError, r"MaxPool2D after a layer with samples of shape \(7,\)",
         lambda: Sequential([MaxPool2D(2)], input_shape=7)),
        (fastbp.ArgumentError, "Conv2D: in_channels=0; wanted an integer of 1 or more",
         lambda: Conv2D(0, 4, 3)),
        (fastbp.ArgumentError, "Conv2D: groups=2 for 3 and 4 channels; wanted a number that",
         lambda: Conv2D(3, 4, 3, groups=2)),
        (fastbp.ArgumentError, "Conv2D: activation='swish'; wanted one of",
         lambda: Conv2D(3, 4, 3, activation="swish")),
        (fastbp.ArgumentError, "GroupNorm: groups=3 for 4 channels", lambda: GroupNorm(3, 4)),
        (fastbp.ArgumentError, "SpatialBatchNorm: momentum=2", lambda: SpatialBatchNorm(
            3, momentum=2)),
        (fastbp.ShapeError, r"SpatialBatchNorm\(channels=3.* after a layer with samples of shape",
         lambda: Sequential([SpatialBatchNorm(3)], input_shape=(2, 4, 4))),
    ):
        with pytest.raises(error, match=text):
            call()
