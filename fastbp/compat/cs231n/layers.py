"""The layers of the course's layers.py, forward beside backward.

Weights are (inputs, outputs); images are (N, C, H, W). Every forward function returns (out, cache)
for its backward function, which returns sums over the batch: the factor 1/N is in the losses.
float32 stays float32; mixed arrays are promoted as NumPy promotes them.
"""

from __future__ import annotations

import numpy as np

from fastbp.compat.cs231n._affine import (
    affine_backward,
    affine_forward,
    relu_backward,
    relu_forward,
)
from fastbp.compat.cs231n._conv import (
    conv_backward_naive,
    conv_forward_naive,
    max_pool_backward_naive,
    max_pool_forward_naive,
)
from fastbp.compat.cs231n._dropout import dropout_backward, dropout_forward
from fastbp.compat.cs231n._losses import softmax_loss, svm_loss
from fastbp.compat.cs231n._norm import (
    batchnorm_backward,
    batchnorm_backward_alt,
    batchnorm_forward,
    layernorm_backward,
    layernorm_forward,
    spatial_batchnorm_backward,
    spatial_batchnorm_forward,
    spatial_groupnorm_backward,
    spatial_groupnorm_forward,
)

# np: scripts of the course have it from `from cs231n.layers import *`.
__all__ = [
    "affine_backward",
    "affine_forward",
    "batchnorm_backward",
    "batchnorm_backward_alt",
    "batchnorm_forward",
    "conv_backward_naive",
    "conv_forward_naive",
    "dropout_backward",
    "dropout_forward",
    "layernorm_backward",
    "layernorm_forward",
    "max_pool_backward_naive",
    "max_pool_forward_naive",
    "np",
    "relu_backward",
    "relu_forward",
    "softmax_loss",
    "spatial_batchnorm_backward",
    "spatial_batchnorm_forward",
    "spatial_groupnorm_backward",
    "spatial_groupnorm_forward",
    "svm_loss",
]
