"""The fully resolved configuration of a run, as it goes into config.json."""

from __future__ import annotations

import os
import platform
from argparse import Namespace
from importlib.metadata import version
from typing import Any

from fastbp._runtime import thread_count, thread_reason
from fastbp._simd.machine import machine
from fastbp._version import __version__
from fastbp.cli._sources import Sources

_NOT_SETTINGS = ("run", "quiet", "verbose", "out", "lr", "weight_decay", "resume", "max_time",
                 "checkpoint_every", "keep", "keep_best", "csv", "tensorboard")
"""Options that are not part of the configuration, or are resolved below."""


def resolved(options: Namespace, sources: Sources, trainer: Any) -> dict[str, Any]:
    """Options with their defaults, what the data decided, and the versions in use."""
    settings = {name: value for name, value in vars(options).items() if name not in _NOT_SETTINGS}
    for name in ("data", "labels", "test_labels", "validation_labels"):
        if settings[name] is not None:
            settings[name] = os.fspath(settings[name])
    unit = machine()
    return {
        **settings,
        "optimizer": trainer.optimizer.as_dict(),
        "features": sources.preparation.width,
        "outputs": sources.preparation.outputs,
        "classes": list(sources.preparation.classes),
        "rows": {name: len(pair[0]) for name, pair in (
            ("training", sources.train), ("validation", sources.validation),
            ("test", sources.test)) if pair},
        "threads": {"count": thread_count(), "reason": thread_reason()},
        "machine": {"vectors": unit.name, "vector_bytes": unit.vector_bytes},
        "versions": {"fastbp": __version__, "python": platform.python_version(),
                     **{name: version(name) for name in ("numpy", "numba", "llvmlite")}},
    }
