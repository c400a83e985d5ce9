"""Mini-batches of the book's networks as one program: gather, forward, backward, update.

Design: weights lie as (inputs, outputs) in the engine's memory, although the book has a row per
neuron: then the matmuls of the forward pass and of the weights' gradients, of which there is
one each for the large first layer, read everything in place. They are transposed once an epoch.
Samples are gathered from the arrays that the user has them in: to copy 50000 images into a
matrix first took as long as an epoch.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fastbp._arena import address_of, allocate, padded
from fastbp._memory import Memory
from fastbp._program import Operand, Program
from fastbp.emit.activations import emit_activation_backward
from fastbp.emit.affine import (
    Producer,
    emit_affine_db,
    emit_affine_dw,
    emit_affine_dx,
    emit_affine_forward,
)
from fastbp.emit.gemm import Finish, can_update_in_place
from fastbp.emit.reduce import emit_add, emit_gather_rows
from fastbp.emit.update import emit_update, hyper_row, rates_row
from fastbp.kernels.activations import SIGMOID
from fastbp.kernels.gemm import UPDATE
from fastbp.kernels.reduce import FLOAT32, FLOAT64, GATHER_ROWS, UINT8
from fastbp.kernels.update import SGD

KINDS = {np.dtype(np.float32): FLOAT32, np.dtype(np.float64): FLOAT64, np.dtype(np.uint8): UINT8}
_FLOAT = np.dtype(np.float64)
# Steps of one run at most; fewer where they take long, so that Ctrl-C is heard.
_MOST_STEPS, _RUN_SECONDS = 1024, 0.05
# Engines of one thread; beyond that it starts afresh.
_MOST_ENGINES = 8


@dataclass(frozen=True)
class Samples:
    """Where samples lie in memory: sample i begins `places[i] * row_step` elements from `address`.

    kind: of the elements (kernels/reduce.py); kept: the arrays that own the memory.
    """

    address: int
    row_step: int
    col_step: int
    kind: int
    places: np.ndarray
    kept: object

    @classmethod
    def of(cls, columns: Sequence[np.ndarray], size: int) -> Samples:
        """Columns (size, 1): where they are if they are alike, else copied into one matrix."""
        dtypes = {column.dtype for column in columns}
        steps = {column.strides[0] for column in columns}
        dtype, step = next(iter(dtypes), _FLOAT), next(iter(steps), 0)
        item = dtype.itemsize
        if (len(dtypes) == len(steps) == 1 and dtype in KINDS and step % item == 0
                and all(column.flags.aligned for column in columns)):
            # Any array's elements are whole steps from address 0, where the rows "begin".
            places = np.fromiter(map(address_of, columns), np.int64, len(columns)) // item
            return cls(0, 1, step // item, KINDS[dtype], places, columns)
        matrix = rows_of_columns(columns, size)
        return cls(address_of(matrix), size, 1, FLOAT64, np.arange(len(columns)), matrix)


def rows_of_columns(columns: Sequence[np.ndarray], size: int) -> np.ndarray:
    """Columns (size, 1) as the rows of a C-ordered float64 matrix."""
    matrix = allocate(len(columns) * size, _FLOAT)
    if columns:
        np.concatenate(columns, out=matrix.reshape(-1, 1))
    return matrix.reshape(len(columns), size)


class Engine:
    """Weights and programs for networks of some sizes and one cost.

    quadratic: the output's delta is (a - y) sigmoid'(z); otherwise, for cross-entropy, a - y.
    """

    def __init__(self, sizes: Sequence[int], *, quadratic: bool) -> None:
        self.sizes, self.quadratic = tuple(sizes), quadratic
        self.memory = Memory()
        self.weights = [_Matrix(n, m) for n, m in itertools.pairwise(sizes)]
        self.biases = [_Matrix(1, m) for m in sizes[1:]]
        self.rates = np.tile(rates_row(0.0), (_MOST_STEPS, 1))
        self.hyper, self.hyper_plain = hyper_row(), hyper_row()
        self._batches: dict[int, _Batch] = {}

    def load(self, weights: Sequence[np.ndarray], biases: Sequence[np.ndarray]) -> None:
        """Take the parameters: weights (n_out, n_in), biases (n_out, 1)."""
        for mine, w in zip(self.weights, weights, strict=True):
            mine.array[...] = w.T
        for mine, b in zip(self.biases, biases, strict=True):
            mine.array[...] = b.T

    def store(self) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """(weights, biases) as new arrays in the book's layout."""
        return ([w.array.T.copy() for w in self.weights], [b.array.T.copy() for b in self.biases])

    def run(self, x: Samples, y: Samples, rows: np.ndarray, batch: int, eta: float, decay: float
            ) -> None:
        """w <- (1 - eta*decay) w - eta/m (sum of the gradients) for each mini-batch in turn.

        rows: which samples, int64, those of the first mini-batch first; the last one has
        m < batch rows where they do not divide.
        """
        whole = len(rows) // batch
        if whole:
            self._run(x, y, rows[: whole * batch], batch, eta, decay)
        if whole * batch < len(rows):
            self._run(x, y, rows[whole * batch :], len(rows) - whole * batch, eta, decay)

    def _run(self, x: Samples, y: Samples, rows: np.ndarray, batch: int, eta: float, decay: float
             ) -> None:
        if batch not in self._batches:
            if len(self._batches) >= _MOST_ENGINES:
                self._batches.clear()
            self._batches[batch] = _Batch(self, batch)
        program = self._batches[batch]
        self.rates[:, 0] = eta / batch
        self.hyper[0] = decay * batch
        begin, pace, steps = 0, 1, len(rows) // batch
        while begin < steps:
            count = min(pace, steps - begin)
            program.set_data(x, y, rows[begin * batch : (begin + count) * batch])
            start = time.perf_counter()
            program.program.run(count)
            seconds = time.perf_counter() - start
            begin += count
            if seconds < _RUN_SECONDS / 2:
                pace = min(2 * pace, _MOST_STEPS)
            elif seconds > _RUN_SECONDS:
                pace = max(1, pace // 2)


class _Matrix:
    """A matrix with rows on cache lines."""

    def __init__(self, rows: int, cols: int) -> None:
        width = padded(cols, _FLOAT)
        block = allocate(rows * width, _FLOAT).reshape(rows, width)
        self.array = block[:, :cols]
        self.operand = Operand(address_of(block), rows, cols, width, readable=True)
        self.address = self.operand.address


class _Batch:
    """The program of a mini-batch of one size."""

    def __init__(self, engine: Engine, rows: int) -> None:
        self.engine, self.rows = engine, rows
        self.program = Program(_FLOAT, engine.memory, flush=True)
        self._matrices: list[_Matrix] = []
        values = [self._new(size) for size in engine.sizes]
        target = self._new(engine.sizes[-1])
        emit_gather_rows(self.program, values[0], values[0], FLOAT64)
        self._places = [self.program.size - 1]
        emit_gather_rows(self.program, target, target, FLOAT64, overlap=True)
        self._places.append(self.program.size - 1)
        for number, w in enumerate(engine.weights):
            emit_affine_forward(self.program, values[number + 1], values[number], w.operand,
                                engine.biases[number].address, layout="column", kind=SIGMOID)
        delta = self._new(engine.sizes[-1])
        emit_add(self.program, delta, values[-1], target, factor=-1.0)
        if engine.quadratic:
            emit_activation_backward(self.program, delta, delta, values[-1], SIGMOID)
        self._emit_backward(values, delta)

    def _new(self, cols: int) -> Operand:
        self._matrices.append(_Matrix(self.rows, cols))
        return self._matrices[-1].operand

    def _emit_backward(self, values: list[Operand], delta: Operand) -> None:
        """Each layer's delta before its weights change, and the updates."""
        program, sums = self.program, None
        for number in reversed(range(len(self.engine.weights))):
            w = self.engine.weights[number]
            below, sums_below = delta, None
            if number:
                below = self._new(w.operand.rows)
                sums_below = emit_affine_dx(
                    program, below, delta, w.operand, layout="column",
                    through=Producer(SIGMOID, 0.0, values[number]))
            self._emit_weights(w, delta, values[number])
            self._emit_biases(self.engine.biases[number], delta, sums)
            delta, sums = below, sums_below

    def _emit_weights(self, w: _Matrix, delta: Operand, x: Operand) -> None:
        rates, hyper = address_of(self.engine.rates), address_of(self.engine.hyper)
        if can_update_in_place(self.rows, _FLOAT.itemsize):
            emit_affine_dw(self.program, w.operand, delta, x, layout="column",
                           finish=Finish(UPDATE, SGD, slots=(w.address, w.address), hyper=hyper,
                                         rates=rates))
            return
        gradient = _Matrix(*w.array.shape)
        self._matrices.append(gradient)
        emit_affine_dw(self.program, gradient.operand, delta, x, layout="column")
        emit_update(self.program, SGD, w.address, gradient.address,
                    w.operand.rows * w.operand.row_step, hyper=hyper, rates=rates)

    def _emit_biases(self, b: _Matrix, delta: Operand, sums: Operand | None) -> None:
        gradient = self._new(delta.cols).address
        emit_affine_db(self.program, gradient, delta, sums)
        emit_update(self.program, SGD, b.address, gradient, delta.cols,
                    hyper=address_of(self.engine.hyper_plain),
                    rates=address_of(self.engine.rates))

    def set_data(self, x: Samples, y: Samples, rows: np.ndarray) -> None:
        """Which samples the next run gathers."""
        self._index = [samples.places[rows] for samples in (x, y)]
        for place, samples, index in zip(self._places, (x, y), self._index, strict=True):
            self.program.set(place, GATHER_ROWS, source=samples.address,
                             row_step=samples.row_step, col_step=samples.col_step,
                             index=address_of(index), kind=samples.kind)


class _Engines(threading.local):
    def __init__(self) -> None:
        self.known: dict[tuple[tuple[int, ...], bool], Engine] = {}


_local = _Engines()


def engine_for(sizes: Sequence[int], *, quadratic: bool) -> Engine:
    """This thread's engine for networks of these sizes; its parameters are the last user's."""
    key = tuple(sizes), quadratic
    engine = _local.known.get(key)
    if engine is None:
        if len(_local.known) >= _MOST_ENGINES:
            _local.known.clear()
        engine = _local.known[key] = Engine(sizes, quadratic=quadratic)
    return engine
