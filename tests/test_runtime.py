"""The number of threads, under faked machines."""

import os
import threading

import pytest

from fastbp import _runtime
from fastbp._errors import ArgumentError

MOUNTS_V2 = "31 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
MOUNTS_V1 = (
    "30 23 0:25 / /sys/fs/cgroup ro - tmpfs tmpfs ro\n"
    "33 30 0:29 /docker/ab /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
    "34 30 0:30 /docker/ab /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
)


@pytest.fixture
def machine(monkeypatch):
    """A machine of 64 CPUs without a quota; returns the dictionary of its files."""
    files = {}
    monkeypatch.setattr(_runtime, "_read", lambda path: files.get(path, ""))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(64), raising=False)
    for name in _runtime._ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(_runtime, "_asked", None)
    _runtime._machine_limit.cache_clear()
    yield files
    _runtime._machine_limit.cache_clear()


def v2(files, group, **quotas):
    files["/proc/self/mountinfo"] = MOUNTS_V2
    files["/proc/self/cgroup"] = f"0::{group}\n"
    for folder, text in quotas.items():
        parts = [part for part in folder.split("_") if part]
        files["/".join(["/sys/fs/cgroup", *parts, "cpu.max"])] = text


def test_affinity_alone(machine):
    assert _runtime.thread_count() == 64
    assert "affinity" in _runtime.thread_reason()


def test_cpu_count_where_there_is_no_affinity(machine, monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 5)
    assert _runtime.thread_count() == 5


@pytest.mark.parametrize(
    ("text", "threads"),
    [("400000 100000", 4), ("150000 100000", 1), ("50000 100000", 1), ("max 100000", 64),
     ("", 64), ("nonsense", 64), ("100000 0", 64)],
)  # fmt: skip
def test_quota_of_v2_is_rounded_down_to_one_at_least(machine, text, threads):
    v2(machine, "/job", _job=text)
    assert _runtime.thread_count() == threads
    assert ("quota" in _runtime.thread_reason()) == (threads < 64)


def test_quota_of_an_enclosing_group_counts(machine):
    v2(machine, "/a/b", _a="300000 100000", _a_b="800000 100000")
    assert _runtime.thread_count() == 3
    assert _runtime.thread_reason() == "container's CPU quota (3 CPUs)"


def test_quota_in_a_container_that_sees_only_its_own_group(machine):
    v2(machine, "/", _="200000 100000")
    assert _runtime.thread_count() == 2


@pytest.mark.parametrize("group", ["/docker/ab", "/docker/ab/inner", "/docker/abc"])
def test_quota_of_v1(machine, group):
    machine["/proc/self/mountinfo"] = MOUNTS_V1
    machine["/proc/self/cgroup"] = f"9:memory:{group}\n4:cpu,cpuacct:{group}\n0::/\n"
    machine["/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us"] = "250000\n"
    machine["/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us"] = "100000\n"
    machine["/sys/fs/cgroup/cpu,cpuacct/inner/cpu.cfs_quota_us"] = "-1\n"
    machine["/sys/fs/cgroup/cpu,cpuacct/inner/cpu.cfs_period_us"] = "100000\n"
    assert _runtime.thread_count() == 2


@pytest.mark.parametrize("name", _runtime._ENVIRONMENT)
def test_environment(machine, monkeypatch, name):
    monkeypatch.setenv(name, "3")
    assert (_runtime.thread_count(), _runtime.thread_reason()) == (3, name)


def test_least_of_all(machine, monkeypatch):
    v2(machine, "/", _="500000 100000")
    monkeypatch.setenv("OMP_NUM_THREADS", "7,2")
    monkeypatch.setenv("NUMBA_NUM_THREADS", "4")
    monkeypatch.setenv("FASTBP_NUM_THREADS", "99")
    assert (_runtime.thread_count(), _runtime.thread_reason()) == (4, "NUMBA_NUM_THREADS")


@pytest.mark.parametrize("text", ["", "many", "0", "-2"])
def test_others_malformed_variables_are_ignored(machine, monkeypatch, text):
    monkeypatch.setenv("OMP_NUM_THREADS", text)
    assert _runtime.thread_count() == 64


def test_our_own_malformed_variable_is_an_error(machine, monkeypatch):
    monkeypatch.setenv("FASTBP_NUM_THREADS", "many")
    with pytest.raises(ArgumentError, match=r"FASTBP_NUM_THREADS='many'; wanted an integer of 1"):
        _runtime.thread_count()


def test_set_num_threads(machine):
    _runtime.set_num_threads(3)
    assert (_runtime.thread_count(), _runtime.thread_reason()) == (3, "fastbp.set_num_threads")
    _runtime.set_num_threads(1000)
    assert _runtime.thread_count() == 64
    assert "affinity" in _runtime.thread_reason()
    _runtime.set_num_threads(1000, oversubscribe=True)
    assert _runtime.thread_count() == 1000
    _runtime.set_num_threads(None)
    assert _runtime.thread_count() == 64


def test_threads_is_for_the_block_and_the_calling_thread(machine):
    seen = []
    with _runtime.threads(2):
        assert (_runtime.thread_count(), _runtime.thread_reason()) == (2, "fastbp.threads")
        with _runtime.threads(100, oversubscribe=True):
            assert _runtime.thread_count() == 100
        other = threading.Thread(target=lambda: seen.append(_runtime.thread_count()))
        other.start()
        other.join()
    assert seen == [64]
    assert _runtime.thread_count() == 64


@pytest.mark.parametrize("bad", [0, -1, 2.5, "2", True])
def test_bad_numbers(machine, bad):
    with pytest.raises(
        ArgumentError, match=r"number of threads .*; wanted an integer of 1 or more"
    ):
        _runtime.set_num_threads(bad)
    with pytest.raises(ArgumentError, match="number of threads"), _runtime.threads(bad):
        pass
    assert _runtime.thread_count() == 64


def test_real_machine():
    _runtime._machine_limit.cache_clear()
    assert 1 <= _runtime.thread_count() <= (os.cpu_count() or 1)


def test_show_versions():
    text = _runtime.show_versions()
    for word in ("fastbp", "Python", "NumPy", "Numba", "llvmlite", "CPU", "vectors", "tile",
                 "threads", "compile cache"):  # fmt: skip
        assert word in text
