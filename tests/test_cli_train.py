"""`fastbp train` from data to run folder: files, networks, options."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from commands import FAST, metrics, parameters, succeeds, write_blobs, write_line

import fastbp
from fastbp.cli import main, train

RUN_FILES = {"model.safetensors", "metrics.jsonl", "config.json", "result.json"}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    fastbp.set_num_threads(None)  # a command's --threads is for its process


# ---- the default ----------------------------------------------------------------------------


def test_bundled_digits_reach_97_percent(capsys):
    out = succeeds(capsys, "train", "--out", "run")
    result = json.loads(Path("run/result.json").read_text())
    assert result["test"]["rows"] == 359
    assert result["test"]["accuracy"] >= 0.97
    assert f"test accuracy {result['test']['accuracy']:.4f}" in out
    assert re.search(r"time +\d+\.\d\d s of training", out)
    epochs = re.findall(r"^ *(\d+)/30 ", out, re.MULTILINE)
    assert epochs == [str(number) for number in range(1, 31)]
    assert re.search(r"epoch +loss +val loss +val acc +samples/s", out)
    assert {path.name for path in Path("run").iterdir()} >= RUN_FILES
    rows = metrics("run")
    assert [row["epoch"] for row in rows] == list(range(1, 31))
    assert rows[-1]["loss"] < 0.1 * rows[0]["loss"]
    assert {"loss", "val_loss", "val_accuracy", "samples_per_second"} <= set(rows[0])


def test_the_picture_is_drawn():
    pytest.importorskip("matplotlib")
    assert main(["train", *FAST, "--out", "run"]) == 0
    assert Path("run/curves.png").read_bytes().startswith(b"\x89PNG")


def test_without_matplotlib_a_line_says_what_to_install(capsys, monkeypatch):
    monkeypatch.setattr(train, "matplotlib_is_installed", lambda: False)
    out = succeeds(capsys, "train", *FAST, "--out", "run")
    assert 'pip install "fastbp[plot]"' in out.splitlines()[-1]
    assert {path.name for path in Path("run").iterdir()} == RUN_FILES


def test_default_folder_is_named_by_data_and_time():
    assert main(["train", *FAST]) == 0
    (run,) = Path("runs").iterdir()
    assert re.fullmatch(r"digits-\d{8}-\d{6}(-\d+)?", run.name)


def test_configuration_is_resolved():
    assert main(["train", *FAST, "--optimizer", "nesterov", "--out", "run"]) == 0
    config = json.loads(Path("run/config.json").read_text())
    assert config["optimizer"] == {**config["optimizer"], "name": "sgd", "momentum": 0.9,
                                   "nesterov": True}
    assert config["optimizer"]["lr"] > 0
    assert config["loss"] == "softmax_cross_entropy"
    assert config["rows"] == {"training": 1294, "validation": 144, "test": 359}
    assert config["hidden"] == [16]
    assert config["classes"] == [str(digit) for digit in range(10)]
    assert config["versions"]["fastbp"] == fastbp.__version__
    assert config["versions"]["numpy"] == np.__version__
    assert config["threads"]["count"] >= 1
    assert config["seed"] == 0


def test_seed_decides_everything():
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        assert main(["train", *FAST, "--dropout", "0.2", "--seed", seed, "--out", name]) == 0
    a, b, c = (parameters(name) for name in "abc")
    assert all(np.array_equal(a[name], b[name]) for name in a)
    assert any(not np.array_equal(a[name], c[name]) for name in a)


def test_an_earlier_run_in_the_folder_is_replaced():
    Path("run").mkdir()
    for name in ("metrics.jsonl", "curves.png", "notes.txt"):
        Path("run", name).write_text("old")
    assert main(["train", *FAST, "--out", "run"]) == 0
    assert len(metrics("run")) == 5
    assert Path("run/notes.txt").read_text() == "old"
    assert not [path for path in Path("run").iterdir() if path.name.startswith(".")]


# ---- networks and training ------------------------------------------------------------------


@pytest.mark.parametrize("options", [
    ("--activation", name) for name in ("relu", "leaky_relu", "sigmoid", "tanh", "gelu",
                                        "softplus", "silu", "identity")
] + [
    ("--hidden", "none"), ("--hidden", "8,8,8"), ("--batchnorm",), ("--dropout", "0.3"),
    ("--dtype", "float64"), ("--layout", "row"), ("--threads", "1"), ("--clip-norm", "1"),
    ("--optimizer", "sgd"), ("--optimizer", "momentum"), ("--optimizer", "nesterov"),
    ("--optimizer", "adamw", "--weight-decay", "0.01"), ("--optimizer", "rmsprop"),
    ("--optimizer", "adagrad"), ("--schedule", "constant"), ("--schedule", "step"),
    ("--schedule", "cosine", "--warmup-epochs", "2"),
    ("--schedule", "onecycle", "--warmup-epochs", "2"), ("--betas", "0.85,0.95"),
    ("--label-smoothing", "0.1"), ("--label-smoothing", "0.1", "--dtype", "float64"),
    ("--schedule", "plateau", "--patience", "1"),
    ("--early-stopping", "3"), ("--standardize", "column"),
], ids=" ".join)
def test_every_option_trains_saves_and_loads(capsys, options):
    write_blobs("data.csv")
    out = succeeds(capsys, "train", "data.csv", "--test", "0.2", *FAST, "--epochs", "12",
                   *options, "--out", "run")
    rows = metrics("run")
    assert rows[-1]["loss"] < rows[0]["loss"]
    stated = re.search(r"test (accuracy .*)", out)[1]
    result = json.loads(Path("run/result.json").read_text())["test"]
    assert f"{result['accuracy']:.4f}" in stated
    everything = succeeds(capsys, "evaluate", "run", "data.csv")
    assert re.fullmatch(r"accuracy \d\.\d{4} \(\d+ of 240\)\n", everything)


@pytest.mark.parametrize(("options", "schedule", "lr"), [
    ((), "onecycle", 2e-3),
    (("--optimizer", "adamw"), "onecycle", 2e-3),
    (("--optimizer", "momentum"), "onecycle", 0.1),
    (("--lr", "0.01"), "onecycle", 0.01),
    (("--schedule", "cosine"), "cosine", 1e-3),
    (("--task", "regression"), "cosine", 1e-3),
    (("--task", "regression", "--schedule", "onecycle"), "onecycle", 2e-3),
])
def test_default_schedule_and_rate(options, schedule, lr):
    (write_line if "regression" in options else write_blobs)("data.csv")
    assert main(["train", "data.csv", "--hidden", "8", "--epochs", "2", "--quiet", *options,
                 "--out", "run"]) == 0
    config = json.loads(Path("run/config.json").read_text())
    assert config["schedule"] == schedule
    assert config["optimizer"]["lr"] == lr


def test_betas_reach_the_optimizer_and_smoothing_the_loss():
    write_blobs("data.csv")
    losses = {}
    for smoothing in ("0", "0.3"):
        assert main(["train", "data.csv", *FAST, "--epochs", "30", "--betas", "0.8,0.95",
                     "--label-smoothing", smoothing, "--out", "run"]) == 0
        losses[smoothing] = metrics("run")[-1]["loss"]
    # Cross-entropy with targets of 0.8, 0.1, 0.1 is their own entropy at least.
    assert losses["0"] < 0.1 < -(0.8 * np.log(0.8) + 0.2 * np.log(0.1)) < losses["0.3"]
    optimizer = json.loads(Path("run/config.json").read_text())["optimizer"]
    assert (optimizer["beta1"], optimizer["beta2"]) == (0.8, 0.95)


@pytest.mark.parametrize("text", ["0.9", "0.9,1", "a,b", "0.9,0.9,0.9"])
def test_betas_that_are_none(capsys, text):
    with pytest.raises(SystemExit) as ended:
        main(["train", "--betas", text])
    assert ended.value.code == 2
    assert "--betas" in capsys.readouterr().err


@pytest.mark.parametrize("loss", ["mean_squared_error", "mean_absolute_error", "huber"])
def test_losses_of_a_regression(loss):
    write_line("data.csv")
    assert main(["train", "data.csv", "--task", "regression", "--loss", loss, *FAST,
                 "--epochs", "15", "--out", "run"]) == 0
    rows = metrics("run")
    assert rows[-1]["loss"] < rows[0]["loss"]


def test_early_stopping_ends_early_and_keeps_the_best():
    rng = np.random.default_rng(0)
    np.savez("noise.npz", X=rng.standard_normal((60, 10)), y=rng.integers(0, 2, 60))
    assert main(["train", "noise.npz", "--hidden", "64", "--epochs", "300", "--lr", "0.02",
                 "--dropout", "0", "--validation", "0.3", "--early-stopping", "4", "--quiet",
                 "--out", "run"]) == 0
    rows = metrics("run")
    best = min(rows, key=lambda row: row["val_loss"])
    assert len(rows) == best["epoch"] + 4 < 300
    result = json.loads(Path("run/result.json").read_text())
    assert result["epochs"] == len(rows)
    np.testing.assert_allclose(result["validation"]["cross_entropy"], best["val_loss"], rtol=1e-4)


def test_a_batch_larger_than_the_data():
    write_blobs("data.csv", rows=30)
    assert main(["train", "data.csv", *FAST, "--batch-size", "1000", "--out", "run"]) == 0


def test_divergence_is_an_error_and_leaves_no_model(capsys):
    write_line("data.csv")
    status = main(["train", "data.csv", "--task", "regression", *FAST, "--optimizer", "sgd",
                   "--lr", "1e30", "--schedule", "constant", "--epochs", "50", "--out", "run"])
    err = capsys.readouterr().err
    assert status == 1
    assert re.fullmatch(r"fastbp: error: training diverged: step \d+ of epoch 1: .* is not finite; "
                        r"try a smaller --lr or --clip-norm 1; no model was saved",
                        err.splitlines()[-1])
    assert "Traceback" not in err
    assert not Path("run/model.safetensors").exists()
    assert len(metrics("run")) < 50
