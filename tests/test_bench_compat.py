"""The group `compat` of `fastbp bench`: tables of twins, and what of their results is compared."""

import importlib.util
import random
import sys
from importlib.machinery import ModuleSpec

import numpy as np
import pytest

from fastbp.benchmark import checks
from fastbp.benchmark._peers import _compat
from fastbp.benchmark.groups import GroupOptions, select
from fastbp.benchmark.rows import NotMeasured, Row
from fastbp.benchmark.session import Session
from fastbp.benchmark.timing import QUICK


@pytest.fixture
def rows(monkeypatch):
    """An own table `compat_example`; a test appends to it."""
    name = "fastbp.benchmark._peers.compat_example"
    module = importlib.util.module_from_spec(ModuleSpec(name, None))
    module.ROWS = []
    monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(_compat, "MODULES", ("example", "absent"))
    return module.ROWS


def case(name, contestant):
    return _compat.case({"module": "example", "name": name}, contestant)


def test_rows_come_from_the_tables_that_are_there(rows):
    rows += [("one", tuple, int, int), ("example two", tuple, int, int)]
    found = select("compat", GroupOptions())
    assert [row.path for row in found] == ["compat/example one", "compat/example two"]
    assert found[1].spec == {"module": "example", "name": "example two"}


def test_each_side_runs_its_own_function(rows):
    calls = []
    rows.append(("add", lambda: (2, 3), lambda a, b: calls.append("numpy") or a + b,
                 lambda a, b: calls.append("fastbp") or a + b))  # fmt: skip
    for contestant in ("numpy", "fastbp"):
        made = case("add", contestant)
        assert made.result() == [5]
        made.run()
        assert calls == [contestant] * 2
        calls.clear()


def test_results_start_afresh_with_the_same_random_numbers(rows):
    def draw(x):
        x += np.random.rand() + random.random()  # noqa: NPY002
        return x

    rows.append(("draw", lambda: (np.random.rand(3),), draw, draw))  # noqa: NPY002
    first, second = case("draw", "numpy"), case("draw", "fastbp")
    first.run()
    np.testing.assert_array_equal(first.result(), second.result())


def test_work_that_returns_nothing_is_judged_by_its_inputs(rows):
    def double(x):
        x *= 2

    rows.append(("double", lambda: (np.ones(2),), double, double))
    np.testing.assert_array_equal(case("double", "numpy").result(), [[2.0, 2.0]])


def test_numbers_are_found_in_nested_results():
    value = (1, [np.ones(2), {"a": np.float32(3), "b": (True, None)}], "text", object())
    assert [array.tolist() for array in _compat.numbers_in(value)] == [1, [1.0, 1.0], 3.0, True]


def test_an_unknown_row_is_not_measured(rows):
    with pytest.raises(NotMeasured, match="no row 'x' in compat_example"):
        case("x", "numpy")


def test_half_the_digits_are_compared():
    row = Row("compat", "x", "compat", {})
    ones = np.ones(4)
    assert checks.verify(row, [ones, np.float32(1)], [ones + 1e-9, np.float32(1.0001)]).right
    assert not checks.verify(row, [ones], [ones + 1e-7]).right
    assert not checks.verify(row, [ones.astype(np.float32)], [ones + 1e-3]).right
    assert checks.verify(row, [np.array([1, 2])], [np.array([1, 2])]).right
    assert not checks.verify(row, [], []).right
    assert not checks.verify(row, [ones], []).right


def test_a_table_that_is_there_is_measured_in_two_processes():
    rows = select("compat", GroupOptions())
    with Session(1, 1, ["numpy"], QUICK) as session:
        found = session.measure(rows[0])
    assert found.values.keys() == {"fastbp", "numpy"}
    assert found.verdicts["numpy"].right
