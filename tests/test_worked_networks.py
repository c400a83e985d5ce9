"""Worked examples (3) and (4): whole networks against their float64 twins, written out by hand.

The bound is `depth * u` times the same network evaluated on magnitudes: by induction over its
operations, a quantity that took `depth` roundings in a chain is off by at most that
(docs/math.md#rounding).
"""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import reference
from reference import assert_within, unit_roundoff, widen

import fastbp
from fastbp import gradcheck_network, ops

# ---- whole networks: the same code on values and on magnitudes ----------------------------------


class Values:
    """The operations of the two networks below, one precision up."""

    array = staticmethod(widen)
    affine_forward = staticmethod(reference.affine_forward)
    affine_backward = staticmethod(reference.affine_backward)
    sigmoid_forward = staticmethod(reference.sigmoid_forward)
    sigmoid_backward = staticmethod(reference.sigmoid_backward)
    loss = staticmethod(reference.mean_squared_error)


class Magnitudes(Values):
    """Upper bounds for the magnitude of every term that takes part.

    The sigmoid is below 1 and has slopes of at most 1/4, so 1 + z/4 bounds it and how it passes
    on an error of z; likewise its derivative, at most 1/4, whose own slope is below 1/4.
    """

    @staticmethod
    def array(a):
        return np.abs(widen(a))

    @staticmethod
    def sigmoid_forward(z):
        return 1 + z / 4

    @staticmethod
    def sigmoid_backward(dy, z):
        return dy * (1 / 4 + (1 + z / 4))

    @staticmethod
    def loss(pred, target):
        error = pred + target
        return np.mean(error**2), 2 * error / error.size


# ---- 3: a graph with a value used twice ---------------------------------------------------------

FEATURES, HIDDEN, BATCH, RATE, STEPS = 13, 10, 16, 0.1, 20


def build_graph():
    """Input, Linear, Sigmoid, Linear, MSE; the sigmoid's value goes two ways."""
    layers = [
        fastbp.Affine(FEATURES, HIDDEN),
        fastbp.Affine(HIDDEN, HIDDEN),
        fastbp.Affine(HIDDEN, 1),
    ]
    graph = fastbp.Graph(dtype="float64", seed=5)
    x = graph.input((FEATURES,))
    s = fastbp.Sigmoid()(layers[0](x))
    graph.output(layers[2](layers[1](s) + s))
    return graph, layers


def graph_gradients(calculus, parameters, x, target):
    """(loss, gradients) of that graph, by hand; parameters: w, b of the three layers."""
    x, target, *parameters = (calculus.array(a) for a in (x, target, *parameters))
    w1, b1, w2, b2, w3, b3 = parameters
    h = calculus.affine_forward(x, w1, b1)
    s = calculus.sigmoid_forward(h)
    a = calculus.affine_forward(s, w2, b2) + s
    loss, dpred = calculus.loss(calculus.affine_forward(a, w3, b3), target)

    da, dw3, db3 = calculus.affine_backward(dpred, a, w3)
    ds, dw2, db2 = calculus.affine_backward(da, s, w2)
    dh = calculus.sigmoid_backward(ds + da, h)  # two uses of s: their gradients add up
    _, dw1, db1 = calculus.affine_backward(dh, x, w1)
    return loss, [dw1, db1, dw2, db2, dw3, db3]


def graph_data():
    rng = np.random.default_rng(6)
    x = rng.standard_normal((BATCH, FEATURES))
    return x, np.sin(x[:, :1]) + 0.1 * rng.standard_normal((BATCH, 1))


def test_graph_with_a_value_used_twice_trains_as_its_twin():
    """Every SGD step from the network's own parameters, so errors do not pile up over steps."""
    net, layers = build_graph()
    trainer = fastbp.Trainer(net, loss="mean_squared_error", optimizer=fastbp.SGD(RATE))
    x, target = graph_data()
    forward = FEATURES + 2 * HIDDEN + 4 * 8
    depth = 2 * forward + BATCH + 1 + 2 * HIDDEN + 4 * 8  # a gradient is values times gradients
    u, losses = unit_roundoff(np.float64), []
    for step in range(STEPS):
        views = [layer.parameters[name] for layer in layers for name in "wb"]
        before = [np.array(view) for view in views]
        losses.append(trainer.train_step(x, target))

        loss, gradients = graph_gradients(Values, before, x, target)
        loss_size, sizes = graph_gradients(Magnitudes, before, x, target)
        assert_within(losses[-1], loss, (depth + BATCH) * u * loss_size, f"loss, step {step}")
        for k, (w, g, size) in enumerate(zip(before, gradients, sizes, strict=True)):
            bound = RATE * depth * u * size + 2 * u * np.abs(w)
            expected = reference.sgd(w, g, lr=RATE)
            assert_within(views[k], expected, bound, f"parameter {k}, step {step}")
    assert losses[-1] < 0.5 * losses[0]


def test_graph_against_central_differences():
    net, _ = build_graph()
    report = gradcheck_network(net, *graph_data(), "mean_squared_error", per_element=True)
    assert report, str(report)


# ---- 4: the 4-6-6-6-1 ReLU network --------------------------------------------------------------

NAMES = [f"{kind}{k}" for k in range(1, 5) for kind in "WB"]
IN_NETWORK = [f"{number}.{kind}" for number in (0, 2, 4, 6) for kind in "wb"]
"""The same arrays by the names a network gives them: number of the layer, name in the layer."""


def relu_example():
    """(x, target, [W1, B1, ..., W4, B4]) in float64."""
    text = (Path(__file__).parent / "data" / "relu_mlp_example.json").read_text(encoding="utf-8")
    data = {key: value for key, value in json.loads(text).items() if key != "note"}
    arrays = {key: np.array(value, np.float64) for key, value in data.items()}
    return arrays["X"], arrays["T"], [arrays[name] for name in NAMES]


def relu_gradients(calculus, parameters, x, target, masks=None):
    """(loss, eight gradients, pre-activations); with `masks` in the place of z > 0."""
    parameters = [calculus.array(a) for a in parameters]
    pairs = list(zip(parameters[::2], parameters[1::2], strict=True))
    inputs, zs = [calculus.array(x)], []
    for k, (w, b) in enumerate(pairs):
        zs.append(calculus.affine_forward(inputs[-1], w, b))
        if k < 3:
            inputs.append(zs[-1] * (zs[-1] > 0 if masks is None else masks[k]))
    loss, dz = calculus.loss(zs[-1], calculus.array(target))
    gradients = []
    for k in reversed(range(4)):
        dx, dw, db = calculus.affine_backward(dz, inputs[k], pairs[k][0])
        gradients = [dw, db, *gradients]
        if k > 0:
            dz = dx * (zs[k - 1] > 0 if masks is None else masks[k - 1])
    return loss, gradients, zs


def relu_network(parameters):
    sizes, layers = (4, 6, 6, 6, 1), []
    for inputs, outputs in itertools.pairwise(sizes):
        layers += [fastbp.Affine(inputs, outputs), fastbp.ReLU()]
    net = fastbp.Sequential(layers[:-1], dtype="float64", seed=0)
    for name, value in zip(IN_NETWORK, parameters, strict=True):
        net.parameters[name][...] = value
    return net, layers[:-1]


def by_ops(parameters, x, target):
    """Loss and gradients by calls of fused operations."""
    ys = [x]
    for k in range(4):
        activation = "relu" if k < 3 else "identity"
        ys.append(ops.affine_forward(ys[-1], *parameters[2 * k : 2 * k + 2], activation=activation))
    loss, dy = ops.mean_squared_error(ys[-1], target)
    gradients = []
    for k in reversed(range(4)):
        activation = "relu" if k < 3 else "identity"
        dy, dw, db = ops.affine_backward(
            dy, ys[k], parameters[2 * k], activation=activation, y=ys[k + 1]
        )
        gradients = [dw, db, *gradients]
    return loss, gradients


def by_layers(parameters, x, target):
    """Loss and gradients by layers used alone."""
    _, layers = relu_network(parameters)
    for layer in layers:
        x = layer.forward(x)
    loss, dy = ops.mean_squared_error(x, target)
    for layer in reversed(layers):
        dy = layer.backward(dy)
    return loss, [layer.gradients[name] for layer in layers[::2] for name in "wb"]


def by_network(parameters, x, target):
    """Loss and gradients by the training program."""
    net, _ = relu_network(parameters)
    loss, gradients = fastbp.Trainer(net, loss="mean_squared_error").gradients(x, target)
    return loss, [gradients[name] for name in IN_NETWORK]


@pytest.mark.parametrize("route", [by_ops, by_layers, by_network])
def test_relu_network_gives_all_eight_gradients(route):
    x, target, parameters = relu_example()
    loss, gradients = route(parameters, x, target)
    expected_loss, expected, zs = relu_gradients(Values, parameters, x, target)
    masks = [z > 0 for z in zs]
    loss_size, sizes, z_sizes = relu_gradients(Magnitudes, parameters, x, target, masks)
    forward = 4 + 6 + 6 + 6 + 4 * 3
    depth = 2 * forward + 1 + 6 + 6 + 6 + 4 * 4  # a gradient is values times gradients
    u = unit_roundoff(np.float64)
    for z, size in zip(zs, z_sizes, strict=True):
        assert np.all(np.abs(z) > depth * u * size), "a unit at its kink: the mask is not certain"
    assert_within(loss, expected_loss, depth * u * loss_size, "loss")
    for name, a, e, size in zip(NAMES, gradients, expected, sizes, strict=True):
        assert np.any(e != 0), f"MISTRUSTED: the gradient by {name} is all zeros"
        assert_within(a, e, depth * u * size, name)


@pytest.mark.parametrize("per_element", [False, True])
def test_relu_network_against_central_differences(per_element):
    x, target, parameters = relu_example()
    net, _ = relu_network(parameters)
    report = gradcheck_network(net, x, target, "mean_squared_error", per_element=per_element)
    assert report, str(report)
