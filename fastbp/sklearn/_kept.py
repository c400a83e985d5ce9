"""Programs that one call leaves for the next.

Making them takes longer than a chunk of `partial_fit`, and as long as six epochs of the digits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fastbp.sklearn._batches import Batches
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
        batches.forget_samples()
        self._key, self._batches = key, batches


class Spares:
    """Programs of ended fits, for fits of the same kind: other folds, other seeds, other data.

    Whoever takes them has them alone, in whichever thread, and begins with weights, optimizer and
    samples of his own. Not for large networks, whose memory would stay.
    """

    MOST, MOST_BYTES = 4, 1 << 22

    def __init__(self) -> None:
        # Without a lock, which a fork could leave locked: what two threads find, one removes.
        self._entries: list[_Spare] = []

    def take(self, key: tuple[Any, ...]) -> Batches | None:
        """Programs for fits of this kind, or None."""
        for spare in reversed(self._entries):
            if spare.key == key:
                try:
                    self._entries.remove(spare)
                except ValueError:
                    continue  # another thread has it
                return spare.batches
        return None

    def put(self, key: tuple[Any, ...], batches: Batches) -> None:
        """Keep the programs of a fit that has ended well, but not its samples and its optimizer."""
        values = batches.batch_size * sum(batches.model.units)
        size = max(values, batches.model.network.layout.size) * batches.model.network.dtype.itemsize
        if size <= self.MOST_BYTES and batches.leave():
            self._entries.append(_Spare(key, batches))
            del self._entries[: -self.MOST]

    def clear(self) -> None:
        """Keep nothing."""
        self._entries.clear()


@dataclass(eq=False)
class _Spare:
    key: tuple[Any, ...]
    batches: Batches


spares = Spares()
