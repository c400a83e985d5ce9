"""fastbp.compat.cs231n.optim and gradient_check."""

from __future__ import annotations

import random
from types import SimpleNamespace

import conditions
import numpy as np
import pytest
import reference

from fastbp.benchmark._peers import _compat_cs231n_training as twin
from fastbp.compat.cs231n import gradient_check, optim

RULES = {
    "sgd": {},
    "sgd_momentum": {"velocity": 0.75},
    "rmsprop": {"cache": 0.75},
    "adam": {"m": 0.65, "v": 0.6, "t": 5},
}
DEFAULTS = {
    "sgd": {"learning_rate": 1e-2},
    "sgd_momentum": {"learning_rate": 1e-2, "momentum": 0.9, "velocity": 0},
    "rmsprop": {"learning_rate": 1e-2, "decay_rate": 0.99, "epsilon": 1e-8, "cache": 0},
    "adam": {"learning_rate": 1e-3, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8, "m": 0, "v": 0,
             "t": 1},
}


def test_momentum_gives_the_numbers_of_the_course():
    w, dw = np.linspace(-0.4, 0.6, 20).reshape(4, 5), np.linspace(-0.6, 0.4, 20).reshape(4, 5)
    config = {"learning_rate": 1e-3, "velocity": np.linspace(0.6, 0.9, 20).reshape(4, 5)}
    found, same = optim.sgd_momentum(w, dw, config=config)
    assert same is config
    # Printed to 8 places.
    reference.assert_within(found[0], [0.1406, 0.20738947, 0.27417895, 0.34096842, 0.40775789],
                            5e-9)
    reference.assert_within(found[3], [1.14244211, 1.20923158, 1.27602105, 1.34281053, 1.4096],
                            5e-9)
    reference.assert_within(config["velocity"][0],
                            [0.5406, 0.55475789, 0.56891579, 0.58307368, 0.59723158], 5e-9)
    reference.assert_within(config["velocity"][3],
                            [0.75296842, 0.76712632, 0.78128421, 0.79544211, 0.8096], 5e-9)


@pytest.mark.parametrize("size", [20, 70_001])  # left to NumPy; run by kernels
@pytest.mark.parametrize("dtype", conditions.DTYPES)
@pytest.mark.parametrize("rule", RULES)
def test_rules_match_numpy_in_float64_over_three_steps(rule, dtype, size, rng):
    w = reference.reals(rng, (size,), dtype)
    state = {key: np.full(size, value, dtype) if isinstance(value, float) else value
             for key, value in RULES[rule].items()}
    wide_w = w.astype(np.float64)
    config = {"learning_rate": 1e-2, **state}
    wide = {"learning_rate": 1e-2, **{key: np.array(value, np.float64) if np.ndim(value) else value
                                      for key, value in state.items()}}
    for _ in range(3):
        dw = reference.reals(rng, (size,), dtype)
        w, config = getattr(optim, rule)(w, dw, config)
        wide_w, wide = getattr(twin, rule)(wide_w, dw.astype(np.float64), wide)
    assert w.dtype == dtype
    # Ten roundings a step on values below 10.
    bound = 300 * reference.unit_roundoff(dtype)
    reference.assert_within(w, wide_w, bound)
    for key, value in state.items():
        if np.ndim(value):
            assert config[key].dtype == dtype
            reference.assert_within(config[key], wide[key], bound)
        else:
            assert config[key] == value + 3


@pytest.mark.parametrize("rule", DEFAULTS)
def test_defaults_are_filled_in(rule):
    w, dw = np.ones((2, 3)), np.ones((2, 3))
    _, config = getattr(optim, rule)(w, dw)
    assert config.keys() == DEFAULTS[rule].keys()
    state = ("velocity", "cache", "m", "v")
    assert all(config[key].shape == w.shape if key in state else config[key] == value
               for key, value in DEFAULTS[rule].items())
    given = {}
    assert getattr(optim, rule)(w, dw, given)[1] is given
    assert given["learning_rate"] == DEFAULTS[rule]["learning_rate"]


def test_sgd_is_in_place_and_so_are_the_others_where_they_may():
    for size in (5, 100_000):
        w = np.ones(size)
        assert optim.sgd(w, np.ones(size), {"learning_rate": 0.5})[0] is w
        assert np.array_equal(w, np.full(size, 0.5))
    frozen = np.ones(100_000)
    frozen.flags.writeable = False
    for rule in ("sgd_momentum", "rmsprop", "adam"):
        found, _ = getattr(optim, rule)(frozen, np.ones(100_000))
        assert found is not frozen
        assert np.all(found < 1)


@pytest.mark.parametrize("rule", ["sgd_momentum", "rmsprop", "adam"])
def test_what_kernels_do_not_take_is_left_to_numpy(rule):
    """Mixed dtypes, gradients that broadcast, steps uphill."""
    w32, dw = np.ones(90_000, np.float32), np.ones(90_000)
    assert getattr(optim, rule)(w32, dw)[0].dtype == np.float64
    assert getattr(optim, rule)(np.ones((900, 100)), np.ones(100))[0].shape == (900, 100)
    up, _ = getattr(optim, rule)(np.ones(90_000), dw, {"learning_rate": -1e-2})
    assert np.all(up > 1)


def test_numeric_gradients(capsys):
    x = np.array([[1.0, -2.0], [0.5, 3.0]])
    before = x.copy()
    found = gradient_check.eval_numerical_gradient(lambda v: (v**2).sum(), x)
    # Rounding: u*14/h = 1.6e-10; a square has no third derivative.
    reference.assert_within(found, 2 * x, 1e-9)
    assert len(capsys.readouterr().out.splitlines()) == 4
    df = np.array([[1.0, 2.0], [3.0, 4.0]])
    found = gradient_check.eval_numerical_gradient_array(lambda v: v**2, x, df)
    reference.assert_within(found, 2 * x * df, 1e-9)
    aliased = gradient_check.eval_numerical_gradient_array(lambda v: v, x, df)
    reference.assert_within(aliased, df, 1e-9)
    gradient_check.eval_numerical_gradient(lambda v: v.sum(), x, verbose=False)
    assert capsys.readouterr().out == ""
    assert np.array_equal(x, before)
    with pytest.raises(ZeroDivisionError):
        gradient_check.eval_numerical_gradient(lambda v: 1 / 0, x)
    assert np.array_equal(x, before)


def test_numeric_gradients_of_blobs():
    one, two = (SimpleNamespace(vals=np.array(v), diffs=np.zeros(2)) for v in ([1.0, 2.0],
                                                                             [3.0, 5.0]))
    out = SimpleNamespace(vals=np.zeros(2), diffs=np.array([1.0, 10.0]))

    def product(a, b, out):
        out.vals[:] = a.vals * b.vals

    found = gradient_check.eval_numerical_gradient_blobs(product, (one, two), out)
    reference.assert_within(np.array(found), [[3, 50], [1, 20]], 1e-8)  # u*100/h = 1e-9
    net = SimpleNamespace(forward=lambda: product(one, two, out))
    found = gradient_check.eval_numerical_gradient_net(net, (one, two), out)
    reference.assert_within(np.array(found), [[3, 50], [1, 20]], 1e-8)


def test_sparse_check_prints_a_line_a_place(capsys):
    random.seed(0)
    x = np.array([[1.0, 2.0], [3.0, 4.0]])
    gradient_check.grad_check_sparse(lambda v: (v**2).sum(), x, 2 * x, num_checks=3)
    random.seed(0)
    places = [(random.randrange(2), random.randrange(2)) for _ in range(3)]
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    for line, place in zip(lines, places, strict=True):
        value = f"{2 * x[place]:f}"
        assert line.startswith(f"numerical: {value} analytic: {value}, relative error: ")
