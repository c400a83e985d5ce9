"""Calls of micrograd's networks wait to be computed, and nobody can tell."""

import copy
import gc
import pickle
import random
import threading
import weakref

import pytest
from micrograd_twins import ABSOLUTE, close, grads, inputs, twins, walk

from fastbp.benchmark._peers.compat_micrograd import Plain, PlainMLP
from fastbp.compat.micrograd import _calls
from fastbp.compat.micrograd.engine import Value
from fastbp.compat.micrograd.nn import MLP, Layer, Module, Neuron


def test_a_call_means_what_it_meant_when_it_was_made():
    """Whatever is changed before its result is read."""
    model, plain = twins(2, [3, 1])
    x = [Value(0.4), Value(0.7)]
    expected = plain([0.4, 0.7]).data
    neuron = model.layers[0].neurons[0]

    def set_weight():
        neuron.w[0].data = 5.0

    def other_weight():
        neuron.w[1] = Value(7.0)

    def other_bias():
        neuron.b = Value(2.0)

    def other_input():
        x[0].data = 9.0

    def linear():
        for n in model.layers[0].neurons:
            n.nonlin = False

    def other_layer():
        model.layers.pop()
        model.layers += [Layer(3, 2, nonlin=False)]

    for change in (set_weight, other_weight, other_bias, linear, other_input, other_layer):
        out = model(x)
        change()
        assert out.data == pytest.approx(expected, rel=ABSOLUTE)
        after = model(x)
        expected = after.data if not isinstance(after, list) else after[0].data
        by_hand = x
        for layer in model.layers:
            by_hand = [Neuron.__call__(n, by_hand) for n in layer.neurons]
        assert expected == pytest.approx(by_hand[0].data, rel=ABSOLUTE), change.__name__
        assert expected != pytest.approx(out.data, rel=1e-3), change.__name__


def test_lists_of_parts_are_lists():
    model, _ = twins(2, [3, 1])
    neurons = model.layers[0].neurons
    for change in (lambda: neurons.reverse(), lambda: neurons.sort(key=id),
                   lambda: neurons.insert(0, neurons.pop()), lambda: neurons.append(Neuron(2)),
                   lambda: neurons.remove(neurons[-1]), lambda: neurons.__delitem__(2),
                   lambda: neurons.__imul__(2), lambda: neurons.extend([Neuron(2)]),
                   lambda: neurons.clear()):  # fmt: skip
        out = model.layers[0]([0.5, -0.25])
        before = [Neuron.__call__(n, [0.5, -0.25]).data for n in neurons]
        change()
        assert [v.data for v in out] == pytest.approx(before, rel=ABSOLUTE)
    assert neurons == []


def test_own_modules_and_shared_parameters():
    """A module of the user's own layers, one of them used twice."""

    class Twice(Module):
        def __init__(self):
            self.inner, self.last = Layer(2, 2), Layer(2, 1, nonlin=False)

        def __call__(self, x):
            return self.last(self.inner(self.inner(x)))

        def parameters(self):
            return self.inner.parameters() + self.last.parameters()

    random.seed(5)
    model = Twice()
    out = model([0.5, 1.5])
    (out * out).backward()
    step = 1e-6
    for p in model.parameters():
        kept = p.data
        p.data = kept + step
        above = model([0.5, 1.5]).data ** 2
        p.data = kept - step
        below = model([0.5, 1.5]).data ** 2
        p.data = kept
        # Second differences of a function with derivatives of order 1: step**2 and 1e-16/step.
        assert p.grad == pytest.approx((above - below) / (2 * step), abs=1e-8)
    model.zero_grad()
    assert grads(model.parameters()) == [0] * len(model.parameters())


def test_layers_of_layers_wait_together():
    """Calls whose inputs are calls that have not been computed: three batches, not thirty."""
    random.seed(7)
    first, second, last = Layer(2, 3), Layer(3, 4), Layer(4, 1, nonlin=False)
    x = inputs(2, 10)
    outs = [last(second(first(row))) for row in x]
    assert len({out._call.batch for out in outs}) == 1
    assert outs[0]._call.batch.waits
    hidden = outs[0]._call.values[0]._call
    assert hidden.batch.waits
    assert hidden.batch is outs[9]._call.values[0]._call.batch
    random.seed(7)
    plain = PlainMLP(2, [3, 4, 1])
    sum(outs).backward()
    sum(plain(row) for row in x).backward()
    parameters = first.parameters() + second.parameters() + last.parameters()
    close(grads(parameters), grads(plain.parameters()))


@pytest.mark.parametrize("most", [2, 64])
def test_long_chains_of_calls(monkeypatch, most):
    """A layer on its own results, and two in turn: neither a deadlock nor deep recursion."""
    monkeypatch.setattr(_calls, "MOST_LEVELS", most)
    results = []
    for value, kind in ((Value, MLP), (Plain, PlainMLP)):
        random.seed(2)
        models = [kind(2, [2]) for _ in range(3)]
        for model in models:  # a rotation, so that numbers neither grow nor vanish
            turn = (0.6, 0.8, 0.01, -0.8, 0.6, -0.02)
            for p, number in zip(model.parameters(), turn, strict=True):
                p.data = number
        x = list(map(value, (0.5, -1.0)))
        h = x
        for step in range(120):
            h = models[step % 2](h)
        for _ in range(120):
            h = models[2](h)
        for model in [kind(2, [2]) for _ in range(100)]:
            for p, place in zip(model.parameters(), (1, 0, 0, 0, 1, 0), strict=True):
                p.data = place + p.data / 1000
            h = model(h)
        (h[0] + h[1]).backward()
        assert 0.01 < abs(x[0].grad) < 100
        results.append([h[0].data, *grads(x), *grads(models[0].parameters())])
    close(*results)


def test_a_result_that_others_wait_for_can_be_set():
    first, second = Layer(2, 3), Layer(3, 1, nonlin=False)
    hidden = first([0.5, 1.5])
    out = second(hidden)
    hidden[1].data = 1000.0
    assert out.data == second(first([0.5, 1.5])).data
    assert second(hidden).data != out.data


def test_outputs_can_be_set():
    model, plain = twins(2, [3, 1])
    results = []
    for value, net in ((Value, model), (Plain, plain)):
        out = net([value(0.5), value(1.0)])
        out.data = 3.0
        (out * out).backward()
        results.append([out.data, out.grad, *grads(net.parameters())])
    close(*results)


def test_copies():
    model, _ = twins(2, [3, 1])
    x = [Value(0.5), Value(1.0)]
    out = model(x)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert other(x).data == out.data
        other.layers[0].neurons[0].b.data = 5.0
        assert (other(x).data != out.data, model(x).data) == (True, out.data)
    twin = copy.deepcopy(out)
    twin.backward()
    assert (twin.data, grads(x)) == (out.data, [0, 0])
    assert len(walk(twin)) == len(walk(out))


def test_nothing_keeps_a_graph_alive():
    model, _ = twins(2, [4, 1])
    gc.disable()
    try:
        outs = [model([Value(0.1 * i), Value(1.0)]) for i in range(5)]
        loss = sum(outs)
        loss.backward()
        batch = weakref.ref(outs[0]._call.batch)
        kept = [weakref.ref(v) for v in (loss, outs[0], *outs[0]._call.values)]
        waiting = model([Value(3.0), Value(1.0)])  # not read
        kept += [weakref.ref(waiting), weakref.ref(waiting._call.batch)]
        del outs, loss, waiting
        assert [ref() for ref in (*kept, batch)] == [None] * 7
        model.parameters()[0].data = 1.0  # whatever waits is computed: there is nothing
        assert not _calls.pending
        ref = weakref.ref(model)
        del model
        assert ref() is None
    finally:
        gc.enable()


def test_calls_that_nobody_reads(monkeypatch):
    monkeypatch.setattr(_calls, "MOST_CALLS", 8)
    model, plain = twins(2, [4, 1])
    outs = [model([0.1 * i, 1.0]) for i in range(20)]
    assert len({out._call.batch for out in outs}) == 3
    close([out.data for out in outs], [plain([0.1 * i, 1.0]).data for i in range(20)])


def test_threads_with_networks_of_their_own():
    results = {}

    def work(seed):
        model, plain = twins_of(seed)
        found = []
        for _ in range(30):
            outs = [model([0.1 * i, 1.0]) for i in range(7)]
            loss = sum(outs)
            model.zero_grad()
            loss.backward()
            for p in model.parameters():
                p.data -= 0.001 * p.grad
            found.append(loss.data)
        results[seed] = found, plain

    lock = threading.Lock()

    def twins_of(seed):
        with lock:  # `random` is one for all threads
            return twins(2, [4, 1], seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for found, plain in results.values():
        for loss in found:
            total = sum(plain([0.1 * i, 1.0]) for i in range(7))
            plain.zero_grad()
            total.backward()
            for p in plain.parameters():
                p.data -= 0.001 * p.grad
            close(loss, total.data)
    assert len(results) == 4
