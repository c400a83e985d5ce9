"""Outputs of a model, and the model that an estimator keeps for predictions.

scikit-learn computes from `coefs_` at every call, so weights that a user has changed count. So do
they here: they are copied into the model's arena first, which takes microseconds.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np

from fastbp._arena import address_of, allocate
from fastbp.batches import as_batch
from fastbp.emit.largest import emit_largest
from fastbp.kernels.reduce import GATHER_ROWS
from fastbp.planner import Plan
from fastbp.sklearn._data import DENSE_BYTES
from fastbp.sklearn._network import Model, Norms
from fastbp.sklearn._threads import share_of_cores

# Rows of a call into compiled code: their values stay in the caches.
BLOCK_ROWS = 4096
# Up to so many columns the largest is found while outputs are in the cache: 7 ns a row of 10, where
# NumPy takes 25 on one thread; of wide rows NumPy compares many columns at a time.
FEW_COLUMNS = 32


def logits_of(model: Model, x: Any, n_threads: int | None = None, *, largest: bool = False
              ) -> np.ndarray:
    """Outputs before the last activation, (N, C) in the model's dtype.

    With `largest` the number of each row's largest, the first of equal ones: (N,) int64. x: (N, D)
    dense, or sparse: then made dense some rows at a time.
    """
    columns = model.network.steps[model.network.output_steps[0]].size
    inside = largest and columns <= FEW_COLUMNS
    result = np.empty(x.shape[0], np.int64) if largest else np.empty(
        (x.shape[0], columns), model.network.dtype)
    with share_of_cores(n_threads):
        for begin, block in _dense_blocks(x):
            for first, part in _blocks(model, block, inside):
                if largest and not inside:
                    part = part.argmax(axis=1)
                result[begin + first : begin + first + len(part)] = part
    return result


def _dense_blocks(x: Any) -> Iterator[tuple[int, np.ndarray]]:
    """(number of the first row, rows): all of a dense x at once."""
    if isinstance(x, np.ndarray):
        yield 0, x
        return
    rows = x.tocsr()
    step = max(1, DENSE_BYTES // (8 * max(1, x.shape[1])))
    for begin in range(0, x.shape[0], step):
        yield begin, rows[begin : begin + step].toarray()


def _blocks(model: Model, x: np.ndarray, largest: bool) -> Iterator[tuple[int, np.ndarray]]:
    """(number of the first row, outputs or the numbers of their largest), which the next
    overwrite.
    """
    inputs = as_batch(model.network, x)[0]
    for begin in range(0, len(inputs), BLOCK_ROWS):
        rows = min(BLOCK_ROWS, len(inputs) - begin)
        if begin == 0 or rows < BLOCK_ROWS:
            plan, found = _plan(model, rows, largest)
            plan.set_inputs([inputs[begin:]])
            [[source]] = plan.sources
            words = source.program.words()
            place = source.program.place(source.row, GATHER_ROWS, "source")
            output = found if largest else plan.array_of(model.network.output_steps[0])
        words[place] = address_of(inputs) + begin * inputs.strides[0]
        plan.run(1)
        yield begin, output


def _plan(model: Model, rows: int, largest: bool) -> tuple[Plan, np.ndarray]:
    """The program for so many rows, made or kept by the model, and where it leaves the numbers."""
    key = rows, largest
    if key not in model.plans:
        if len(model.plans) > 4:
            model.plans.clear()
        plan, found = Plan(model.network, rows, training=False), allocate(rows, np.int64)
        plan.emit_inputs()
        plan.emit_forward()
        if largest:
            logits = plan.values[model.network.output_steps[0]]
            emit_largest(plan.program, address_of(found), logits)
        model.plans[key] = plan, found
    return model.plans[key]


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
               activations: list[str], norms: Norms, n_threads: int | None,
               *, largest: bool = False) -> np.ndarray:
        """`logits_of` with these weights, computed in the wider dtype of x and the weights."""
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
            return logits_of(model, x, n_threads, largest=largest)
        finally:
            if mine:
                self._lock.release()
