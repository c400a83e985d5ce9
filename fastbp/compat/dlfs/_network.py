"""What MultiLayerNet and MultiLayerNetExtend share."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastbp._errors import ArgumentError
from fastbp.compat.dlfs._layers import Affine, Relu, Sigmoid, SoftmaxWithLoss
from fastbp.compat.dlfs.gradient import numerical_gradient

ACTIVATIONS = {"sigmoid": Sigmoid, "relu": Relu}


class Network:
    """Affine layers with activations between them, and softmax with loss at the end.

    Attributes:
        params: W1 (in, out), b1, W2 ... as float64; layers hold references to these arrays.
        layers: Affine1, Activation_function1, ... in their order. last_layer: the loss.
    """

    def __init__(self, input_size: int, hidden_size_list: Sequence[int], output_size: int,
                 activation: str, weight_init_std: Any, weight_decay_lambda: float) -> None:
        if activation not in ACTIVATIONS:
            raise ArgumentError(f"{type(self).__name__}: activation={activation!r}",
                                "'relu' or 'sigmoid'")
        self.input_size = input_size
        self.output_size = output_size
        self.hidden_size_list = hidden_size_list
        self.hidden_layer_num = len(hidden_size_list)
        self.weight_decay_lambda = weight_decay_lambda
        self.params: dict[str, np.ndarray] = {}
        self._initialize(weight_init_std)
        self.layers: OrderedDict[str, Any] = OrderedDict()
        for idx in range(1, self.hidden_layer_num + 1):
            self._add_affine(idx)
            self._add_between(idx, ACTIVATIONS[activation])
        self._add_affine(self.hidden_layer_num + 1)
        self.last_layer = SoftmaxWithLoss()

    def _initialize(self, weight_init_std: Any) -> None:
        """Weights from `np.random.randn`, layer after layer; biases 0.

        weight_init_std: a deviation, or 'relu'/'he' for sqrt(2/in), 'sigmoid'/'xavier' for
        sqrt(1/in).
        """
        gains = {"relu": 2.0, "he": 2.0, "sigmoid": 1.0, "xavier": 1.0}
        gain = gains.get(str(weight_init_std).lower())
        if gain is None and isinstance(weight_init_std, str):
            raise ArgumentError(f"{type(self).__name__}: weight_init_std={weight_init_std!r}",
                                f"a number, or one of {', '.join(gains)}")
        sizes = [self.input_size, *self.hidden_size_list, self.output_size]
        for idx in range(1, len(sizes)):
            fan_in, fan_out = sizes[idx - 1], sizes[idx]
            scale = weight_init_std if gain is None else np.sqrt(gain / fan_in)
            self.params[f"W{idx}"] = scale * np.random.randn(fan_in, fan_out)
            self.params[f"b{idx}"] = np.zeros(fan_out)

    def _add_affine(self, idx: int) -> None:
        self.layers[f"Affine{idx}"] = Affine(self.params[f"W{idx}"], self.params[f"b{idx}"])

    def _add_between(self, idx: int, activation: Callable[[], Any]) -> None:
        """Layers between the affine layers idx and idx + 1."""
        self.layers[f"Activation_function{idx}"] = activation()

    def _decay(self) -> Any:
        """0.5 * lambda * the sum of all squared weights."""
        if not self.weight_decay_lambda:
            return 0
        weights = [self.params[f"W{idx}"].reshape(-1)
                   for idx in range(1, self.hidden_layer_num + 2)]  # fmt: skip
        return 0.5 * self.weight_decay_lambda * sum(np.dot(w, w) for w in weights)

    def _backward(self) -> dict[str, Any]:
        """Gradients of the loss that was computed last, by the names of the parameters."""
        dout = self.last_layer.backward(1)
        first, *others = self.layers.values()
        for layer in reversed(others):
            dout = layer.backward(dout)
        if type(first) is Affine:
            first.gradients(dout, need_dx=False)
        else:
            first.backward(dout)
        grads = {}
        for idx in range(1, self.hidden_layer_num + 2):
            affine = self.layers[f"Affine{idx}"]
            grads[f"W{idx}"] = affine.dW
            if self.weight_decay_lambda:
                grads[f"W{idx}"] = affine.dW + self.weight_decay_lambda * affine.W
            grads[f"b{idx}"] = affine.db
        return grads

    def _numerical(self, loss: Callable[[np.ndarray], Any], names: Sequence[str]
                   ) -> dict[str, np.ndarray]:
        return {name: numerical_gradient(loss, self.params[name]) for name in names}


def share_of_hits(y: np.ndarray, t: np.ndarray) -> Any:
    """How many rows of y have their largest number where t (labels, or one-hot rows) says."""
    if t.ndim != 1:
        t = np.argmax(t, axis=1)
    return np.sum(np.argmax(y, axis=1) == t) / float(y.shape[0])
