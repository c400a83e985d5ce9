"""scikit-learn's `MLPClassifier`: whole fits only, since it has no training step to call."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from fastbp.benchmark import workloads as data
from fastbp.benchmark._peers import _mlp
from fastbp.benchmark.rows import Case

neural_network: Any = importlib.import_module("sklearn.neural_network")


def _fit(spec: dict[str, Any]) -> Case:
    widths, batch, epochs = spec["widths"], spec["batch"], spec["epochs"]
    x, y = data.digits()
    state: dict[str, Any] = {}
    # The number of epochs is the benchmark's, so that it is reached is no news.
    warnings.filterwarnings("ignore", category=Warning, module="sklearn")

    def prepare() -> None:
        model = neural_network.MLPClassifier(
            widths[1:-1], solver="adam", alpha=0.0, batch_size=batch, warm_start=True,
            learning_rate_init=data.ADAM_RATE, beta_1=data.BETA1, beta_2=data.BETA2,
            epsilon=data.ADAM_EPS, max_iter=1, tol=0.0, n_iter_no_change=10**9,
            random_state=0)  # fmt: skip
        model.fit(x, y)
        state["model"] = model.set_params(max_iter=epochs)

    def result() -> list[Any]:
        prepare()
        state["model"].fit(x, y)
        return [np.array(state["model"].score(x, y))]

    return Case(lambda: state["model"].fit(x, y), result, prepare)


CASES: dict[str, Callable[[dict[str, Any]], Case]] = {
    "fit": _fit,
    "mlp_fit": lambda spec: _mlp.fit_case(neural_network.MLPClassifier, spec),
    "mlp_predict": lambda spec: _mlp.predict_case(neural_network.MLPClassifier, spec),
    "mlp_search": lambda spec: _mlp.search_case(neural_network.MLPClassifier, spec),
}
