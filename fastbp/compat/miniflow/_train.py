"""The lesson's training loop in one call: many steps are one run of one program."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fastbp._arena import address_of
from fastbp._errors import ArgumentError, DataError, DTypeError, ShapeError
from fastbp.compat.miniflow._nodes import MSE, Input, Node
from fastbp.compat.miniflow._passes import (
    forward_and_backward,
    known_graph,
    remember,
    sgd_update,
)
from fastbp.compat.miniflow._plan import Plan, Source, emit_updates
from fastbp.compat.miniflow._shapes import find_shapes, is_expressible
from fastbp.emit.update import hyper_row, rates_row

# Steps of one run at most; fewer where they take long, so that Ctrl-C is heard.
_MOST_STEPS, _RUN_SECONDS = 1024, 0.05
_READ = (np.dtype(np.float32), np.dtype(np.float64))


def train(graph: Sequence[Node], trainables: Sequence[Node], data: Mapping[Node, Any], *,
          learning_rate: float = 1e-2, batch_size: int | None = None, steps: int | None = None,
          index: Any = None) -> np.ndarray:
    """Steps of stochastic gradient descent; afterwards all is as after the lesson's loop.

    Each step gives rows of the data to their inputs, then does `forward_and_backward(graph)` and
    `sgd_update(trainables, learning_rate)`.

    Arguments:
        data: an array (N, ...) for each `Input` that gets a new batch at every step.
        batch_size, steps: batches are drawn with replacement by `np.random.randint`, the same that
            one `sklearn.utils.resample(..., n_samples=batch_size)` a step would draw.
        index: instead, the rows of each step's batch: whole numbers (steps, batch_size).
    Returns:
        the last node's value at each step, float64 (steps,).
    Raises:
        ArgumentError, DataError, DTypeError or ShapeError before anything has changed.
    """
    nodes, wanted = list(graph), list(trainables)
    arrays = _check_data(nodes, wanted, data)
    rows = _check_index(index, len(next(iter(arrays.values()))), batch_size, steps)
    training = _training_for(nodes, wanted, arrays, rows.shape[1]) if rows.size else None
    if training is not None:
        return training.run(arrays, rows, learning_rate)
    losses = np.zeros(len(rows))
    for step, chosen in enumerate(rows):
        for node, array in data.items():
            node.value = np.asarray(array)[chosen]
        forward_and_backward(nodes)
        sgd_update(wanted, learning_rate)
        losses[step] = nodes[-1].value
    return losses


class Training:
    """A plan that also gathers its batches and updates the trainables; kept with the graph."""

    def __init__(self, plan: Plan, trainables: list[Node], index: np.ndarray) -> None:
        self.plan, self.trainables, self._index = plan, trainables, index
        self._losses = plan.losses[plan.nodes[-1]]
        self._rates, self._hyper = np.tile(rates_row(0.0), (len(index), 1)), hyper_row()
        emit_updates(plan.program, plan, trainables, self._hyper, self._rates)
        plan.finish()
        self._pace = 1

    def takes(self, trainables: list[Node], arrays: Mapping[Node, np.ndarray], batch: int) -> bool:
        """True where it can train these on such data, from the inputs' values of now."""
        sources = self.plan.sources
        return (self.trainables == trainables and list(sources) == list(arrays)
                and self._index.shape[1] == batch
                and all(a.shape == b.array.shape and a.strides == b.array.strides
                        and a.dtype == b.array.dtype and a.flags.aligned
                        for a, b in zip(arrays.values(), sources.values(), strict=True))
                and self.plan.bind()
                and all(self.plan.slots[node].array.flags.writeable for node in trainables))

    def run(self, arrays: Mapping[Node, np.ndarray], rows: np.ndarray, learning_rate: float
            ) -> np.ndarray:
        """The losses of steps on the batches `rows`."""
        self.plan.set_sources(arrays)
        self._rates[:, 0] = learning_rate
        losses, begin = np.empty(len(rows)), 0
        while begin < len(rows):
            count = min(self._pace, len(rows) - begin)
            self._index[:count] = rows[begin : begin + count]
            start = time.perf_counter()
            self.plan.program.run(count)
            seconds = time.perf_counter() - start
            self.plan.last_step = count - 1
            self.plan.mark()
            losses[begin : begin + count] = self._losses[:count]
            begin += count
            if count == self._pace and seconds < _RUN_SECONDS / 2:
                self._pace = min(2 * self._pace, len(self._index))
            elif seconds > _RUN_SECONDS:
                self._pace = max(1, self._pace // 2)
        return losses


def _training_for(nodes: list[Node], trainables: list[Node], arrays: Mapping[Node, np.ndarray],
                  batch: int) -> Training | None:
    known = known_graph(nodes) or remember(nodes)
    for training in known.trainings:
        if training.takes(trainables, arrays, batch):
            return training
    training = _make_training(nodes, trainables, arrays, batch)
    if training is not None:
        known.keep_training(training)
    return training


def _make_training(nodes: list[Node], trainables: list[Node], arrays: Mapping[Node, np.ndarray],
                   batch: int) -> Training | None:
    """A training of these, or None where a program cannot express it."""
    if type(nodes[-1]) is not MSE or not is_expressible(nodes, backward=True):
        return None
    if any(array.ndim > 2 or any(step % array.itemsize for step in array.strides)
           or not array.flags.aligned or array.dtype not in _READ for array in arrays.values()):
        return None
    count = max(1, min(_MOST_STEPS, (1 << 20) // batch))
    index = np.zeros((count, batch), np.int64)
    sources = {node: Source(array, batch, address_of(index)) for node, array in arrays.items()}
    values: dict[Node, Any] = {
        node: sources[node].example if node in sources else node.value
        for node in nodes if type(node) is Input}
    shapes = find_shapes(nodes, values, backward=True)
    if shapes is None:
        return None
    plan = Plan(nodes, values, shapes, backward=True, sources=sources, steps=count)
    if not all(node in plan.slots and plan.slots[node].can_be_updated for node in trainables):
        return None
    training = Training(plan, trainables, index)
    return training if training.takes(trainables, arrays, batch) else None


def _check_data(nodes: list[Node], trainables: list[Node], data: Mapping[Node, Any]
                ) -> dict[Node, np.ndarray]:
    """The data as arrays that a program may read: floats, of one length."""
    if not nodes:
        raise ArgumentError("train: an empty graph", "what topological_sort returned")
    for node in (*data, *trainables):
        if not isinstance(node, Node) or node not in nodes:
            raise ArgumentError(f"train: {node!r} is not in the graph", "nodes of the graph")
    if not data or not all(isinstance(node, Input) for node in data):
        raise ArgumentError("train: data for " + (", ".join(type(n).__name__ for n in data)
                                                  or "no node"),
                            "an array for each Input that gets batches")
    if any(node in data for node in trainables):
        raise ArgumentError("train: a trainable gets batches of data", "either, not both")
    arrays = {node: np.asarray(array) for node, array in data.items()}
    shapes = [array.shape for array in arrays.values()]
    if any(len(shape) == 0 for shape in shapes) or len({shape[0] for shape in shapes}) > 1:
        raise ShapeError(f"train: data with shapes {', '.join(map(str, shapes))}",
                         "(N, ...) with one N")
    if shapes[0][0] == 0:
        raise DataError("train: data without rows", "at least one row")
    return {node: array.astype(np.float64) if array.dtype.kind in "biu" and all(
        type(user) is MSE for user in node.outbound_nodes) else array
        for node, array in arrays.items()}


def _check_index(index: Any, count: int, batch_size: int | None, steps: int | None) -> np.ndarray:
    """Rows of each step's batch, int64 (steps, batch_size)."""
    if index is None:
        if batch_size is None or steps is None or batch_size < 1 or steps < 0:
            raise ArgumentError(f"train: batch_size={batch_size}, steps={steps}",
                                "both, at least 1 and 0, or an index")
        return np.random.randint(0, count, size=(steps, batch_size))  # noqa: NPY002 - as the lesson
    rows = np.asarray(index)
    if rows.dtype.kind not in "iu":
        raise DTypeError(f"train: index with dtype {rows.dtype}", "whole numbers")
    if rows.ndim != 2 or (batch_size, steps) != (None, None):
        raise ShapeError(f"train: index with shape {rows.shape}, batch_size={batch_size}, "
                         f"steps={steps}", "index (steps, batch_size) alone")
    if rows.size and not 0 <= int(rows.min()) <= int(rows.max()) < count:
        raise DataError(f"train: index from {rows.min()} to {rows.max()}",
                        f"rows from 0 to {count - 1}")
    return rows.astype(np.int64, copy=False)
