"""First compilations: by one process or several, with the same bytes; what helpers may do wrong.

That kernels compute the right thing is what all other tests are about.
"""

from __future__ import annotations

import gc
import inspect
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from fastbp import _cache, _compiler, _runtime
from fastbp._compiler import _crew
from fastbp._jit import DISABLED, KERNELS, NEEDS, PARTS, RUN_ARGUMENTS
from fastbp.kernels import _peak, program, tasks

pytestmark = pytest.mark.skipif(DISABLED or not _cache.ENABLED, reason="compiled in this process")

ROOT = Path(__file__).parents[1]
FLOAT32 = np.dtype(np.float32)
PART = "rows"  # the cheapest
Crew = _crew.Crew


def compile_little() -> dict[str, bytes]:
    """The object files of a small function that (so says the fixture) needs one small part."""
    return _cache.unpack(_compiler.object_code(_peak.read_all, 3, FLOAT32, "read_all_float32"))


@pytest.fixture
def little(monkeypatch, tmp_path):
    """`compile_little` has a helper compile the part; an empty cache."""
    monkeypatch.setitem(NEEDS, _peak.read_all, (PART,))
    monkeypatch.setattr(_cache, "cache_folder", lambda: tmp_path)
    monkeypatch.setattr(_crew, "shares", lambda parts: [[], parts] if parts else [[]])
    monkeypatch.setattr(_crew, "Crew", lambda module, *rest: Crew(program.__name__, *rest))
    return monkeypatch


@pytest.fixture(scope="module")
def alone():
    """What this process makes alone."""
    from fastbp._compiler._doors import door_code, part_code

    return {"read_all_float32": door_code(_peak.read_all, 3, FLOAT32, "read_all_float32"),
            f"{PART}_float32": part_code(PART, FLOAT32)}


# ---- who compiles what -----------------------------------------------------------------------


def test_kernels_that_are_imported_later_are_known(tmp_path):
    """Theirs and the primitives they call, after something else was compiled."""
    program = (
        "import numpy as np\n"
        "from fastbp._native import Native\n"
        "from fastbp.kernels import _peak\n"
        "dtype = np.dtype(np.float32)\n"
        "Native(_peak.read_all)(dtype)\n"
        "import fastbp.kernels.program\n"
        "from fastbp._compiler._doors import part_code\n"
        f"assert part_code({PART!r}, dtype)\n"
    )
    environment = {**os.environ, "FASTBP_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    result = subprocess.run([sys.executable, "-c", program], env=environment, text=True,
                            capture_output=True, timeout=300, check=False)
    assert result.returncode == 0, result.stderr[-2000:]


def test_every_instruction_is_in_one_part():
    functions = [run for part in PARTS.values() for run in part.functions]
    assert set(functions) == {run for _, run in tasks.INSTRUCTIONS}
    assert set(functions) == {kernel for kernel in KERNELS
                              if (*inspect.signature(kernel).parameters,) == RUN_ARGUMENTS}
    assert len({f.__name__ for f in functions}) == len(functions), "symbols are made of names"


def test_a_door_needs_the_parts_of_its_instructions():
    for door, instructions in ((program.work, tasks.INSTRUCTIONS[: tasks.FIRST_FOR_IMAGES]),
                               (program.work_with_images, tasks.INSTRUCTIONS)):  # fmt: skip
        inside = {run for part in NEEDS[door] for run in PARTS[part].functions}
        assert inside == {run for _, run in instructions}


@pytest.mark.parametrize("processes", [1, 2, 3, 4, 9])
def test_work_is_shared_evenly(processes):
    parts = list(tasks.PARTS_FOR_ALL + tasks.PARTS_FOR_IMAGES)
    with _runtime.threads(processes, oversubscribe=True):
        shares = _crew.shares(parts)
    assert len(shares) == min(processes, _crew.MOST_PROCESSES)
    assert sorted(part for share in shares for part in share) == sorted(parts)
    seconds = [sum(PARTS[part].seconds for part in share) for share in shares]
    longest = max(PARTS[part].seconds for part in parts)
    assert max(seconds) - min(seconds) <= longest, "longest part first: no worse than one part"
    assert [sorted(share) for share in _crew.shares([])] == [[]]


@pytest.mark.parametrize("change", [
    {"executable": "/usr/bin/blender"}, {"executable": ""}, {"executable": None},
    {"executable": "/opt/app/python-app", "frozen": True}])
def test_another_program_is_not_started(monkeypatch, change):
    for name, value in change.items():
        monkeypatch.setattr(sys, name, value, raising=False)
    with _runtime.threads(4, oversubscribe=True):
        assert len(_crew.shares([PART])) == 1


# ---- the same bytes, come what may -----------------------------------------------------------


def test_a_helper_makes_the_same_bytes(little, alone):
    answers = []
    results = Crew.results
    little.setattr(Crew, "results", lambda crew: answers.append(results(crew)) or answers[0])
    assert compile_little() == alone
    assert list(answers[0]) == [PART], "it was a helper who made it"


def test_a_part_that_is_stored_is_not_compiled(little, alone):
    _cache.write("other_float32", _cache.pack({f"{PART}_float32": b"stored", "other_float32": b""}))
    _cache.write("other_float64", _cache.pack({f"{PART}_float64": b"of another dtype"}))
    assert compile_little() == alone | {f"{PART}_float32": b"stored"}


FAILING = {
    "ends at once": "exit 1",
    "says something else": "echo hello world; echo; echo",
    "says nothing": "exit 0",
    "is cut short": "printf 'rows 1000\\n\\n'; exit 0",
    "has other sources": "printf 'key 3\\nrows 4\\n\\nabcrows'",
    "never ends": "exec sleep 100",
}


@pytest.mark.skipif(os.name != "posix", reason="the helper is a shell script")
@pytest.mark.parametrize("script", FAILING.values(), ids=FAILING)
def test_a_helper_that_fails_is_done_without(little, alone, tmp_path, script):
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o700)
    little.setattr(sys, "executable", str(program))
    little.setattr(_crew, "_PATIENCE_SECONDS", 0.2)
    assert compile_little() == alone


def test_a_python_that_cannot_be_run(little, alone, tmp_path):
    little.setattr(sys, "executable", str(tmp_path / "gone" / "python"))
    assert compile_little() == alone


def test_a_helper_that_is_killed(little, alone):
    results = Crew.results

    def kill_first(crew):
        for helper in crew._helpers:
            helper.kill()
        return results(crew)

    little.setattr(Crew, "results", kill_first)
    assert compile_little() == alone


def test_an_error_here_ends_the_helpers(little):
    started = []
    enter = Crew.__enter__
    little.setattr(Crew, "__enter__", lambda crew: started.append(crew) or enter(crew))

    def interrupted(*arguments):
        raise KeyboardInterrupt

    little.setattr("fastbp._compiler._doors.door_code", interrupted)
    with pytest.raises(KeyboardInterrupt):
        compile_little()
    assert [helper.poll() is not None for helper in started[0]._helpers] == [True]


def test_the_collector_is_as_before(little):
    little.setattr(_crew, "shares", lambda parts: [parts])
    for was in (True, False):
        (gc.enable if was else gc.disable)()
        try:
            compile_little()
            assert gc.isenabled() == was
        finally:
            gc.enable()


# ---- helpers and the program that started them -----------------------------------------------

STARTING = """
import pathlib, sys, time
import numpy as np
from fastbp._compiler import _crew
print("the program runs", flush=True)
crew = _crew.Crew({module!r}, np.dtype("float32"), [["rows"]])
print(crew._helpers[0].pid, flush=True)
{then}
"""


def start(tmp_path: Path, module: str, then: str) -> subprocess.Popen[str]:
    """A program without an `if __name__ == "__main__"`, which starts a helper."""
    script = tmp_path / "script.py"
    script.write_text(STARTING.format(module=module, then=then))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True,
                            env=environment)  # fmt: skip


def test_helpers_do_not_run_the_program(tmp_path):
    child = start(tmp_path, program.__name__, "print(list(crew.results()))")
    out, _ = child.communicate(timeout=300)
    assert out.split("\n")[::2] == ["the program runs", "['rows']"]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at Linux's /proc")
def test_helpers_end_with_the_program(tmp_path):
    (tmp_path / "sleeping.py").write_text("import time\ntime.sleep(300)\n")
    child = start(tmp_path, "sleeping", "time.sleep(300)")
    assert child.stdout is not None
    child.stdout.readline()
    helper = Path("/proc") / child.stdout.readline().strip() / "stat"
    assert helper.exists()
    child.send_signal(signal.SIGKILL)
    child.communicate()
    end = time.monotonic() + 60
    while helper.exists() and ") Z " not in helper.read_text() and time.monotonic() < end:
        time.sleep(0.05)
    assert not helper.exists() or ") Z " in helper.read_text()
