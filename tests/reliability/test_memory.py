"""Check 17: steps and calls that fail leave nothing behind: no memory, files or threads."""

from __future__ import annotations

import gc
import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import fastbp
from fastbp import _native, ops
from fastbp._jit import DISABLED

STATUS = Path("/proc/self/statm")
pytestmark = [
    pytest.mark.skipif(not STATUS.exists(), reason="memory is read from /proc"),
    pytest.mark.skipif(DISABLED, reason="100 000 steps take too long in plain Python"),
]
STEPS, WARM = 100_000, 3_000
MOST_BYTES = 4 << 20


def resident() -> int:
    """Bytes of this process in memory."""
    gc.collect()
    return int(STATUS.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def counts() -> tuple[int, int, int]:
    """(open files, threads of the system, functions compiled or loaded).

    A thread that has been joined may be seen a moment longer: the fewest of some looks count.
    """
    threads = []
    for _ in range(10):
        threads.append(sum(1 for _ in Path("/proc/self/task").iterdir()))
        time.sleep(0.02)
    return (sum(1 for _ in Path("/proc/self/fd").iterdir()), min(threads),
            len(_native._engines))


def hold(work, count: int) -> tuple[float, int]:
    """(slope in bytes for 1000 calls, growth in bytes) of memory over `count` calls in 20 parts."""
    before, seen = counts(), []
    gc.freeze()  # what other tests have left need not be looked through 20 times
    try:
        for _ in range(20):
            for _ in range(count // 20):
                work()
            seen.append(resident())
    finally:
        gc.unfreeze()
    assert counts() == before
    slope = np.polyfit(np.arange(20) * count / 20, seen, 1)[0] * 1000
    return slope, seen[-1] - seen[0]


def test_a_hundred_thousand_steps():
    rng = np.random.Generator(np.random.PCG64(0))
    net = fastbp.Sequential([fastbp.Affine(8, 8), fastbp.ReLU(), fastbp.Affine(8, 3)], seed=0)
    trainer = fastbp.Trainer(net)
    x, y = rng.standard_normal((8, 8)).astype(np.float32), rng.integers(0, 3, 8)
    for _ in range(WARM):
        trainer.train_step(x, y)
    slope, growth = hold(lambda: trainer.train_step(x, y), STEPS)
    assert slope <= 1024
    assert growth <= MOST_BYTES
    assert trainer.step_count == STEPS + WARM


def test_ten_thousand_calls_that_fail():
    net = fastbp.Sequential([fastbp.Affine(8, 3)], seed=0)
    trainer = fastbp.Trainer(net)
    x, y = np.ones((8, 8), np.float32), np.zeros(8, int)
    wrong = (lambda: trainer.train_step(x, y + 7), lambda: ops.matmul(x, x[:3]),
             lambda: net.predict(x[:, :3]), lambda: ops.softmax(x.astype(np.int8)))

    def fail() -> None:
        for call in wrong:
            with pytest.raises(fastbp.FastbpError):
                call()

    for _ in range(300):
        fail()
    slope, growth = hold(fail, 2_500)
    assert growth <= MOST_BYTES
    assert slope <= 64 * 1024  # per 4000 failures: pages come one at a time


def test_operations_of_ever_other_sizes():
    """Plans and workspaces are kept for some sizes, not for all that ever came."""
    rng = np.random.Generator(np.random.PCG64(0))

    def call() -> None:
        m, n, k = (int(size) for size in rng.integers(1, 60, 3))
        ops.affine_forward(np.ones((m, k)), np.ones((k, n)), np.ones(n), activation="tanh")

    for _ in range(1_000):
        call()
    _, growth = hold(call, 6_000)
    assert growth <= MOST_BYTES


def test_threads_that_end_leave_nothing():
    """Each Python thread has plans and memory of its own, which go with it."""
    a = np.ones((64, 64), np.float32)

    def in_a_thread() -> None:
        thread = threading.Thread(target=lambda: ops.matmul(a, a))
        thread.start()
        thread.join()

    for _ in range(200):
        in_a_thread()
    _, growth = hold(in_a_thread, 1_000)
    assert growth <= MOST_BYTES


def test_networks_that_go_leave_nothing():
    x, y = np.ones((8, 8), np.float32), np.zeros(8, int)

    def use_once() -> None:
        net = fastbp.Sequential([fastbp.Affine(8, 30), fastbp.ReLU(), fastbp.Affine(30, 3)])
        fastbp.Trainer(net).train_step(x, y)
        net.predict(x)

    for _ in range(100):
        use_once()
    _, growth = hold(use_once, 400)
    assert growth <= MOST_BYTES
