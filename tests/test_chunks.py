"""How many steps run in one call."""

import pytest

from fastbp import _chunks


@pytest.mark.parametrize(("chunk", "count", "seconds", "following"), [
    (1, 1, 1e-5, _chunks.GROWTH),  # fast: as far as growth goes
    (1, 1, 0.0, _chunks.GROWTH),
    (100, 100, 0.02, 250),  # as many as take 50 ms
    (100, 10, 0.05, 10),  # fewer than were wanted, and slow
    (1, 1, 60.0, 1),
    (1000, 1000, 1e-3, _chunks.STEPS),
])
def test_the_next_chunk(chunk, count, seconds, following):
    assert _chunks.next_chunk(chunk, count, seconds) == following
