"""Outputs of a model, and the model that an estimator keeps for predictions.

scikit-learn computes from `coefs_` at every call, so weights that a user has changed count. So do
they here: they are copied into the model's arena first, which takes microseconds.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from fastbp._arena import address_of
from fastbp.batches import as_batch
from fastbp.kernels.reduce import GATHER_ROWS
from fastbp.planner import Plan
from fastbp.sklearn._data import DENSE_BYTES
from fastbp.sklearn._network import Model, Norms
from fastbp.sklearn._threads import share_of_cores

# Rows of a call into compiled code: their values stay in the caches.
BLOCK_ROWS = 2048
# Up to so many columns the largest is found column by column: 17 ns a row of 10, argmax takes 25.
FEW_COLUMNS = 32

Reduce = Callable[[np.ndarray], np.ndarray]


def logits_of(model: Model, x: Any, n_threads: int | None = None, reduce: Reduce = np.asarray
              ) -> np.ndarray:
    """Outputs before the last activation, (N, C) in the model's dtype, or what `reduce` makes.

    x: (N, D) dense, or sparse: then made dense some rows at a time. reduce: takes the outputs of
    some rows, a view that the next rows overwrite, and gives as many rows.
    """
    with share_of_cores(n_threads):
        result = np.empty(0)
        for begin, block in _dense_blocks(x):
            for first, logits in _blocks(model, block):
                part = reduce(logits)
                if not len(result):
                    result = np.empty((x.shape[0], *part.shape[1:]), part.dtype)
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


def _blocks(model: Model, x: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """(number of the first row, outputs); an output is overwritten by the next."""
    inputs = as_batch(model.network, x)[0]
    for begin in range(0, len(inputs), BLOCK_ROWS):
        rows = min(BLOCK_ROWS, len(inputs) - begin)
        if begin == 0 or rows < BLOCK_ROWS:
            plan = _plan(model, rows)
            plan.set_inputs([inputs[begin:]])
            [[source]] = plan.sources
            words = source.program.words()
            place = source.program.place(source.row, GATHER_ROWS, "source")
            output = plan.array_of(model.network.output_steps[0])
        words[place] = address_of(inputs) + begin * inputs.strides[0]
        plan.run(1)
        yield begin, output


def _plan(model: Model, rows: int) -> Plan:
    """The program for so many rows, made or kept by the model."""
    if rows not in model.plans:
        if len(model.plans) > 4:
            model.plans.clear()
        plan = model.plans[rows] = Plan(model.network, rows, training=False)
        plan.emit_inputs()
        plan.emit_forward()
    return model.plans[rows]


def largest(logits: np.ndarray) -> np.ndarray:
    """The number of the largest of each row, the first of equal ones: (N,) from (N, C)."""
    if logits.shape[1] > FEW_COLUMNS:
        return logits.argmax(axis=1)
    columns = np.ascontiguousarray(logits.T)
    highest, found = columns[0].copy(), np.zeros(len(logits), np.uint8)
    for number, values in enumerate(columns[1:], 1):
        higher = (values > highest).view(np.uint8)
        higher *= np.uint8(number)  # later numbers are larger
        np.maximum(found, higher, out=found)
        np.maximum(highest, values, out=highest)
    return found


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
               reduce: Reduce = np.asarray) -> np.ndarray:
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
            return logits_of(model, x, n_threads, reduce)
        finally:
            if mine:
                self._lock.release()
