"""`common.multi_layer_net`: a network of affine layers."""

from __future__ import annotations

import os  # noqa: F401
import sys  # noqa: F401
from collections import OrderedDict  # noqa: F401
from typing import Any

import numpy as np

from fastbp.compat.dlfs._network import Network as _Network
from fastbp.compat.dlfs._network import share_of_hits as _share_of_hits
from fastbp.compat.dlfs.gradient import numerical_gradient  # noqa: F401
from fastbp.compat.dlfs.layers import *  # noqa: F403


class MultiLayerNet(_Network):
    """Affine layers with ReLU or sigmoid between them, and softmax with loss at the end.

    Arguments:
        input_size, hidden_size_list, output_size: widths. activation: 'relu' or 'sigmoid'.
        weight_init_std: deviation of the weights, or 'relu'/'he', 'sigmoid'/'xavier'.
        weight_decay_lambda: 0.5*lambda*sum(W^2) of all weights is added to the loss.
    """

    def __init__(self, input_size: int, hidden_size_list: list[int], output_size: int,
                 activation: str = "relu", weight_init_std: Any = "relu",
                 weight_decay_lambda: float = 0) -> None:
        super().__init__(input_size, hidden_size_list, output_size, activation, weight_init_std,
                         weight_decay_lambda)

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Scores (N, output_size)."""
        for layer in self.layers.values():
            x = layer.forward(x)
        return x

    def loss(self, x: np.ndarray, t: np.ndarray) -> Any:
        """Mean loss, with weight decay; t: labels or one-hot rows."""
        return self.last_layer.forward(self.predict(x), t) + self._decay()

    def accuracy(self, x: np.ndarray, t: np.ndarray) -> Any:
        """Share of the rows whose largest score is at the label."""
        return _share_of_hits(self.predict(x), t)

    def numerical_gradient(self, x: np.ndarray, t: np.ndarray) -> dict[str, np.ndarray]:
        """Gradients by central differences: two losses for each parameter."""
        return self._numerical(lambda _: self.loss(x, t), list(self.params))

    def gradient(self, x: np.ndarray, t: np.ndarray) -> dict[str, np.ndarray]:
        """Gradients of `loss` by name, by backpropagation."""
        self.loss(x, t)
        return self._backward()
