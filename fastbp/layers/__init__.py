"""Layers: parameters, what is saved for backward, and how they are emitted. No arithmetic."""

from fastbp.layers.activations import GELU, Identity, LeakyReLU, ReLU, Sigmoid, SiLU, Softplus, Tanh
from fastbp.layers.affine import Affine
from fastbp.layers.base import Layer, Parameter
from fastbp.layers.dropout import Dropout
from fastbp.layers.merge import Add
from fastbp.layers.norm import BatchNorm, LayerNorm
from fastbp.layers.python import PythonLayer

__all__ = [
    "GELU",
    "Add",
    "Affine",
    "BatchNorm",
    "Dropout",
    "Identity",
    "Layer",
    "LayerNorm",
    "LeakyReLU",
    "Parameter",
    "PythonLayer",
    "ReLU",
    "SiLU",
    "Sigmoid",
    "Softplus",
    "Tanh",
]
