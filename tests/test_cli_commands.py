"""The small commands, help, the start of the process, and the picture."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastbp
from fastbp.cli import main
from fastbp.cli._scores import describe, probabilities, score
from fastbp.data import Table, fit_preparation

# The package under test, also for processes that start in another folder.
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(fastbp.__file__).parents[1])}


def run(*argv, **more):
    return subprocess.run([sys.executable, *argv], text=True, capture_output=True, timeout=600,
                          check=False, env=ENVIRONMENT, **more)


def test_version():
    result = run("-m", "fastbp", "--version")
    assert (result.returncode, result.stdout, result.stderr) == (
        0, f"fastbp {fastbp.__version__}\n", "")


def test_info_says_what_a_bug_report_needs(capsys):
    assert main(["info"]) == 0
    out = capsys.readouterr().out
    for word in (fastbp.__version__, "NumPy", "Numba", "CPU", "vectors", "matmul tile",
                 "threading", "threads", "compile cache"):
        assert word in out


def test_warmup_shows_its_progress(capsys):
    assert main(["warmup"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"\[1/2\] float32 \.\.\. \d+\.\d s", out)
    assert re.search(r"\[2/2\] float64 \.\.\. \d+\.\d s", out)
    assert re.search(r"ready +\d+\.\d s in all", out)


@pytest.mark.parametrize("command", ["train", "predict", "evaluate", "warmup", "info"])
def test_help(capsys, command):
    with pytest.raises(SystemExit) as ending:
        main([command, "--help"])
    assert ending.value.code == 0
    assert f"usage: fastbp {command}" in capsys.readouterr().out


def test_every_option_is_in_the_documentation(capsys):
    text = (Path(__file__).parents[1] / "docs" / "cli.md").read_text(encoding="utf-8")
    for command in ("train", "predict", "evaluate", "warmup", "info"):
        with pytest.raises(SystemExit):
            main([command, "--help"])
        assert f"fastbp {command}" in text
        for option in re.findall(r"--[a-z][a-z-]+", capsys.readouterr().out):
            assert f"`{option}" in text or option in ("--help", "--no-header"), option


def test_a_reader_that_leaves_is_no_error(tmp_path):
    x = np.random.default_rng(0).standard_normal((20_000, 2))
    np.savez(tmp_path / "data.npz", X=x, y=(x[:, 0] > 0).astype(int))
    data = str(tmp_path / "data.npz")
    train = run("-m", "fastbp", "train", data, "--hidden", "none", "--epochs", "1", "--out",
                str(tmp_path / "run"))
    assert train.returncode == 0, train.stderr
    with subprocess.Popen([sys.executable, "-m", "fastbp", "predict", str(tmp_path / "run"), data],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          env=ENVIRONMENT) as process:
        assert process.stdout.readline() == "prediction\n"
        process.stdout.close()
        assert process.stderr.read() == ""


def test_import_and_bad_data_load_nothing_heavy(tmp_path):
    code = ("import sys; from fastbp.cli import main; status = main(['train', 'none.csv']); "
            "print(status, *[m for m in ('matplotlib', 'safetensors', 'sklearn', 'tqdm') "
            "if m in sys.modules])")
    result = run("-c", code, cwd=tmp_path)
    assert result.stdout == "2\n", result.stderr


# ---- scores ---------------------------------------------------------------------------------


def preparation(y, task):
    x = np.arange(len(y), dtype=float)[:, None]
    return fit_preparation(Table(x, np.asarray(y), "d", np.arange(len(y))), task)


def test_scores_of_a_classification():
    outputs = np.log([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.3, 0.3, 0.4]])
    found = score(preparation([0, 1, 2], "classification"), outputs, np.array([0, 1, 0]))
    assert (found["accuracy"], found["correct"], found["rows"]) == (2 / 3, 2, 3)
    np.testing.assert_allclose(found["cross_entropy"], -np.log(0.7 * 0.8 * 0.3) / 3, rtol=1e-14)
    assert describe(found) == "accuracy 0.6667 (2 of 3)"


def test_probabilities_of_large_logits():
    p = probabilities(np.array([[1e4, 1e4, -1e4], [-1e4, 0, 0]], np.float32))
    np.testing.assert_array_equal(p, [[0.5, 0.5, 0], [0, 0.5, 0.5]])


def test_scores_of_a_regression():
    y = [10.0, 20.0, 30.0, 40.0]
    ready = preparation(y, "regression")
    z = ready.targets_scaler.apply(np.array([[12.0], [20.0], [30.0], [36.0]]), "float64")
    found = score(ready, z, ready.targets_scaler.apply(np.array(y)[:, None], "float64"))
    np.testing.assert_allclose([found["rmse"], found["mae"], found["r2"]],
                               [np.sqrt(5), 1.5, 1 - 20 / 500], rtol=1e-13)
    assert describe(found) == "R2 0.9600, RMSE 2.23607, MAE 1.5"


def test_r2_of_equal_test_targets_is_not_a_number():
    ready = preparation([1.0, 3.0], "regression")
    same = np.zeros((3, 1))
    assert np.isnan(score(ready, same, same)["r2"])


# ---- the picture ----------------------------------------------------------------------------


def rows(count, quality="val_accuracy"):
    return [{"epoch": n, "loss": 2.0 / n, "val_loss": 2.2 / n, quality: 1 - 0.5 / n,
             "lr": 1e-3, "seconds": 0.1, "samples_per_second": 100.0} for n in range(1, count + 1)]


@pytest.mark.parametrize("data", [rows(30), rows(1), rows(20, "val_r2"),
                                  [{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.4}]])
def test_curves_are_a_picture_with_lines(tmp_path, data):
    pytest.importorskip("matplotlib")
    from matplotlib.image import imread

    from fastbp.plots import draw_curves

    draw_curves(data, tmp_path / "a.png", title="digits", note="test accuracy 0.98")
    picture = imread(tmp_path / "a.png")[..., :3]
    assert picture.shape[1] > picture.shape[0] > 300
    blue = np.abs(picture - [0x4C / 255, 0x72 / 255, 0xB0 / 255]).max(axis=2) < 0.02
    assert blue.sum() > 50, "the training loss is drawn in blue"


def test_curves_name_their_axes():
    pytest.importorskip("matplotlib")
    from fastbp.plots import figure_of_curves

    figure = figure_of_curves(rows(30), title="digits", note="test accuracy 0.98")
    loss, accuracy = figure.axes
    assert [axes.get_xlabel() for axes in figure.axes] == ["epoch", "epoch"]
    assert (loss.get_ylabel(), accuracy.get_ylabel()) == ("loss", "accuracy")
    assert "test accuracy 0.98" in figure.get_suptitle()
    words = [text.get_text() for text in loss.get_legend().get_texts()]
    assert words == ["training", "validation"]
    words = [text.get_text() for text in accuracy.get_legend().get_texts()]
    assert words == ["validation", "best 0.9833 (epoch 30)"]
    x, y = loss.get_lines()[0].get_data()
    np.testing.assert_array_equal(x, np.arange(1, 31))
    np.testing.assert_array_equal(y, 2.0 / np.arange(1, 31))
