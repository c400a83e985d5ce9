"""`fastbp train` from data to run folder, and what `predict` and `evaluate` make of it."""

import csv
import gzip
import json
import re
import struct
from pathlib import Path

import numpy as np
import pytest

import fastbp
from fastbp.cli import main, train
from fastbp.data import preparation_of

FAST = ("--hidden", "16", "--epochs", "5", "--dropout", "0", "--lr", "0.02", "--quiet")
RUN_FILES = {"model.safetensors", "metrics.jsonl", "config.json", "result.json"}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    fastbp.set_num_threads(None)  # a command's --threads is for its process


def succeeds(capsys, *argv):
    """Run a command that must succeed, and return what it printed."""
    status = main(argv)
    out, err = capsys.readouterr()
    assert status == 0
    assert "error" not in err
    return out


def blobs(rows=240, classes=3, seed=0):
    """Well separated Gaussian clouds in four dimensions, of very different scales."""
    rng = np.random.default_rng(seed)
    y = np.arange(rows) % classes
    centres = 6.0 * np.random.default_rng(99).standard_normal((classes, 4))
    x = centres[y] + rng.standard_normal((rows, 4))
    return x * [1, 1e-3, 1e4, 1] + [0, 0, 1e6, -3], y


def write_blobs(name, kinds=("cat", "dog", "eel"), header="a,b,c,d,kind", **settings):
    x, y = blobs(**settings)
    with Path(name).open("w", newline="") as stream:
        writer = csv.writer(stream)
        if header:
            writer.writerow(header.split(","))
        writer.writerows([*row, kinds[label]] for row, label in zip(x.tolist(), y, strict=True))
    return [kinds[label] for label in y]


def metrics(run):
    return [json.loads(line) for line in (Path(run) / "metrics.jsonl").read_text().splitlines()]


def parameters(run):
    return fastbp.load(Path(run) / "model.safetensors").state_dict()


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


# ---- CSV: classification --------------------------------------------------------------------


def test_text_classes_from_csv_and_back(capsys):
    write_blobs("train.csv")
    kinds = write_blobs("test.csv", seed=1, rows=60)
    out = succeeds(capsys, "train", "train.csv", "--test", "test.csv", *FAST, "--epochs", "30",
                   "--out", "run")
    assert "test accuracy 1.0000 (60 of 60)" in out
    assert succeeds(capsys, "evaluate", "run", "test.csv") == "accuracy 1.0000 (60 of 60)\n"
    lines = succeeds(capsys, "predict", "run/model.safetensors", "test.csv").splitlines()
    assert lines == ["prediction", *kinds]


def test_columns_are_found_by_name_whatever_their_order(capsys):
    write_blobs("train.csv")
    kinds = write_blobs("test.csv", seed=1, rows=30)
    assert main(["train", "train.csv", *FAST, "--epochs", "30", "--out", "run"]) == 0
    rows = list(csv.DictReader(Path("test.csv").read_text().splitlines()))
    with Path("mixed.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, ["d", "id", "b", "a", "c"], extrasaction="ignore")
        writer.writeheader()
        writer.writerows({**row, "id": "7"} for row in rows)
    capsys.readouterr()
    assert succeeds(capsys, "predict", "run", "mixed.csv").splitlines()[1:] == kinds


def test_probabilities_and_output_file(capsys):
    write_blobs("train.csv")
    assert main(["train", "train.csv", *FAST, "--out", "run"]) == 0
    capsys.readouterr()
    assert succeeds(capsys, "predict", "run", "train.csv", "--probabilities",
                    "--out", "answers.csv") == ""
    rows = list(csv.reader(Path("answers.csv").read_text().splitlines()))
    assert rows[0] == ["prediction", "cat", "dog", "eel"]
    chances = np.array([row[1:] for row in rows[1:]], dtype=float)
    assert chances.shape == (240, 3)
    np.testing.assert_allclose(chances.sum(axis=1), 1, atol=5e-6)  # six digits are written
    assert [rows[0][1 + i] for i in chances.argmax(axis=1)] == [row[0] for row in rows[1:]]


def test_predictions_are_those_of_the_network_on_standardised_inputs(capsys):
    x, y = blobs()
    np.savez("data.npz", X=x, y=y)
    assert main(["train", "data.npz", *FAST, "--dtype", "float64", "--out", "run"]) == 0
    capsys.readouterr()
    answers = succeeds(capsys, "predict", "run", "data.npz").split()[1:]
    network = fastbp.load("run/model.safetensors")
    preparation = preparation_of(network.metadata, "run")
    z = (x - preparation.inputs_scaler.mean) / preparation.inputs_scaler.scale
    assert answers == [str(label) for label in network.predict(z).argmax(axis=1)]


@pytest.mark.parametrize("command", ["predict", "evaluate"])
def test_data_that_do_not_fit_the_model(capsys, command):
    write_blobs("train.csv")
    assert main(["train", "train.csv", *FAST, "--out", "run"]) == 0
    capsys.readouterr()
    for content, message in (
        ("a,b,c\n1,2,3\n", "other.csv: no column named 'd'; wanted the columns of the training"),
        ("1,2,3,4,5,6\n", "other.csv: 5 features; wanted 4, as in the training data"),
        ("a,b,c,d,kind\n1,2,3,x,cat\n", "other.csv, line 2, column 4 (d): text 'x'"),
    ):
        Path("other.csv").write_text(content)
        assert main([command, "run", "other.csv"]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith(f"fastbp: error: {message}")
        assert err.count("\n") == 1


def test_evaluate_wants_known_classes_and_a_target(capsys):
    write_blobs("train.csv")
    assert main(["train", "train.csv", *FAST, "--out", "run"]) == 0
    capsys.readouterr()
    for content, message in (
        ("a,b,c,d,kind\n1,2,3,4,yak\n", "line 2, column 5 (kind): label 'yak' does not occur"),
        ("a,b,c,d\n1,2,3,4\n", "other.csv: no column named 'kind', the target"),
    ):
        Path("other.csv").write_text(content)
        assert main(["evaluate", "run", "other.csv"]) == 2
        assert message in capsys.readouterr().err


# ---- regression -----------------------------------------------------------------------------


def write_line(name, rows=300, seed=0, noise=0.0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((rows, 3)) * [1, 100, 0.01]
    y = 5e5 + 1000 * x @ [3, 0.05, 200] + noise * rng.standard_normal(rows)
    text = "\n".join(",".join(map(repr, row)) for row in np.column_stack([x, y]).tolist())
    Path(name).write_text(f"p,q,r,price\n{text}\n")
    return y


def test_regression_in_the_units_of_the_data(capsys):
    write_line("train.csv", noise=50.0)
    truth = write_line("test.csv", rows=50, seed=1, noise=50.0)
    out = succeeds(capsys, "train", "train.csv", "--task", "regression", "--test", "test.csv",
                   "--hidden", "none", "--epochs", "60", "--lr", "0.03", "--out", "run")
    assert re.search(r"epoch +loss +val loss +val R2 +val RMSE", out)
    result = json.loads(Path("run/result.json").read_text())["test"]
    assert result["r2"] > 0.999
    lines = succeeds(capsys, "predict", "run", "test.csv").splitlines()
    assert lines[0] == "prediction"
    error = np.array(lines[1:], dtype=float) - truth
    np.testing.assert_allclose(np.sqrt(np.mean(error**2)), result["rmse"], rtol=1e-5)
    np.testing.assert_allclose(np.mean(np.abs(error)), result["mae"], rtol=1e-5)
    spread = np.sum((truth - truth.mean()) ** 2)
    np.testing.assert_allclose(1 - np.sum(error**2) / spread, result["r2"], rtol=1e-6)
    assert f"R2 {result['r2']:.4f}" in succeeds(capsys, "evaluate", "run", "test.csv")
    rows = metrics("run")
    assert rows[-1]["val_r2"] > 0.99 > rows[0]["val_r2"]
    assert rows[-1]["val_rmse"] < rows[0]["val_rmse"]


def test_regression_has_no_probabilities(capsys):
    write_line("train.csv")
    assert main(["train", "train.csv", "--task", "regression", *FAST, "--out", "run"]) == 0
    capsys.readouterr()
    assert main(["predict", "run", "train.csv", "--probabilities"]) == 2
    assert "--probabilities with a regression model; wanted a classifier" in capsys.readouterr().err


def test_several_targets(capsys):
    x, _ = blobs()
    np.savez("data.npz", X=x, y=x[:, :2] * 3)
    assert main(["train", "data.npz", "--task", "regression", *FAST, "--out", "run"]) == 0
    capsys.readouterr()
    lines = succeeds(capsys, "predict", "run", "data.npz").splitlines()
    assert lines[0] == "prediction0,prediction1"
    assert len(lines) == 241


# ---- other formats --------------------------------------------------------------------------


def idx(array):
    sizes = struct.pack(f">{array.ndim}I", *array.shape)
    return gzip.compress(bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes())


def test_idx_files(capsys):
    rng = np.random.default_rng(0)
    for name, rows in (("train", 120), ("t10k", 40)):
        labels = (np.arange(rows) % 2).astype(np.uint8)
        images = rng.integers(0, 50, (rows, 3, 3)).astype(np.uint8)
        images[labels == 1, :, 0] += 200
        Path(f"{name}-images-idx3-ubyte.gz").write_bytes(idx(images))
        Path(f"{name}-labels-idx1-ubyte.gz").write_bytes(idx(labels))
    test = ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz")
    out = succeeds(capsys, "train", "train-images-idx3-ubyte.gz", "--labels",
                   "train-labels-idx1-ubyte.gz", "--test", test[0], "--test-labels", test[1],
                   *FAST, "--out", "run")
    assert "test accuracy 1.0000 (40 of 40)" in out
    assert (succeeds(capsys, "evaluate", "run", test[0], "--labels", test[1])
            == "accuracy 1.0000 (40 of 40)\n")
    assert succeeds(capsys, "predict", "run", test[0]).split()[1:] == ["0", "1"] * 20


def test_npz_with_all_parts(capsys):
    parts = {}
    for seed, part in enumerate(("train", "val", "test")):
        parts[f"x_{part}"], parts[f"y_{part}"] = blobs(rows=90, seed=seed)
    np.savez("data.npz", **parts)
    out = succeeds(capsys, "train", "data.npz", *FAST, "--epochs", "30", "--out", "run")
    assert "90 training, 90 validation, 90 test rows" in out
    assert "(90 of 90)" in out
    assert succeeds(capsys, "evaluate", "run", "data.npz").endswith("(90 of 90)\n")


def test_npy_with_another_target_column(capsys):
    x, y = blobs()
    np.save("data.npy", np.column_stack([y, x]))
    assert main(["train", "data.npy", "--target", "0", *FAST, "--epochs", "30", "--out",
                 "run"]) == 0
    capsys.readouterr()
    assert succeeds(capsys, "evaluate", "run", "data.npy").startswith("accuracy 1.0000")
    np.save("features.npy", x)
    assert succeeds(capsys, "predict", "run", "features.npy").split()[1:] == [str(c) for c in y]


def test_held_out_parts(capsys):
    write_blobs("data.csv")
    out = succeeds(capsys, "train", "data.csv", "--test", "0.25", "--validation", "0.2", *FAST)
    assert "144 training, 36 validation, 60 test rows" in out
    out = succeeds(capsys, "train", "data.csv", "--validation", "0", *FAST)
    assert "data: 240 training rows" in out
    assert "no test data: pass --test FILE or a fraction" in out


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
    assert err.splitlines()[-1].startswith("fastbp: error: training diverged: the loss of epoch ")
    assert "Traceback" not in err
    assert not Path("run/model.safetensors").exists()
    assert len(metrics("run")) < 50
