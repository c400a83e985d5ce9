"""What the pool does about cores: a stalled helper is done without, a woken one moves away."""

from __future__ import annotations

import os
import threading

import numpy as np
import pytest

import fastbp
from fastbp import _placement, _pool, ops
from fastbp.kernels import program

LARGE = np.ones((600, 300), np.float32), np.ones((300, 400), np.float32)


def test_after_a_stall_the_caller_works_alone_for_a_while():
    pool = _pool._pool
    with fastbp.threads(2, oversubscribe=True):
        pool.alone_until, pool.alone_seconds = 0.0, _pool.ALONE_SECONDS
        expected = ops.matmul(*LARGE)
        waits = []
        for _ in range(3):
            pool.alone_until = 0.0
            pool.control_words[program.STALLS] = 1
            assert np.array_equal(ops.matmul(*LARGE), expected)
            assert pool.alone_until > 0
            assert pool.control_words[program.STALLS] == 0
            waits.append(pool.alone_seconds)
        assert waits == [2 * _pool.ALONE_SECONDS, 4 * _pool.ALONE_SECONDS, 8 * _pool.ALONE_SECONDS]
        for _ in range(20):
            pool.control_words[program.STALLS] = 1
            pool.alone_until = 0.0
            ops.matmul(*LARGE)
        assert pool.alone_seconds == _pool.MOST_ALONE_SECONDS
        assert np.array_equal(ops.matmul(*LARGE), expected)  # alone
        pool.alone_until, pool.alone_seconds = 0.0, _pool.ALONE_SECONDS


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="the system has no such call")
def test_leaving_a_core_leaves_the_affinity_as_it_was():
    allowed = os.sched_getaffinity(0)
    seen = []

    def move() -> None:
        here = _placement.current_cpu()
        _placement.leave_cpu(here)
        seen.append((here, os.sched_getaffinity(0)))
        _placement.leave_cpu(-1)
        _placement.leave_cpu(10_000)

    thread = threading.Thread(target=move)
    thread.start()
    thread.join()
    here, after = seen[0]
    assert here in allowed
    assert after == allowed == os.sched_getaffinity(0)
