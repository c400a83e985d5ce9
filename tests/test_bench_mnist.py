"""The MNIST group: the recipe's pieces, one training in a process, what counts as reached."""

from __future__ import annotations

import dataclasses
import gzip
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fastbp import schedules
from fastbp._errors import ArgumentError
from fastbp.benchmark import _mnist_run, mnist
from fastbp.benchmark.groups import GroupOptions
from fastbp.benchmark.groups import mnist as group
from fastbp.benchmark.rows import SUBJECT, NotMeasured
from fastbp.benchmark.session import Session

ROWS, TEST_ROWS = 300, 100


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Ten noisy patterns as IDX files, the images packed and the labels plain."""
    path = tmp_path_factory.mktemp("mnist")
    rng = np.random.default_rng(0)
    patterns = rng.integers(0, 200, (10, 28, 28))
    for part, rows in (("train", ROWS), ("t10k", TEST_ROWS)):
        labels = rng.integers(0, 10, rows).astype(np.uint8)
        images = (patterns[labels] + rng.integers(0, 56, (rows, 28, 28))).astype(np.uint8)
        header = np.array([rows, 28, 28], ">u4").tobytes()
        (path / f"{part}-images-idx3-ubyte.gz").write_bytes(
            gzip.compress(b"\0\0\x08\x03" + header + images.tobytes()))
        (path / f"{part}-labels-idx1-ubyte").write_bytes(
            b"\0\0\x08\x01" + header[:4] + labels.tobytes())
    return path


def test_the_written_out_schedule_is_one_cycle():
    recipe, steps = mnist.RECIPE, 235
    factors = schedules.OneCycle(recipe.warmup, recipe.start_factor, recipe.final_factor).factors(
        0, recipe.epochs * steps, steps, recipe.epochs)
    rates = _mnist_run.learning_rates(dataclasses.asdict(recipe), recipe.epochs * steps)
    assert np.array_equal(rates, recipe.lr * factors)


def test_initial_weights_have_the_variances_of_their_names():
    first, _, last = _mnist_run.initial_weights(dataclasses.asdict(mnist.RECIPE), seed=3)
    assert first.dtype == np.float32
    assert abs(first.std() / np.sqrt(2 / 784) - 1) < 5 / np.sqrt(2 * first.size)
    assert np.abs(last).max() <= np.sqrt(6 / 138)
    assert abs(last.std() / np.sqrt(2 / 138) - 1) < 5 / np.sqrt(2 * last.size)


def test_files_are_read(folder):
    x, y, x_test, y_test = _mnist_run.read_data(folder)
    assert (x.shape, y.shape) == ((ROWS, 784), (ROWS,))
    assert (x_test.shape, y_test.shape) == ((TEST_ROWS, 784), (TEST_ROWS,))
    assert x.dtype == np.float32
    assert 0 <= x.min() < 0.1 < 0.9 < x.max() <= 1
    assert set(y) == set(range(10))


def test_a_training_in_a_process_of_its_own(folder):
    recipe = dataclasses.replace(mnist.RECIPE, epochs=6, batch_size=64)
    outcome = mnist.train(SUBJECT, str(folder), 0, 1, recipe)
    assert outcome.accuracy >= recipe.accuracy
    assert outcome.epochs == 6
    assert 0 < outcome.seconds < outcome.process_seconds


def test_a_process_that_fails_says_why(tmp_path):
    with pytest.raises(NotMeasured, match="FileNotFoundError"):
        mnist.train(SUBJECT, str(tmp_path), 0, 1)


def test_a_peers_process_imports_nothing_of_fastbp():
    script = ("import runpy, sys; runpy.run_path(sys.argv[1]); "
              "assert not [name for name in sys.modules if name.startswith('fastbp')]")
    subprocess.run([sys.executable, "-P", "-c", script, _mnist_run.__file__], check=True)


@pytest.mark.parametrize("missing", _mnist_run.FILES)
def test_a_folder_without_a_file_is_refused(tmp_path, missing):
    for name in _mnist_run.FILES:
        if name != missing:
            Path(tmp_path, f"{name}.gz").touch()
    with pytest.raises(ArgumentError, match=f"{missing} is not there, nor {missing}.gz"):
        group.rows(GroupOptions(mnist=str(tmp_path)))


def measured(monkeypatch, accuracies, folder="somewhere"):
    """Both rows, with trainings that are made up: accuracies by contestant, one for each seed."""
    asked = []

    def train(name, where, seed, threads):
        asked.append((name, seed))
        return mnist.Outcome(1.0 + seed, accuracies[name][seed], 2, 10.0 + seed)

    monkeypatch.setattr(group, "train", train)
    monkeypatch.setattr(group, "check_folder", lambda folder: None)
    rows = group.rows(GroupOptions(mnist=folder))
    with Session(threads=1, rounds=3, peers=["numpy", "torch"]) as session:
        return [session.measure(row) for row in rows], asked


def test_both_rows_tell_of_the_same_trainings(monkeypatch):
    good = [0.981] * group.SEEDS
    (training, process), asked = measured(monkeypatch, {SUBJECT: good, "torch": good})
    assert training.row.path == "mnist/training to 98 %"
    assert training.values == {name: [1.0, 2.0, 3.0, 4.0, 5.0] for name in (SUBJECT, "torch")}
    assert process.values["torch"] == [10.0, 11.0, 12.0, 13.0, 14.0]
    assert not training.wrong
    assert len(asked) == 1 + 2 * group.SEEDS


def test_fastbp_below_the_goal_is_wrong(monkeypatch):
    low = [0.981, 0.9799, 0.982, 0.981, 0.981]
    rows, _ = measured(monkeypatch, {SUBJECT: low, "torch": [0.981] * 5})
    assert all(row.wrong for row in rows)


def test_a_peer_below_the_goal_has_no_number(monkeypatch):
    rows, _ = measured(monkeypatch, {SUBJECT: [0.981] * 5, "torch": [0.981, 0.9799, 0, 0, 0]})
    for row in rows:
        assert list(row.values) == [SUBJECT]
        assert row.reasons == {"torch": "seed 1 ended at 97.99 %"}
        assert not row.wrong


def test_without_the_files_there_is_a_reason(monkeypatch):
    rows, asked = measured(monkeypatch, {}, folder=None)
    assert asked == []
    assert all("--mnist FOLDER" in row.reasons[SUBJECT] for row in rows)
    assert not any(row.wrong for row in rows)
