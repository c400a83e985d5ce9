"""A convolutional network of three layers."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastbp.compat.cs231n import layer_utils, layers
from fastbp.compat.cs231n._conv import deconvolve
from fastbp.compat.cs231n.classifiers._parameters import penalty
from fastbp.compat.cs231n.layer_utils import *  # noqa: F403 - as the course's module does

__all__ = ["ThreeLayerConvNet"]
__all__ += layer_utils.__all__


class ThreeLayerConvNet:
    """conv - relu - 2x2 max pool - affine - relu - affine - softmax, on images (N, C, H, W).

    Arguments:
        input_dim: (C, H, W), H and W even. num_filters, filter_size: F filters of filter_size
        squared; images are padded with zeros so that the convolution keeps their size.
        hidden_dim, num_classes: sizes of the two affine layers. weight_scale: standard deviation
        of the weights, drawn by np.random.randn, W1 first. reg: weight of the penalty
        reg/2 * sum(W*W). dtype: of the parameters.
    Attributes:
        params: W1 (F, C, filter_size, filter_size), b1 (F,), W2 (F*H*W/4, hidden_dim), b2, W3, b3.
        reg, dtype.
    """

    def __init__(self, input_dim: tuple[int, int, int] = (3, 32, 32), num_filters: int = 32,
                 filter_size: int = 7, hidden_dim: int = 100, num_classes: int = 10,
                 weight_scale: float = 1e-3, reg: float = 0.0, dtype: Any = np.float32) -> None:
        self.reg, self.dtype = reg, dtype
        c, h, w = input_dim
        shapes = ((num_filters, c, filter_size, filter_size),
                  (num_filters * (h // 2) * (w // 2), hidden_dim), (hidden_dim, num_classes))
        self.params: dict[str, Any] = {}
        for layer, shape in enumerate(shapes, start=1):
            drawn = weight_scale * np.random.randn(*shape)  # noqa: NPY002 - the course's numbers
            self.params[f"W{layer}"] = drawn.astype(dtype)
            self.params[f"b{layer}"] = np.zeros(shape[0 if layer == 1 else 1], dtype)

    def loss(self, X: Any, y: Any = None) -> Any:  # noqa: N803 - its name
        """Scores (N, num_classes) where y is None, else (loss, gradients by the names of params).

        X is not converted: float64 images with float32 parameters are computed in float64.
        """
        p = self.params
        conv_param = {"stride": 1, "pad": (p["W1"].shape[2] - 1) // 2}
        pool_param = {"pool_height": 2, "pool_width": 2, "stride": 2}
        pooled, cache1 = layer_utils.conv_relu_pool_forward(X, p["W1"], p["b1"], conv_param,
                                                            pool_param)
        hidden, cache2 = layer_utils.affine_relu_forward(pooled, p["W2"], p["b2"])
        scores, cache3 = layers.affine_forward(hidden, p["W3"], p["b3"])
        if y is None:
            return scores
        loss, dscores = layers.softmax_loss(scores, y)
        grads: dict[str, np.ndarray] = {}
        dhidden, grads["W3"], grads["b3"] = layers.affine_backward(dscores, cache3)
        dpooled, grads["W2"], grads["b2"] = layer_utils.affine_relu_backward(dhidden, cache2)
        conv_cache, relu_cache, pool_cache = cache1
        dconv = layers.relu_backward(layer_utils.max_pool_backward_fast(dpooled, pool_cache),
                                     relu_cache)
        _, grads["W1"], grads["b1"] = deconvolve(dconv, conv_cache, need_dx=False)
        return loss + penalty(self.params, grads, self.reg), grads
