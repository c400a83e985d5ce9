"""MiniFlow, Udacity's lesson on computational graphs, with fastbp doing the arithmetic.

The lesson's names and conventions, and those of its edition of 2016 (`Neuron`): see
docs/compat-miniflow-nielsen.md. `train` is not the lesson's: its loop in one call.
"""

import numpy as np

from fastbp.compat import _install
from fastbp.compat.miniflow._nodes import MSE, Add, Input, Linear, Mul, Neuron, Node, Sigmoid
from fastbp.compat.miniflow._passes import (
    forward_and_backward,
    forward_pass,
    sgd_update,
    topological_sort,
)
from fastbp.compat.miniflow._train import train

# Scripts get NumPy, too, through `from miniflow import *`.
__all__ = ["MSE", "Add", "Input", "Linear", "Mul", "Neuron", "Node", "Sigmoid",
           "forward_and_backward", "forward_pass", "np", "sgd_update", "topological_sort", "train"]


def install() -> tuple[str, ...]:
    """Let `import miniflow` find this module from now on.

    Returns:
        The names that are replaced.
    """
    return _install.install("miniflow")
