"""Check 23, as the system sees it: a training job's checkpoints under strace."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import job
import pytest

import fastbp

STRACE = shutil.which("strace")
HERE = Path(__file__).parent
EPOCHS = 60
SAVES = EPOCHS * job.ROWS // job.BATCH // 210
CALLS = "openat,write,writev,pwrite64,ftruncate,fsync,fdatasync,rename,renameat,renameat2"
# name(first argument ... = result, with `-y`: a descriptor is followed by <path>.
CALL = re.compile(r"^(\w+)\((.*)\)\s+= (-?\d+)")
SHORT = {"openat": "open", "renameat": "rename", "renameat2": "rename", "writev": "write",
         "pwrite64": "write", "fdatasync": "fsync"}


def traced(folder: Path, *command: str) -> list[tuple[str, list[str]]]:
    """(call, paths in it) of all calls of a command that succeeded; those of a thread in order."""
    assert STRACE
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(
        [str(Path(fastbp.__file__).parents[1]), str(HERE)])}
    result = subprocess.run(
        [STRACE, "-ff", "-y", "-s", "0", "-e", f"trace={CALLS}", "-o", str(folder / "log"),
         *command], env=environment, capture_output=True, text=True, timeout=300, check=False)
    if "ptrace" in result.stderr:
        pytest.skip("this system lets no process trace another")
    assert result.returncode == 0, result.stderr
    found = []
    for log in sorted(folder.iterdir()):
        for line in log.read_text(errors="replace").splitlines():
            call = CALL.match(line)
            if call and int(call[3]) >= 0:
                paths = re.findall(r'\d+<(/[^>]*)>|"([^"]+)"', call[2])
                found.append((SHORT.get(call[1], call[1]), ["".join(p) for p in paths]))
    return found


def shape_of(calls: list[tuple[str, list[str]]], saved: Path) -> list[str]:
    """The calls about a folder as words: "write part", "fsync part", "rename", "fsync folder"."""
    words = []
    for name, paths in calls:
        inside = [p for p in paths if Path(p) == saved or Path(p).parent == saved]
        if not inside or name == "open":
            continue
        if name == "rename":
            part, target = (Path(p) for p in inside)
            assert part.parent == target.parent == saved
            assert part.name.startswith(".")
            assert not target.name.startswith(".")
            words.append("rename")
            continue
        what = "folder" if Path(inside[0]) == saved else "part"
        assert what == "folder" or Path(inside[0]).name.startswith("."), f"{name} in place"
        words.append(f"{name} {what}")
    return words


@pytest.mark.nightly
@pytest.mark.skipif(not STRACE, reason="strace is not installed")
def test_a_checkpoint_is_on_disk_before_it_has_its_name(tmp_path):
    """write ... fsync(file), rename, fsync(folder), and nothing between, for every checkpoint."""
    work, logs = tmp_path / "work", tmp_path / "logs"
    work.mkdir()
    logs.mkdir()
    job.write_data(work)
    calls = traced(logs, sys.executable, str(HERE / "job.py"), str(work), str(EPOCHS), "0", "-1")
    assert (work / "outcome").exists()
    text = "\n".join(shape_of(calls, work / "saved"))
    one = r"(write part\n)+fsync part\nrename\nfsync folder(\n|$)"
    assert re.fullmatch(f"({one})+", text), text
    assert len(re.findall(one, text)) >= SAVES
