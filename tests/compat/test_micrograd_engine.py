"""micrograd's Value: the same numbers, graphs and errors as with plain Python scalars."""

import gc
import weakref

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastbp.benchmark._peers.compat_micrograd import Plain
from fastbp.compat.micrograd.engine import Value

# Both sides do the same float64 operations; only the order in which gradients of a value that is
# used several times are added up differs.
RELATIVE = 1e-12


def both(function):
    """What `function` returns for Value and for the plain twin."""
    return function(Value), function(Plain)


def close(ours, theirs):
    assert ours == pytest.approx(theirs, rel=RELATIVE, abs=1e-300)


def test_a_worked_example():
    """By hand: f = relu(a*b + a**2) at a=3, b=-2 is 3; df/da = b + 2a = 4, df/db = a = 3."""
    a, b = Value(3.0), Value(-2.0)
    f = (a * b + a**2).relu()
    f.backward()
    assert (f.data, f.grad, a.grad, b.grad) == (3.0, 1, 4.0, 3.0)


def test_all_operators():
    def run(value):
        a, b = value(-4.0), value(2.0)
        c = a + b + 1 + (2 - a) * 3 + 1.5 / b - b / 4
        d = a * b + b**3 - (-c) + c / a + (b + a).relu() + (b - a).relu() + 3 * a
        e = (d - c) ** 2 / 2.0 + 10.0 / d**2 + np.float64(2) * b + np.int64(3) * a
        e.backward()
        return [e.data, a.grad, b.grad, c.grad, d.grad]

    close(*both(run))


UNARY = ("neg", "relu", "square", "half", "plus", "times", "minus", "over")
BINARY = ("add", "sub", "mul", "div")


@given(st.lists(st.tuples(st.sampled_from(UNARY + BINARY), st.integers(0, 30), st.integers(0, 30)),
                max_size=25), st.lists(st.floats(-2, 2), min_size=2, max_size=4),
       st.integers(0, 30))  # fmt: skip
def test_random_graphs(steps, leaves, root):
    """Shared values, several uses, backward from anywhere: as in the twin."""

    def run(value):
        values = [value(x) for x in leaves]
        for name, i, j in steps:
            a, b = values[i % len(values)], values[j % len(values)]
            made = {
                "neg": lambda a, b: -a, "relu": lambda a, b: a.relu(),
                "square": lambda a, b: a**2, "half": lambda a, b: a * 0.5,
                "plus": lambda a, b: 1.5 + a, "times": lambda a, b: 0.7 * a,
                "minus": lambda a, b: 1 - a, "over": lambda a, b: 0.5 / (a**2 + 1.0),
                "add": lambda a, b: a + b, "sub": lambda a, b: a - b,
                "mul": lambda a, b: a * b, "div": lambda a, b: a / (b * b + 1.0),
            }[name](a, b)  # fmt: skip
            values.append(made)
            if abs(made.data) > 1e3:  # sums with large terms have large errors
                values.pop()
        values[root % len(values)].backward()
        return [v.data for v in values], [v.grad for v in values]

    (data, grads), (plain_data, plain_grads) = both(run)
    close(data, plain_data)
    scale = max(1.0, *map(abs, plain_grads))
    assert grads == pytest.approx(plain_grads, rel=RELATIVE, abs=RELATIVE * scale)


def test_backward_adds_up():
    def run(value):
        a = value(2.0)
        b = a * 3.0
        c = b * a + b
        c.backward()
        c.backward()  # b keeps its gradient, and passes all of it on again
        b.backward()
        return [a.grad, b.grad, c.grad]

    close(*both(run))
    close(run_once(Value), run_once(Plain))


def run_once(value):
    """Backward from an inner value touches nothing above it."""
    a = value(2.0)
    b = a**3
    c = b * 5.0
    b.backward()
    return [a.grad, b.grad, c.grad]


@pytest.mark.parametrize("x", [0.0, -1.0, 2.0])
def test_relu_and_its_gradient(x):
    v = Value(x)
    out = v.relu()
    out.backward()
    assert (out.data, v.grad) == (max(x, 0.0), float(x > 0))


def test_gradients_use_data_of_the_moment():
    def run(value):
        a, b = value(2.0), value(3.0)
        c = a * b
        b.data = 10.0
        c.backward()
        return [a.grad, c.data]

    assert run(Value) == run(Plain) == [10.0, 6.0]


def test_only_numbers_are_powers():
    with pytest.raises(AssertionError, match="only supporting int/float powers for now"):
        Value(2.0) ** Value(2.0)


def test_graph_can_be_looked_at():
    a, b = Value(2.0), Value(3)
    total = a * b + 1
    (product,) = (v for v in total._prev if v._op == "*")
    (one,) = total._prev - {product}
    assert (total._op, one.data, one._op, product._prev) == ("+", 1, "", {a, b})
    total.backward()
    assert (product.grad, one.grad) == (1, 1)
    assert repr(a) == "Value(data=2.0, grad=3)"
    assert ((a**2)._op, (a**-0.5)._op, a.relu()._op, a._prev) == ("**2", "**-0.5", "ReLU", set())


def test_users_operations():
    """A function that makes a Value with a `_backward` of its own, as notebooks do."""

    def cube(v):
        out = Value(v.data**3, (v,), "cube")

        def backward():
            v.grad += 3 * v.data**2 * out.grad

        out._backward = backward
        return out

    a = Value(2.0)
    (cube(a) * 2 + Value(1.0, (a,), "nothing")).backward()
    assert a.grad == 24.0
    a.label = "a"
    assert a.label == "a"


def test_a_value_made_by_hand_leads_to_what_it_was_made_from():
    a = Value(2.0)
    b = a * 3
    b.grad = 5.0
    (Value(1.0, (b,), "mine") * 2).backward()
    assert (a.grad, b.grad) == (15.0, 5.0)


def test_backward_by_hand():
    """`_backward` of each value, called by the user in order."""
    a, b = Value(2.0), Value(-3.0)
    c = a * b
    d = c + a
    d.grad = 1.0
    for v in (d, c, a):
        v._backward()
    assert (a.grad, b.grad, c.grad) == (-2.0, 2.0, 1.0)


def test_deep_graphs_need_no_recursion():
    a = Value(1.0)
    total = a
    for _ in range(100_000):
        total = total + a
    total.backward()
    assert a.grad == 100_001
    del total  # nor does freeing them


def test_graphs_are_freed_at_once():
    a = Value(1.0)
    gc.disable()
    try:
        out = (a * 2 + a**2).relu()
        out.backward()
        inner = weakref.ref(next(iter(out._prev)))
        assert inner() is not None
        del out
        assert inner() is None
    finally:
        gc.enable()


def test_values_of_other_types():
    """Whatever calculates: arrays, complex numbers, fractions; and NumPy arrays of values."""
    v = Value(np.array([1.0, -2.0]))
    out = v * 3 + 1
    out.backward()
    np.testing.assert_array_equal(v.grad, [3.0, 3.0])
    assert (Value(1j) * Value(1j)).data == -1
    products = np.array([1.0, 2.0]) * Value(3.0)
    assert [p.data for p in products] == [3.0, 6.0]
    with pytest.raises(TypeError):
        Value(1.0) + "1"
