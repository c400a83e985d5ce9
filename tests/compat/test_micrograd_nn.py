"""micrograd's networks: results, gradients and graphs are those of the plain twin."""

import numpy as np
import pytest
from micrograd_twins import close, grads, inputs, listed, twins, walk

from fastbp.benchmark._peers.compat_micrograd import Plain
from fastbp.compat.micrograd import _calls
from fastbp.compat.micrograd.engine import Value
from fastbp.compat.micrograd.nn import MLP, Layer, Module, Neuron

NETWORKS = [(3, [4, 4, 1]), (2, [16, 16, 1]), (1, [1]), (5, [3]), (2, [2, 3]), (17, [9, 8, 7, 2])]


def test_weights_and_names():
    ours, plain = twins(3, [4, 1])
    assert [p.data for p in ours.parameters()] == [p.data for p in plain.parameters()]
    assert repr(ours) == ("MLP of [Layer of [" + ", ".join(["ReLUNeuron(3)"] * 4)
                          + "], Layer of [LinearNeuron(4)]]")  # fmt: skip
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


@pytest.mark.parametrize("used", [slice(1, 3), slice(None)])
@pytest.mark.parametrize("look", [False, True])
def test_data_changed_between_forward_and_backward(look, used):
    """Gradients use the inputs and weights of the moment, and the activations of before."""
    results = []
    for value, model in zip((Value, Plain), twins(2, [4, 3, 1]), strict=True):
        rows = [list(map(value, row)) for row in inputs(2, 6)]
        outs = list(map(model, rows))
        total = sum(outs[used], value(0.0)) * 2.0
        for row in rows[:2]:
            row[0].data += 0.5
        for p in model.parameters():
            p.data *= 1.25
        total.backward()
        for p in model.parameters():
            p.data *= 2.0
        results.append([*grads(v for row in rows for v in row), *grads(model.parameters())])
        if look:
            results[-1] += sorted(x for v in walk(total) for x in (v.data, v.grad))
    close(*results)


def test_linear_hidden_layers():
    results = []
    for value, model in zip((Value, Plain), twins(2, [4, 3, 1]), strict=True):
        if value is Value:
            for n in model.layers[0].neurons:
                n.nonlin = False
            out = model([value(0.5), value(-2.0)])
            assert out._rule == _calls.CALL
        else:
            hidden = [sum((w * x for w, x in zip(ws, (0.5, -2.0), strict=True)), b)
                      for ws, b in model.layers[0]]  # fmt: skip
            model.layers, layers = model.layers[1:], model.layers
            out = model(hidden)
            model.layers = layers
        out.backward()
        results.append([out.data, *grads(model.parameters())])
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
