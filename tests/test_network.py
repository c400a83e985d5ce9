"""Networks: graphs, gradients that are summed, Python layers, files."""

from __future__ import annotations

import numpy as np
import pytest
import reference

import fastbp

ACTIVATIONS = ["relu", "leaky_relu", "sigmoid", "tanh", "gelu", "softplus", "silu"]
LAYERS = {"relu": fastbp.ReLU, "leaky_relu": fastbp.LeakyReLU, "sigmoid": fastbp.Sigmoid,
          "tanh": fastbp.Tanh, "gelu": fastbp.GELU, "softplus": fastbp.Softplus,
          "silu": fastbp.SiLU}


class Square:
    """A user's own layer: y = a * x^2 with one parameter."""

    def __init__(self) -> None:
        self.parameters = {"a": np.array([0.5])}
        self.gradients: dict[str, np.ndarray] = {}

    def forward(self, x):
        self.x = x
        return self.parameters["a"] * x * x

    def backward(self, dy):
        self.gradients["a"] = np.array([(dy * self.x * self.x).sum()])
        return 2 * self.parameters["a"] * self.x * dy


def numeric_gradients(net, loss, x, y, step=1e-5):
    """Central differences of the training loss by every parameter."""
    trainer = fastbp.Trainer(net, loss=loss)
    found = {}
    for name, view in net.parameters.items():
        grad = np.zeros(view.shape)
        for place in np.ndindex(view.shape):
            kept = view[place]
            values = []
            for sign in (1, -1):
                view[place] = kept + sign * step
                values.append(trainer.gradients(x, y)[0])
            view[place] = kept
            grad[place] = (values[0] - values[1]) / (2 * step)
        found[name] = grad
    return found


def check_gradients(net, loss, x, y):
    expected = numeric_gradients(net, loss, x, y)
    _, actual = fastbp.Trainer(net, loss=loss).gradients(x, y)
    scale = max(np.abs(g).max() for g in expected.values())
    for name, value in expected.items():
        # Central differences with step 1e-5: rounding 1e-16/1e-5 and a third derivative of size 1.
        assert np.abs(actual[name] - value).max() <= 1e-8 * max(scale, 1.0), name


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("layout", ["column", "row"])
def test_fused_activation_equals_a_layer_of_its_own(activation, layout, rng):
    x = rng.normal(size=(33, 7))
    y = rng.integers(0, 3, 33)
    kind = LAYERS[activation]

    def affine(d, c, **settings):
        return fastbp.Affine(d, c, layout=layout, **settings)

    nets = [fastbp.Sequential([affine(7, 19, activation=activation), fastbp.Identity(),
                               affine(19, 3)], dtype="float64", seed=2),
            fastbp.Sequential([affine(7, 19), kind(), affine(19, 3)], dtype="float64", seed=2),
            # Identity in between uses the affine layer's output: nothing can be fused.
            fastbp.Sequential([affine(7, 19), fastbp.Identity(), kind(), affine(19, 3)],
                              dtype="float64", seed=2)]
    outputs = [net.predict(x) for net in nets]
    assert np.array_equal(outputs[0], outputs[1])
    assert np.array_equal(outputs[0], outputs[2])
    results = [fastbp.Trainer(net).gradients(x, y) for net in nets]
    for loss, gradients in results[1:]:
        assert loss == results[0][0]
        pairs = zip(gradients.values(), results[0][1].values(), strict=True)
        assert all(np.array_equal(a, b) for a, b in pairs)
    h = x
    for step in nets[1].steps[1:]:
        h = step.layer.forward(h)
    assert np.array_equal(h, outputs[0])


@pytest.mark.parametrize("activation", ["identity", *ACTIVATIONS])
def test_gradients_through_every_layer(activation, rng):
    layers = [fastbp.Affine(4, 6, activation=activation), fastbp.BatchNorm(6), fastbp.Affine(6, 5),
              fastbp.LayerNorm(5), fastbp.Tanh(), fastbp.Affine(5, 3)]
    net = fastbp.Sequential(layers, dtype="float64", seed=5)
    check_gradients(net, "softmax_cross_entropy", rng.normal(size=(9, 4)), rng.integers(0, 3, 9))


def test_residual_connections_and_values_used_three_times(rng):
    net = fastbp.Graph(dtype="float64", seed=0)
    x = net.input(5)
    h = fastbp.Affine(5, 5, activation="tanh")(x)
    a = fastbp.Sigmoid()(fastbp.Affine(5, 5)(h) + h)
    net.output(fastbp.Affine(5, 2)(a + h + h))
    check_gradients(net, "mean_squared_error", rng.normal(size=(6, 5)), rng.normal(size=(6, 2)))


def test_several_inputs_and_outputs(rng):
    net = fastbp.Graph(dtype="float64", seed=0)
    a, b = net.input(3), net.input((2, 2))
    h = fastbp.Affine(3, 6, activation="relu")(a) + fastbp.Affine(4, 6)(b)
    net.output(fastbp.Affine(6, 3)(h), h)
    x = rng.normal(size=(8, 3)), rng.normal(size=(8, 2, 2))
    y = rng.integers(0, 3, 8), rng.normal(size=(8, 6))
    check_gradients(net, ["softmax_cross_entropy", "mean_squared_error"], x, y)
    outputs = net.predict(x)
    assert [o.shape for o in outputs] == [(8, 3), (8, 6)]


def test_python_layers_split_the_program(rng):
    net = fastbp.Sequential([fastbp.Affine(4, 5), fastbp.Tanh(), Square(), fastbp.Affine(5, 2)],
                            dtype="float64", seed=1)
    check_gradients(net, "mean_squared_error", rng.normal(size=(7, 4)), rng.normal(size=(7, 2)))
    before = net.parameters["2.a"].copy()
    trainer = fastbp.Trainer(net, loss="mean_squared_error", optimizer=fastbp.SGD(0.1))
    x, y = rng.normal(size=(60, 4)), rng.normal(size=(60, 2))
    losses = trainer.fit(x, y, epochs=5, batch_size=16).loss
    assert losses[-1] < losses[0]
    assert not np.array_equal(net.parameters["2.a"], before)
    layer = net.steps[3].layer.layer
    assert np.shares_memory(layer.parameters["a"], net.parameters["2.a"])


def test_dropout_is_off_in_predict_and_seeded_in_training(rng):
    x, y = rng.normal(size=(500, 20)).astype(np.float32), rng.integers(0, 2, 500)
    losses = []
    for _ in range(2):
        net = fastbp.Sequential([fastbp.Dropout(0.5), fastbp.Affine(20, 2)], input_shape=20, seed=4)
        plain = fastbp.Sequential([fastbp.Affine(20, 2)], seed=9)
        plain.load_state_dict({"0.w": net.parameters["1.w"], "0.b": net.parameters["1.b"]})
        assert np.array_equal(net.predict(x), plain.predict(x))
        trainer = fastbp.Trainer(net)
        losses.append([trainer.train_step(x, y) for _ in range(3)])
    assert losses[0] == losses[1]
    assert len(set(losses[0])) == 3


def test_batchnorm_keeps_running_statistics(rng):
    x = (3 + 2 * rng.normal(size=(64, 3)))
    net = fastbp.Sequential([fastbp.BatchNorm(3), fastbp.Affine(3, 2)], dtype="float64")
    trainer = fastbp.Trainer(net)
    before = net.state_dict()
    trainer.gradients(x, np.zeros(64, int))
    assert all(np.array_equal(before[k], v) for k, v in net.state_dict().items())
    trainer.train_step(x, np.zeros(64, int))
    expected = 0.1 * x.mean(axis=0)
    assert np.abs(net.buffers["0.running_mean"] - expected).max() <= 64 * 2.0**-52 * 5
    variance = 0.9 + 0.1 * x.var(axis=0)
    assert np.abs(net.buffers["0.running_var"] - variance).max() <= 64 * 2.0**-50 * 5


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_save_and_load(dtype, tmp_path, rng):
    net = fastbp.Graph(dtype=dtype, seed=0)
    x = net.input((2, 3))
    h = fastbp.ReLU()(fastbp.BatchNorm(8)(fastbp.Affine(6, 8, layout="row")(x)))
    net.output(fastbp.Affine(8, 4)(fastbp.Dropout(0.3)(h)))
    data = rng.normal(size=(11, 2, 3))
    fastbp.Trainer(net).train_step(data, rng.integers(0, 4, 11))
    net.save(tmp_path / "m.safetensors", metadata={"classes": "a b"})
    again = fastbp.load(tmp_path / "m.safetensors")
    assert again.metadata == {"classes": "a b"}
    assert again.dtype == net.dtype
    assert np.array_equal(again.predict(data), net.predict(data))
    (tmp_path / "m.safetensors").write_bytes(b"no model")
    with pytest.raises(fastbp.CheckpointError, match=r"m\.safetensors"):
        fastbp.load(tmp_path / "m.safetensors")


def test_parameters_are_live_views_of_one_vector():
    net = fastbp.Sequential([fastbp.Affine(3, 5), fastbp.Affine(5, 10)])
    x = np.ones((2, 3), np.float32)
    for view in net.parameters.values():
        assert np.shares_memory(view, net.values)
        view[...] = 0
    net.parameters["1.b"][...] = 7
    assert (net.predict(x) == 7).all()
    assert net.values.ctypes.data % 64 == 0
    assert f"{3 * 5 + 5 + 5 * 10 + 10} parameters, float32" in net.summary()


def test_a_layers_own_values_survive_joining_a_network():
    layer = fastbp.Affine(3, 2)
    layer.parameters["w"][...] = 5
    net = fastbp.Sequential([layer])
    assert (net.parameters["0.w"] == 5).all()
    assert np.shares_memory(layer.parameters["w"], net.values)


def test_initial_values_have_the_named_variance():
    net = fastbp.Sequential([fastbp.Affine(400, 300, init="he_normal")], seed=8)
    values = net.parameters["0.w"]
    expected = reference.variance("he_normal", 400, 300)
    assert abs(values.var() / expected - 1) < 0.02
    assert (net.parameters["0.b"] == 0).all()


def test_networks_that_do_not_fit_say_so():
    with pytest.raises(fastbp.ShapeError, match=r"Affine\(6, 2\) after a layer with 5 features"):
        fastbp.Sequential([fastbp.Affine(3, 5), fastbp.Affine(6, 2)])
    with pytest.raises(fastbp.ArgumentError, match="at least one layer"):
        fastbp.Sequential([])
    with pytest.raises(fastbp.ArgumentError, match="input_shape"):
        fastbp.Sequential([fastbp.ReLU()])
    with pytest.raises(fastbp.ArgumentError, match="no method backward"):
        fastbp.Sequential([type("X", (), {"forward": lambda self, x: x})()], input_shape=3)
    graph = fastbp.Graph()
    with pytest.raises(fastbp.ArgumentError, match="without outputs"):
        graph.build()
    layer = fastbp.Affine(2, 2)
    with pytest.raises(fastbp.ArgumentError, match="twice"):
        fastbp.Sequential([layer, layer])
    node = fastbp.Graph().input(3)
    narrow = fastbp.Affine(3, 2)(node)
    with pytest.raises(fastbp.ShapeError, match="equal shapes"):
        node + narrow
    with pytest.raises(fastbp.DTypeError, match="float32 or float64"):
        fastbp.Sequential([fastbp.Affine(2, 2)], dtype="int32")
    net = fastbp.Sequential([fastbp.Affine(2, 2)])
    with pytest.raises(fastbp.ShapeError, match=r"0\.w with shape \(3, 2\); wanted \(2, 2\)"):
        net.load_state_dict({"0.w": np.zeros((3, 2)), "0.b": np.zeros(2)})


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_input_scale_is_applied_while_reading(tmp_path, rng, dtype):
    """uint8 images times 1/255 give the bits of the scaled floats; saved and loaded too."""
    images = rng.integers(0, 256, (20, 4, 3), np.uint8)
    floats = images.astype(dtype) * dtype(1 / 255)
    scaled, plain = (fastbp.Sequential([fastbp.Affine(12, 5)], input_shape=(4, 3), dtype=dtype, **s)
                     for s in ({"input_scale": 1 / 255}, {}))
    assert np.array_equal(scaled.predict(images), plain.predict(floats))
    trainers = [fastbp.Trainer(net, "mean_squared_error", "adam") for net in (scaled, plain)]
    for trainer, x in zip(trainers, (images, floats), strict=True):
        trainer.fit(x, np.zeros((20, 5), dtype), epochs=2, batch_size=8)
    assert np.array_equal(scaled.values, plain.values)
    scaled.save(tmp_path / "net")
    assert np.array_equal(fastbp.load(tmp_path / "net").predict(images), scaled.predict(images))


def test_a_scale_that_makes_no_sense_is_refused():
    for scale in (0, float("nan"), "255", True):
        with pytest.raises(fastbp.ArgumentError, match="a finite number other than 0"):
            fastbp.Sequential([fastbp.Affine(2, 2)], input_scale=scale)


def test_a_prediction_pauses_before_each_chunk_and_may_end_there(monkeypatch):
    monkeypatch.setattr(fastbp.network, "PREDICT_ROWS", 10)
    net = fastbp.Sequential([fastbp.Affine(4, 3)], seed=0)
    x, pauses = np.ones((25, 4), np.float32), []
    assert np.array_equal(net.predict(x, pause=lambda: pauses.append(1)), net.predict(x))
    assert len(pauses) == 3

    def end():
        pauses.append(1)
        if len(pauses) == 5:
            raise KeyError("enough")

    with pytest.raises(KeyError, match="enough"):
        net.predict(x, pause=end)
    assert len(pauses) == 5
    assert net.predict(x).shape == (25, 3)  # the network is nobody's
