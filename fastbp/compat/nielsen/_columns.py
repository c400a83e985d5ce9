"""The book's data, lists of (x, y) columns, as matrices with a sample a row; networks as sizes."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from fastbp import ops
from fastbp._arena import allocate
from fastbp._errors import ShapeError
from fastbp.compat.nielsen._engine import Engine, Samples, engine_for

# Samples whose outputs are computed at a time: their inputs stay in a core's second cache.
_CHUNK = 128
_FLOAT = np.dtype(np.float64)


def sizes_of(weights: Sequence[Any], biases: Sequence[Any]) -> tuple[int, ...] | None:
    """Layer sizes that real weights (n_out, n_in) and biases (n_out, 1) have, or None."""
    if not weights or len(weights) != len(biases):
        return None
    sizes: list[int] = []
    for w, b in zip(weights, biases, strict=True):
        if not (isinstance(w, np.ndarray) and isinstance(b, np.ndarray)
                and w.dtype.kind == b.dtype.kind == "f" and w.ndim == 2
                and b.shape == (w.shape[0], 1) and w.shape[1] in (sizes[-1:] or w.shape[1:])):
            return None
        sizes += [w.shape[0]] if sizes else [w.shape[1], w.shape[0]]
    return tuple(sizes) if all(sizes) else None


def as_list(data: Iterable[Any]) -> list[Any]:
    """The list itself, which will be shuffled in place, or what an iterator gives."""
    return data if isinstance(data, list) else list(data)


def checked_columns(name: str, what: str, columns: Iterable[Any], size: int) -> list[np.ndarray]:
    """Columns as arrays (size, 1). A target of one number may come without its brackets."""
    fit = {(size, 1), *(((), (1,)) if what == "y" and size == 1 else ())}
    arrays = [np.asarray(column) for column in columns]
    shapes = {array.shape for array in arrays}
    if not shapes <= fit:
        wrong = next(i for i, array in enumerate(arrays) if array.shape not in fit)
        raise ShapeError(f"{name}[{wrong}]: {what} with shape {arrays[wrong].shape}",
                         f"({size}, 1): a column",
                         "a label's target is vectorized_result(label)" if what == "y" else
                         "x.reshape(-1, 1) is one")
    if shapes - {(size, 1)}:
        arrays = [array.reshape(size, 1) for array in arrays]
    return arrays


def outputs(weights: Sequence[np.ndarray], biases: Sequence[np.ndarray],
            columns: Sequence[np.ndarray]) -> np.ndarray:
    """The network's outputs (N, n_out) for inputs (n_in, 1), in float64."""
    w64 = [np.asarray(w, np.float64) for w in weights]
    b64 = [np.asarray(b, np.float64).reshape(-1) for b in biases]
    result = np.empty((len(columns), len(b64[-1])))
    memory = allocate(min(_CHUNK, len(columns)) * w64[0].shape[1], _FLOAT)
    for begin in range(0, len(columns), _CHUNK):
        chunk = columns[begin : begin + _CHUNK]
        a = memory[: len(chunk) * w64[0].shape[1]]
        np.concatenate(chunk, out=a.reshape(-1, 1))
        a = a.reshape(len(chunk), -1)
        for w, b in zip(w64, b64, strict=True):
            a = ops.affine_forward(a, w, b, layout="row", activation="sigmoid")
        result[begin : begin + _CHUNK] = a
    return result


class Epochs:
    """Training data for an engine, in the order of a list that is shuffled with them.

    Arguments:
        name: what the data are called in errors.
        data: list of (x (n_in, 1), y (n_out, 1)); which arrays these are is found out here.
    """

    def __init__(self, name: str, data: list[Any], sizes: Sequence[int], *, quadratic: bool
                 ) -> None:
        self.engine: Engine = engine_for(sizes, quadratic=quadratic)
        self.data, self._first = data, list(data)
        self.x = Samples.of(checked_columns(name, "x", (x for x, _ in data), sizes[0]), sizes[0])
        self.y = Samples.of(checked_columns(name, "y", (y for _, y in data), sizes[-1]), sizes[-1])
        self.rows = list(range(len(data)))

    def shuffle(self) -> None:
        """`random.shuffle(data)`, by the same random numbers."""
        random.shuffle(self.rows)
        first = self._first
        self.data[:] = [first[i] for i in self.rows]

    def run(self, net: Any, batch: int, eta: float, decay: float) -> None:
        """All mini-batches; `net.weights` and `net.biases` become new arrays.

        Interrupted, they are those after the mini-batches that were done.
        """
        self.engine.load(net.weights, net.biases)
        try:
            self.engine.run(self.x, self.y, np.array(self.rows, np.int64), batch, eta, decay)
        finally:
            net.weights, net.biases = self.engine.store()


def mini_batches(data: list[Any], size: int) -> Iterator[list[Any]]:
    """Consecutive pieces of a list; the last may be short."""
    return (data[k : k + size] for k in range(0, len(data), size))


def has_own(net: Any, cls: type, *names: str) -> bool:
    """True where a subclass, or the object itself, has its own version of one of these methods."""
    return any(_function(getattr(net, name)) is not _function(vars(cls)[name]) for name in names)


def _function(method: Any) -> Callable[..., Any]:
    return getattr(method, "__func__", method)
