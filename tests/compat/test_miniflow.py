"""MiniFlow: the lesson's numbers and conventions, node by node and compiled."""
# ruff: noqa: NPY002 - the rows draw from the global generator

import copy
import pickle
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

from fastbp._errors import ArgumentError, ShapeError
from fastbp.benchmark._peers import _numpy_miniflow as twin
from fastbp.benchmark._peers.compat_graphs import ROWS
from fastbp.compat import miniflow as mf

SCRIPTS = Path(__file__).parent / "scripts"
PASSES = pytest.mark.parametrize("passes", [1, 3], ids=["by node", "compiled"])


# ---- the lesson's numbers; 8 digits are printed there --------------------------------------------


@pytest.mark.parametrize("passes", [1, 3])
def test_add_and_mul_of_numbers(passes):
    x, y, z = mf.Input(), mf.Input(), mf.Input()
    total, product = mf.Add(x, y, z), mf.Mul(x, y, z)
    nodes = mf.topological_sort({x: 4, y: 5, z: 10})
    for _ in range(passes):
        assert mf.forward_pass(total, nodes) == 19
        assert mf.forward_pass(product, nodes) == 200


def test_linear_on_lists():
    inputs, weights, bias = mf.Input(), mf.Input(), mf.Input()
    f = mf.Linear(inputs, weights, bias)
    nodes = mf.topological_sort({inputs: [6, 14, 3], weights: [0.5, 0.25, 1.4], bias: 2})
    assert mf.forward_pass(f, nodes) == pytest.approx(12.7, rel=1e-15)


def test_linear_on_lists_of_nodes_as_in_2016():
    x, y, z, wx, wy, wz, bias = (mf.Input() for _ in range(7))
    f = mf.Linear([x, y, z], [wx, wy, wz], bias)
    nodes = mf.topological_sort({x: 6, y: 14, z: 3, wx: 0.5, wy: 0.25, wz: 1.4, bias: 2})
    assert mf.forward_pass(f, nodes) == pytest.approx(12.7, rel=1e-15)
    assert f.weights == [wx, wy, wz]
    cost = mf.MSE(target := mf.Input(), f)
    graph = mf.topological_sort({n: n.value for n in nodes if isinstance(n, mf.Input)}
                                | {target: np.array([10.7])})
    mf.forward_and_backward(graph)
    assert cost.value == pytest.approx(4.0, rel=1e-12)
    assert float(wy.gradients[wy].item()) == pytest.approx(2 * 2 * 14, rel=1e-12)
    assert float(y.gradients[y].item()) == pytest.approx(2 * 2 * 0.25, rel=1e-12)
    assert float(bias.gradients[bias].item()) == pytest.approx(4, rel=1e-12)


def linear_graph(*outer):
    X, W, b = mf.Input(), mf.Input(), mf.Input()
    f = mf.Linear(X, W, b)
    feed = {X: np.array([[-1.0, -2.0], [-1, -2]]), W: np.array([[2.0, -3], [2.0, -3]]),
            b: np.array([-3.0, -5])}
    for make in outer:
        f = make(f)
    return f, mf.topological_sort(feed)


@PASSES
def test_linear_on_arrays(passes):
    f, graph = linear_graph()
    for _ in range(passes):
        assert mf.forward_pass(graph) is None
    np.testing.assert_array_equal(f.value, [[-9, 4], [-9, 4]])


@PASSES
def test_sigmoid(passes):
    f, graph = linear_graph(mf.Sigmoid)
    for _ in range(passes):
        value = mf.forward_pass(f, graph)
    np.testing.assert_allclose(value, [[1.23394576e-04, 9.82013790e-01]] * 2, rtol=5e-9)


@PASSES
def test_mse(passes):
    y, a = mf.Input(), mf.Input()
    cost = mf.MSE(y, a)
    graph = mf.topological_sort({y: np.array([1, 2, 3]), a: np.array([4.5, 5, 10])})
    for _ in range(passes):
        mf.forward_pass(graph)
    assert cost.value == pytest.approx(23.4166666667, rel=1e-11)
    assert cost.m == 3
    np.testing.assert_array_equal(cost.diff, [[-3.5], [-3], [-7]])


@PASSES
def test_backpropagation(passes):
    X, W, b, y = mf.Input(), mf.Input(), mf.Input(), mf.Input()
    f = mf.Linear(X, W, b)
    a = mf.Sigmoid(f)
    mf.MSE(y, a)
    graph = mf.topological_sort({X: np.array([[-1.0, -2.0], [-1, -2]]), y: np.array([1, 2]),
                                 W: np.array([[2.0], [3.0]]), b: np.array([-3.0])})
    for _ in range(passes):
        mf.forward_and_backward(graph)
    found = [node.gradients[node] for node in (X, y, W, b)]
    wanted = [[[-3.34017280e-05, -5.01025919e-05], [-6.68040138e-05, -1.00206021e-04]],
              [[0.9999833], [1.9999833]], [[5.01028709e-05], [1.00205742e-04]], [-5.01028709e-05]]
    for gradient, numbers in zip(found, wanted, strict=True):
        assert gradient.shape == np.shape(numbers)
        np.testing.assert_allclose(gradient, numbers, rtol=5e-8)


# ---- sorting -------------------------------------------------------------------------------------


def test_the_order_is_reproducible_and_the_cost_last():
    orders = []
    for _ in range(3):
        X, y, W, b = (mf.Input() for _ in range(4))
        cost = mf.MSE(y, mf.Sigmoid(mf.Linear(X, W, b)))
        order = mf.topological_sort({y: np.zeros(1), X: np.ones((1, 1)), W: np.ones((1, 1)),
                                     b: np.zeros(1)})
        assert order[-1] is cost
        assert order[:4] == [y, X, W, b]
        orders.append([type(node) for node in order])
    assert orders[0] == orders[1] == orders[2]


def test_a_node_used_twice_by_one_node():
    x = mf.Input()
    square = mf.Mul(x, x)
    cost = mf.MSE(target := mf.Input(), square)
    graph = mf.topological_sort({x: np.array([[3.0]]), target: np.array([[5.0]])})
    for _ in range(3):
        mf.forward_and_backward(graph)
    assert cost.value == 16
    np.testing.assert_array_equal(x.gradients[x], [[8.0 * 6]])  # 2 (9 - 5) * 2 * 3


def test_sorting_refuses_what_is_no_graph():
    with pytest.raises(ArgumentError, match="key 'x'; wanted nodes"):
        mf.topological_sort({"x": 1})
    x = mf.Input()
    first = mf.Add(x)
    second = mf.Add(first)
    first.inbound_nodes.append(second)
    second.outbound_nodes.append(first)
    with pytest.raises(ArgumentError, match="cycle"):
        mf.topological_sort({x: 1})


# ---- names of 2016, user's nodes -----------------------------------------------------------------


def test_names_of_2016():
    class Double(mf.Neuron):
        def __init__(self, node):
            mf.Neuron.__init__(self, inbound_neurons=[node])

        def forward(self):
            self.value = 2 * self.inbound_neurons[0].value

    x = mf.Input()
    f = Double(x)
    assert x.outbound_neurons == [f]
    assert mf.forward_pass(f, mf.topological_sort({x: 21})) == 42
    f.inbound_neurons, f.outbound_neurons = [], []
    assert f.inbound_nodes == f.outbound_nodes == []


def test_input_forward_takes_a_value():
    x = mf.Input()
    x.forward(3)
    x.forward()
    assert x.value == 3
    x.forward(0)
    assert x.value == 0


def test_star_import_brings_numpy_and_every_name():
    names = {}
    exec("from fastbp.compat.miniflow import *", names)
    assert names["np"] is np
    assert {"Node", "Neuron", "Input", "Linear", "Sigmoid", "MSE", "Add", "Mul", "topological_sort",
            "forward_pass", "forward_and_backward", "sgd_update"} <= names.keys()


def test_copies_and_pickles_keep_results():
    f, graph = linear_graph(mf.Sigmoid)
    for _ in range(3):
        mf.forward_pass(graph)
    for other in (copy.deepcopy(graph), pickle.loads(pickle.dumps(graph))):
        np.testing.assert_array_equal(other[-1].value, f.value)
        other[0].value = np.zeros((2, 2))
        mf.forward_pass(other)
        mf.forward_pass(other)
        np.testing.assert_allclose(other[-1].value[0], 1 / (1 + np.exp([3.0, 5])), rtol=1e-14)
    np.testing.assert_allclose(f.value[0, 0], 1.23394576e-04, rtol=5e-9)


# ---- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize("passes", [0, 2])
def test_wrong_shapes_name_the_node(passes):
    X, W, b, y = (mf.Input() for _ in range(4))
    f = mf.Linear(X, W, b)
    mf.MSE(y, f)
    graph = mf.topological_sort({X: np.ones((4, 3)), W: np.ones((3, 1)), b: np.zeros(1),
                                 y: np.ones(4)})
    for _ in range(passes):
        mf.forward_and_backward(graph)
    X.value = np.ones((4, 2))
    with pytest.raises(ShapeError, match=r"Linear: X \(4, 2\), W \(3, 1\), b \(1,\); wanted"):
        mf.forward_and_backward(graph)
    X.value, y.value = np.ones((4, 3)), np.ones(5)
    with pytest.raises(ShapeError, match=r"MSE: y \(5,\), a \(4, 1\); wanted as many"):
        mf.forward_and_backward(graph)
    y.value = None
    with pytest.raises(ArgumentError, match=r"MSE: input 0 has no value; .*feed_dict"):
        mf.forward_and_backward(graph)


def test_mse_over_two_columns_has_no_gradient():
    X, W, b, y = (mf.Input() for _ in range(4))
    mf.MSE(y, mf.Linear(X, W, b))
    graph = mf.topological_sort({X: np.ones((4, 3)), W: np.ones((3, 2)), b: np.zeros(2),
                                 y: np.ones((4, 2))})
    mf.forward_pass(graph)
    assert graph[-1].value == 4
    with pytest.raises(ShapeError, match=r"Linear, backward: .*one output column"):
        mf.forward_and_backward(graph)


def test_other_errors():
    with pytest.raises(ArgumentError, match=r"Sigmoid: an inbound node is 3; wanted a node"):
        mf.Sigmoid(3)
    with pytest.raises(ArgumentError, match="forward_pass with 3 arguments"):
        mf.forward_pass(1, 2, 3)
    with pytest.raises(NotImplementedError):
        mf.Node().forward()
    with pytest.raises(NotImplementedError):
        mf.Node().backward()


# ---- benchmark, a script -------------------------------------------------------------------------


def numbers(value):
    parts = value if isinstance(value, (tuple, list)) else None
    return [np.asarray(value)] if parts is None else [x for part in parts for x in numbers(part)]


def test_rows_of_the_benchmark_agree():
    for name, make_inputs, theirs, ours in ROWS:
        if "epochs" in name:  # seconds in NumPy; test_nielsen.py compares these
            continue
        results = []
        for function in (theirs, ours):
            np.random.seed(0)
            results.append(function(*make_inputs()))
        for mine, wanted in zip(*map(numbers, results), strict=True):
            np.testing.assert_allclose(mine, wanted, rtol=1e-9, atol=1e-12)


def test_the_script_has_the_losses_of_its_twin(monkeypatch, capsys):
    results = []
    for module in (mf, twin):
        monkeypatch.setitem(sys.modules, "miniflow", module)
        results.append((runpy.run_path(str(SCRIPTS / "miniflow_housing.py")),
                        capsys.readouterr().out))
    (ours, printed), (twins, wanted) = results
    assert printed == wanted
    # 50 steps, each a sum of at most 13 products: 1e-10 leaves room for the growth of u.
    np.testing.assert_allclose(ours["losses"], twins["losses"], rtol=1e-10)
    np.testing.assert_allclose(ours["W1_"], twins["W1_"], rtol=1e-10, atol=1e-12)
    assert ours["losses"][-1] < 0.1 * ours["losses"][0]
