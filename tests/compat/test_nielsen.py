"""Nielsen's `network`: the numbers of a per-sample NumPy twin, and the book's conventions."""
# ruff: noqa: NPY002 - the book draws from the global generators

import copy
import random

import numpy as np
import pytest
from nielsen_twins import close, make_data, pair, seeded

from fastbp._errors import ArgumentError, ShapeError
from fastbp._program import Program
from fastbp.benchmark._peers import _numpy_nielsen as twin
from fastbp.compat.nielsen import _engine, network, network2


@pytest.mark.parametrize(("sizes", "n", "batch", "dtype"), [
    ([7, 5, 3], 23, 10, np.float32), ([4, 6, 5, 3], 20, 5, np.float64), ([3, 2], 9, 4, np.float32),
    ([5, 4, 2], 6, 1, np.float64), ([5, 4, 2], 6, 50, np.uint8), ([49, 20, 10], 40, 10, np.int32),
    ([2, 1, 1, 1], 8, 3, np.float64), ([33, 17, 9], 300, 150, np.float32),
    ([3, 2, 2], 5600, 5500, np.float64),
])  # fmt: skip
def test_sgd_is_the_twins(sizes, n, batch, dtype, capsys):
    ours, theirs = pair(sizes)
    data = make_data(n, sizes, dtype)
    test = [(x, int(np.argmax(y))) for x, y in make_data(15, sizes, dtype, seed=1)]
    printed = []
    for net in (ours, theirs):
        shuffled = list(data)
        seeded(net.SGD, shuffled, 3, batch, 1.5, test_data=test)
        printed.append((capsys.readouterr().out, [id(sample) for sample in shuffled]))
    close(ours.weights, theirs.weights)
    close(ours.biases, theirs.biases)
    assert printed[0] == printed[1]  # and the caller's list is in the same order
    assert printed[0][0].splitlines()[2].startswith("Epoch 2: ")
    assert ours.evaluate(test) == theirs.evaluate(test)
    assert ours.evaluate(iter(test)) == theirs.evaluate(test)


def test_an_epoch_is_one_program(runs, capsys):
    ours, _ = pair([7, 5, 3])
    data = make_data(64, [7, 5, 3])
    ours.SGD(data, 1, 4, 1.0)
    assert runs == [1, 2, 4, 8, 1]
    runs.clear()
    ours.SGD(data[:63], 1, 4, 1.0)
    assert runs == [1, 2, 4, 8, 1]  # the last of three samples
    assert capsys.readouterr().out == "Epoch 0 complete\n" * 2


def test_iterators_are_taken_and_lists_shuffled(capsys):
    ours, theirs = pair([4, 3, 2])
    data = make_data(11, [4, 3, 2])
    test = [(x, int(np.argmax(y))) for x, y in data]
    seeded(ours.SGD, zip(*map(list, zip(*data, strict=True)), strict=True), 2, 3, 0.5,
           test_data=zip(*map(list, zip(*test, strict=True)), strict=True))
    mine = capsys.readouterr().out
    seeded(theirs.SGD, list(data), 2, 3, 0.5, test_data=test)
    assert mine == capsys.readouterr().out
    close(ours.weights, theirs.weights)


def test_parameters_are_rebound_and_old_ones_kept():
    ours, _ = pair([4, 3, 2])
    lists, arrays = (ours.weights, ours.biases), [*ours.weights, *ours.biases]
    before = [array.copy() for array in arrays]
    ours.update_mini_batch(make_data(5, [4, 3, 2]), 0.5)
    assert ours.weights is not lists[0]
    assert ours.biases is not lists[1]
    for array, copied in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(array, copied)
    assert not any(np.array_equal(a, b) for a, b in zip(ours.weights, before, strict=False))


@pytest.mark.parametrize("kind", ["network", "network2"])
def test_backprop_and_a_single_mini_batch(kind):
    ours, theirs = pair([6, 5, 4], kind)
    x, y = make_data(1, [6, 5, 4], np.float64)[0]
    for mine, wanted in zip(ours.backprop(x, y), theirs.backprop(x, y), strict=True):
        close(mine, wanted, 1e-14)
    batch = make_data(7, [6, 5, 4])
    if kind == "network":
        ours.update_mini_batch(batch, 0.7)
        theirs.step(batch, 0.7, 0)
    else:
        ours.update_mini_batch(tuple(batch), 0.7, 2.0, 50)
        theirs.step(batch, 0.7, 2.0 / 50)
    close(ours.weights, theirs.weights, 1e-14)
    close(ours.biases, theirs.biases, 1e-14)
    np.testing.assert_allclose(ours.feedforward(x), theirs.feedforward(x), rtol=1e-13)


def test_what_users_do_to_parameters_is_seen(capsys):
    nets = pair([4, 3, 2])
    data = make_data(12, [4, 3, 2])
    for net in nets:
        shuffled = copy.deepcopy(data)
        seeded(net.SGD, shuffled, 1, 4, 0.5)
        net.weights[0][...] *= 2  # in place
        net.biases = [b + 1 for b in net.biases]
        net.SGD(shuffled, 1, 4, 0.5)
        shuffled[0][0][...] += 1  # data, between calls
        net.SGD(shuffled, 1, 4, 0.5)
    close(nets[0].weights, nets[1].weights)


def unaligned(x):
    memory = np.zeros(x.nbytes + 1, np.uint8)[1:].view(x.dtype).reshape(x.shape)
    memory[...] = x
    return memory


@pytest.mark.parametrize("store", [
    lambda x, i: np.repeat(x, 3, axis=0)[::3], lambda x, i: x[::-1],
    lambda x, i: unaligned(x), lambda x, i: x.astype((np.float32, np.float64)[i % 2]),
    lambda x, i: x.astype(">f4"), lambda x, i: x.tolist(), lambda x, i: x.astype(np.float16),
])  # fmt: skip
def test_samples_wherever_they_lie(store, capsys):
    data = [(store(x, i), y) for i, (x, y) in enumerate(make_data(11, [5, 4, 3]))]
    ours, theirs = pair([5, 4, 3])
    seeded(ours.SGD, list(data), 2, 4, 0.5)
    seeded(theirs.SGD, [(np.array(x, np.float64), y) for x, y in data], 2, 4, 0.5)
    close(ours.weights, theirs.weights)


def test_samples_are_read_when_they_are_used(capsys):
    class Augmented(network.Network):
        def evaluate(self, test_data):
            for x, _ in test_data:
                x *= 0.5
            return 0

    data = make_data(8, [5, 4, 3], np.float64)
    ours, theirs = pair([5, 4, 3])
    ours.__class__ = Augmented
    shuffled, other = copy.deepcopy(data), copy.deepcopy(data)
    seeded(ours.SGD, shuffled, 3, 4, 0.5, test_data=shuffled)
    random.seed(9)
    for _ in range(3):
        theirs.SGD(other, 1, 4, 0.5)
        for x, _ in other:
            x *= 0.5
    close(ours.weights, theirs.weights)


def test_targets_of_one_output_may_be_bare(capsys):
    for bare in (lambda v: v, lambda v: np.array([v]), lambda v: np.array([[v]])):
        ours, theirs = pair([2, 3, 1])
        points = [(np.array([[a], [b]]), bare(a ^ b)) for a in (0, 1) for b in (0, 1)]
        columns = [(x, np.array([[np.ravel(y)[0]]])) for x, y in points]
        seeded(ours.SGD, points, 5, 4, 3.0)
        seeded(theirs.SGD, columns, 5, 4, 3.0)
        close(ours.weights, theirs.weights)


def test_overrides_are_honoured(capsys, runs):
    data = make_data(12, [4, 3, 2])

    class Doubled(network.Network):
        def cost_derivative(self, a, y):
            return 2 * (a - y)

    class Logged(network.Network):
        seen = 0

        def update_mini_batch(self, mini_batch, eta):
            self.seen += len(mini_batch)
            super().update_mini_batch(mini_batch, 2 * eta)

    _, theirs = pair([4, 3, 2])
    seeded(theirs.SGD, list(data), 2, 5, 1.0)
    for cls in (Doubled, Logged):
        np.random.seed(5)
        net = cls([4, 3, 2])
        seeded(net.SGD, list(data), 2, 5, 0.5)
        close(net.weights, theirs.weights)
    assert net.seen == 24
    np.random.seed(5)
    net, calls, backprop = network.Network([4, 3, 2]), [], network.Network.backprop
    net.backprop = lambda x, y: calls.append(1) or backprop(net, x, y)
    runs.clear()
    seeded(net.SGD, list(data), 2, 5, 1.0)
    assert len(calls) == 24
    assert not runs
    close(net.weights, theirs.weights)


@pytest.mark.parametrize("module", [network, network2])
def test_another_sigmoid_is_used(monkeypatch, capsys, module):
    data = make_data(8, [4, 3, 2])
    arguments = (1, 4, 0.1)
    monkeypatch.setattr(module, "sigmoid", np.tanh)
    monkeypatch.setattr(module, "sigmoid_prime", lambda z: 1 - np.tanh(z) ** 2)
    monkeypatch.setattr(twin, "sigmoid", module.sigmoid)
    monkeypatch.setattr(twin, "sigmoid_prime", module.sigmoid_prime)
    kind = module.__name__.rpartition(".")[2]
    settings = {"cost": module.QuadraticCost} if module is network2 else {}
    ours, theirs = pair([4, 3, 2], kind, **settings)
    for net in (ours, theirs):
        seeded(net.SGD, list(data), *arguments)
    close(ours.weights, theirs.weights)
    test = [(x, int(np.argmax(y))) for x, y in data]
    name = "accuracy" if module is network2 else "evaluate"
    assert getattr(ours, name)(test) == getattr(theirs, name)(test)


def test_evaluate_asks_an_overridden_feedforward():
    class Constant(network.Network):
        def feedforward(self, a):
            return np.array([[0.0], [1.0]])

    class Constant2(network2.Network):
        feedforward = Constant.feedforward

    data = [(np.zeros((4, 1)), 1), (np.zeros((4, 1)), 0)]
    assert Constant([4, 3, 2]).evaluate(data) == 1
    net = Constant2([4, 3, 2], cost=network2.QuadraticCost)
    assert net.accuracy(data) == 1
    columns = [(x, np.eye(2)[:, [label]]) for x, label in data]
    assert net.accuracy(columns, convert=True) == 1
    assert net.total_cost(columns, 0.0) == pytest.approx(0.5, rel=1e-15)


def test_interrupted_training_keeps_what_was_learned(monkeypatch, capsys):
    ours, theirs = pair([4, 3, 2])
    data, run, calls = make_data(12, [4, 3, 2]), Program.run, []

    def interrupted(self, steps=1, **settings):
        calls.append(steps)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return run(self, steps, **settings)

    monkeypatch.setattr(Program, "run", interrupted)
    monkeypatch.setattr(_engine, "_RUN_SECONDS", 1e9)
    with pytest.raises(KeyboardInterrupt):
        seeded(ours.SGD, list(data), 1, 2, 0.5)
    order = list(data)
    seeded(random.shuffle, order)
    for k in (0, 2, 4):  # runs of 1 and 2 steps were done
        theirs.step(order[k : k + 2], 0.5, 0)
    close(ours.weights, theirs.weights)


def test_saturated_neurons_raise_no_warnings():
    ours, _ = pair([2, 2, 2])
    ours.weights = [1e4 * np.ones((2, 2)), -1e4 * np.ones((2, 2))]
    x = np.ones((2, 1))
    np.testing.assert_array_equal(ours.feedforward(x), 0)
    ours.update_mini_batch([(x, np.ones((2, 1)))], 1.0)
    np.testing.assert_array_equal(ours.weights[0], 1e4)


def test_wrong_shapes_name_the_sample(capsys):
    data = make_data(5, [4, 3, 2])
    flat = [*data[:3], (data[3][0][:, 0], data[3][1]), data[4]]
    labels = [(x, int(np.argmax(y))) for x, y in data]
    for net in (network.Network([4, 3, 2]), network2.Network([4, 3, 2])):
        before = net.weights
        with pytest.raises(ShapeError, match=r"training_data\[3\]: x with shape \(4,\); .*\(4, 1"):
            net.SGD(flat, 1, 2, 0.5)
        with pytest.raises(ShapeError, match=r"training_data\[0\]: y with shape \(\); .*vector"):
            net.SGD(labels, 1, 2, 0.5)
        with pytest.raises(ArgumentError, match="mini_batch_size=0"):
            net.SGD(data, 1, 0, 0.5)
        assert net.weights is before
    with pytest.raises(ShapeError, match=r"test_data\[0\]: x with shape \(3, 1\)"):
        network.Network([4, 2]).evaluate([(np.ones((3, 1)), 0)])
