"""Signals during training, and disks that fail: the model is kept, files stay whole."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import fastbp
from fastbp.cli import _files, main

# The package under test, also for processes that start in another folder.
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(fastbp.__file__).parents[1])}
FAST = ("--hidden", "16", "--epochs", "5", "--quiet")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_keep_the_model_so_far(number, status, folder):
    command = [sys.executable, "-m", "fastbp", "train", "--epochs", "100000", "--out", "run"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          env=ENVIRONMENT) as process:
        deadline = time.monotonic() + 300
        record = folder / "run" / "metrics.jsonl"
        while not (record.exists() and record.read_text().count("\n") >= 3):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.kill(process.pid, number)
        out, err = process.communicate(timeout=60)
    assert process.returncode == status
    assert re.search(r"^fastbp: error: interrupted after \d+ of 100000 epochs; the model so far is "
                     r"saved; the same command with --resume --out run goes on$", err, re.MULTILINE)
    assert "Traceback" not in err
    assert ("test accuracy" in out) == (number == signal.SIGINT)
    assert ("not scored after SIGTERM" in out) == (number == signal.SIGTERM)
    fastbp.load("run/model.safetensors")
    assert not _files.is_finished(folder / "run")
    (saved,) = (folder / "run" / "checkpoints").iterdir()
    fastbp.load(saved)


def test_a_write_that_fails_leaves_the_old_file(folder):
    target = folder / "result.json"
    target.write_text("old")

    def fail(part):
        part.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        _files.write_whole(target, fail)
    assert [path.name for path in folder.iterdir()] == ["result.json"]
    assert target.read_text() == "old"


def test_a_full_disk_is_one_line_and_status_1(capsys, monkeypatch):
    def fail(path, record):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(_files, "write_json", fail)
    assert main(["train", *FAST, "--out", "run"]) == 1
    assert capsys.readouterr().err.endswith(
        f"fastbp: error: {Path('run/config.json')}: No space left on device\n")
