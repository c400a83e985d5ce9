"""Steps of one call into compiled code: few enough that Ctrl-C, callbacks and progress are never
far away, and enough that Python between two calls takes no time.
"""

from __future__ import annotations

# At most so many steps, ...
STEPS = 1024
# ... which take about so many seconds.
SECONDS = 0.05
# The first chunk is one step, whose time tells of the next; it is no more than a guess.
GROWTH = 8


def next_chunk(chunk: int, count: int, seconds: float) -> int:
    """Steps of the next chunk: the last was to have `chunk`, had `count` and took some seconds."""
    return max(1, min(GROWTH * chunk, int(SECONDS * count / max(seconds, 1e-9)), STEPS))
