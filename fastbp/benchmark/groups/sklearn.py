"""fastbp.sklearn's MLPClassifier beside scikit-learn's: the same calls, the same settings."""

from __future__ import annotations

from typing import Any

from fastbp.benchmark.groups import GroupOptions
from fastbp.benchmark.rows import SUBJECT, Measurement, Row
from fastbp.benchmark.session import Session
from fastbp.benchmark.starts import measure_starts, process_seconds

PEERS = ("sklearn",)

FITS: dict[str, dict[str, Any]] = {
    "digits": {"settings": {"max_iter": 50}},
    "digits batch 32": {"settings": {"batch_size": 32, "max_iter": 10}},
    "100000x100 hidden 100": {"rows": 100_000, "features": 100, "settings": {"max_iter": 2}},
    "10000x100 hidden 512 512": {
        "rows": 10_000, "features": 100,
        "settings": {"hidden_layer_sizes": (512, 512), "max_iter": 1}},
}  # fmt: skip
"""float32; what is not set is as it is by default: Adam, batches of 200, 100 hidden units."""

PREDICTED: dict[str, Any] = {"rows": 1_000_000, "features": 64, "settings": {"max_iter": 5}}
QUICK_ROWS = 20_000

ACCURACY_TOLERANCE = 0.02
"""Training accuracies; initial weights and order of samples are the same, roundings are not."""

FIRST_FIT = """
import numpy as np
from {module} import MLPClassifier
from fastbp.benchmark.workloads import digits
MLPClassifier(random_state=0).fit(*digits())
"""
"""A process: imports, and a fit of the digits with default settings."""

_MODULES = {SUBJECT: "fastbp.sklearn", "sklearn": "sklearn.neural_network"}


def rows(options: GroupOptions) -> list[Row]:
    """Fits, predictions, a grid search, and a process with its first fit."""
    predicted = {**PREDICTED, "rows": QUICK_ROWS} if options.quick else PREDICTED
    return [
        *(Row("sklearn", f"fit {name}", "mlp_fit", spec, peers=PEERS,
              tolerances=(ACCURACY_TOLERANCE,))
          for name, spec in FITS.items() if not (options.quick and "rows" in spec)),
        Row("sklearn", "predict 1000000x64", "mlp_predict", predicted, peers=PEERS,
            items=predicted["rows"], tolerances=(1e-3,)),
        Row("sklearn", "grid search with 2 processes", "mlp_search", {"settings": {"max_iter": 10}},
            peers=PEERS, tolerances=(ACCURACY_TOLERANCE,)),
        Row("sklearn", "import and first fit", "mlp_start", {}, peers=PEERS,
            measured_by=_first_fit),
    ]  # fmt: skip


def _first_fit(session: Session, row: Row) -> Measurement:
    return measure_starts(session, row, lambda name, threads: process_seconds(
        FIRST_FIT.format(module=_MODULES[name]), name, threads))
