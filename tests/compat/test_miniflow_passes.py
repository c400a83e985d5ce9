"""MiniFlow's passes, compiled: the twin's results, whatever a user does between them."""

import numpy as np
import pytest
from miniflow_twins import RATE, close, pair, same, with_square

from fastbp.benchmark._peers import _numpy_miniflow as twin
from fastbp.compat import miniflow as mf


@pytest.mark.parametrize(("rows", "hidden", "dtype", "order"), [
    (11, 10, np.float64, "C"), (1, 10, np.float64, "C"), (2, 1, np.float64, "C"),
    (40, 16, np.float64, "C"), (11, 10, np.float64, "F"), (11, 10, np.float32, "C"),
    (7, 17, np.float32, "F"),
])  # fmt: skip
def test_every_value_and_gradient(rows, hidden, dtype, order):
    ours, theirs = pair(rows=rows, hidden=hidden, dtype=dtype, order=order)
    for _ in range(4):
        ours.step()
        theirs.step()
        same(ours, theirs, dtype)
    for mine, wanted in zip(ours.arrays, theirs.arrays, strict=True):
        close(mine, wanted, dtype)  # the arrays in feed_dict were changed in place


def test_a_step_is_one_program_and_one_update(runs):
    ours, theirs = pair()
    for number in range(6):
        begin = 3 * number
        batch = ours.data[0][begin : begin + 11], ours.data[1][begin : begin + 11]
        ours.step(*batch)
        theirs.step(*batch)
        assert runs == [1, 1] * number  # the first pass goes node by node
    same(ours, theirs)


def test_batches_of_other_sizes_and_layouts():
    ours, theirs = pair()
    x, y = ours.data
    wide = np.repeat(np.repeat(x, 2, axis=0), 2, axis=1)
    batches = [(x[:11], y[:11]), (x[11:22], y[11:22]), (x[22:27], y[22:27]), (x[5:6], y[5:6]),
               (x[:11], y[:11, None]), (x[:11][::-1], y[10::-1]), (wide[::2, ::2][:11], y[:11]),
               (np.asfortranarray(x[:11]), np.repeat(y, 3)[::3][:11]), (x[30:39], y[30:39]),
               (x[:11].astype(np.float32), y[:11].astype(np.float32)), (x[:11], y[:11])]
    for batch in batches:
        for _ in range(2):
            ours.step(*batch)
            theirs.step(*batch)
            same(ours, theirs)


def test_integer_targets_and_read_only_data():
    ours, theirs = pair()
    x, y = ours.data[0][:11].copy(), np.arange(11)
    x.setflags(write=False)
    y.setflags(write=False)
    for _ in range(3):
        ours.step(x, y)
        theirs.step(x, y)
        same(ours, theirs)


def test_what_users_change_is_seen():
    ours, theirs = pair()
    for net in (ours, theirs):
        for number in range(9):
            if number == 2:
                net.X.value[...] *= 0.5  # in place
            if number == 3:
                net.W1.value = net.W1.value * 2  # replaced
            if number == 4:
                net.b1.value += 1
            if number == 5:
                net.X.value.shape = (11, 13)
            net.module.forward_and_backward(net.graph)
            if number == 6:
                for node in net.trainables:
                    np.clip(node.gradients[node], -0.1, 0.1, out=node.gradients[node])
            if number == 7:
                net.W2.gradients = {net.W2: np.ones((10, 1))}
            if number == 8:
                net.W2.value = net.W2.value.copy()  # after the pass, before the update
            net.module.sgd_update(net.trainables, RATE)
    same(ours, theirs)
    assert ours.arrays[0] is not ours.W1.value


def test_kept_arrays_stay_as_they_were():
    ours, _ = pair()
    for _ in range(3):
        ours.step()
    nodes = [ours.l1, ours.s1, ours.l2]
    kept = [node.value for node in nodes] + [node.gradients[node.inbound_nodes[0]]
                                             for node in nodes] + [ours.W1.gradients[ours.W1]]
    before = [array.copy() for array in kept]
    ours.step()
    for array, copy in zip(kept, before, strict=True):
        np.testing.assert_array_equal(array, copy)
    assert not np.array_equal(ours.l1.value, kept[0])


def test_a_forward_pass_leaves_gradients_alone():
    ours, theirs = pair()
    for net in (ours, theirs):
        for _ in range(3):
            net.step()
    ours.X.value, ours.y.value = ours.data[0][:5], ours.data[1][:5]
    mf.forward_pass(ours.graph)
    mf.forward_pass(ours.graph)
    for mine, wanted in zip(ours.trainables, theirs.trainables, strict=True):
        close(mine.gradients[mine], wanted.gradients[wanted])
    assert ours.l2.value.shape == (5, 1)
    # Backwards by hand from compiled values.
    for node in reversed(ours.graph):
        node.backward()
    theirs.X.value, theirs.y.value = ours.X.value, ours.y.value
    theirs.module.forward_and_backward(theirs.graph)
    same(ours, theirs)


def test_gradients_of_shared_nodes_are_summed(runs):
    results = []
    for module in (mf, twin):
        rng = np.random.default_rng(5)
        X, y, W, b, V, c = (module.Input() for _ in range(6))
        hidden = module.Linear(X, W, b)
        one, two = module.Sigmoid(hidden), module.Sigmoid(hidden)
        again = module.Linear(one, W, b)  # W and b a second time
        last = module.Linear(module.Sigmoid(again), V, c)
        other = module.Linear(two, V, c)
        costs = [module.MSE(y, last), module.MSE(y, other)]
        feed = {X: rng.normal(size=(6, 4)), y: rng.normal(size=(6, 1)), W: rng.normal(size=(4, 4)),
                b: rng.normal(size=4), V: rng.normal(size=(4, 1)), c: rng.normal(size=1)}
        graph = module.topological_sort(feed)
        for _ in range(3):
            module.forward_and_backward(graph)
            module.sgd_update([W, b, V, c], RATE)
        results.append([cost.value for cost in costs] + [node.value for node in (hidden, W, V)]
                       + [node.gradients[node] for node in (X, y, W, b, V, c)])
    assert runs == [1] * 4
    for mine, wanted in zip(*results, strict=True):
        close(mine, wanted)


def test_users_nodes_mix_with_ours():
    results = []
    for module in (mf, twin):
        net, graph, cost = with_square(module)
        for _ in range(3):
            module.forward_and_backward(graph)
            module.sgd_update(net.trainables, RATE)
        results.append([cost.value, *(node.gradients[node] for node in net.trainables),
                        *(node.value for node in net.trainables)])
    for mine, wanted in zip(*results, strict=True):
        close(mine, wanted)


def test_edges_that_are_moved_are_seen():
    X, W, V, b = (mf.Input() for _ in range(4))
    first = mf.Linear(X, W, b)
    second = mf.Linear(first, V, b)
    rng = np.random.default_rng(2)
    x, w, v = (rng.normal(size=(2, 2)) for _ in range(3))
    graph = mf.topological_sort({X: x, W: w, V: v, b: np.zeros(2)})
    for _ in range(3):
        close(mf.forward_pass(second, graph), x @ w @ v)
    first.inbound_nodes[1], second.inbound_nodes[1] = V, W
    for _ in range(3):
        close(mf.forward_pass(second, graph), x @ v @ w)


def test_trainables_that_are_slices():
    ours, theirs = pair()
    for net in (ours, theirs):
        net.W1.value, net.b1.value = (np.repeat(np.asarray(node.value), 2, axis=-1)[..., ::2]
                                      for node in (net.W1, net.b1))
        for _ in range(4):
            net.step()
    same(ours, theirs)


def test_methods_given_to_a_node_or_a_class_are_called(monkeypatch):
    calls, forward = [], mf.Sigmoid.forward
    ours, _ = pair()
    ours.s1.backward = lambda: calls.append("own") or mf.Sigmoid.backward(ours.s1)
    for _ in range(3):
        ours.step()
    assert calls == ["own"] * 3
    monkeypatch.setattr(mf.Sigmoid, "forward", lambda self: calls.append("class") or forward(self))
    ours, _ = pair()
    for _ in range(3):
        ours.step()
    assert calls[3:] == ["class"] * 3


def test_a_graph_that_grows_or_is_rewired_is_seen():
    ours, theirs = pair()
    for net in (ours, theirs):
        for _ in range(3):
            net.step()
        net.extra = net.module.MSE(net.y, net.l2)  # one more cost
        net.graph = [*net.graph, net.extra]
        for _ in range(3):
            net.step()
    same(ours, theirs)
    for net in (ours, theirs):
        net.graph.pop()
        for node in (net.y, net.l2):
            node.outbound_nodes.remove(net.extra)
            node.outbound_nodes.append(net.extra)
        net.extra.gradients = {}
        with pytest.raises(KeyError):  # the cost that is not in the graph has none
            net.step()
