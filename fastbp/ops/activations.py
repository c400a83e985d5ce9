"""Activations on arrays, forward and backward (docs/math.md#activations).

Arrays of any shape, float32 or float64, any strides, read-only or not; results are new arrays in C
order or `out`, which may be the input itself. NaN stays NaN; infinities give the limit.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastbp._arena import address_of
from fastbp._errors import ArgumentError
from fastbp._program import Operand
from fastbp.emit.activations import emit_activation_backward, emit_activation_forward
from fastbp.kernels.activations import NAMES
from fastbp.ops._again import again, key_of, remember
from fastbp.ops._check import as_real, output, same_dtype, same_shape, target_of
from fastbp.ops._plans import place, plan_for
from fastbp.ops._short import Short

_forward, _backward = Short("activation_forward"), Short("activation_backward")


def activation_forward(name: str, x: Any, *, slope: float = 0.01,
                       out: np.ndarray | None = None) -> np.ndarray:
    """y = f(x) for the activation of that name."""
    done = _forward.call(name, slope, x, out)
    if done is not None:
        return done
    key = key_of((activation_forward, name, slope), (x,), out)
    known = again(key, (x,), out, short=_forward, arguments=(name, slope, x, out))
    if known is not None:
        return known[0]
    kind = _kind(name, slope)
    array = as_real("x", x)
    y = output(out, array.shape, array.dtype)
    source, target = np.ascontiguousarray(array), target_of(y, out, array)
    size = source.size
    plan = plan_for((activation_forward, array.dtype, size, kind, slope), array.dtype,
                    lambda program: emit_activation_forward(
                        program, _row(0, size), _row(1, size), kind, slope))
    plan.run(address_of(target), address_of(source))
    remember(key, (x,), plan, [y], out=out, elementwise=True)
    return _into(y, target)


def activation_backward(name: str, dy: Any, saved: Any, *, slope: float = 0.01,
                        out: np.ndarray | None = None) -> np.ndarray:
    """dx = dy * f'(x). saved: x for gelu and silu, y for all others (relu, leaky_relu: either)."""
    done = _backward.call(name, slope, dy, saved, out)
    if done is not None:
        return done
    key = key_of((activation_backward, name, slope), (dy, saved), out)
    known = again(key, (dy, saved), out, short=_backward,
                  arguments=(name, slope, dy, saved, out))
    if known is not None:
        return known[0]
    kind = _kind(name, slope)
    upstream, kept = as_real("dy", dy), as_real("saved", saved)
    same_dtype(dy=upstream, saved=kept)
    same_shape(dy=upstream, saved=kept)
    dx = output(out, upstream.shape, upstream.dtype)
    target = target_of(dx, out, upstream, kept)
    upstream, kept = np.ascontiguousarray(upstream), np.ascontiguousarray(kept)
    size = dx.size
    plan = plan_for((activation_backward, dx.dtype, size, kind, slope), dx.dtype,
                    lambda program: emit_activation_backward(
                        program, _row(0, size), _row(1, size), _row(2, size), kind, slope))
    plan.run(address_of(target), address_of(upstream), address_of(kept))
    remember(key, (dy, saved), plan, [dx], out=out, elementwise=True)
    return _into(dx, target)


def relu_forward(x: Any, *, out: np.ndarray | None = None) -> np.ndarray:
    """y = max(x, 0)."""
    return activation_forward("relu", x, out=out)


def relu_backward(dy: Any, y_or_x: Any, *, out: np.ndarray | None = None) -> np.ndarray:
    """dx = dy where x > 0, else 0 (also at x = 0)."""
    return activation_backward("relu", dy, y_or_x, out=out)


def leaky_relu_forward(x: Any, *, slope: float = 0.01, out: np.ndarray | None = None) -> np.ndarray:
    """y = x where x > 0, else slope*x."""
    return activation_forward("leaky_relu", x, slope=slope, out=out)


def leaky_relu_backward(dy: Any, y_or_x: Any, *, slope: float = 0.01,
                        out: np.ndarray | None = None) -> np.ndarray:
    """dx = dy where x > 0, else slope*dy (also at x = 0)."""
    return activation_backward("leaky_relu", dy, y_or_x, slope=slope, out=out)


def sigmoid_forward(x: Any, *, out: np.ndarray | None = None) -> np.ndarray:
    """y = 1 / (1 + exp(-x))."""
    return activation_forward("sigmoid", x, out=out)


def sigmoid_backward(dy: Any, y: Any, *, out: np.ndarray | None = None) -> np.ndarray:
    """dx = dy*y*(1 - y)."""
    return activation_backward("sigmoid", dy, y, out=out)


def tanh_forward(x: Any, *, out: np.ndarray | None = None) -> np.ndarray:
    """y = tanh(x)."""
    return activation_forward("tanh", x, out=out)


def tanh_backward(dy: Any, y: Any, *, out: np.ndarray | None = None) -> np.ndarray:
    """dx = dy*(1 - y^2)."""
    return activation_backward("tanh", dy, y, out=out)


def gelu_forward(x: Any, *, out: np.ndarray | None = None) -> np.ndarray:
    """y = x*Phi(x) = x*(1 + erf(x/sqrt(2)))/2: the exact form."""
    return activation_forward("gelu", x, out=out)


def gelu_backward(dy: Any, x: Any, *, out: np.ndarray | None = None) -> np.ndarray:
    """dx = dy*(Phi(x) + x*phi(x)); x is the input of the forward pass."""
    return activation_backward("gelu", dy, x, out=out)


def softplus_forward(x: Any, *, out: np.ndarray | None = None) -> np.ndarray:
    """y = log(1 + exp(x))."""
    return activation_forward("softplus", x, out=out)


def softplus_backward(dy: Any, y: Any, *, out: np.ndarray | None = None) -> np.ndarray:
    """dx = dy*sigmoid(x) = dy*(1 - exp(-y))."""
    return activation_backward("softplus", dy, y, out=out)


def silu_forward(x: Any, *, out: np.ndarray | None = None) -> np.ndarray:
    """y = x*sigmoid(x)."""
    return activation_forward("silu", x, out=out)


def silu_backward(dy: Any, x: Any, *, out: np.ndarray | None = None) -> np.ndarray:
    """dx = dy*s*(1 + x*(1 - s)), s = sigmoid(x); x is the input of the forward pass."""
    return activation_backward("silu", dy, x, out=out)


def _kind(name: str, slope: float) -> int:
    if name not in NAMES:
        raise ArgumentError(f"activation {name!r}", f"one of {', '.join(NAMES)}")
    if not slope >= 0:
        raise ArgumentError(f"slope={slope!r}", "a number of at least 0",
                            "with a negative slope the gradient could not be told from y")
    return NAMES[name]


def _row(number: int, size: int) -> Operand:
    """A call's C-ordered array, whatever its shape, as one row."""
    return Operand(place(number), 1, size, size)


def _into(y: np.ndarray, computed: np.ndarray) -> np.ndarray:
    if computed is not y:
        y[...] = computed
    return y
