"""The pool and cores: a stalled helper is done without, others keep off the caller's core."""

from __future__ import annotations

import os
import threading
import time

import numpy as np
import pytest

import fastbp
from fastbp import _placement, _pool, ops
from fastbp._arena import allocate
from fastbp._program import Operand, Program
from fastbp.emit.reduce import emit_fill
from fastbp.kernels import program

LARGE = np.ones((600, 300), np.float32), np.ones((300, 400), np.float32)


def test_after_a_stall_the_caller_works_alone_for_a_while():
    pool = _pool._pool
    with fastbp.threads(2, oversubscribe=True):
        expected = ops.matmul(*LARGE)  # which a busy machine may have stalled
        pool.alone_seconds = _pool.ALONE_SECONDS
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


@pytest.mark.parametrize(("pause", "steps", "shared"), [(0.0, 1, True), (0.15, 1, False),
                                                        (0.15, 9, True)])
def test_a_short_run_after_a_pause_wakes_nobody(pause, steps, shared, monkeypatch):
    monkeypatch.setattr(_pool, "PAUSE_SECONDS", 0.1)
    pool, x = _pool._pool, allocate(64, "float64").reshape(2, 32)
    small = Program("float64")
    with small.strands(2) as strands:
        for number in strands:
            emit_fill(small, Operand.of(x[number : number + 1]), 1.0)
    with fastbp.threads(2, oversubscribe=True):
        small.run()
        time.sleep(pause)
        pool.alone_until = 0.0
        before = pool.control_words[program.JOB]
        small.run(steps)
    assert (pool.control_words[program.JOB] != before) == shared
    assert x.min() == 1.0


def test_trust_comes_back_with_time_in_company():
    pool = _pool._pool
    with fastbp.threads(2, oversubscribe=True):
        pool.alone_until, pool.alone_seconds = 0.0, 0.1
        undisturbed = 0
        for _ in range(20):
            before, pool.alone_until = pool.alone_seconds, 0.0
            ops.matmul(*LARGE)
            if pool.alone_until == 0.0:  # no other process has taken a core meanwhile
                undisturbed += 1
                assert _pool.ALONE_SECONDS <= pool.alone_seconds < before
        assert undisturbed > 0
        pool.alone_seconds = _pool.ALONE_SECONDS


AFFINITY = pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="no such system call")


@AFFINITY
def test_a_thread_is_kept_off_a_core_where_there_are_others():
    allowed, stay = os.sched_getaffinity(0), threading.Event()
    thread = threading.Thread(target=stay.wait)
    thread.start()
    number = thread.native_id
    try:
        for cpu in allowed:
            _placement.keep_off(number, cpu)
            assert os.sched_getaffinity(number) == (allowed - {cpu} or allowed)
        before = os.sched_getaffinity(number)
        _placement.keep_off(number, -1)
        assert os.sched_getaffinity(number) == before
    finally:
        stay.set()
        thread.join()
    _placement.keep_off(1 << 30, 0)  # no such thread
    assert os.sched_getaffinity(0) == allowed


@AFFINITY
def test_workers_are_kept_off_the_callers_core():
    allowed = os.sched_getaffinity(0)
    with fastbp.threads(2, oversubscribe=True):
        _pool._pool.alone_until = 0.0
        ops.matmul(*LARGE)
        (worker, *_) = _pool._pool.workers
        with _pool._pool.busy:
            for cpu in allowed:
                worker.wake(4, cpu)
                kept = os.sched_getaffinity(worker._thread.native_id)
                assert kept == (allowed - {cpu} or allowed)
