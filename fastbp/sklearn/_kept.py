"""Programs that one `partial_fit` leaves for the next: making them takes longer than a chunk."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastbp.sklearn._batches import Batches
from fastbp.sklearn._data import Samples
from fastbp.sklearn._solver import Solver


class Kept:
    """Holds the programs of one kind of call; not part of a pickle, a copy or a deep copy.

    The kind is all that programs depend on. Who takes them has them alone.
    """

    def __init__(self) -> None:
        self._key: tuple[Any, ...] = ()
        self._batches: Batches | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return Kept, ()

    def take(self, key: tuple[Any, ...], solver: Solver | None) -> Batches | None:
        """The programs for calls of this kind that work on this solver's arrays, or None."""
        found, self._batches = self._batches, None
        fits = found is not None and self._key == key and found.solver is solver
        return found if fits else None

    def put(self, key: tuple[Any, ...], batches: Batches) -> None:
        """Keep them, but not the samples."""
        nothing = np.empty((0, batches.samples.x.shape[1]))
        batches.samples = Samples(nothing, np.empty(0), None)
        self._key, self._batches = key, batches
