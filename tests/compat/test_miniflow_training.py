"""MiniFlow compiled: the same results as the NumPy twin, whatever a user does between passes.

Bounds: sums of at most 13 (columns) or 40 (rows) products, so 1e-12 of the largest element leaves
a factor of a hundred over n*u for what a few steps add; float32 likewise with 1e-4.
"""
# ruff: noqa: NPY002 - the lesson draws from the global generator

import numpy as np
import pytest

from fastbp._errors import ArgumentError, DataError, DTypeError, ShapeError
from fastbp._program import Program
from fastbp.benchmark._peers import _numpy_miniflow as twin
from fastbp.compat import miniflow as mf
from fastbp.compat.miniflow import _train

RATE = 0.05


def close(ours, wanted, dtype=np.float64):
    ours, wanted = np.asarray(ours), np.asarray(wanted)
    assert ours.dtype == wanted.dtype
    assert ours.shape == wanted.shape
    scale = np.abs(wanted).max(initial=1e-300)
    np.testing.assert_allclose(ours, wanted, rtol=0,
                               atol=scale * (1e-12 if dtype == np.float64 else 1e-4))


class Regression:
    """The lesson's network on either module: X, y, two linear layers, a sigmoid, MSE."""

    def __init__(self, module, *, rows=11, dtype=np.float64, hidden=10, order="C"):
        rng = np.random.default_rng(3)
        self.module = module
        self.X, self.y, *weights = (module.Input() for _ in range(6))
        self.W1, self.b1, self.W2, self.b2 = self.trainables = weights
        self.l1 = module.Linear(self.X, self.W1, self.b1)
        self.s1 = module.Sigmoid(self.l1)
        self.l2 = module.Linear(self.s1, self.W2, self.b2)
        self.cost = module.MSE(self.y, self.l2)
        self.data = rng.normal(size=(40, 13)).astype(dtype), rng.normal(size=40).astype(dtype)
        shapes = (13, hidden), (hidden,), (hidden, 1), (1,)
        self.arrays = [np.array(rng.normal(size=shape), dtype, order=order) for shape in shapes]
        feed = {self.X: self.data[0][:rows], self.y: self.data[1][:rows]}
        self.graph = module.topological_sort(
            feed | dict(zip(self.trainables, self.arrays, strict=True)))

    def step(self, *batch):
        if batch:
            self.X.value, self.y.value = batch
        self.module.forward_and_backward(self.graph)
        self.module.sgd_update(self.trainables, RATE)

    def results(self):
        nodes = [self.X, self.y, *self.trainables, self.l1, self.s1, self.l2, self.cost]
        found = [node.value for node in nodes]
        for node in nodes:
            found += list(node.gradients.values())
        return [*found, self.cost.diff]


def pair(**settings):
    return Regression(mf, **settings), Regression(twin, **settings)


def same(ours, theirs, dtype=np.float64):
    for mine, wanted in zip(ours.results(), theirs.results(), strict=True):
        close(mine, wanted, dtype)


@pytest.fixture
def runs(monkeypatch):
    """Steps of every program that is run, in order."""
    seen, run = [], Program.run

    def counted(self, steps=1, **settings):
        seen.append(steps)
        return run(self, steps, **settings)

    monkeypatch.setattr(Program, "run", counted)
    monkeypatch.setattr(_train, "_RUN_SECONDS", 1e9)  # no run is cut short, however slow
    return seen


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


def with_square(module):
    class Square(module.Node):
        def __init__(self, node):
            module.Node.__init__(self, [node])

        def forward(self):
            self.value = self.inbound_nodes[0].value ** 2

        def backward(self):
            x = self.inbound_nodes[0]
            self.gradients = {x: sum(2 * x.value * n.gradients[self] for n in self.outbound_nodes)}

    class Leaky(module.Sigmoid):
        def forward(self):
            module.Sigmoid.forward(self)
            self.value = self.value + 0.01 * self.inbound_nodes[0].value

    net = Regression(module)
    square = Square(Leaky(net.l1))
    cost = module.MSE(net.y, module.Linear(square, net.W2, net.b2))
    for dead in (net.s1, net.cost):
        for source in dead.inbound_nodes:
            source.outbound_nodes.remove(dead)
    for source in net.l2.inbound_nodes[1:]:
        source.outbound_nodes.remove(net.l2)
    feed = {node: node.value for node in (net.X, net.y, *net.trainables)}
    return net, module.topological_sort(feed), cost


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


# ---- the update ----------------------------------------------------------------------------------


def test_update_refuses_integers_as_numpy_does_and_changes_nothing():
    a, b = mf.Input(), mf.Input()
    a.value, b.value = np.ones(3), np.ones(3, np.int64)
    a.gradients, b.gradients = {a: np.ones(3)}, {b: np.ones(3)}
    with pytest.raises(TypeError, match="Cannot cast ufunc 'subtract'"):
        mf.sgd_update([a, b])
    np.testing.assert_array_equal(a.value, 1)


def test_update_refuses_read_only_values():
    ours, _ = pair()
    for _ in range(2):
        ours.step()
    mf.forward_and_backward(ours.graph)
    before = [array.copy() for array in ours.arrays]
    ours.arrays[3].setflags(write=False)
    with pytest.raises(ArgumentError, match=r"sgd_update: .*read-only; .*in place"):
        mf.sgd_update(ours.trainables)
    for array, copy in zip(ours.arrays, before, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_update_of_numbers_rebinds():
    a = mf.Input()
    a.value, a.gradients = 2.0, {a: 3.0}
    mf.sgd_update((a,), learning_rate=0.5)
    assert a.value == 0.5
    mf.sgd_update([])


# ---- train ---------------------------------------------------------------------------------------


def loop(net, index, x, y):
    losses = []
    for rows in index:
        net.step(x[rows], y[rows])
        losses.append(net.cost.value)
    return losses


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("batch", [1, 11])
def test_train_is_the_loop(runs, dtype, batch):
    ours, theirs = pair(dtype=dtype, rows=batch)
    x, y = ours.data
    index = np.random.default_rng(0).integers(0, 40, size=(30, batch))
    losses = mf.train(ours.graph, ours.trainables, {ours.X: x, ours.y: y}, learning_rate=RATE,
                      index=index)
    assert sum(runs) == 30
    assert runs == [1, 2, 4, 8, 15]
    wanted = loop(theirs, index, x, y)
    close(losses, np.asarray(wanted, np.float64), dtype)
    same(ours, theirs, dtype)
    # Other arrays of the same kind, and the ordinary functions after it.
    for net in (ours, theirs):
        net.b1.value = net.b1.value.copy()
    losses = mf.train(ours.graph, ours.trainables, {ours.X: x[::-1].copy(), ours.y: y},
                      learning_rate=RATE, index=index[:5])
    wanted = loop(theirs, index[:5], x[::-1].copy(), y)
    close(losses, np.asarray(wanted, np.float64), dtype)
    for _ in range(2):
        ours.step()
        theirs.step()
        same(ours, theirs, dtype)
    plans = ours.graph[-1]._known._plans[True]
    mf.train(ours.graph, ours.trainables, {ours.X: x, ours.y: y}, index=index[:5])
    ours.step()
    assert len(plans) == 1  # the batch that `train` left fits the plan that there is


def test_train_draws_what_resampling_a_step_at_a_time_draws():
    ours, theirs = pair()
    x, y = ours.data
    np.random.seed(7)
    losses = mf.train(ours.graph, ours.trainables, {ours.X: x, ours.y: y}, learning_rate=RATE,
                      batch_size=11, steps=9)
    np.random.seed(7)
    index = [np.random.randint(0, 40, size=(11,)) for _ in range(9)]
    close(losses, np.array(loop(theirs, index, x, y)))
    after = np.random.rand()
    np.random.seed(7)
    [np.random.randint(0, 40, size=(11,)) for _ in range(9)]
    assert after == np.random.rand()


def test_train_of_users_nodes_and_integer_targets():
    for make in (with_square, None):
        results = []
        for module in (mf, twin):
            net, graph, cost = make(module) if make else (*(Regression(module),), None, None)
            graph, cost = graph or net.graph, cost or net.cost
            x, y = net.data[0], np.arange(40)
            index = np.arange(40).reshape(8, 5)
            if module is mf:
                losses = mf.train(graph, net.trainables, {net.X: x, net.y: y}, index=index)
            else:
                losses = []
                for rows in index:
                    net.X.value, net.y.value = x[rows], y[rows]
                    twin.forward_and_backward(graph)
                    twin.sgd_update(net.trainables)
                    losses.append(cost.value)
            results.append([np.array(losses), *(node.value for node in net.trainables)])
        for mine, wanted in zip(*results, strict=True):
            close(mine, wanted)


def test_train_with_two_costs():
    results = []
    for module in (mf, twin):
        net = Regression(module)
        shift = module.Input()
        other = module.MSE(module.Linear(net.l1, net.W2, shift), net.l2)
        last = module.MSE(net.y, net.l2)
        net.graph = module.topological_sort(
            {node: node.value for node in (net.X, net.y, *net.trainables)} | {shift: np.ones(1)})
        assert net.graph[-1] is last
        x, y = net.data[0], net.data[1][:, None]
        index = np.arange(40).reshape(8, 5)
        if module is mf:
            mf.train(net.graph, net.trainables, {net.X: x, net.y: y}, index=index,
                     learning_rate=1e-3)
        else:
            for net.X.value, net.y.value in zip(x[index], y[index], strict=True):
                twin.forward_and_backward(net.graph)
                twin.sgd_update(net.trainables, 1e-3)
        results.append([other.value, last.value, net.cost.value, shift.gradients[shift],
                        *(node.value for node in net.trainables)])
    for mine, wanted in zip(*results, strict=True):
        close(mine, wanted)


def test_train_with_fortran_weights_is_the_loop_by_parts():
    ours, theirs = pair(order="F")
    x, y = ours.data
    index = np.arange(40).reshape(8, 5)
    losses = mf.train(ours.graph, ours.trainables, {ours.X: x, ours.y: y}, index=index,
                      learning_rate=RATE)
    close(losses, np.array(loop(theirs, index, x, y)))
    same(ours, theirs)


@pytest.mark.parametrize(("change", "error", "message"), [
    ({"index": [[0, 40]]}, DataError, "index from 0 to 40; wanted rows from 0 to 39"),
    ({"index": [[0.5]]}, DTypeError, "index with dtype float64"),
    ({"index": [0, 1]}, ShapeError, r"index with shape \(2,\)"),
    ({"index": None}, ArgumentError, "batch_size=None, steps=None"),
    ({"index": None, "batch_size": 0, "steps": 1}, ArgumentError, "batch_size=0"),
    ({"data": {}}, ArgumentError, "data for no node"),
    ({"graph": []}, ArgumentError, "empty graph"),
    ({"trainables": [mf.Input()]}, ArgumentError, "not in the graph"),
])
def test_train_refuses(change, error, message):
    ours, _ = pair()
    before = [array.copy() for array in ours.arrays]
    arguments = {"graph": ours.graph, "trainables": ours.trainables, "index": [[0, 1]],
                 "data": dict(zip((ours.X, ours.y), ours.data, strict=True))} | change
    with pytest.raises(error, match=message):
        mf.train(**arguments)
    for array, copy in zip(ours.arrays, before, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_train_refuses_data_of_other_lengths_and_trainable_data():
    ours, _ = pair()
    x, y = ours.data
    with pytest.raises(ShapeError, match=r"data with shapes \(40, 13\), \(39,\)"):
        mf.train(ours.graph, ours.trainables, {ours.X: x, ours.y: y[1:]}, index=[[0]])
    with pytest.raises(DataError, match="without rows"):
        mf.train(ours.graph, ours.trainables, {ours.X: x[:0], ours.y: y[:0]}, index=[[0]])
    with pytest.raises(ArgumentError, match="either, not both"):
        mf.train(ours.graph, [ours.X], {ours.X: x, ours.y: y}, index=[[0]])
    assert mf.train(ours.graph, ours.trainables, {ours.X: x, ours.y: y}, batch_size=3,
                    steps=0).shape == (0,)
