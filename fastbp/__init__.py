"""fastbp: the fastest way to train neural networks on a CPU from Python.

Layers, `Sequential` and `Graph`, losses, optimizers and the `Trainer` are here; checked array
functions are in `fastbp.ops`. README.md has an example to start from.
"""

from typing import TYPE_CHECKING

from fastbp._lazy import lazily
from fastbp._version import __version__

if TYPE_CHECKING:
    from fastbp import (
        callbacks,
        data,
        datasets,
        initializers,
        layers,
        losses,
        ops,
        optim,
        schedules,
    )
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
    from fastbp._gradcheck import gradcheck, gradcheck_layer, gradcheck_network
    from fastbp._runtime import set_num_threads, show_versions, thread_count, threads
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
else:
    __getattr__, __dir__ = lazily(__name__, {
        "_errors": "ArgumentError CheckpointError ConcurrencyError DataError DTypeError "
                   "DurabilityWarning FastbpError NonFiniteError ShapeError",
        "_gradcheck": "gradcheck gradcheck_layer gradcheck_network",
        "_runtime": "set_num_threads show_versions thread_count threads",
        "callbacks": "callbacks",
        "data": "data",
        "datasets": "datasets",
        "graph": "Graph Node Sequential",
        "history": "History",
        "initializers": "initializers",
        "layers": "layers GELU Add Affine AvgPool2D BatchNorm Conv2D Dropout Flatten GroupNorm "
                  "Identity Layer LayerNorm LeakyReLU MaxPool2D Parameter PythonLayer ReLU Sigmoid "
                  "SiLU Softplus SpatialBatchNorm Tanh",
        "losses": "losses",
        "network": "Network load",
        "ops": "ops",
        "optim": "optim SGD AdaGrad Adam AdamW RMSprop",
        "schedules": "schedules",
        "trainer": "Trainer",
    })

__all__ = [
    "GELU", "SGD", "AdaGrad", "Adam", "AdamW", "Add", "Affine", "ArgumentError", "AvgPool2D",
    "BatchNorm", "CheckpointError", "ConcurrencyError", "Conv2D", "DTypeError", "DataError",
    "Dropout", "DurabilityWarning", "FastbpError", "Flatten", "Graph", "GroupNorm", "History",
    "Identity", "Layer", "LayerNorm", "LeakyReLU", "MaxPool2D", "Network", "Node", "NonFiniteError",
    "Parameter", "PythonLayer", "RMSprop", "ReLU", "Sequential", "ShapeError", "SiLU", "Sigmoid",
    "Softplus", "SpatialBatchNorm", "Tanh", "Trainer", "__version__", "callbacks", "data",
    "datasets", "gradcheck", "gradcheck_layer", "gradcheck_network", "initializers", "layers",
    "load", "losses", "ops", "optim", "schedules", "set_num_threads", "show_versions",
    "thread_count", "threads",
]
