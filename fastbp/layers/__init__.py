"""Layers: parameters, what is saved for backward, and how they are emitted. No arithmetic."""

from typing import TYPE_CHECKING

from fastbp._lazy import lazily

if TYPE_CHECKING:
    from fastbp.layers.activations import (
        GELU,
        Identity,
        LeakyReLU,
        ReLU,
        Sigmoid,
        SiLU,
        Softplus,
        Tanh,
    )
    from fastbp.layers.affine import Affine
    from fastbp.layers.base import Layer, Parameter
    from fastbp.layers.conv import Conv2D
    from fastbp.layers.dropout import Dropout
    from fastbp.layers.images import GroupNorm, SpatialBatchNorm
    from fastbp.layers.merge import Add
    from fastbp.layers.norm import BatchNorm, LayerNorm
    from fastbp.layers.pool import AvgPool2D, Flatten, MaxPool2D
    from fastbp.layers.python import PythonLayer
else:
    __getattr__, __dir__ = lazily(__name__, {
        "activations": "GELU Identity LeakyReLU ReLU Sigmoid SiLU Softplus Tanh",
        "affine": "Affine",
        "base": "Layer Parameter",
        "conv": "Conv2D",
        "dropout": "Dropout",
        "images": "GroupNorm SpatialBatchNorm",
        "merge": "Add",
        "norm": "BatchNorm LayerNorm",
        "pool": "AvgPool2D Flatten MaxPool2D",
        "python": "PythonLayer",
    })

__all__ = [
    "GELU",
    "Add",
    "Affine",
    "AvgPool2D",
    "BatchNorm",
    "Conv2D",
    "Dropout",
    "Flatten",
    "GroupNorm",
    "Identity",
    "Layer",
    "LayerNorm",
    "LeakyReLU",
    "MaxPool2D",
    "Parameter",
    "PythonLayer",
    "ReLU",
    "SiLU",
    "Sigmoid",
    "Softplus",
    "SpatialBatchNorm",
    "Tanh",
]
