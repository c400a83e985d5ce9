"""Where a fit takes its samples from: arrays, blocks of larger data, or an iterator of batches.

A feed shows the epoch through windows: samples in memory, and where in them the next ones of the
epoch's order are. The window of arrays is the whole epoch, that of a block some whole batches, that
of an iterator one batch. What is computed does not depend on windows.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from fastbp._errors import ArgumentError, DataError
from fastbp.losses import Loss
from fastbp.network import Network
from fastbp.samples import Samples

Permute = Callable[[int], np.ndarray]


@dataclass(frozen=True)
class Window:
    """Samples in memory, of which samples[index] are positions begin .. end-1 of the epoch."""

    samples: Samples
    index: np.ndarray
    begin: int

    @property
    def end(self) -> int:
        """The position after the window's last."""
        return self.begin + len(self.index)


class Feed(Protocol):
    """What a fit asks of its data. rows: samples of an epoch; -1 where only its end will tell."""

    rows: int

    def arrays(self) -> Sequence[np.ndarray]:
        """Arrays by which a checkpoint tells these data from others."""

    def order(self, permute: Permute) -> np.ndarray:
        """A random order of the samples, from `permute(n)`: an order of 0 .. n-1."""

    def steps(self, batch_size: int) -> int:
        """Steps of an epoch; 0 where only its end will tell."""

    def begin(self, order: np.ndarray, position: int, batch_size: int) -> Sequence[float]:
        """An epoch in this order begins, at `position`, which is a batch's first sample.

        Returns each batch's share in the epoch's loss: its samples, or the sum of their weights.
        Where `rows` is -1 it has the batches before `position`, and grows by each window.
        """

    def window(self, position: int) -> Window | None:
        """The window that holds a position, which never goes back; None after the last sample."""

    def close(self) -> None:
        """Stop reading."""


class ArrayFeed:
    """Samples that are all in memory."""

    def __init__(self, samples: Samples) -> None:
        self.samples, self.rows = samples, len(samples)

    def arrays(self) -> Sequence[np.ndarray]:
        """Inputs, targets and weights."""
        return self.samples.arrays()

    def order(self, permute: Permute) -> np.ndarray:
        """Any order is as good as another."""
        return permute(self.rows)

    def steps(self, batch_size: int) -> int:
        """The last may be of a smaller batch."""
        return -(-self.rows // batch_size)

    def begin(self, order: np.ndarray, position: int, batch_size: int) -> Sequence[float]:
        """The order is all that there is to know."""
        self._window = Window(self.samples, order, 0)
        return batch_sizes(self.rows, batch_size, self.samples.weights, order)

    def window(self, position: int) -> Window | None:
        """The whole epoch."""
        return self._window if position < self.rows else None

    def close(self) -> None:
        """Nothing is open."""


def batch_sizes(rows: int, batch_size: int, weights: np.ndarray | None, order: np.ndarray
                ) -> Any:
    """Samples of each batch, or their weights' sum, float64."""
    begins = np.arange(0, rows, batch_size)
    if weights is None:
        return np.minimum(rows - begins, batch_size).astype(np.float64)
    return np.add.reduceat(weights[order].astype(np.float64), begins)


def feed_of(network: Network, losses: Sequence[Loss], x: Any, y: Any, sample_weight: Any) -> Feed:
    """The feed for what `Trainer.fit` was given."""
    if type(x) is np.ndarray and y is not None:
        return ArrayFeed(Samples.of(network, losses, x, y, sample_weight))
    # Imported only where it is needed: reading files brings a good part of the standard library.
    from fastbp import data, reading

    if hasattr(x, "columns") and hasattr(x, "to_numpy"):
        x, y = reading.of_frame(x, y)
    if isinstance(x, (str, os.PathLike)):
        x = data.Shards(x)
    if isinstance(x, data.Blocks):
        if y is not None:
            raise ArgumentError(f"y beside a {type(x).__name__}, which has targets", "y=None")
        return reading.BlockFeed(network, losses, x, sample_weight)
    if y is None:
        if not callable(x) and (not isinstance(x, Iterable) or isinstance(x, np.ndarray)):
            raise ArgumentError(f"x is a {type(x).__name__} and there is no y",
                                "x and y, a folder, or an iterable of batches")
        if sample_weight is not None:
            raise ArgumentError("sample_weight beside batches", "None",
                                "a batch may be (x, y, sample_weight)")
        return reading.BatchFeed(network, losses, x)
    if reading.is_large(x):
        blocks, targets = data.ArrayBlocks(x, y), len(y[0] if isinstance(y, tuple) else y)
        if blocks.rows != targets:
            raise DataError(f"{blocks.rows} samples with {targets} targets", "equal numbers")
        return reading.BlockFeed(network, losses, blocks, sample_weight)
    return ArrayFeed(Samples.of(network, losses, x, y, sample_weight))
