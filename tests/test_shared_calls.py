"""Longer calls of built-in functions: workers take part, and other threads run Python meanwhile."""

import contextlib
import contextvars
import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import fastbp
from fastbp import _pool, ops
from fastbp.kernels import program
from fastbp.ops import _again, _builtin, _lessons


@pytest.fixture(autouse=True)
def long_calls_are_learnt(monkeypatch):
    """Two threads; a call is learnt when it has been repeated three times; workers are trusted."""
    if not _builtin.is_possible():
        pytest.skip("there are no built-in functions here")
    _again.forget()
    monkeypatch.setattr(_again, "_HOLD_SECONDS", -1.0)
    monkeypatch.setattr(_again, "_FROM", 0)
    fastbp.set_num_threads(2, oversubscribe=True)
    trust_workers()
    yield
    trust_workers()
    _again.forget()


def trust_workers():
    pool = _pool._pool
    pool.alone_until, pool.alone_seconds = 0.0, _pool.ALONE_SECONDS
    pool.control_words[program.WARY] = pool.control_words[program.STALLS] = 0


def jobs():
    """How many jobs workers have been offered, twice."""
    return _pool._pool.control_words[program.JOB]


def operands(dtype=np.float32):
    rng = np.random.Generator(np.random.PCG64(3))
    return rng.random((200, 300)).astype(dtype), rng.random((300, 250)).astype(dtype)


def calls_until(condition, a, b, expected, seconds=20.0):
    """Calls until one makes `condition(hits, jobs)` true of what it adds to both.

    A worker may be asleep, or a busy machine may have stalled it, so not every call is shared.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        hits, before = _lessons.hits(), jobs()
        assert np.array_equal(ops.matmul(a, b), expected)
        if condition(_lessons.hits() - hits, jobs() - before):
            return True
        trust_workers()
    return False


def is_shared(hits, jobs):
    return hits == 1 and jobs == 2


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_workers_take_part(dtype):
    a, b = operands(dtype)
    with fastbp.threads(1):
        expected = ops.matmul(a, b)
    assert calls_until(is_shared, a, b, expected)


def test_a_context_has_its_own_limit():
    a, b = operands()
    expected = ops.matmul(a, b)
    assert calls_until(is_shared, a, b, expected)
    with fastbp.threads(1):
        copied = contextvars.copy_context()
        for _ in range(20):
            before = jobs()
            assert np.array_equal(ops.matmul(a, b), expected)
            assert jobs() == before
    assert calls_until(is_shared, a, b, expected)
    before = jobs()
    assert np.array_equal(copied.run(ops.matmul, a, b), expected)  # still inside, as a task may be
    assert jobs() == before


def test_the_limit_of_the_process():
    a, b = operands()
    expected = ops.matmul(a, b)
    assert calls_until(is_shared, a, b, expected)
    fastbp.set_num_threads(1)
    before = jobs()
    assert calls_until(lambda hits, _: hits == 1, a, b, expected)  # alone, but still built in
    assert jobs() == before
    fastbp.set_num_threads(2, oversubscribe=True)
    assert calls_until(is_shared, a, b, expected)


WORDS = {"held by a caller in Python": (program.ASKED, 1), "taken": (program.TAKEN, 1),
         "no trust": (program.WARY, 1), "a stall": (program.STALLS, 1),
         "on the workers' core": (program.KEPT_OFF, 1 << 20), "too many claims": (program.ROOM, 1)}


@pytest.mark.parametrize("name", WORDS)
def test_python_sees_to_what_is_unusual(name):
    a, b = operands()
    expected = ops.matmul(a, b)
    assert calls_until(is_shared, a, b, expected)
    words, (word, value) = _pool._pool.control_words, WORDS[name]
    hits, before = _lessons.hits(), words[word]
    words[word] = value
    try:
        assert np.array_equal(ops.matmul(a, b), expected)
    finally:
        if word in (program.TAKEN, program.ROOM):
            words[word] = before
    assert _lessons.hits() == hits
    trust_workers()
    assert words[program.TAKEN] == words[program.ASKED] == 0
    assert calls_until(is_shared, a, b, expected)


def test_python_wakes_workers_that_sleep():
    a, b = operands()
    expected, words = ops.matmul(a, b), _pool._pool.control_words
    assert calls_until(is_shared, a, b, expected)
    while words[program.AWAKE]:
        time.sleep(0.01)
    hits = _lessons.hits()
    assert np.array_equal(ops.matmul(a, b), expected)
    assert _lessons.hits() == hits
    assert calls_until(is_shared, a, b, expected)


def test_a_pool_that_is_taken_is_left_alone():
    """Python's way beside a built-in call of another thread, which has let the lock go."""
    a, b = operands()
    expected, words = ops.matmul(a, b), _pool._pool.control_words
    words[program.TAKEN] = 1
    try:
        before = jobs()
        for _ in range(5):
            assert np.array_equal(ops.matmul(a, b), expected)
        assert jobs() == before
    finally:
        words[program.TAKEN] = 0


@contextlib.contextmanager
def no_switches():
    """Threads take turns only where the lock of the interpreter is let go."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1000.0)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


@pytest.mark.parametrize("threads", [1, 2])
def test_others_run_python_meanwhile(threads):
    fastbp.set_num_threads(threads, oversubscribe=True)
    a = np.ones((700, 700))
    for _ in range(5):
        ops.matmul(a, a)
    seen, go, end = [], threading.Event(), threading.Event()

    def watch():
        go.wait(20)
        while not end.is_set():
            seen.append(_lessons.hits())
            time.sleep(0.0005)

    watcher = threading.Thread(target=watch)
    watcher.start()
    during = 0
    with no_switches():
        go.set()
        for _ in range(200):
            count, hits = len(seen), _lessons.hits()
            ops.matmul(a, a)
            during += len(seen) > count and _lessons.hits() > hits
            if during > 2:
                break
        end.set()
    watcher.join()
    assert during > 2


@pytest.mark.parametrize("threads", [1, 2])
def test_many_threads_at_once(threads):
    """Each has the pool or works alone; results, new or given, are everyone's own."""
    fastbp.set_num_threads(threads, oversubscribe=True)
    cases, wrong = [], []
    for number in range(6):
        a, b = operands((np.float32, np.float64)[number % 2])
        a = a[: 200 - 10 * number] + number
        cases.append((a, b, ops.matmul(a, b)))

    def work(a, b, expected):
        out = np.empty_like(expected)
        for number in range(150):
            given = out if number % 2 else None
            if not np.array_equal(ops.matmul(a, b, out=given), expected):
                wrong.append(a.shape)
            if number == 75:
                out = np.empty_like(expected)

    hits = _lessons.hits()
    callers = [threading.Thread(target=work, args=case) for case in cases]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert not wrong
    assert threads == 2 or _lessons.hits() > hits  # so many callers may cost workers their trust
    assert _pool._pool.control_words[program.TAKEN] == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system does not fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_has_workers_of_its_own():
    a, b = operands()
    expected = ops.matmul(a, b)
    assert calls_until(is_shared, a, b, expected)
    child = os.fork()
    if child == 0:
        right = False
        with contextlib.suppress(BaseException):
            right = calls_until(is_shared, a, b, expected)
        os._exit(0 if right else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert calls_until(is_shared, a, b, expected)


def test_the_interpreter_ends_beside_a_call():
    """A daemon thread that comes back from its program finds no interpreter to go on in."""
    code = """
import threading, time
import numpy as np
import fastbp
from fastbp import ops
from fastbp.ops import _again, _lessons
_again._HOLD_SECONDS, _again._FROM = -1.0, 0
fastbp.set_num_threads(2, oversubscribe=True)
a, ready = np.ones((900, 900)), threading.Event()
def work():
    while True:
        before = _lessons.hits()
        ops.matmul(a, a)
        if _lessons.hits() > before:
            ready.set()
threading.Thread(target=work, daemon=True).start()
assert ready.wait(60)
time.sleep(0.05)
print("end", flush=True)
"""
    result = subprocess.run([sys.executable, "-X", "faulthandler", "-c", code], check=False,
                            capture_output=True, text=True, timeout=120)  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "end" in result.stdout
