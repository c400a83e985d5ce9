"""`fastbp train` that is stopped and goes on: the same model, the same records, exit statuses."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from commands import metrics, parameters, succeeds, write_blobs, write_line

import fastbp
from fastbp.callbacks import Signals
from fastbp.cli import main, train
from fastbp.cli._files import is_finished

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(fastbp.__file__).parents[1])}
RUN = ("train", "data.csv", "--hidden", "16", "--epochs", "40", "--batch-size", "8")
STOPPED, GOES_ON = ("--max-time", "1e-9"), ("--resume",)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_blobs("data.csv")
    yield tmp_path
    fastbp.set_num_threads(None)


def records(run):
    return [{k: v for k, v in row.items() if k not in ("seconds", "samples_per_second")}
            for row in metrics(run)]


def checkpoints(run):
    return sorted(path.name for path in Path(run, "checkpoints").glob("*"))


def assert_same(one, other):
    a, b = parameters(one), parameters(other)
    assert all(np.array_equal(a[name], b[name]) for name in a)
    assert records(one) == records(other)
    results = [json.loads(Path(run, "result.json").read_text()) for run in (one, other)]
    assert {**results[0], "training_seconds": 0} == {**results[1], "training_seconds": 0}


@pytest.mark.parametrize("options", [
    (), ("--early-stopping", "30", "--batchnorm", "--optimizer", "momentum"),
    ("--schedule", "plateau", "--patience", "1", "--label-smoothing", "0.1"),
], ids=str)
def test_a_run_in_pieces_is_the_whole_run(capsys, options):
    succeeds(capsys, *RUN, *options, "--out", "whole")
    assert main([*RUN, *options, "--out", "cut", *STOPPED]) == 3
    out, err = capsys.readouterr()
    assert err == ("fastbp: error: --max-time after 0 of 40 epochs; the model so far is saved; the "
                   "same command with --resume --out cut goes on\n")
    assert "wrote    cut" in out
    assert not is_finished(Path("cut"))
    for number in range(2):  # one edge each
        assert main([*RUN, *options, "--out", "cut", *GOES_ON, *STOPPED,
                     "--threads", str(number + 1)]) == 3
    capsys.readouterr()
    out = succeeds(capsys, *RUN, *options, "--out", "cut", *GOES_ON)
    assert re.search(r"^resumed  after \d+ steps, \d+ of 40 epochs$", out, re.MULTILINE)
    assert_same("whole", "cut")
    assert is_finished(Path("cut"))


def test_a_regression_in_pieces(capsys):
    write_line("data.csv")
    options = (*RUN, "--task", "regression", "--csv")
    succeeds(capsys, *options, "--out", "whole")
    assert main([*options, "--out", "cut", *STOPPED]) == 3
    capsys.readouterr()
    succeeds(capsys, *options, "--out", "cut", *GOES_ON)
    assert_same("whole", "cut")
    lines = Path("cut/metrics.csv").read_text().splitlines()
    assert len(lines) == 41
    assert "val_r2" in lines[0]


def test_sigterm_during_the_validation_of_a_regression(capsys, monkeypatch):
    """The second epoch has no record, and the model so far no scores, until somebody goes on."""
    write_line("data.csv")
    options = (*RUN, "--task", "regression", "--validation", "0.5")
    succeeds(capsys, *options, "--out", "whole")
    looks, look = [], Signals.on_validation

    def terminate(self, trainer):
        looks.append(len(trainer.history))
        if looks.count(1) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        look(self, trainer)

    with monkeypatch.context() as patch:
        patch.setattr(fastbp.network, "PREDICT_ROWS", 30)
        patch.setattr(Signals, "on_validation", terminate)
        assert main([*options, "--out", "cut"]) == 143
    assert looks == [0] * 5 + [1] * 2  # chunks
    assert len(metrics("cut")) == 1
    assert "not scored after SIGTERM" in capsys.readouterr().out
    assert json.loads(Path("cut/result.json").read_text())["finished"] is False
    succeeds(capsys, *options, "--out", "cut", *GOES_ON)
    assert_same("whole", "cut")


def test_a_finished_run_is_left_alone(capsys):
    succeeds(capsys, *RUN, "--out", "run")
    before = {path: path.stat().st_mtime_ns for path in Path("run").rglob("*")}
    out = succeeds(capsys, *RUN, "--out", "run", *GOES_ON)
    assert out == "done     run: the training had finished; nothing to do\n"
    assert before == {path: path.stat().st_mtime_ns for path in Path("run").rglob("*")}
    assert main([*RUN, "--epochs", "41", "--out", "run", *GOES_ON]) == 2
    assert "--epochs 41 for a run that finished its 40; wanted" in capsys.readouterr().err


def test_resume_of_nothing_begins(capsys):
    succeeds(capsys, *RUN, "--out", "whole")
    succeeds(capsys, *RUN, "--out", "new", *GOES_ON)
    assert_same("whole", "new")


@pytest.mark.parametrize(("options", "message"), [
    (("--resume",), "--resume without --out; wanted the folder of the run to go on with"),
    (("--out", "run"), "--out run: holds an unfinished training; wanted --resume to go on with it"),
    (("--out", "run", "--resume", "--batch-size", "16"), "this fit has batch_size=16; wanted the"),
    (("--out", "run", "--resume", "--lr", "0.3"), "this fit has optimizer={'name': 'adam', 'lr': "),
    (("--out", "run", "--resume", "--hidden", "17"), "this fit has another network than the check"),
    (("--out", "run", "--resume", "--validation", "0.3"), "this fit has samples=168; wanted the"),
])  # fmt: skip
def test_refusals_change_nothing(capsys, options, message):
    assert main([*RUN, "--out", "run", *STOPPED]) == 3
    capsys.readouterr()
    before = {path: path.read_bytes() for path in Path("run").rglob("*") if path.is_file()}
    assert main([*RUN, *options]) == 2
    assert message in capsys.readouterr().err
    assert before == {path: path.read_bytes() for path in Path("run").rglob("*")
                      if path.is_file()}


@pytest.mark.parametrize(("option", "text"), [
    ("--max-time", "0"), ("--max-time", "x"), ("--max-time", "3w"), ("--max-time", "s"),
    ("--max-time", "-1s"), ("--max-time", "1sm"), ("--checkpoint-every", "3"),
    ("--checkpoint-every", "0epochs"), ("--checkpoint-every", "steps"), ("--keep", "0")])
def test_times_that_are_none(capsys, option, text):
    with pytest.raises(SystemExit) as ended:
        main([*RUN, option, text])
    assert ended.value.code == 2
    assert option in capsys.readouterr().err


@pytest.mark.parametrize(("every", "expected"), [
    ("20epochs", ["step-0000000540.safetensors", "step-0000001080.safetensors"]),
    ("500steps", ["step-0000000500.safetensors", "step-0000001000.safetensors"]),
    ("2h", []),
])
def test_when_checkpoints_are_made(capsys, every, expected):
    out = succeeds(capsys, *RUN, "--out", "run", "--checkpoint-every", every, "--keep-best",
                   "--verbose")
    assert checkpoints("run") == (["best.safetensors", *expected])
    assert re.findall(r"saved +run/checkpoints/(\S+)", out) == expected
    assert "parameters, float32" in out
    best = max(metrics("run"), key=lambda row: -row["val_loss"])
    assert succeeds(capsys, "evaluate", "run/checkpoints/best.safetensors", "data.csv")
    assert best["val_loss"] <= metrics("run")[-1]["val_loss"]


def test_divergence_keeps_the_last_good_checkpoint(capsys):
    write_line("data.csv")
    status = main([*RUN, "--task", "regression", "--optimizer", "sgd", "--lr", "1e30",
                   "--schedule", "constant", "--out", "run", "--checkpoint-every", "1steps"])
    assert status == 1
    assert "training diverged" in capsys.readouterr().err
    for name in checkpoints("run"):
        assert np.isfinite(fastbp.load(Path("run/checkpoints", name)).values).all()


def test_sigusr1_saves_and_the_training_goes_on(capsys):
    def send():
        while not Path("run/metrics.jsonl").exists() or len(metrics("run")) < 2:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGUSR1)

    thread = threading.Thread(target=send)
    thread.start()
    succeeds(capsys, *RUN, "--epochs", "1500", "--quiet", "--out", "run")
    thread.join()
    (name,) = checkpoints("run")
    assert 27 * 2 <= int(name[5:15]) < 27 * 1500
    assert len(metrics("run")) == 1500


def test_sigusr1_before_training_is_harmless(capsys, monkeypatch):
    def ready(dtype):
        os.kill(os.getpid(), signal.SIGUSR1)
        return 0.0

    monkeypatch.setattr(train, "make_ready", ready)
    before = signal.getsignal(signal.SIGUSR1)
    succeeds(capsys, *RUN, "--out", "run")
    assert signal.getsignal(signal.SIGUSR1) == before


def test_two_processes_do_not_train_in_one_folder(capsys, monkeypatch):
    """The second is refused before it takes anything away."""
    statuses, seen = [], []

    def ready(dtype):
        if not statuses:
            statuses.append(None)
            Path("run/metrics.jsonl").write_text("first")
            statuses[0] = main([*RUN, "--out", "run", "--resume"])
            seen.append(Path("run/metrics.jsonl").read_text())
        return 0.0

    monkeypatch.setattr(train, "make_ready", ready)
    assert main([*RUN, "--out", "run"]) == 0
    assert statuses == [2]
    assert seen == ["first"]
    assert "run: another training is under way there; wanted a folder" in capsys.readouterr().err


def test_a_new_run_leaves_no_old_checkpoints(capsys, monkeypatch):
    """Also where it ends before it has any of its own."""
    succeeds(capsys, *RUN, "--out", "run", "--checkpoint-every", "5epochs")
    assert len(checkpoints("run")) == 2

    def fail(dtype):
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "make_ready", fail)
    assert main([*RUN, "--out", "run"]) == 130
    assert checkpoints("run") == []


def test_tensorboard_that_is_missing_is_noticed_before_anything_is_written(capsys, monkeypatch):
    def fail(folder):
        raise fastbp.ArgumentError("tensorboard is not installed")

    monkeypatch.setattr(train, "TensorBoard", fail)
    assert main([*RUN, "--out", "run", "--tensorboard"]) == 2
    assert not Path("run").exists()


def test_sigterm_then_resume_in_new_processes(capsys, folder):
    command = [sys.executable, "-m", "fastbp", *RUN, "--epochs", "1500", "--quiet"]
    with subprocess.Popen([*command, "--out", "cut", "--resume"], stdout=subprocess.DEVNULL,
                          stderr=subprocess.PIPE, text=True, env=ENVIRONMENT) as process:
        while not (folder / "cut/metrics.jsonl").exists() or len(metrics("cut")) < 3:
            assert process.poll() is None
            time.sleep(0.01)
        process.terminate()
        _, err = process.communicate(timeout=60)
    assert process.returncode == 143, err
    assert len(checkpoints("cut")) == 1
    succeeds(capsys, *RUN, "--epochs", "1500", "--quiet", "--out", "cut", "--resume")
    succeeds(capsys, *RUN, "--epochs", "1500", "--quiet", "--out", "whole")
    assert_same("whole", "cut")


def test_event_files(capsys):
    pytest.importorskip("tensorboard")
    succeeds(capsys, *RUN, "--out", "run", "--tensorboard")
    succeeds(capsys, *RUN, "--out", "run", "--tensorboard")  # anew: the first run's go
    assert len(list(Path("run/tensorboard").iterdir())) == 1


def test_quiet_and_verbose_exclude_each_other(capsys):
    with pytest.raises(SystemExit) as ended:
        main([*RUN, "--quiet", "--verbose"])
    assert ended.value.code == 2
    assert "not allowed with" in capsys.readouterr().err
