"""gradcheck finds a gradient that is wrong by 0.1 %, and passes every gradient of the twins.

So the twins are themselves checked here, by nothing but differences of their forward passes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import reference

import fastbp
from fastbp._errors import DTypeError, ShapeError
from fastbp._gradcheck import GradcheckError, gradcheck, gradcheck_layer, gradcheck_network

Array = np.ndarray[Any, Any]
Case = tuple[Callable[[Array], float], Array, Array]

WRONG = 1.001
"""A gradient wrong by 0.1 % must fail."""

N, D, C = 5, 4, 3


def _rng() -> np.random.Generator:
    return np.random.default_rng(11)


def _away_from_zero(x: Array) -> Array:
    """`x` with every element at least 0.1 from 0, where some functions have a kink."""
    return x + 0.1 * np.sign(x)


def _activation_case(name: str) -> Case:
    forward, backward = reference.ACTIVATIONS[name]
    rng = _rng()
    x, dy = _away_from_zero(2 * rng.standard_normal((N, D))), rng.standard_normal((N, D))
    return lambda v: (dy * forward(v)).sum(), x, backward(dy, x)


def _affine_case(which: int, layout: str, activation: str) -> Case:
    rng = _rng()
    w_shape = (D, C) if layout == "column" else (C, D)
    arguments = [rng.standard_normal(s) for s in ((N, 2, D // 2), w_shape, (C,))]
    dy = rng.standard_normal((N, C))
    options = {"layout": layout, "activation": activation}

    def f(v: Array) -> float:
        replaced = [v if i == which else a for i, a in enumerate(arguments)]
        return (dy * reference.affine_forward(*replaced, **options)).sum()

    gradient = reference.affine_backward(dy, *arguments, **options)[which]
    return f, arguments[which], gradient


def _norm_case(which: int, form: str) -> Case:
    rng = _rng()
    arguments = [3 + rng.standard_normal((N, D)), rng.standard_normal(D), rng.standard_normal(D)]
    dy = rng.standard_normal((N, D))
    running = {"running_mean": np.full(D, 2.5), "running_var": np.full(D, 0.7), "training": False}
    options: dict[str, Any] = running if form == "batchnorm test" else {}
    layer = form == "layernorm"
    forward = reference.layernorm_forward if layer else reference.batchnorm_forward
    backward = reference.layernorm_backward if layer else reference.batchnorm_backward

    def f(v: Array) -> float:
        replaced = [v if i == which else a for i, a in enumerate(arguments)]
        return (dy * forward(*replaced, **options)[0]).sum()

    if form == "batchnorm staged":
        gradient = reference.batchnorm_backward_staged(dy, *arguments[:2])[which]
    else:
        gradient = backward(dy, forward(*arguments, **options)[1])[which]
    return f, arguments[which], gradient


LOSSES: dict[str, Callable[[np.random.Generator], Array]] = {
    "softmax_cross_entropy": lambda rng: rng.integers(0, C, N),
    "sigmoid_cross_entropy": lambda rng: rng.uniform(size=(N, C)),
    "mean_squared_error": lambda rng: rng.standard_normal((N, C)),
    "mean_absolute_error": lambda rng: rng.standard_normal((N, C)),
    "huber": lambda rng: rng.standard_normal((N, C)),
    "poisson_deviance": lambda rng: rng.poisson(2.0, (N, C)).astype(float),
    "pinball": lambda rng: rng.standard_normal((N, C)),
    "hinge": lambda rng: rng.integers(0, C, N),
}


def _loss_case(name: str, weighted: bool) -> Case:
    rng = _rng()
    loss = getattr(reference, name)
    x, target = 2 * rng.standard_normal((N, C)), LOSSES[name](rng)
    weight = rng.uniform(0.5, 2, N) if weighted else None
    return lambda v: loss(v, target, weight)[0], x, loss(x, target, weight)[1]


def _distribution_case() -> Case:
    rng = _rng()
    x, target = rng.standard_normal((N, C)), rng.dirichlet(np.ones(C), N)
    loss = reference.softmax_cross_entropy
    return lambda v: loss(v, target)[0], x, loss(x, target)[1]


CASES: dict[str, Case] = {
    **{name: _activation_case(name) for name in reference.ACTIVATIONS},
    **{
        f"affine {layout} {activation} {'xwb'[which]}": _affine_case(which, layout, activation)
        for layout in ("column", "row")
        for activation in ("identity", "tanh")
        for which in range(3)
    },
    **{
        f"{form} {which}": _norm_case(which, form)
        for form in ("batchnorm", "batchnorm test", "batchnorm staged", "layernorm")
        for which in range(3)
    },
    **{
        f"{name}{' weighted' if weighted else ''}": _loss_case(name, weighted)
        for name in LOSSES
        for weighted in (False, True)
    },
    "softmax_cross_entropy distribution": _distribution_case(),
}


@pytest.mark.parametrize("per_element", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_a_right_gradient_passes_and_one_wrong_by_a_thousandth_fails(
    name: str, per_element: bool
) -> None:
    f, x, gradient = CASES[name]
    kept = x.copy()
    report = gradcheck(f, x, gradient, per_element=per_element)
    assert report, str(report)
    assert np.array_equal(x, kept)
    assert not gradcheck(f, x, WRONG * gradient, per_element=per_element)


def test_one_wrong_element_is_found_and_named() -> None:
    f, x, gradient = CASES["tanh"]
    wrong = np.array(gradient)
    wrong[3, 1] *= WRONG  # the second largest: directions see what matters in the norm
    assert not gradcheck(f, x, wrong)
    report = gradcheck(f, x, wrong, per_element=True)
    assert [c.what for c in report.failures] == ["x[3, 1]"]
    assert "WRONG      x[3, 1]: analytic" in str(report)
    assert "20 slopes compared, 1 out of bound" in str(report)


@pytest.mark.parametrize("per_element", [False, True])
def test_a_sign_a_zero_and_a_nan_are_found(per_element: bool) -> None:
    f, x, gradient = CASES["sigmoid"]
    for wrong in (-gradient, 0 * gradient, np.full_like(gradient, np.nan)):
        assert not gradcheck(f, x, wrong, per_element=per_element)


def test_a_gradient_that_is_exactly_zero_passes_against_rounding() -> None:
    """sum(softmax) is 1 up to rounding: the differences are noise, the gradient is 0."""
    x = _rng().standard_normal((N, C))

    def f(v: Array) -> float:
        e = np.exp(v)
        return float((e / e.sum(axis=1, keepdims=True)).sum())

    report = gradcheck(f, x, np.zeros_like(x))
    assert report, str(report)
    assert not gradcheck(f, x, np.full_like(x, 1e-3))


def test_the_step_shrinks_until_no_kink_lies_between_the_points() -> None:
    x = np.array([3e-5, -1.0, 1.0])
    assert gradcheck(lambda v: np.maximum(v, 0).sum(), x, np.array([1.0, 0.0, 1.0]))


def test_a_rough_function_is_reported_as_such() -> None:
    x = _rng().standard_normal(3)
    report = gradcheck(lambda v: float(np.floor(1e9 * v).sum()), x, np.zeros(3))
    assert not report
    assert "NOT SMOOTH" in str(report)
    assert "choose another point" in str(report)


def test_what_cannot_be_checked_is_refused() -> None:
    x = np.ones(3)
    with pytest.raises(DTypeError, match=r"x has dtype float32; wanted float64; .*dtype=\"float64"):
        gradcheck(np.sum, x.astype(np.float32), x)
    with pytest.raises(ShapeError, match=r"gradient by x has shape \(2,\); wanted \(3,\)"):
        gradcheck(np.sum, x, np.ones(2))
    with pytest.raises(GradcheckError, match=r"x is empty, shape \(0,\)"):
        gradcheck(np.sum, np.ones(0), np.ones(0))
    with pytest.raises(GradcheckError, match="directions=0"):
        gradcheck(np.sum, x, x, directions=0)
    rng = _rng()
    with pytest.raises(GradcheckError, match="switch dropout and other randomness off"):
        gradcheck(lambda v: v.sum() + rng.uniform(), x, x)


class Scale:
    """y = x * s, a user's own layer; `factor` makes its gradients wrong."""

    def __init__(self, factor_x: float = 1.0, factor_s: float = 1.0) -> None:
        self.parameters = {"s": _rng().standard_normal(D)}
        self.gradients: dict[str, Array] = {}
        self.factors = factor_x, factor_s

    def forward(self, x: Array) -> Array:
        self.x = x
        return x * self.parameters["s"]

    def backward(self, dy: Array) -> Array:
        self.gradients["s"] = self.factors[1] * (dy * self.x).sum(axis=0)
        return self.factors[0] * dy * self.parameters["s"]


@pytest.mark.parametrize("per_element", [False, True])
def test_a_layer(per_element: bool) -> None:
    x = _rng().standard_normal((N, D))
    layer = Scale()
    kept = layer.parameters["s"].copy()
    report = gradcheck_layer(layer, x, per_element=per_element)
    assert report, str(report)
    assert len(report.comparisons) == (N * D + D if per_element else 16)
    assert np.array_equal(layer.parameters["s"], kept)
    wrong_x = gradcheck_layer(Scale(factor_x=WRONG), x, per_element=per_element)
    assert {c.what[0] for c in wrong_x.failures} == {"x"}
    wrong_s = gradcheck_layer(Scale(factor_s=WRONG), x, per_element=per_element)
    assert {c.what[0] for c in wrong_s.failures} == {"s"}


def test_a_layer_in_float32_or_without_a_gradient_is_refused() -> None:
    x = _rng().standard_normal((N, D))
    layer = Scale()
    layer.parameters["s"] = layer.parameters["s"].astype(np.float32)
    with pytest.raises(DTypeError, match="s has dtype float32"):
        gradcheck_layer(layer, x)
    layer = Scale()
    layer.parameters["t"] = np.ones(1)
    with pytest.raises(GradcheckError, match="no gradient for t"):
        gradcheck_layer(layer, x)


LAYERS: dict[str, Callable[[], Any]] = {
    **{
        f"Affine {layout} {activation}": lambda layout=layout, activation=activation: fastbp.Affine(
            D, C, layout=layout, activation=activation, dtype="float64"
        )
        for layout in ("column", "row")
        for activation in reference.ACTIVATIONS
    },
    **{
        name: lambda name=name: getattr(fastbp, name)(dtype="float64")
        for name in ("Identity", "ReLU", "LeakyReLU", "Sigmoid", "Tanh", "GELU", "Softplus", "SiLU")
    },
    "BatchNorm": lambda: fastbp.BatchNorm(D, dtype="float64"),
    "LayerNorm": lambda: fastbp.LayerNorm(D, dtype="float64"),
}


@pytest.mark.parametrize("name", LAYERS)
def test_every_layer_used_alone(name: str) -> None:
    layer = LAYERS[name]()
    x = _away_from_zero(_rng().standard_normal((N, D)))
    buffers = {key: array.copy() for key, array in layer.buffers.items()}
    for per_element in (False, True):
        report = gradcheck_layer(layer, x, per_element=per_element)
        assert report, str(report)
    for key, array in layer.buffers.items():
        assert np.array_equal(array, buffers[key]), key


def _network(dtype: str) -> Any:
    layers = [fastbp.Affine(D, 6), fastbp.Tanh(), fastbp.BatchNorm(6), fastbp.Affine(6, C)]
    return fastbp.Sequential(layers, dtype=dtype, seed=3)


@pytest.mark.parametrize("per_element", [False, True])
def test_a_network(per_element: bool) -> None:
    rng = _rng()
    net = _network("float64")
    kept = {name: np.array(a) for name, a in net.state_dict().items()}
    x, labels = rng.standard_normal((N, D)), rng.integers(0, C, N)
    report = gradcheck_network(net, x, labels, "softmax_cross_entropy", per_element=per_element)
    assert report, str(report)
    for name, array in net.state_dict().items():
        assert np.array_equal(array, kept[name]), name


def test_a_float32_network_is_refused() -> None:
    x, labels = np.ones((N, D), np.float32), np.zeros(N, np.int64)
    with pytest.raises(DTypeError, match="build the layer or network with"):
        gradcheck_network(_network("float32"), x, labels, "softmax_cross_entropy")
