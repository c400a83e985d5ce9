"""One table of all operations: what each takes, its twin, how far it may lie from it.

The tests in tests/reliability walk this table, so that an operation that is added here is put to
all of them: bounds, threads, memory layouts, NaN, gradients.

    for op in OPERATIONS:
        args = op.make(rng, size, dtype)           # arrays by name
        results = op.run(**copies(args))           # a tuple of arrays or floats
        expected, bounds = op.twin(**args), op.bounds(args)

`size` is (rows, cols, depth); what has no depth ignores it. Arrays named in `changed` are
changed in place, and are results too. `gradient` tells what a backward pass gives for upstream
gradients of the (first) result.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import reference
from conditions import LAYOUTS, Array
from image_operations import IMAGE_OPERATIONS
from operation import LARGE, Args, Operation, Size, bits, copies, reals_of, roundoff, tile_sizes

from fastbp import ops
from fastbp.kernels.activations import FROM_INPUT, NAMES
from fastbp.ops import activations

__all__ = ["LARGE", "OPERATIONS", "Operation", "bits", "copies", "tile_sizes"]

SMOOTH = ("sigmoid", "tanh", "gelu", "softplus", "silu")
RATE, SEED, LR = 0.3, 11, 0.05


# ---- products -------------------------------------------------------------------------------


def _matmul() -> Operation:
    return Operation(
        "matmul", reals_of("a=rd", "b=dc"), lambda a, b, **k: (ops.matmul(a, b, **k),),
        lambda a, b: (reference.matmul(a, b),),
        lambda args: (reference.matmul_bound(args["a"], args["b"], args["a"].dtype),),
        out="product", exact=True,
        gradient=lambda a, b, dy: {"a": ops.matmul(dy, b.T), "b": ops.matmul(a.T, dy)})


def _affine(layout: str, activation: str) -> Operation:
    settings = {"layout": layout, "activation": activation}
    exact = activation in ("identity", "relu")

    def bounds(args: Args) -> tuple[Any, ...]:
        bound = reference.affine_forward_bound(args["x"], args["w"], args["b"], args["x"].dtype,
                                               layout)
        if exact:
            return (bound,)
        y = reference.affine_forward(args["x"], args["w"], args["b"], **settings)
        return (1.2 * bound + 16 * roundoff(args) * (1 + np.abs(y)),)

    def gradient(x: Array, w: Array, b: Array, dy: Array) -> dict[str, Array]:
        dx, dw, db = ops.affine_backward(dy, x, w, b=b, **settings)
        return {"x": dx, "w": dw, "b": db}

    return Operation(
        f"affine_forward {layout} {activation}", reals_of("x=rd", _weights(layout), "b=c"),
        lambda x, w, b, **k: (ops.affine_forward(x, w, b, **settings, **k),),
        lambda x, w, b: (reference.affine_forward(x, w, b, **settings),), bounds,
        out="product", exact=exact, gradient=None if "relu" in activation else gradient)


def _weights(layout: str) -> str:
    return "w=dc" if layout == "column" else "w=cd"


def _affine_backward(layout: str, relu: bool) -> Operation:
    """With ReLU: y is any matrix, its positive elements let the gradient through."""
    def masked(dy: Array, y: Array) -> Array:
        return np.where(y > 0, dy, 0) if relu else dy

    def run(dy: Array, x: Array, w: Array, y: Array) -> tuple[Any, ...]:
        return ops.affine_backward(dy, x, w, layout=layout, y=y,
                                   activation="relu" if relu else "identity")

    return Operation(
        f"affine_backward {layout}{' relu' * relu}",
        reals_of("dy=rc", "x=rd", _weights(layout), "y=rc"), run,
        lambda dy, x, w, y: reference.affine_backward(masked(dy, y), x, w, layout=layout),
        lambda args: reference.affine_backward_bounds(
            masked(args["dy"], args["y"]), args["x"], args["w"], args["x"].dtype, layout),
        exact=True)


# ---- elementwise ----------------------------------------------------------------------------


def _activation(name: str) -> Operation:
    roundings = {"identity": 0, "relu": 0, "leaky_relu": 2, "gelu": 13, "silu": 5}.get(name, 4)
    forward, backward = activations.activation_forward, ops.activations.activation_backward

    def bounds(args: Args) -> tuple[Any, ...]:
        x = args["x"]
        bound = reference.relative_bound(reference.ACTIVATIONS[name][0](x), x.dtype, roundings)
        return (bound + np.finfo(x.dtype).smallest_normal * (1 + np.abs(x)),)

    def gradient(x: Array, dy: Array) -> dict[str, Array]:
        return {"x": backward(name, dy, x if NAMES[name] in FROM_INPUT else forward(name, x))}

    return Operation(
        f"{name} forward", reals_of("x=rc"), lambda x, **k: (forward(name, x, **k),),
        lambda x: (reference.ACTIVATIONS[name][0](x),), bounds, out="x", elementwise=True,
        rows_only=True, gradient=gradient if name in SMOOTH else None)


def _activation_backward(name: str) -> Operation:
    def run(dy: Array, x: Array, **out: Array) -> tuple[Any, ...]:
        kept = x if NAMES[name] in FROM_INPUT else activations.activation_forward(name, x)
        return (activations.activation_backward(name, dy, kept, **out),)

    return Operation(
        f"{name} backward", reals_of("dy=rc", "x=rc"), run,
        lambda dy, x: (reference.ACTIVATIONS[name][1](dy, x),),
        lambda args: (10 * roundoff(args) * np.abs(args["dy"]),), out="dy", elementwise=True,
        rows_only=True)


def _dropout() -> Operation:
    """The mask itself is tested in test_dropout; here it is read off a matrix of ones."""
    def kept(x: Array) -> Array:
        return ops.dropout_forward(np.ones(x.shape, x.dtype), RATE, seed=SEED)[0] != 0

    return Operation(
        "dropout_forward", reals_of("x=rc"),
        lambda x, **k: (ops.dropout_forward(x, RATE, seed=SEED, **k)[0],),
        lambda x: (reference.dropout_forward(x, kept(x), RATE),),
        lambda args: (3 * roundoff(args) * np.abs(args["x"]) / (1 - RATE),), out="x",
        rows_only=True,
        gradient=lambda x, dy: {"x": ops.dropout_backward(
            dy, ops.dropout_forward(x, RATE, seed=SEED)[1])})


# ---- normalisation --------------------------------------------------------------------------


def _norm(kind: str) -> tuple[Operation, Operation]:
    forward = getattr(ops, f"{kind}_forward")
    backward = getattr(ops, f"{kind}_backward")
    twin = getattr(reference, f"{kind}_forward")
    twin_backward = getattr(reference, f"{kind}_backward")
    axis = 0 if kind == "batchnorm" else 1
    names = ("x", "gamma", "beta")

    def gradient(x: Array, gamma: Array, beta: Array, dy: Array) -> dict[str, Array]:
        return dict(zip(names, backward(dy, forward(x, gamma, beta)[1]), strict=True))

    there = Operation(
        f"{kind}_forward", reals_of("x=rc", "gamma=c", "beta=c"),
        lambda x, gamma, beta, **k: (forward(x, gamma, beta, **k)[0],),
        lambda x, gamma, beta: (twin(x, gamma, beta)[0],),
        lambda args: (reference.batchnorm_forward_bound(
            *(args[n] for n in names), args["x"].dtype, axis=axis),),
        out="x", rows_only=axis == 1, gradient=gradient)
    back = Operation(
        f"{kind}_backward", reals_of("dy=rc", "x=rc", "gamma=c", "beta=c"),
        lambda dy, x, gamma, beta, **k: backward(dy, forward(x, gamma, beta)[1], **k),
        lambda dy, x, gamma, beta: twin_backward(dy, twin(x, gamma, beta)[1]),
        lambda args: reference.batchnorm_backward_bounds(
            args["dy"], args["x"], args["gamma"], args["x"].dtype, axis=axis),
        out="dy")
    return there, back


# ---- softmax and losses ----------------------------------------------------------------------


def softmax_bound(x: Array) -> Array:
    """s u (|x - max| + 20 + 2 log2 n) + tiny."""
    wide = reference.widen(x)
    relative = reference.unit_roundoff(x.dtype) * (
        wide.max(axis=1, keepdims=True) - wide + 20 + 2 * np.log2(max(x.shape[1], 1)))
    bound: Array = reference.softmax(x) * relative + np.finfo(x.dtype).smallest_normal
    return bound


def _labels(rng: np.random.Generator, size: Size, dtype: Any) -> Args:
    return {"x": 3 * reference.reals(rng, size[:2], dtype),
            "target": rng.integers(0, size[1], size[0]) if size[1] else np.zeros(size[0], int)}


def _probabilities(rng: np.random.Generator, size: Size, dtype: Any) -> Args:
    return {"x": 3 * reference.reals(rng, size[:2], dtype),
            "target": rng.random(size[:2]).astype(dtype)}


def _loss(name: str, make: Callable[..., Args], title: str = "") -> Operation:
    function, twin = getattr(ops, name), getattr(reference, name)

    def bounds(args: Args) -> tuple[Any, Any]:
        x, t = reference.widen(args["x"]), args["target"]
        rows, cols = x.shape
        u = roundoff(args)
        if t.ndim == 1 or name == "softmax_cross_entropy":
            span = np.abs(x).max(axis=1) * 2 + np.log(cols) + 20
            mass = 1 if t.ndim == 1 else t.sum(axis=1)
            value = (span * mass).sum() / rows * (cols if name == "hinge" else 1)
            slope = (softmax_bound(args["x"]) + 8 * u) * np.reshape(mass, (-1, 1)) / rows
            slope = 4 * u * cols / rows + 0 * x if name == "hinge" else slope + 0 * x
            return (20 + cols / 16) * u * value, slope
        away = np.abs(x - t)
        size, slope = away**2 + np.abs(x) + 1, 2 * away + 1
        if name == "poisson_deviance":
            size, slope = size + np.exp(x), slope + np.exp(x)
        return 20 * u * size.mean(), 8 * u * slope / x.size

    is_smooth = name in ("softmax_cross_entropy", "sigmoid_cross_entropy", "mean_squared_error",
                         "poisson_deviance")
    return Operation(
        title or name, make, lambda x, target, **k: function(x, target, **k),
        lambda x, target: twin(x, target), bounds, out="x",
        gradient=(lambda x, target, dy: {"x": dy * function(x, target)[1]}) if is_smooth else None)


def _softmax() -> Operation:
    return Operation("softmax", reals_of("x=rc"), lambda x, **k: (ops.softmax(x, **k),),
                     lambda x: (reference.softmax(x),), lambda args: (softmax_bound(args["x"]),),
                     out="x", rows_only=True)


# ---- optimizers --------------------------------------------------------------------------------

# name: (operation, twin, slots, settings of the operation, positional and other ones of the twin)
STEPS: dict[str, tuple[Any, Any, int, dict[str, Any], tuple[int, ...], dict[str, Any]]] = {
    "sgd": (ops.sgd_step, reference.sgd, 0, {}, (), {}),
    "momentum": (ops.momentum_step, reference.momentum, 1, {"momentum": 0.8}, (), {"mu": 0.8}),
    "nesterov": (ops.momentum_step, reference.nesterov, 1,
                 {"momentum": 0.8, "nesterov": True}, (), {"mu": 0.8}),
    "adagrad": (ops.adagrad_step, reference.adagrad, 1, {"eps": 1e-7}, (), {"eps": 1e-7}),
    "rmsprop": (ops.rmsprop_step, reference.rmsprop, 1, {"rho": 0.95}, (), {"rho": 0.95}),
    "adam": (ops.adam_step, reference.adam, 2, {"step": 3}, (3,), {}),
    "adamw": (ops.adamw_step, reference.adam, 2, {"step": 3, "weight_decay": 0.0}, (3,), {}),
}


def _step(name: str) -> Operation:
    function, twin, slots, settings, positional, twin_settings = STEPS[name]
    shapes = ("g=rc", "w=rc", "a=rc+", "b=rc+")[: 2 + slots]
    if name in ("momentum", "nesterov"):
        shapes = ("g=rc", "w=rc", "a=rc")
    changed = tuple(text[0] for text in shapes[1:])

    def run(g: Array, w: Array, **slot: Array) -> tuple[Any, ...]:
        function(w, g, *slot.values(), lr=LR, **settings)
        return (w, *slot.values())

    def expected(g: Array, w: Array, **slot: Array) -> tuple[Any, ...]:
        new = twin(w, g, *slot.values(), *positional, lr=LR, **twin_settings)
        return new if slot else (new,)

    def bounds(args: Args) -> tuple[Any, ...]:
        size = sum(np.abs(v.astype(np.float64)) for v in args.values()) + args["g"] ** 2.0
        return (16 * roundoff(args) * (size + 10),) * len(changed)

    return Operation(f"{name}_step", reals_of(*shapes), run, expected, bounds, changed=changed,
                     elementwise=True, rows_only=True)


OPERATIONS: tuple[Operation, ...] = (
    _matmul(),
    *(_affine(layout, name) for layout in LAYOUTS for name in NAMES),
    *(_affine_backward(layout, relu) for layout in LAYOUTS for relu in (False, True)),
    *(_activation(name) for name in NAMES),
    *(_activation_backward(name) for name in NAMES),
    _dropout(),
    *itertools.chain(*(_norm(kind) for kind in ("batchnorm", "layernorm"))),
    _softmax(),
    _loss("softmax_cross_entropy", _labels, "softmax_cross_entropy labels"),
    _loss("softmax_cross_entropy", _probabilities, "softmax_cross_entropy probabilities"),
    _loss("hinge", _labels),
    *(_loss(name, _probabilities) for name in (
        "sigmoid_cross_entropy", "mean_squared_error", "mean_absolute_error", "huber",
        "poisson_deviance", "pinball")),
    *(_step(name) for name in STEPS),
    *IMAGE_OPERATIONS,
)
