"""Fully connected networks of any depth, and of two layers."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastbp._errors import ArgumentError
from fastbp.compat.cs231n import layer_utils, layers
from fastbp.compat.cs231n._affine import parameter_gradients
from fastbp.compat.cs231n._edition import dropout_p_drops
from fastbp.compat.cs231n.classifiers import _saving
from fastbp.compat.cs231n.classifiers._parameters import affine_params, penalty
from fastbp.compat.cs231n.classifiers._two_layers import two_layer_loss
from fastbp.compat.cs231n.layer_utils import *  # noqa: F403 - as the course's module does

__all__ = ["FullyConnectedNet", "TwoLayerNet"]
__all__ += layer_utils.__all__

Gradients = dict[str, np.ndarray]
_NORMALIZATIONS: dict[str, tuple[Any, Any]] = {
    "batchnorm": (layers.batchnorm_forward, layers.batchnorm_backward),
    "layernorm": (layers.layernorm_forward, layers.layernorm_backward),
}


class _Saving:
    """`save` and `load` for models whose parameters are a dict."""

    params: dict[str, Any]

    def save(self, fname: str) -> None:
        """Write the parameters to cs231n/saved/FNAME, or saved/FNAME without that package."""
        _saving.save(fname, self.params)

    def load(self, fname: str) -> bool:
        """Read what `save` wrote; False if there is no such file. It is unpickled: trust it."""
        params = _saving.load(fname)
        if params is not None:
            self.params = params
        return params is not None


class TwoLayerNet(_Saving):
    """affine - relu - affine - softmax, in float64 unless X has another dtype and params too.

    Arguments:
        input_dim, hidden_dim, num_classes: D, H and C. weight_scale: standard deviation of the
        weights, drawn by np.random.randn, W1 first. reg: weight of the penalty reg/2 * sum(W*W).
    Attributes:
        params: W1 (D, H), b1 (H,), W2 (H, C), b2 (C,). reg.
    """

    def __init__(self, input_dim: int = 3 * 32 * 32, hidden_dim: int = 100, num_classes: int = 10,
                 weight_scale: float = 1e-3, reg: float = 0.0) -> None:
        self.reg = reg
        self.params = affine_params([input_dim, hidden_dim, num_classes], weight_scale)

    def loss(self, X: Any, y: Any = None) -> Any:  # noqa: N803 - its name
        """Scores (N, C) where y is None, else (loss, gradients by the names of params)."""
        return two_layer_loss(self.params, X, y, self.reg)


class FullyConnectedNet(_Saving):
    """{affine - [normalization] - relu - [dropout]} x (L - 1) - affine - softmax.

    Arguments:
        hidden_dims: sizes of the L - 1 hidden layers. input_dim, num_classes: D and C.
        dropout_keep_ratio: share of the hidden numbers that is kept; 1 for no dropout.
        normalization: None, "batchnorm" or "layernorm".
        reg: weight of the penalty reg/2 * sum(W*W). weight_scale: standard deviation of the
        weights. dtype: of everything; X is converted. seed: of every dropout mask.
        dropout: its name before 2021, then the share that is kept too; 0 is no dropout. With
        `use_batchnorm` (the name to 2017 of what normalization says), or after
        install(edition=2017), it is the share that is dropped.
    Attributes:
        params: W1, b1, gamma1, beta1, ... ; num_layers L; normalization, use_batchnorm,
        use_dropout, dropout_param, bn_params (one dict a hidden layer), reg, dtype.
    Raises:
        ArgumentError: what is given twice, or makes no sense.
    """

    def __init__(self, hidden_dims: Any, input_dim: int = 3 * 32 * 32, num_classes: int = 10,
                 dropout_keep_ratio: float = 1, normalization: str | bool | None = None,
                 reg: float = 0.0, weight_scale: float = 1e-2, dtype: Any = np.float32,
                 seed: int | None = None, *, dropout: float | None = None,
                 use_batchnorm: bool | None = None) -> None:
        if isinstance(normalization, bool):  # the fifth argument to 2017, after `dropout`
            if dropout_keep_ratio != 1 and dropout is None:
                dropout, dropout_keep_ratio = dropout_keep_ratio, 1
            use_batchnorm, normalization = normalization, None
        keep = _share_kept(dropout_keep_ratio, dropout, use_batchnorm is not None)
        if use_batchnorm:
            if normalization not in (None, "batchnorm"):
                raise ArgumentError(f"use_batchnorm=True and normalization={normalization!r}",
                                    "one of the two")
            normalization = "batchnorm"
        if normalization is not None and normalization not in _NORMALIZATIONS:
            raise ArgumentError(f"normalization={normalization!r}",
                                f"None or one of {', '.join(_NORMALIZATIONS)}")
        self.normalization, self.use_batchnorm = normalization, normalization == "batchnorm"
        self.use_dropout = keep != 1
        self.reg, self.dtype, self.num_layers = reg, dtype, 1 + len(hidden_dims)
        self.params = affine_params([input_dim, *hidden_dims, num_classes], weight_scale, dtype)
        self.dropout_param: dict[str, Any] = {}
        if self.use_dropout:
            self.dropout_param = {"mode": "train", "p": 1 - keep if dropout_p_drops() else keep}
            if seed is not None:
                self.dropout_param["seed"] = seed
        self.bn_params: list[dict[str, Any]] = []
        if normalization is not None:
            for layer, width in enumerate(hidden_dims, start=1):
                self.params[f"gamma{layer}"] = np.ones(width, dtype)
                self.params[f"beta{layer}"] = np.zeros(width, dtype)
                self.bn_params.append({"mode": "train"} if self.use_batchnorm else {})

    def loss(self, X: Any, y: Any = None) -> Any:  # noqa: N803 - its name
        """Scores (N, C) where y is None (dropout off, BatchNorm by its running statistics).

        Otherwise (loss, gradients by the names of params).
        """
        mode = "test" if y is None else "train"
        if self.use_dropout:
            self.dropout_param["mode"] = mode
        if self.use_batchnorm:
            for bn_param in self.bn_params:
                bn_param["mode"] = mode
        hidden = np.asarray(X).astype(self.dtype, copy=False)
        caches = []
        for layer in range(1, self.num_layers):
            hidden, cache = self._hidden_forward(layer, hidden)
            caches.append(cache)
        last = self.num_layers
        scores, cache = layers.affine_forward(hidden, self.params[f"W{last}"],
                                              self.params[f"b{last}"])
        if y is None:
            return scores
        loss, dhidden = layers.softmax_loss(scores, y)
        grads: Gradients = {}
        dhidden, grads[f"W{last}"], grads[f"b{last}"] = layers.affine_backward(dhidden, cache)
        for layer in range(last - 1, 0, -1):
            dhidden = self._hidden_backward(layer, dhidden, caches[layer - 1], grads)
        return loss + penalty(self.params, grads, self.reg), grads

    def _hidden_forward(self, layer: int, x: np.ndarray) -> tuple[np.ndarray, Any]:
        """(out, caches) of hidden layer number `layer`, counted from 1."""
        w, b = self.params[f"W{layer}"], self.params[f"b{layer}"]
        norm_cache = drop_cache = None
        if self.normalization is None:
            x, cache = layer_utils.affine_relu_forward(x, w, b)
        else:
            x, affine_cache = layers.affine_forward(x, w, b)
            x, norm_cache = _NORMALIZATIONS[self.normalization][0](
                x, self.params[f"gamma{layer}"], self.params[f"beta{layer}"],
                self.bn_params[layer - 1])
            x, relu_cache = layers.relu_forward(x)
            cache = affine_cache, relu_cache
        if self.use_dropout:
            x, drop_cache = layers.dropout_forward(x, self.dropout_param)
        return x, (cache, norm_cache, drop_cache)

    def _hidden_backward(self, layer: int, dout: np.ndarray, caches: Any, grads: Gradients
                         ) -> np.ndarray:
        """The gradient by the layer's input (layer 1: dout); its parameters' go to `grads`."""
        cache, norm_cache, drop_cache = caches
        if self.use_dropout:
            dout = layers.dropout_backward(dout, drop_cache)
        affine_cache, out = cache
        if self.normalization is not None:
            dout, grads[f"gamma{layer}"], grads[f"beta{layer}"] = _NORMALIZATIONS[
                self.normalization][1](layers.relu_backward(dout, out), norm_cache)
            out = None
        if layer == 1:
            grads["W1"], grads["b1"] = parameter_gradients(dout, affine_cache, out)
            return dout
        if out is None:
            dout, dw, db = layers.affine_backward(dout, affine_cache)
        else:
            dout, dw, db = layer_utils.affine_relu_backward(dout, cache)
        grads[f"W{layer}"], grads[f"b{layer}"] = dw, db
        return dout


def _share_kept(keep: float, dropout: float | None, dropout_drops: bool) -> float:
    """What the arguments for dropout, by whichever of their names, say is kept."""
    if dropout is not None:
        if keep != 1:
            raise ArgumentError(f"dropout_keep_ratio={keep!r} and dropout={dropout!r}",
                                "one of the two")
        drops = dropout_drops or dropout_p_drops()
        keep = 1 - dropout if drops else dropout or 1
    if not 0 < keep <= 1:
        raise ArgumentError(f"a share of {keep!r} kept by dropout", "above 0 and up to 1")
    return keep
