"""fastbp: the fastest way to train neural networks on a CPU from Python.

Layers, `Sequential` and `Graph`, losses, optimizers and the `Trainer` are here; checked array
functions are in `fastbp.ops`. README.md has an example to start from.
"""

from fastbp import callbacks, initializers, losses, ops, optim, schedules
from fastbp._errors import (
    ArgumentError,
    CheckpointError,
    ConcurrencyError,
    DataError,
    DTypeError,
    DurabilityWarning,
    FastbpError,
    NonFiniteError,
    ShapeError,
)
from fastbp._runtime import set_num_threads, show_versions, thread_count, threads
from fastbp._version import __version__
from fastbp.gradcheck import gradcheck, gradcheck_layer, gradcheck_network
from fastbp.graph import Graph, Node, Sequential
from fastbp.history import History
from fastbp.layers import (
    GELU,
    Add,
    Affine,
    AvgPool2D,
    BatchNorm,
    Conv2D,
    Dropout,
    Flatten,
    GroupNorm,
    Identity,
    Layer,
    LayerNorm,
    LeakyReLU,
    MaxPool2D,
    Parameter,
    PythonLayer,
    ReLU,
    Sigmoid,
    SiLU,
    Softplus,
    SpatialBatchNorm,
    Tanh,
)
from fastbp.network import Network, load
from fastbp.optim import SGD, AdaGrad, Adam, AdamW, RMSprop
from fastbp.trainer import Trainer

__all__ = [
    "GELU", "SGD", "AdaGrad", "Adam", "AdamW", "Add", "Affine", "ArgumentError", "AvgPool2D",
    "BatchNorm", "CheckpointError", "ConcurrencyError", "Conv2D", "DTypeError", "DataError",
    "Dropout", "DurabilityWarning", "FastbpError", "Flatten", "Graph", "GroupNorm", "History",
    "Identity", "Layer", "LayerNorm", "LeakyReLU", "MaxPool2D", "Network", "Node", "NonFiniteError",
    "Parameter", "PythonLayer", "RMSprop", "ReLU", "Sequential", "ShapeError", "SiLU", "Sigmoid",
    "Softplus", "SpatialBatchNorm", "Tanh", "Trainer", "__version__", "callbacks", "gradcheck",
    "gradcheck_layer", "gradcheck_network", "initializers", "load", "losses", "ops", "optim",
    "schedules", "set_num_threads", "show_versions", "thread_count", "threads",
]
