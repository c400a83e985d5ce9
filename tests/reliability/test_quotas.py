"""Checks 26 and 27: never more threads than the machine, the container and the user allow; little
stack, little memory, no more threads."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from test_runtime import MOUNTS_V2

import fastbp
from fastbp import _pool, ops
from fastbp._jit import DISABLED

pytestmark = [
    pytest.mark.skipif(DISABLED, reason="there are no native threads in plain Python"),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="affinity, limits, /proc"),
]
# What a child prints: threads allowed, and those that were started for a large product.
CHILD = """
import os, threading
{before}
import numpy as np, fastbp
{after}
def started():
    a = np.ones((700, 700), np.float32)
    assert (fastbp.ops.matmul(a, a) == 700).all()
    return 1 + sum(t.name.startswith("fastbp-") for t in threading.enumerate())
{work}
print(fastbp.thread_count(), started(), fastbp._runtime.thread_reason())
"""
MANY = "os.sched_getaffinity = lambda _: set(range(64))\n"
QUOTA = f"""
files = {{"/proc/self/mountinfo": {MOUNTS_V2!r}, "/proc/self/cgroup": "0::/job\\n",
         "/sys/fs/cgroup/job/cpu.max": "400000 100000"}}
fastbp._runtime._read = lambda path: files.get(path, "")
"""


def child(before: str = "", after: str = "", work: str = "", **environment: str) -> list[str]:
    """[threads allowed, threads there are, reason] of a process."""
    clean = {k: v for k, v in os.environ.items() if not k.endswith(("_NUM_THREADS", "_CPU_COUNT"))}
    done = subprocess.run([sys.executable, "-c", CHILD.format(before=before, after=after,
                                                              work=work)],
                          env={**clean, **environment}, capture_output=True, text=True, timeout=120,
                          check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().split(" ", 2)


@pytest.mark.parametrize(("environment", "threads", "reason"), [
    ({}, "4", "container's CPU quota (4 CPUs)"),
    ({"OMP_NUM_THREADS": "1"}, "1", "OMP_NUM_THREADS"),
    ({"NUMBA_NUM_THREADS": "3"}, "3", "NUMBA_NUM_THREADS"),
    ({"FASTBP_NUM_THREADS": "2"}, "2", "FASTBP_NUM_THREADS"),
    ({"PYTHON_CPU_COUNT": "2"}, "2", "PYTHON_CPU_COUNT"),
    ({"PYTHON_CPU_COUNT": "default"}, "4", "container's CPU quota (4 CPUs)")])
def test_no_more_threads_than_allowed(environment, threads, reason):
    """64 processors of which the container has 4."""
    assert child(MANY, QUOTA, **environment) == [threads, threads, reason]


def test_affinity_and_calls_in_another_thread():
    allowed = os.sched_getaffinity(0)
    one = f"os.sched_setaffinity(0, {{{min(allowed)}}})"
    assert child(one)[:2] == ["1", "1"]
    in_a_thread = """
fastbp.set_num_threads(2)
thread = threading.Thread(target=lambda: print(fastbp.thread_count(), started()))
thread.start(); thread.join()
"""
    assert child(MANY, QUOTA, in_a_thread)[0] == "2"
    with_block = "with fastbp.threads(3):\n    assert started() == 3\nfastbp.set_num_threads(2)"
    assert child(MANY, QUOTA, with_block)[0] == "2"


def test_more_threads_than_there_is_scratch_memory_for():
    pool, before = _pool._pool, threading.active_count()
    a = np.arange(900 * 300).reshape(900, 300) % 5 - 2.0
    expected = a @ a.T
    with fastbp.threads(200, oversubscribe=True):
        for _ in range(3):
            assert np.array_equal(ops.matmul(a, a.T), expected)
    assert len(pool.workers) <= _pool.MOST_THREADS - 1
    assert threading.active_count() - before <= _pool.MOST_THREADS - 1
    _pool._renew()  # 63 spinning workers would be in the way of what follows


def test_where_the_system_starts_no_more_threads(monkeypatch):
    def refuse(self) -> None:
        raise RuntimeError("can't start new thread")

    _pool._renew()
    a = np.arange(900 * 300).reshape(900, 300) % 5 - 2.0
    with monkeypatch.context() as patch, fastbp.threads(4, oversubscribe=True):
        patch.setattr(threading.Thread, "start", refuse)
        assert np.array_equal(ops.matmul(a, a.T), a @ a.T)
    assert _pool._pool.most_threads == 1
    _pool._renew()


@pytest.mark.parametrize("kilobytes", [64, 128])
def test_threads_with_little_stack(kilobytes):
    """Kernels keep their tiles in memory of the library."""
    work = f"""
threading.stack_size({kilobytes} << 10)
fastbp.set_num_threads(3, oversubscribe=True)
assert started() == 3
net = fastbp.Sequential([fastbp.Affine(300, 200), fastbp.BatchNorm(200), fastbp.GELU(),
                         fastbp.Affine(200, 10)])
x, y = np.ones((256, 300), np.float32), np.zeros(256, int)
thread = threading.Thread(target=lambda: fastbp.Trainer(net).fit(x, y, epochs=2, batch_size=64))
threading.stack_size(512 << 10)
thread.start(); thread.join()
"""
    assert child(work=work, OMP_STACKSIZE="100K")[0] == "3"


def test_a_process_with_little_stack():
    assert child("import resource; resource.setrlimit(resource.RLIMIT_STACK, (1 << 19, 1 << 19))",
                 work="fastbp.set_num_threads(2, oversubscribe=True)")[0] == "2"


def test_too_little_memory_is_an_exception_and_goes_by():
    work = """
import resource
fastbp.ops.matmul(np.ones((600, 600), np.float32), np.ones((600, 600), np.float32))
now = int(open("/proc/self/statm").read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
a = np.ones((4000, 1024), np.float32)
resource.setrlimit(resource.RLIMIT_AS, (now + (24 << 20), -1))
for call in (lambda: fastbp.ops.matmul(a, a.T), lambda: fastbp.ops.matmul(a.T, a),
             lambda: fastbp.Sequential([fastbp.Affine(4000, 4000)]).build(),
             lambda: fastbp.ops.batchnorm_forward(np.broadcast_to(a[0], (20_000, 1024)), a[0],
                                                  a[0])):
    try:
        call()
    except MemoryError:
        continue
    raise SystemExit("no MemoryError")
resource.setrlimit(resource.RLIMIT_AS, (-1, -1))
assert fastbp.ops.matmul(a, a.T)[0, 0] == 1024
"""
    assert len(child(work=work)) == 3


@pytest.mark.nightly
def test_four_processes_on_all_cores_are_not_much_slower_than_with_one_thread_each():
    code = """
import time, numpy as np, fastbp
a = np.ones((700, 700), np.float32)
fastbp.ops.matmul(a, a)
begin = time.perf_counter()
for _ in range(400): fastbp.ops.matmul(a, a)
print(time.perf_counter() - begin)
"""

    def slowest(**environment: str) -> float:
        children = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE,
                                     text=True, env={**os.environ, **environment})
                    for _ in range(4)]
        return max(float(c.communicate(timeout=300)[0]) for c in children)

    ratios = []
    for _ in range(5):
        ratios.append(slowest() / slowest(OMP_NUM_THREADS="1"))
        time.sleep(0.1)
    assert np.median(ratios) <= 1.5, ratios
