"""MiniFlow's update and `train`: the results of the lesson's loop on the NumPy twin."""
# ruff: noqa: NPY002 - the lesson draws from the global generator

import numpy as np
import pytest
from miniflow_twins import RATE, Regression, close, pair, same, with_square

from fastbp._errors import ArgumentError, DataError, DTypeError, ShapeError
from fastbp.benchmark._peers import _numpy_miniflow as twin
from fastbp.compat import miniflow as mf

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
