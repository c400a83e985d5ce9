"""Standing in for the course's own modules."""

from __future__ import annotations

import importlib
import importlib.util
import sys

from fastbp._errors import ArgumentError
from fastbp.compat.cs231n import _edition

MODULES = (
    "layers",
    "layer_utils",
    "fast_layers",
    "im2col",
    "optim",
    "solver",
    "gradient_check",
    "classifiers.fc_net",
    "classifiers.cnn",
    "classifiers.softmax",
    "classifiers.linear_svm",
    "classifiers.linear_classifier",
    "classifiers.neural_net",
)
ON_REQUEST = ("im2col_cython",)


def install(*modules: str, edition: int = _edition.LATEST) -> None:
    """From now on `import cs231n.layers` and its like give fastbp's modules.

    Arguments:
        modules: which ones, of `MODULES` (all of them if none is named) and "im2col_cython", for
            a fast_layers.py of your own whose compiled helper is missing.
        edition: the course's year, for what differs and no argument tells: to 2017 the p of
            dropout is the share dropped, not kept; in 2016 the classifiers of assignment 1 halve
            the penalty.
    Raises:
        ArgumentError: no such module or edition; nothing is installed then.

    Call it before anything imports those modules, with the course's folder on sys.path: its
    package stays for everything else (data_utils, vis_utils, k_nearest_neighbor). Without such a
    package, `cs231n` has fastbp's modules alone.
    """
    wanted = modules or MODULES
    unknown = [name for name in wanted if name not in MODULES + ON_REQUEST]
    if unknown:
        raise ArgumentError(f"module {', '.join(map(repr, unknown))}",
                            f"some of {', '.join(MODULES + ON_REQUEST)}")
    _edition.choose(edition)
    own = __name__.rpartition(".")[0]
    if importlib.util.find_spec("cs231n") is None:
        sys.modules["cs231n"] = importlib.import_module(own)
        sys.modules["cs231n.classifiers"] = importlib.import_module(f"{own}.classifiers")
    for name in wanted:
        module = importlib.import_module(f"{own}.{name}")
        sys.modules[f"cs231n.{name}"] = module
        parent, _, leaf = f"cs231n.{name}".rpartition(".")
        if parent == "cs231n":
            setattr(importlib.import_module(parent), leaf, module)
        elif parent in sys.modules:
            setattr(sys.modules[parent], leaf, module)
