"""Check 15: after a fork the child works, whatever the parent and its threads were doing; so do
its children, pools of processes, and processes started in other ways."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable

import numpy as np
import pytest

import fastbp
from fastbp import _native, _pool, ops
from fastbp._jit import DISABLED

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="the system does not fork"),
    pytest.mark.skipif(DISABLED, reason="there are no native threads in plain Python"),
    # Python 3.12 warns of every fork of a process with threads; that it works is what is tested.
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),
]
A = np.arange(300 * 200).reshape(300, 200) % 7 - 3.0
EXPECTED = A @ A.T
SECONDS = 20.0


def compute() -> bool:
    """A product with three threads, right or not; and a step of training."""
    with fastbp.threads(3, oversubscribe=True):
        right = np.array_equal(ops.matmul(A, A.T), EXPECTED)
    net = fastbp.Sequential([fastbp.Affine(5, 40), fastbp.ReLU(), fastbp.Affine(40, 3)], seed=0)
    loss = fastbp.Trainer(net).train_step(np.ones((64, 5), np.float32), np.zeros(64, int))
    return right and np.isfinite(loss)


def in_child(work: Callable[[], bool]) -> int:
    """How a forked child ended: 0 where `work` was true; -14 where it took too long."""
    child = os.fork()
    if child == 0:
        signal.alarm(int(SECONDS))
        os._exit(0 if work() else 1)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def test_children_and_grandchildren_work():
    assert compute()
    assert in_child(compute) == 0
    assert in_child(lambda: in_child(compute) == 0) == 0  # before the child has workers
    assert in_child(lambda: compute() and in_child(compute) == 0 and compute()) == 0
    assert compute()


def test_a_fork_while_other_threads_compute():
    stop = threading.Event()

    def busy() -> None:
        with fastbp.threads(3, oversubscribe=True):
            while not stop.is_set():
                ops.matmul(A, A.T)

    threads = [threading.Thread(target=busy) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        assert [in_child(compute) for _ in range(20)] == [0] * 20
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_a_fork_from_another_thread():
    ended: list[int] = []
    thread = threading.Thread(target=lambda: ended.append(in_child(compute)))
    thread.start()
    thread.join()
    assert ended == [0]


def test_a_fork_waits_for_a_thread_that_compiles():
    """Else the lock of the compiler would be taken for ever in the child."""
    released = threading.Event()

    def compile_slowly() -> None:
        with _native._lock:
            released.wait(0.3)

    thread = threading.Thread(target=compile_slowly)
    thread.start()
    time.sleep(0.05)
    assert in_child(lambda: _native._lock.acquire(timeout=1) and compute()) == 0
    thread.join()


def test_a_fork_while_the_pool_is_in_use():
    assert _pool._pool.busy.acquire(timeout=10)
    try:
        assert in_child(compute) == 0
    finally:
        _pool._pool.busy.release()


def test_a_network_that_another_thread_was_using():
    """Its turn ends with the thread, which is not in the child."""
    net = fastbp.Sequential([fastbp.Affine(5, 3)], seed=0)
    x, go_on = np.ones((4, 5), np.float32), threading.Event()

    def hold() -> None:
        with net.turn:
            go_on.wait(20)

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        trainer = fastbp.Trainer(net)
        assert in_child(lambda: np.isfinite(net.predict(x)).all() and np.isfinite(
            trainer.train_step(x, np.zeros(4, int)))) == 0
    finally:
        go_on.set()
        thread.join()


def product(seed: int) -> bytes:
    rng = np.random.Generator(np.random.PCG64(seed))
    with fastbp.threads(2, oversubscribe=True):
        return ops.matmul(rng.standard_normal((90, 300)), rng.standard_normal((300, 90))).tobytes()


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_pools_of_processes(method):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip("the system does not start processes in this way")
    expected = [product(seed) for seed in range(6)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        with multiprocessing.get_context(method).Pool(2, maxtasksperchild=2) as pool:
            assert pool.map(product, range(6), chunksize=1) == expected


def test_processes_started_as_commands():
    code = "import numpy as np, fastbp; print(fastbp.ops.matmul(np.eye(3), np.eye(3)).sum())"
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                              check=True, timeout=60)
        assert (done.stdout, done.stderr) == ("3.0\n", "")


@pytest.mark.nightly
def test_two_hundred_forks():
    assert compute()
    assert [in_child(lambda: in_child(compute) == 0) for _ in range(200)] == [0] * 200
