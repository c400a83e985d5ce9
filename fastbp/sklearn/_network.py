"""The network of an estimator, and the way between its arena and `coefs_`, `intercepts_`."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from fastbp.graph import Sequential
from fastbp.layers import (
    GELU,
    Affine,
    BatchNorm,
    Dropout,
    Identity,
    Layer,
    LeakyReLU,
    ReLU,
    Sigmoid,
    SiLU,
    Softplus,
    Tanh,
)

ACTIVATIONS: dict[str, type[Layer]] = {
    "identity": Identity, "logistic": Sigmoid, "tanh": Tanh, "relu": ReLU,
    "leaky_relu": LeakyReLU, "gelu": GELU, "silu": SiLU, "softplus": Softplus,
}  # fmt: skip
"""By the names of scikit-learn (the first four) and fastbp."""

NORM_PARTS = ("gamma", "beta", "running_mean", "running_var")

Norms = list[dict[str, np.ndarray]]
"""The arrays of each hidden layer's batch normalisation, by the names in NORM_PARTS."""


class Model:
    """Fully connected layers: [affine, batch norm, activation, dropout] x hidden, affine.

    Arguments:
        units: numbers of features, of each hidden layer, of outputs.
        activations: names, one for each hidden layer.
        dtype: float32 or float64. dropout: rate behind each hidden layer. batch_norm: between each
        hidden layer and its activation. seed: of the dropout masks.
    """

    def __init__(self, units: Sequence[int], activations: Sequence[str], *, dtype: Any,
                 dropout: float = 0.0, batch_norm: bool = False, seed: int = 0) -> None:
        self.units, self.activations = tuple(units), tuple(activations)
        self.affine = [Affine(a, b, init="zeros")
                       for a, b in pairwise(units)]
        self.norms = [BatchNorm(size) for size in units[1:-1]] if batch_norm else []
        layers: list[Layer] = []
        for number, name in enumerate(activations):
            layers += [self.affine[number], *self.norms[number : number + 1]]
            layers += [ACTIVATIONS[name]()] if name != "identity" else []
            layers += [Dropout(dropout)] if dropout else []
        self.network = Sequential([*layers, self.affine[-1]], dtype=dtype, seed=seed)
        self.network.build()
        # Programs for predictions by their number of rows.
        self.plans: dict[Any, Any] = {}

    def load(self, coefs: Sequence[np.ndarray], intercepts: Sequence[np.ndarray],
             norms: Norms | None = None) -> None:
        """Set all weights: coefs[i] (in, out) and intercepts[i] (out,) are copied."""
        for layer, coef, intercept in zip(self.affine, coefs, intercepts, strict=True):
            layer.parameters["w"][...] = coef
            layer.parameters["b"][...] = intercept
        for norm, parts in zip(self.norms, norms or [], strict=False):
            for name, view in {**norm.parameters, **norm.buffers}.items():
                view[...] = parts[name]

    def coefs(self) -> list[np.ndarray]:
        """Copies of the weights, each (in, out)."""
        return [layer.parameters["w"].copy() for layer in self.affine]

    def intercepts(self) -> list[np.ndarray]:
        """Copies of the biases."""
        return [layer.parameters["b"].copy() for layer in self.affine]

    def norm_parts(self) -> Norms:
        """Copies of what the batch normalisations have learnt."""
        return [{name: view.copy() for name, view in {**n.parameters, **n.buffers}.items()}
                for n in self.norms]

    def snapshot(self) -> list[np.ndarray]:
        """Copies of everything that training changes, for `restore`."""
        return [self.network.values.copy(), *(v.copy() for v in self.network.buffers.values())]

    def restore(self, arrays: list[np.ndarray]) -> None:
        """Go back to a snapshot."""
        for view, kept in zip([self.network.values, *self.network.buffers.values()], arrays,
                              strict=True):
            view[...] = kept

    def is_finite(self) -> bool:
        """Whether every weight is a number."""
        arrays = [self.network.values, *self.network.buffers.values()]
        return all(bool(np.isfinite(a).all()) for a in arrays)


def draw_weights(random_state: Any, units: Sequence[int], activations: Sequence[str], dtype: Any
                 ) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """(coefs, intercepts) as scikit-learn draws them.

    Uniform within sqrt(6/(in + out)) of 0 (Glorot & Bengio 2010), 2 in place of 6 for logistic
    units; weights, then biases, layer by layer, in float64, then converted.

    Arguments:
        random_state: numpy.random.RandomState. activations: a name for each layer, the output's too
        (its weights are drawn as those of a hidden layer).
    """
    coefs, intercepts = [], []
    for fan_in, fan_out, name in zip(units[:-1], units[1:], activations, strict=True):
        bound = np.sqrt((2.0 if name == "logistic" else 6.0) / (fan_in + fan_out))
        coefs.append(random_state.uniform(-bound, bound, (fan_in, fan_out)).astype(dtype))
        intercepts.append(random_state.uniform(-bound, bound, fan_out).astype(dtype))
    return coefs, intercepts
