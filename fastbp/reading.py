"""Feeds that read while the training runs: blocks of larger data, iterators of batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from fastbp._errors import DataError
from fastbp.data import Block, Blocks
from fastbp.data._blocks import BLOCK_BYTES, blocks_in_order, read_ahead
from fastbp.data._frame import frame_column, frame_matrix
from fastbp.data._mapped import is_mapped
from fastbp.feeds import Permute, Window, batch_sizes
from fastbp.losses import Loss
from fastbp.network import Network
from fastbp.samples import Samples, weights_of

__all__ = ["BatchFeed", "BlockFeed", "is_large", "of_frame"]


class BlockFeed:
    """Samples that are read block by block, one block ahead."""

    def __init__(self, network: Network, losses: Sequence[Loss], source: Blocks,
                 sample_weight: Any) -> None:
        self._network, self._losses, self._source = network, losses, source
        self.rows = source.rows
        self._weights = weights_of(sample_weight, self.rows, network.dtype)
        self._blocks: Iterator[Block] = iter(())

    def arrays(self) -> Sequence[np.ndarray]:
        """The first and the last sample, and the weights."""
        ends = self._samples(self._source.take(np.unique([0, self.rows - 1])), None).arrays()
        return ends if self._weights is None else [*ends, self._weights]

    def order(self, permute: Permute) -> np.ndarray:
        """One that the source can read."""
        return self._source.order(permute)

    def steps(self, batch_size: int) -> int:
        """The last may be of a smaller batch."""
        return -(-self.rows // batch_size)

    def begin(self, order: np.ndarray, position: int, batch_size: int) -> Sequence[float]:
        """Start to read."""
        self.close()
        self._order, self._window = order, Window(Samples([], []), order[:0], position)
        self._blocks = blocks_in_order(self._source, order[position:], batch_size)
        return batch_sizes(self.rows, batch_size, self._weights, order)

    def window(self, position: int) -> Window | None:
        """The block that holds the position."""
        if position >= self.rows:
            return None
        if position >= self._window.end:
            begin = self._window.end
            del self._window  # before the next block takes its place
            block = next(self._blocks)
            weights = None
            if self._weights is not None:
                weights = np.empty(len(block.index), self._weights.dtype)
                weights[block.index] = self._weights[self._order[begin : begin + len(weights)]]
            self._window = Window(self._samples(block, weights), block.index, begin)
        return self._window

    def _samples(self, block: Block, weights: np.ndarray | None) -> Samples:
        return Samples.of(self._network, self._losses, block.x, block.y, weights)

    def close(self) -> None:
        """Stop reading."""
        with suppress(AttributeError):  # a plain iterator has nothing to close
            self._blocks.close()  # type: ignore[attr-defined]


class BatchFeed:
    """Batches as they come from an iterable, or from a function that returns one for each epoch.

    Each batch is (x, y) or (x, y, sample_weight) and makes one step. The order is the iterable's.
    """

    rows = -1

    def __init__(self, network: Network, losses: Sequence[Loss], batches: Any) -> None:
        self._network, self._losses, self._batches = network, losses, batches
        self._iterator: Iterator[Samples] = iter(())
        self._window: Window | None = None
        self._used = False
        self._sizes: list[float] = []

    def arrays(self) -> Sequence[np.ndarray]:
        """Nothing is known before it comes."""
        return []

    def order(self, permute: Permute) -> np.ndarray:
        """The iterable's own."""
        return np.zeros(0, np.int64)

    def steps(self, batch_size: int) -> int:
        """As many as there are batches, where the iterable tells."""
        return len(self._batches) if hasattr(self._batches, "__len__") else 0

    def begin(self, order: np.ndarray, position: int, batch_size: int) -> Sequence[float]:
        """Ask for a new iterator; of a resumed epoch pass over the samples that were done."""
        self.close()
        batches = self._batches() if callable(self._batches) else self._batches
        if self._used and iter(batches) is batches and not callable(self._batches):
            raise DataError("an iterator of batches, which has come to its end",
                            "batches for every epoch",
                            "pass a list, or the function that makes the iterator")
        self._used = True
        self._iterator = read_ahead(self._samples, batches)
        self._window = None
        self._sizes = []
        at = 0
        while at < position:
            samples = self._next()
            if samples is None or at + len(samples) > position:
                raise DataError(f"batches that end or change before sample {position}",
                                "the same batches as before the checkpoint")
            at += len(samples)
        self._at = at
        return self._sizes

    def window(self, position: int) -> Window | None:
        """The next batch."""
        if self._window is None or position >= self._window.end:
            samples = self._next()
            if samples is None:
                return None
            self._window = Window(samples, np.arange(len(samples)), self._at)
            self._at += len(samples)
        return self._window

    def _next(self) -> Samples | None:
        samples = next(self._iterator, None)
        if samples is not None:
            weights = samples.weights
            self._sizes.append(float(len(samples) if weights is None
                                    else weights.sum(dtype=np.float64)))
        return samples

    def _samples(self, batch: Any) -> Samples:
        if not isinstance(batch, (tuple, list)) or len(batch) not in (2, 3):
            raise DataError(f"a batch that is a {type(batch).__name__}",
                            "(x, y) or (x, y, sample_weight)")
        samples = Samples.of(self._network, self._losses, *batch)
        if not len(samples):
            raise DataError("a batch without samples", "at least one in each")
        return samples

    def close(self) -> None:
        """Stop reading."""
        with suppress(AttributeError):
            self._iterator.close()  # type: ignore[attr-defined]


def is_large(x: Any) -> bool:
    """True for a `np.memmap`, or a tuple with one, that is larger than what is read at once."""
    return is_mapped(x, 2 * BLOCK_BYTES)


def of_frame(frame: Any, y: Any) -> tuple[Any, Any]:
    """Columns of a data frame as arrays; y may be the name of one of them."""
    if isinstance(y, str):
        return frame_matrix(frame, without=y), frame_column(frame, y)
    return frame_matrix(frame), y.to_numpy() if hasattr(y, "to_numpy") else y
