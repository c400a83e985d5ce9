"""Neurons, layers and networks of them on `Value`.

Calls of a layer or network are computed together (`_calls.py`). What that cannot do goes through
the neurons one by one: other classes of neurons, values of users' own classes as weights, layers
that do not fit together.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastbp.compat.micrograd._calls import Net
from fastbp.compat.micrograd._changes import Parts, adopt, restructured, versions
from fastbp.compat.micrograd._programs import Shape
from fastbp.compat.micrograd.engine import Value

# What a network is made of; whoever sets one of these changes its structure.
_PARTS = frozenset({"w", "b", "nonlin", "neurons", "layers"})


class Module:
    """What has parameters."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _PARTS:
            restructured()
            if type(value) is list:
                value = Parts(value)
        super().__setattr__(name, value)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_net"}

    def zero_grad(self) -> None:
        """Set `grad` of all parameters to 0."""
        for p in self.parameters():
            p.grad = 0

    def parameters(self) -> list[Value]:
        """All weights and biases, in a fixed order."""
        return []


class Neuron(Module):
    """max(0, w.x + b), or w.x + b.

    Arguments:
        nin: inputs. Weights are `random.uniform(-1, 1)` each, the bias 0.
        nonlin: whether negative results become 0.
    """

    def __init__(self, nin: int, nonlin: bool = True) -> None:
        self.w = [Value(random.uniform(-1, 1)) for _ in range(nin)]
        self.b = Value(0)
        self.nonlin = nonlin

    def __call__(self, x: Any) -> Value:
        """The result for one row of inputs."""
        act = sum((wi * xi for wi, xi in zip(self.w, x, strict=False)), self.b)
        return act.relu() if self.nonlin else act

    def parameters(self) -> list[Value]:
        """Its weights, then its bias."""
        return [*self.w, self.b]

    def __repr__(self) -> str:
        return f"{'ReLU' if self.nonlin else 'Linear'}Neuron({len(self.w)})"


class Layer(Module):
    """`nout` neurons with the same `nin` inputs; `kwargs` are theirs."""

    def __init__(self, nin: int, nout: int, **kwargs: Any) -> None:
        self.neurons = [Neuron(nin, **kwargs) for _ in range(nout)]

    def __call__(self, x: Any) -> Any:
        """Its neurons' results for one row of inputs; of one neuron not in a list."""
        out = _batched(self, x) or [n(x) for n in self.neurons]
        return out[0] if len(out) == 1 else out

    def parameters(self) -> list[Value]:
        """Those of its neurons, in order."""
        return [p for neuron in self.neurons for p in neuron.parameters()]

    def __repr__(self) -> str:
        return f"Layer of [{', '.join(str(n) for n in self.neurons)}]"


class MLP(Module):
    """Layers with `nouts` neurons after `nin` inputs; all but the last have the nonlinearity."""

    def __init__(self, nin: int, nouts: list[int]) -> None:
        sizes = [nin, *nouts]
        self.layers = [Layer(sizes[i], sizes[i + 1], nonlin=i != len(nouts) - 1)
                       for i in range(len(nouts))]

    def __call__(self, x: Any) -> Any:
        """The last layer's results for one row of inputs."""
        out = _batched(self, x)
        if out is not None:
            return out[0] if len(out) == 1 else out
        for layer in self.layers:
            x = layer(x)
        return x

    def parameters(self) -> list[Value]:
        """Those of its layers, in order."""
        return [p for layer in self.layers for p in layer.parameters()]

    def __repr__(self) -> str:
        return f"MLP of [{', '.join(str(layer) for layer in self.layers)}]"


def _meaning() -> tuple[Any, ...]:
    """The methods that say what a network computes; a script may have put in its own."""
    return (Layer.__call__, Neuron.__call__, Value.relu, Value.__add__, Value.__mul__,
            Value.__radd__, Value.__rmul__)


_original = _meaning()


def accept_wrappers() -> None:
    """Take the methods as they are now for the original ones, wrapped by what only watches."""
    global _original
    _original = _meaning()


def _batched(module: Layer | MLP, x: Any) -> Any:
    """A call's outputs from the batch, or None where the call has to go neuron by neuron."""
    if not isinstance(x, (list, tuple, np.ndarray)) or _meaning() != _original:
        return None
    structure, net = module.__dict__.get("_net", (None, None))
    if structure != versions.structure:
        layers = module.layers if isinstance(module, MLP) else [module]
        # Parameters are adopted meanwhile, so that from here on their changes are noticed.
        net = _net_of(layers)
        module.__dict__["_net"] = versions.structure, net
    return net and net.call(x)


def _net_of(layers: Sequence[Layer]) -> Net | None:
    """The network as matrices, or None where it is none."""
    widths: list[tuple[int, int]] = []
    relu: list[bool] = []
    parameters: list[Value] = []
    for layer in layers:
        neurons = layer.neurons if _computes_as(layer, Layer) else ()
        if not neurons or not all(_computes_as(n, Neuron) for n in neurons):
            return None
        if len({(len(n.w), bool(n.nonlin)) for n in neurons}) != 1:
            return None
        widths.append((len(neurons[0].w), len(neurons)))
        relu.append(bool(neurons[0].nonlin))
        parameters += [p for n in neurons for p in (*n.w, n.b)]
    fits = all(a[1] == b[0] > 1 for a, b in itertools.pairwise(widths))
    # A hidden layer of one neuron returns a value and no list, which is an error further on.
    if not widths or not fits or widths[0][0] == 0 or not all(map(adopt, parameters)):
        return None
    shape = Shape((widths[0][0], *(c for _, c in widths)), tuple(relu))
    return Net(shape, parameters)


def _computes_as(module: Any, kind: type[Any]) -> bool:
    """True where a module is of that kind, and its class has no other `__call__`."""
    return isinstance(module, kind) and type(module).__call__ is kind.__call__
