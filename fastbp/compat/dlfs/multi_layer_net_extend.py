"""`common.multi_layer_net_extend`: affine layers with BatchNormalization and Dropout."""

from __future__ import annotations

import os  # noqa: F401
import sys  # noqa: F401
from collections import OrderedDict  # noqa: F401
from collections.abc import Callable
from typing import Any

import numpy as np

from fastbp.compat.dlfs._batchnorm import BatchNormalization
from fastbp.compat.dlfs._layers import Dropout
from fastbp.compat.dlfs._network import Network as _Network
from fastbp.compat.dlfs._network import share_of_hits as _share_of_hits
from fastbp.compat.dlfs.gradient import numerical_gradient  # noqa: F401
from fastbp.compat.dlfs.layers import *  # noqa: F403


class MultiLayerNetExtend(_Network):
    """`MultiLayerNet` with BatchNormalization before, and Dropout behind each activation.

    Arguments:
        as for MultiLayerNet, and use_dropout, dropout_ration: the share that is dropped;
        use_batchnorm: adds gamma1, beta1, ... to params.
    """

    def __init__(self, input_size: int, hidden_size_list: list[int], output_size: int,
                 activation: str = "relu", weight_init_std: Any = "relu",
                 weight_decay_lambda: float = 0, use_dropout: bool = False,
                 dropout_ration: float = 0.5, use_batchnorm: bool = False) -> None:
        self.use_dropout = use_dropout
        self.use_batchnorm = use_batchnorm
        self._dropout_ratio = dropout_ration
        super().__init__(input_size, hidden_size_list, output_size, activation, weight_init_std,
                         weight_decay_lambda)

    def _add_between(self, idx: int, activation: Callable[[], Any]) -> None:
        if self.use_batchnorm:
            width = self.hidden_size_list[idx - 1]
            gamma, beta = np.ones(width), np.zeros(width)
            self.params[f"gamma{idx}"], self.params[f"beta{idx}"] = gamma, beta
            self.layers[f"BatchNorm{idx}"] = BatchNormalization(gamma, beta)
        super()._add_between(idx, activation)
        if self.use_dropout:
            self.layers[f"Dropout{idx}"] = Dropout(self._dropout_ratio)

    def predict(self, x: np.ndarray, train_flg: bool = False) -> np.ndarray:
        """Scores (N, output_size), as in training if `train_flg`."""
        for name, layer in self.layers.items():
            if "Dropout" in name or "BatchNorm" in name:
                x = layer.forward(x, train_flg)
            else:
                x = layer.forward(x)
        return x

    def loss(self, x: np.ndarray, t: np.ndarray, train_flg: bool = False) -> Any:
        """Mean loss, with weight decay; t: labels or one-hot rows."""
        return self.last_layer.forward(self.predict(x, train_flg), t) + self._decay()

    def accuracy(self, X: np.ndarray, T: np.ndarray) -> Any:
        """Share of the rows whose largest score is at the label, as in a test."""
        return _share_of_hits(self.predict(X, train_flg=False), T)

    def numerical_gradient(self, X: np.ndarray, T: np.ndarray) -> dict[str, np.ndarray]:
        """Gradients by central differences of the loss in training."""
        names: list[str] = []
        for idx in range(1, self.hidden_layer_num + 2):
            names += [f"W{idx}", f"b{idx}"]
            if self.use_batchnorm and idx <= self.hidden_layer_num:
                names += [f"gamma{idx}", f"beta{idx}"]
        return self._numerical(lambda _: self.loss(X, T, train_flg=True), names)

    def gradient(self, x: np.ndarray, t: np.ndarray) -> dict[str, np.ndarray]:
        """Gradients of the loss in training by name, by backpropagation."""
        self.loss(x, t, train_flg=True)
        grads = self._backward()
        if self.use_batchnorm:
            for idx in range(1, self.hidden_layer_num + 1):
                layer = self.layers[f"BatchNorm{idx}"]
                grads[f"gamma{idx}"], grads[f"beta{idx}"] = layer.dgamma, layer.dbeta
        return grads
