"""Nielsen's `network2`: costs, monitoring, files; a script of both networks, and their page."""
# ruff: noqa: NPY002 - the book draws from the global generators

import copy
import pickle
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from nielsen_twins import close, make_data, pair, seeded

from fastbp._errors import ArgumentError, CheckpointError
from fastbp.benchmark._peers import _numpy_nielsen as twin
from fastbp.compat.nielsen import network, network2

SCRIPTS = Path(__file__).parent / "scripts"


@pytest.mark.parametrize("cost", ["QuadraticCost", "CrossEntropyCost"])
@pytest.mark.parametrize("lmbda", [0.0, 3.0])
def test_monitoring_is_the_twins(cost, lmbda, capsys):
    sizes = [12, 9, 10]
    data = make_data(50, sizes)
    evaluation = [(x, int(np.argmax(y))) for x, y in make_data(20, sizes, seed=3)]
    found = []
    for make, module in ((network2.Network, network2), (twin.Network, twin)):
        np.random.seed(5)
        net = make(sizes, cost=getattr(module, cost))
        monitored = seeded(net.SGD, list(data), 4, 8, 0.5, lmbda, evaluation, True, True, True,
                           True)
        found.append((net, monitored, capsys.readouterr().out))
    (ours, mine, printed), (theirs, wanted, lines) = found
    close(ours.weights, theirs.weights)
    close(ours.biases, theirs.biases)
    assert [len(numbers) for numbers in mine] == [4] * 4
    np.testing.assert_allclose(mine[0], wanted[0], rtol=1e-11)
    np.testing.assert_allclose(mine[2], wanted[2], rtol=1e-11)
    assert mine[1] == wanted[1]
    assert mine[3] == wanted[3]
    # Costs are printed with all their digits: compare the words.
    words = [line.rpartition(" " if "Cost" in line else "\n")[0] or line
             for line in printed.splitlines()]
    assert words == [line.rpartition(" " if "Cost" in line else "\n")[0] or line
                     for line in lines.splitlines()]
    assert isinstance(mine, tuple)


def test_nothing_monitored_gives_empty_lists(capsys):
    net = network2.Network([3, 2])
    assert net.SGD(make_data(4, [3, 2]), 1, 2, 0.1) == ([], [], [], [])
    assert capsys.readouterr().out == "Epoch 0 training complete\n"


def test_a_users_cost_is_asked(capsys):
    class Doubled:
        @staticmethod
        def fn(a, y):
            return np.sum((a - y) ** 2)

        @staticmethod
        def delta(z, a, y):
            return 2 * (a - y) * a * (1 - a)

    class Cubic(network2.QuadraticCost):
        fn = staticmethod(lambda a, y: np.sum(np.abs(a - y) ** 3))

    data = make_data(12, [4, 3, 2])
    ours, theirs = pair([4, 3, 2], "network2", cost=Doubled)
    for net in (ours, theirs):
        seeded(net.SGD, list(data), 2, 5, 0.5, lmbda=1.0)
    close(ours.weights, theirs.weights)
    for cost in (Doubled, Cubic):
        ours.cost = theirs.cost = cost
        np.testing.assert_allclose(ours.total_cost(data, 1.0), theirs.total_cost(data, 1.0),
                                   rtol=1e-12)


def test_early_stopping(capsys):
    class Scripted(network2.Network):
        def accuracy(self, data, convert=False):
            self.asked = getattr(self, "asked", -1) + 1
            return [3, 5, 5, 4, 6, 6, 6, 6][self.asked]

    data = make_data(4, [3, 2])
    test = [(x, 0) for x, _ in data]
    found = Scripted([3, 2]).SGD(data, 20, 2, 0.1, evaluation_data=test,
                                 monitor_evaluation_accuracy=True, early_stopping_n=3)
    assert found[1] == [3, 5, 5, 4, 6, 6, 6, 6]
    with pytest.raises(ArgumentError, match="early_stopping_n=3 without an accuracy"):
        Scripted([3, 2]).SGD(data, 20, 2, 0.1, early_stopping_n=3)
    with pytest.raises(ArgumentError, match="without evaluation_data"):
        Scripted([3, 2]).SGD(data, 20, 2, 0.1, monitor_evaluation_cost=True)


def test_initializers_draw_as_the_book():
    np.random.seed(3)
    biases = [np.random.randn(3, 1), np.random.randn(2, 1)]
    weights = [np.random.randn(3, 4), np.random.randn(2, 3)]
    for make in (network.Network, network2.Network):
        np.random.seed(3)
        net = make([4, 3, 2])
        scale = [2, np.sqrt(3)] if make is network2.Network else [1, 1]
        for mine, wanted in zip([*net.biases, *net.weights],
                                [*biases, *(w / s for w, s in zip(weights, scale, strict=True))],
                                strict=True):
            np.testing.assert_array_equal(mine, wanted)
        assert net.num_layers == 3
        assert net.sizes == [4, 3, 2]
    np.random.seed(3)
    net.large_weight_initializer()
    np.testing.assert_array_equal(net.weights[0], weights[0])


def test_costs_of_single_samples():
    a, y = np.array([[0.2], [1.0]]), np.array([[0.0], [1.0]])
    assert network2.QuadraticCost.fn(a, y) == pytest.approx(0.02, rel=1e-14)
    assert network2.CrossEntropyCost.fn(a, y) == pytest.approx(-np.log(0.8), rel=1e-14)
    np.testing.assert_array_equal(network2.CrossEntropyCost.delta(None, a, y), a - y)
    z = np.array([[0.5], [-0.5]])
    np.testing.assert_allclose(network2.QuadraticCost.delta(z, a, y),
                               (a - y) * twin.sigmoid_prime(z), rtol=1e-15)
    np.testing.assert_array_equal(network2.vectorized_result(3), np.eye(10)[:, [3]])


def test_save_and_load(tmp_path, capsys):
    net = network2.Network([4, 3, 2], cost=network2.QuadraticCost)
    net.SGD(make_data(6, [4, 3, 2]), 1, 3, 0.5)
    net.save(tmp_path / "net.json")
    other = network2.load(str(tmp_path / "net.json"))
    for mine, wanted in zip([*other.weights, *other.biases], [*net.weights, *net.biases],
                            strict=True):
        np.testing.assert_array_equal(mine, wanted)
    assert other.cost is network2.QuadraticCost
    assert other.sizes == [4, 3, 2]
    for again in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        np.testing.assert_array_equal(again.weights[0], net.weights[0])


def test_files_that_are_no_network(tmp_path):
    path = tmp_path / "net.json"
    good = '{"sizes": [1, 1], "weights": [[[1.0]]], "biases": [[[1.0]]], "cost": "QuadraticCost"}'
    for text, message in (("nonsense", "net.json: JSONDecodeError"), ("{}", "KeyError: 'cost'"),
                          (good.replace("Quadratic", "My"), r"cost 'MyCost'; .*network2.MyCost ="),
                          (good.replace("QuadraticCost", "json"), "cost 'json'"),
                          (good.replace("[1, 1]", "[1, 2]"), r"those of sizes \[1, 2\]")):
        path.write_text(text)
        with pytest.raises(CheckpointError, match=message):
            network2.load(path)
    path.write_text(good)
    assert network2.load(path).weights[0].shape == (1, 1)


def test_the_script_prints_what_its_twin_prints(monkeypatch, capsys):
    results = []
    one = type(sys)("network")
    one.Network = twin.Network1
    for first, second in ((network, network2), (one, twin)):
        monkeypatch.setitem(sys.modules, "network", first)
        monkeypatch.setitem(sys.modules, "network2", second)
        found = runpy.run_path(str(SCRIPTS / "nielsen_digits.py"))
        lines = capsys.readouterr().out.splitlines()
        results.append((found, [line for line in lines if not line.startswith("Cost")]))
    (ours, printed), (theirs, wanted) = results
    assert printed == wanted
    assert len(printed) == 15 + 3 * 6
    for mine, numbers in zip(ours["costs"], theirs["costs"], strict=True):
        np.testing.assert_allclose(mine, numbers, rtol=1e-9)
    close(ours["net"].weights, theirs["net"].weights)
    assert int(printed[14].split()[2]) > 15  # of 30, after 15 epochs


def test_the_examples_of_the_page_hold(monkeypatch, capsys):
    page = (SCRIPTS.parents[2] / "docs" / "compat-miniflow-nielsen.md").read_text("utf-8")
    blocks = [part.partition("```")[0] for part in page.split("```python\n")[1:]]
    assert len(blocks) == 3
    for name in ("miniflow", "network", "network2"):
        monkeypatch.setitem(sys.modules, name, None)  # put back afterwards
    for block in blocks:
        exec(block, {})
