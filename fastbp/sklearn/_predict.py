"""Outputs of a model, and the model that an estimator keeps for predictions.

scikit-learn computes from `coefs_` at every call, so weights that a user has changed count. So do
they here: they are copied into the model's arena first, which takes microseconds.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from fastbp.sklearn._data import DENSE_BYTES
from fastbp.sklearn._network import Model, Norms
from fastbp.sklearn._threads import share_of_cores


def logits_of(model: Model, x: Any, n_threads: int | None) -> np.ndarray:
    """Outputs before the last activation, (N, C) in the model's dtype.

    x: (N, D) dense, or sparse: then made dense some rows at a time.
    """
    with share_of_cores(n_threads):
        if isinstance(x, np.ndarray):
            return np.asarray(model.network.predict(x))
        rows, step = x.shape[0], max(1, DENSE_BYTES // (8 * max(1, x.shape[1])))
        x = x.tocsr()
        parts = [model.network.predict(x[i : i + step].toarray()) for i in range(0, rows, step)]
        return np.concatenate(parts)


class Predictor:
    """Keeps a model between calls; not part of a pickle.

    One call at a time uses it: who comes while it is in use makes one of its own.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._key: tuple[Any, ...] = ()
        self._model: Model | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return Predictor, ()

    def logits(self, x: Any, coefs: list[np.ndarray], intercepts: list[np.ndarray],
               activations: list[str], norms: Norms, n_threads: int | None) -> np.ndarray:
        """Outputs before the last activation, computed in the wider dtype of x and the weights."""
        dtype = np.result_type(x.dtype, *coefs, np.float32)
        dtype = dtype if dtype == np.float32 else np.dtype(np.float64)
        units = [coefs[0].shape[0], *(coef.shape[1] for coef in coefs)]
        key = (tuple(units), tuple(activations), dtype, bool(norms))
        mine = self._lock.acquire(blocking=False)
        try:
            model = self._model if mine and self._key == key else None
            if model is None:
                model = Model(units, activations, dtype=dtype, batch_norm=bool(norms))
                if mine:
                    self._key, self._model = key, model
            model.load(coefs, intercepts, norms)
            return logits_of(model, x, n_threads)
        finally:
            if mine:
                self._lock.release()
