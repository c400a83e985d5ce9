"""Memory in pieces: on cache lines, nobody's twice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fastbp import _arena
from fastbp._arena import ALIGNMENT, Room, address_of, untouched

STATUS = Path("/proc/self/statm")


def resident_pages() -> int:
    """Pages of this process that are in memory."""
    return int(STATUS.read_text().split()[1])


@pytest.mark.parametrize(
    "counts", [[1] * 40, [0, 3, 17, 5000], [20_000, 1, 300_000, 7], [16] * 9000])
def test_pieces_of_a_room_are_aligned_and_apart(counts):
    room = Room()
    pieces = [room.take(count, "float32") for count in counts]
    for number, piece in enumerate(pieces, 1):
        assert piece.shape == (counts[number - 1],)
        assert piece.dtype == np.float32
        assert address_of(piece) % ALIGNMENT == 0
        piece[...] = number
    for number, piece in enumerate(pieces, 1):
        assert (piece == number).all()


def test_a_room_works_where_pages_cannot_be_had_at_once(monkeypatch):
    monkeypatch.delattr(_arena.mmap, "MAP_POPULATE", raising=False)
    piece = Room().take(10, "float64")
    assert address_of(piece) % ALIGNMENT == 0


def test_what_is_mostly_untouched_takes_memory_for_what_is_touched_only():
    if not STATUS.exists():
        pytest.skip("no /proc to ask")
    block = untouched(64 << 20)
    before = resident_pages()
    block[:: 8 << 20] = 1
    assert len(block) == 64 << 20
    assert resident_pages() - before < 64  # eight huge pages would be 4096
