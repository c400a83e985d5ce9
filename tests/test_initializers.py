"""Initial weights: their variance, their limits, and that a seed fixes every bit."""

import math

import numpy as np
import pytest
import reference

from fastbp import initializers
from fastbp._errors import ArgumentError

FAN_IN, FAN_OUT, COUNT = 300, 100, 200_000


def draw(name, dtype=np.float64, seed=1, shape=(COUNT,)):
    rng = np.random.Generator(np.random.PCG64(seed))
    return initializers.get(name)(rng, shape, FAN_IN, FAN_OUT, dtype)


@pytest.mark.parametrize("name", reference.INITIALIZERS)
def test_variance(name):
    """Within five standard errors; the standard error of a variance is var*sqrt((kurt-1)/n)."""
    values, variance = draw(name), reference.variance(name, FAN_IN, FAN_OUT)
    kurtosis = 3.0 if name.endswith("normal") else 9 / 5
    assert abs(values.mean()) < 5 * math.sqrt(variance / COUNT)
    assert abs(values.var() - variance) < 5 * variance * math.sqrt((kurtosis - 1) / COUNT)


@pytest.mark.parametrize("name", [n for n in reference.INITIALIZERS if n.endswith("uniform")])
def test_limit(name):
    limit = reference.uniform_limit(name, FAN_IN, FAN_OUT)
    largest = np.abs(draw(name)).max()
    assert 0.999 * limit < largest <= limit


@pytest.mark.parametrize("name", [*reference.INITIALIZERS, "normal(0.02)"])
def test_seed_fixes_bits_and_dtypes_share_numbers(name):
    double, single = draw(name, np.float64), draw(name, np.float32)
    assert single.dtype == np.float32
    assert np.array_equal(double.astype(np.float32), single)
    assert np.array_equal(double, draw(name))
    assert not np.array_equal(double, draw(name, seed=2))
    assert np.array_equal(double, draw(name, shape=(2, COUNT // 2)).ravel())


def test_zeros_ones_and_normal():
    assert not draw("zeros").any()
    assert (draw("ones", np.float32) == 1).all()
    assert draw("ones", np.float32).dtype == np.float32
    assert abs(draw("normal(0.02)").std() - 0.02) < 5 * 0.02 / math.sqrt(2 * COUNT)
    assert not draw("normal(0.0)").any()


def test_names_lead_back():
    for name in (*initializers.NAMES, "normal(0.01)"):
        function = initializers.get(name)
        assert initializers.name_of(function) == name
        assert initializers.get(function) is function
        assert initializers.name_of(name) == name


def test_no_inputs_at_all_is_finite():
    rng = np.random.Generator(np.random.PCG64(0))
    for name in initializers.NAMES:
        values = initializers.get(name)(rng, (3, 4), 0, 0, np.float32)
        assert values.shape == (3, 4)
        assert np.isfinite(values).all()


@pytest.mark.parametrize(
    "name", ["he", "normal", "normal(x)", "normal(-1)", "normal(1e999)", "normal(1.2.3)"]
)
def test_unknown_names(name):
    with pytest.raises(ArgumentError, match=r"(initializer|normal\(std=).*; wanted "):
        initializers.get(name)
