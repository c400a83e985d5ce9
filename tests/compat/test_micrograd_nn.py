"""micrograd's networks: computed in batches, and nobody can tell."""

import copy
import gc
import pickle
import random
import threading
import weakref

import numpy as np
import pytest

from fastbp.benchmark._peers.compat_micrograd import Plain, PlainMLP
from fastbp.compat.micrograd import _calls
from fastbp.compat.micrograd.engine import Value
from fastbp.compat.micrograd.nn import MLP, Layer, Module, Neuron

# Sums of at most 17 products of numbers below 10, in another order and with fused multiply-adds.
ABSOLUTE = 1e-12

NETWORKS = [(3, [4, 4, 1]), (2, [16, 16, 1]), (1, [1]), (5, [3]), (2, [2, 3]), (17, [9, 8, 7, 2])]


def twins(nin, nouts, seed=3):
    """The same network twice: ours and the plain twin."""
    random.seed(seed)
    ours = MLP(nin, nouts)
    random.seed(seed)
    return ours, PlainMLP(nin, nouts)


def inputs(nin, rows, seed=0):
    return np.random.default_rng(seed).normal(size=(rows, nin)).tolist()


def close(ours, theirs):
    assert ours == pytest.approx(theirs, rel=ABSOLUTE, abs=ABSOLUTE)


def grads(values):
    return [v.grad for v in values]


def listed(out):
    return out if isinstance(out, list) else [out]


def walk(root):
    """All values that a root was made from, itself included."""
    seen, stack = {root}, [root]
    while stack:
        for child in stack.pop()._prev:
            if child not in seen:
                seen.add(child)
                stack.append(child)
    return seen


def test_weights_and_names():
    ours, plain = twins(3, [4, 1])
    assert [p.data for p in ours.parameters()] == [p.data for p in plain.parameters()]
    assert repr(ours) == ("MLP of [Layer of [" + ", ".join(["ReLUNeuron(3)"] * 4)
                          + "], Layer of [LinearNeuron(4)]]")  # fmt: skip
    assert (type(ours.layers), len(ours.layers[0].neurons[0].w)) != (list, 0)
    assert Module().parameters() == []
    with pytest.raises(AttributeError):
        Module().layers  # noqa: B018


@pytest.mark.parametrize(("nin", "nouts"), NETWORKS)
@pytest.mark.parametrize("rows", [1, 2, 33])
def test_results_and_gradients(nin, nouts, rows):
    results = []
    for value, model in zip((Value, Plain), twins(nin, nouts), strict=True):
        x = [list(map(value, row)) for row in inputs(nin, rows)]
        outs = [out for row in x for out in listed(model(row))]
        loss = sum((out * out + out * 0.5 for out in outs), value(0.0))
        loss.backward()
        results.append([[o.data for o in outs], grads(outs), grads(model.parameters()),
                        grads(v for row in x for v in row)])  # fmt: skip
    for ours, theirs in zip(*results, strict=True):
        close(ours, theirs)


def test_numbers_as_inputs_and_a_value_twice():
    results = []
    for value, model in zip((Value, Plain), twins(3, [4, 2]), strict=True):
        v = value(0.3)
        calls = [model(x) for x in ([1, 2.0, np.float64(-1)], (v, v, 0.5), [v, True, v])]
        sum(out for outs in calls for out in outs).backward()
        results.append([v.grad, *grads(model.parameters())])
    close(*results)


def test_networks_of_networks():
    """A batch whose inputs come from another, and a result that goes in again."""
    results = []
    for value, model in zip((Value, Plain), twins(2, [3, 2]), strict=True):
        x = list(map(value, (0.5, -0.3)))
        first = model(x)
        second = model(first)
        third = model([second[0] * 2, first[1]])
        loss = third[0] + third[1] * second[1]
        loss.backward()
        results.append([loss.data, *grads(x), *grads(first), *grads(model.parameters())])
    close(*results)


@pytest.mark.parametrize("other_root", [False, True])
def test_two_passes_add_up(other_root):
    """As in the original: values in between keep their gradients and pass all on again."""
    results = []
    for value, model in zip((Value, Plain), twins(3, [4, 3, 2]), strict=True):
        x = list(map(value, (0.5, -0.3, 0.8)))
        outs = model(x)
        a, b = outs[0] * outs[1], outs[1] ** 2
        a.backward()
        (b if other_root else a).backward()
        outs[0].backward()
        results.append([*grads(x), *grads(outs), *grads(model.parameters())])
    close(*results)


def test_only_what_the_root_was_made_from():
    results = []
    for value, model in zip((Value, Plain), twins(2, [4, 1]), strict=True):
        rows = [list(map(value, row)) for row in inputs(2, 5)]
        outs = list(map(model, rows))
        (outs[3] * outs[1]).backward()
        results.append([*grads(v for row in rows for v in row), *grads(model.parameters())])
    close(*results)


@pytest.mark.parametrize("when", ["before", "after", "twice"])
def test_looking_inside(when):
    """Every value in between exists, with the data and gradients of the plain twin."""
    seen = []
    for value, model in zip((Value, Plain), twins(2, [3, 2]), strict=True):
        outs = model([value(0.4), -1.5])
        loss = outs[0] + outs[1] * 3.0
        if when == "before":
            walk(loss)
        loss.backward()
        if when == "twice":
            loss.backward()
        for p in model.parameters():
            p.data -= 0.1 * p.grad  # the values in between have been computed before
        seen.append(sorted((round(v.data, 10), round(v.grad, 10)) for v in walk(loss)))
    assert len(seen[0]) > 30
    assert seen[0] == seen[1]


def test_looking_inside_changes_nothing():
    model, _ = twins(2, [3, 1])
    x = [Value(0.4), Value(-1.5)]
    out = model(x)
    out.backward()
    before = grads(model.parameters()), grads(x), out.data, out.grad
    assert (out._op, len(out._prev), Value(1.0, (out,)).data) == ("+", 2, 1.0)
    assert (grads(model.parameters()), grads(x), out.data, out.grad) == before
    assert model(x)._op == "+"
    assert model.layers[0](x)[0]._op == "ReLU"


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
    versions = {id(neurons): 0}
    first = neurons[0]
    for change in (lambda: neurons.reverse(), lambda: neurons.sort(key=id),
                   lambda: neurons.insert(0, neurons.pop()), lambda: neurons.append(Neuron(2)),
                   lambda: neurons.remove(neurons[-1]), lambda: neurons.__delitem__(2),
                   lambda: neurons.__imul__(2), lambda: neurons.extend([Neuron(2)]),
                   lambda: neurons.clear()):  # fmt: skip
        out = model.layers[0]([0.5, -0.25])
        before = [Neuron.__call__(n, [0.5, -0.25]).data for n in neurons]
        change()
        assert [v.data for v in out] == pytest.approx(before, rel=ABSOLUTE)
    assert (len(neurons), versions, repr(first)) == (0, {id(neurons): 0}, "ReLUNeuron(2)")


def test_other_neurons():
    """Users' classes, patched methods and weights that are no plain values go one by one."""

    class Tripled(Neuron):
        def __call__(self, x):
            return super().__call__(x) * 3

    class Own(Value):
        pass

    model, _ = twins(2, [3, 1])
    x = [0.5, 1.0]
    before = model.layers[0](x)[0].data
    model.layers[0].neurons[0] = tripled = Tripled(2)
    tripled.w, tripled.b = model.layers[0].neurons[1].w, model.layers[0].neurons[1].b
    outs = model.layers[0](x)
    assert outs[0].data == 3 * outs[1].data
    model.layers[0].neurons[0] = Neuron(2)
    model.layers[0].neurons[0].w[0] = Own(0.25)
    assert model(x)._prev
    shared = Value(2.0)
    model.layers[0].neurons[0].w[0] = shared * 2
    out = model.layers[0](x)[0]
    model.layers[0].neurons[0].b.data = 100.0
    model.layers[0](x)[0].backward()
    assert (shared.grad, before >= 0, out.grad) == (1.0, True, 0)


def test_patched_methods(monkeypatch):
    model, _ = twins(2, [3, 1])
    before = model([0.5, 1.0]).data
    monkeypatch.setattr(Neuron, "__call__", lambda self, x: self.b + 7.0)
    assert (model([0.5, 1.0]).data, before != 7.0) == (7.0, True)


def test_what_does_not_fit_is_as_in_the_original():
    model, plain = twins(3, [2, 1])
    close(model([1.0, 2.0]).data, plain_zip(plain, [1.0, 2.0]))  # zip stops at the shorter
    with pytest.raises(TypeError, match="not iterable"):
        MLP(2, [1, 1])([1.0, 2.0])
    with pytest.raises(TypeError):
        model(1.0)
    assert MLP(2, [])([1.0]) == [1.0]
    assert Layer(2, 1, nonlin=False)([np.ones(2), 1.0]).data.shape == (2,)


def plain_zip(plain, x):
    """The twin's result with weights beyond the inputs left out."""
    for layer in plain.layers:
        for w, _ in layer:
            del w[len(x) :]
        break
    return plain(x).data


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
        for step in range(30):
            outs = [model([0.1 * i, 1.0]) for i in range(7)]
            loss = sum(outs)
            model.zero_grad()
            loss.backward()
            for p in model.parameters():
                p.data -= 0.001 * p.grad
            found.append(loss.data)
            assert step < 30
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
