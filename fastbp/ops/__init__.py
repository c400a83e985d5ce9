"""Checked NumPy functions over the kernels.

Arrays are float32 or float64, never mixed; any strides, read-only memory and leading
dimensions are taken. Nothing that is passed is modified unless a function says so.
"""

from typing import TYPE_CHECKING

from fastbp._lazy import lazily

if TYPE_CHECKING:
    from fastbp.ops.activations import (
        gelu_backward,
        gelu_forward,
        leaky_relu_backward,
        leaky_relu_forward,
        relu_backward,
        relu_forward,
        sigmoid_backward,
        sigmoid_forward,
        silu_backward,
        silu_forward,
        softplus_backward,
        softplus_forward,
        tanh_backward,
        tanh_forward,
    )
    from fastbp.ops.affine import (
        affine_backward,
        affine_forward,
        affine_relu_backward,
        affine_relu_forward,
    )
    from fastbp.ops.batchnorm import batchnorm_backward, batchnorm_forward
    from fastbp.ops.conv import conv2d_backward, conv2d_forward
    from fastbp.ops.dropout import dropout_backward, dropout_forward
    from fastbp.ops.layernorm import layernorm_backward, layernorm_forward
    from fastbp.ops.losses import (
        hinge,
        huber,
        mean_absolute_error,
        mean_squared_error,
        pinball,
        poisson_deviance,
        sigmoid_cross_entropy,
        softmax,
        softmax_cross_entropy,
    )
    from fastbp.ops.planes import (
        groupnorm_backward,
        groupnorm_forward,
        spatial_batchnorm_backward,
        spatial_batchnorm_forward,
    )
    from fastbp.ops.pool import (
        avg_pool2d_backward,
        avg_pool2d_forward,
        max_pool2d_backward,
        max_pool2d_forward,
    )
    from fastbp.ops.product import matmul
    from fastbp.ops.update import (
        adagrad_step,
        adam_step,
        adamw_step,
        momentum_step,
        rmsprop_step,
        sgd_step,
    )
else:
    __getattr__, __dir__ = lazily(__name__, {
        "activations": "gelu_backward gelu_forward leaky_relu_backward leaky_relu_forward "
                       "relu_backward relu_forward sigmoid_backward sigmoid_forward silu_backward "
                       "silu_forward softplus_backward softplus_forward tanh_backward "
                       "tanh_forward",
        "affine": "affine_backward affine_forward affine_relu_backward affine_relu_forward",
        "batchnorm": "batchnorm_backward batchnorm_forward",
        "conv": "conv2d_backward conv2d_forward",
        "dropout": "dropout_backward dropout_forward",
        "layernorm": "layernorm_backward layernorm_forward",
        "losses": "hinge huber mean_absolute_error mean_squared_error pinball poisson_deviance "
                  "sigmoid_cross_entropy softmax softmax_cross_entropy",
        "product": "matmul",
        "planes": "groupnorm_backward groupnorm_forward spatial_batchnorm_backward "
                  "spatial_batchnorm_forward",
        "pool": "avg_pool2d_backward avg_pool2d_forward max_pool2d_backward max_pool2d_forward",
        "update": "adagrad_step adam_step adamw_step momentum_step rmsprop_step sgd_step",
    })

__all__ = [
    "adagrad_step",
    "adam_step",
    "adamw_step",
    "affine_backward",
    "affine_forward",
    "affine_relu_backward",
    "affine_relu_forward",
    "avg_pool2d_backward",
    "avg_pool2d_forward",
    "batchnorm_backward",
    "batchnorm_forward",
    "conv2d_backward",
    "conv2d_forward",
    "dropout_backward",
    "dropout_forward",
    "gelu_backward",
    "gelu_forward",
    "groupnorm_backward",
    "groupnorm_forward",
    "hinge",
    "huber",
    "layernorm_backward",
    "layernorm_forward",
    "leaky_relu_backward",
    "leaky_relu_forward",
    "matmul",
    "max_pool2d_backward",
    "max_pool2d_forward",
    "mean_absolute_error",
    "mean_squared_error",
    "momentum_step",
    "pinball",
    "poisson_deviance",
    "relu_backward",
    "relu_forward",
    "rmsprop_step",
    "sgd_step",
    "sigmoid_backward",
    "sigmoid_cross_entropy",
    "sigmoid_forward",
    "silu_backward",
    "silu_forward",
    "softmax",
    "softmax_cross_entropy",
    "softplus_backward",
    "softplus_forward",
    "spatial_batchnorm_backward",
    "spatial_batchnorm_forward",
    "tanh_backward",
    "tanh_forward",
]
