"""Data in every form through `fastbp train`, and what `predict` and `evaluate` make of it."""

import csv
import gzip
import json
import re
import struct
from pathlib import Path

import numpy as np
import pytest
from commands import FAST, blobs, metrics, succeeds, write_blobs, write_line

import fastbp
from fastbp.cli import main
from fastbp.data import preparation_of


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    fastbp.set_num_threads(None)  # a command's --threads is for its process


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
