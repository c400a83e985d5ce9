"""Layers that are used together, as in the course's layer_utils.py.

Caches are tuples of the parts' caches, in the order of the forward pass.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastbp.compat.cs231n import fast_layers, layers
from fastbp.compat.cs231n._affine import affine_relu_backward, affine_relu_forward
from fastbp.compat.cs231n.fast_layers import *  # noqa: F403 - as the course's module does
from fastbp.compat.cs231n.fast_layers import (
    conv_backward_fast,
    conv_forward_fast,
    max_pool_backward_fast,
    max_pool_forward_fast,
)
from fastbp.compat.cs231n.layers import *  # noqa: F403
from fastbp.compat.cs231n.layers import (
    relu_backward,
    relu_forward,
    spatial_batchnorm_backward,
    spatial_batchnorm_forward,
)

__all__ = [
    "affine_relu_backward",
    "affine_relu_forward",
    "conv_bn_relu_backward",
    "conv_bn_relu_forward",
    "conv_relu_backward",
    "conv_relu_forward",
    "conv_relu_pool_backward",
    "conv_relu_pool_forward",
]
__all__ += fast_layers.__all__
__all__ += layers.__all__

Gradients = tuple[np.ndarray, np.ndarray, np.ndarray]


def conv_relu_forward(x: Any, w: Any, b: Any, conv_param: dict[str, Any]
                      ) -> tuple[np.ndarray, Any]:
    """Convolution, then ReLU: out (N, F, H', W') and both caches."""
    a, conv_cache = conv_forward_fast(x, w, b, conv_param)
    out, relu_cache = relu_forward(a)
    return out, (conv_cache, relu_cache)


def conv_relu_backward(dout: Any, cache: Any) -> Gradients:
    """(dx, dw, db) of `conv_relu_forward`."""
    conv_cache, relu_cache = cache
    return conv_backward_fast(relu_backward(dout, relu_cache), conv_cache)


def conv_bn_relu_forward(x: Any, w: Any, b: Any, gamma: Any, beta: Any,
                         conv_param: dict[str, Any], bn_param: dict[str, Any]
                         ) -> tuple[np.ndarray, Any]:
    """Convolution, spatial BatchNorm, ReLU: out (N, F, H', W') and the three caches."""
    a, conv_cache = conv_forward_fast(x, w, b, conv_param)
    normalised, bn_cache = spatial_batchnorm_forward(a, gamma, beta, bn_param)
    out, relu_cache = relu_forward(normalised)
    return out, (conv_cache, bn_cache, relu_cache)


def conv_bn_relu_backward(dout: Any, cache: Any
                          ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(dx, dw, db, dgamma, dbeta) of `conv_bn_relu_forward`."""
    conv_cache, bn_cache, relu_cache = cache
    da, dgamma, dbeta = spatial_batchnorm_backward(relu_backward(dout, relu_cache), bn_cache)
    return *conv_backward_fast(da, conv_cache), dgamma, dbeta


def conv_relu_pool_forward(x: Any, w: Any, b: Any, conv_param: dict[str, Any],
                           pool_param: dict[str, Any]) -> tuple[np.ndarray, Any]:
    """Convolution, ReLU, max pooling: out (N, F, H'', W'') and the three caches."""
    a, conv_cache = conv_forward_fast(x, w, b, conv_param)
    s, relu_cache = relu_forward(a)
    out, pool_cache = max_pool_forward_fast(s, pool_param)
    return out, (conv_cache, relu_cache, pool_cache)


def conv_relu_pool_backward(dout: Any, cache: Any) -> Gradients:
    """(dx, dw, db) of `conv_relu_pool_forward`."""
    conv_cache, relu_cache, pool_cache = cache
    da = relu_backward(max_pool_backward_fast(dout, pool_cache), relu_cache)
    return conv_backward_fast(da, conv_cache)
