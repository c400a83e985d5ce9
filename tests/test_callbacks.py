"""Callbacks and the history, driven by a trainer of straw."""

import csv
import io
import json
import math
import sys
import time

import numpy as np
import pytest

from fastbp import callbacks, plots
from fastbp._errors import ArgumentError
from fastbp.history import History


class Network:
    def __init__(self):
        self.weights = np.zeros(3)

    def state_dict(self):
        return {"w": self.weights}

    def load_state_dict(self, state):
        self.weights[:] = state["w"]


class Trainer:
    """Runs the hooks over given rows; the weights of epoch e are e."""

    def __init__(self, epochs=None):
        self.network, self.stop, self.epochs = Network(), False, epochs

    def run(self, callback, rows):
        self.stop, done = False, 0
        callback.on_fit_begin(self)
        for number, row in enumerate(rows, 1):
            callback.on_epoch_begin(self, number)
            self.network.weights[:] = number
            callback.on_epoch_end(self, {"epoch": number, **row})
            done = number
            if self.stop:
                break
        callback.on_fit_end(self)
        return done


def losses(*values):
    return [{"loss": 1.0, "val_loss": value} for value in values]


def test_early_stopping_restores_the_best_weights():
    trainer, stopping = Trainer(), callbacks.EarlyStopping(patience=2)
    assert trainer.run(stopping, losses(3.0, 2.0, 2.5, 2.2, 1.0)) == 4
    assert (stopping.best, stopping.best_epoch, stopping.stopped_epoch) == (2.0, 2, 4)
    assert trainer.network.weights.tolist() == [2, 2, 2]


def test_early_stopping_without_restoring():
    trainer = Trainer()
    trainer.run(callbacks.EarlyStopping(patience=1, restore_best=False), losses(1.0, 2.0, 3.0))
    assert trainer.network.weights.tolist() == [2, 2, 2]


def test_early_stopping_to_the_end_keeps_the_best_too():
    trainer, stopping = Trainer(), callbacks.EarlyStopping(patience=9)
    assert trainer.run(stopping, losses(2.0, 1.0, 3.0)) == 3
    assert stopping.stopped_epoch is None
    assert trainer.network.weights.tolist() == [2, 2, 2]


def test_early_stopping_begins_afresh_in_a_second_fit():
    trainer, stopping = Trainer(), callbacks.EarlyStopping(patience=1)
    trainer.run(stopping, losses(1.0, 2.0))
    assert trainer.run(stopping, losses(9.0, 8.0, 7.0)) == 3


def test_early_stopping_by_accuracy_delta_and_mode():
    rows = [{"val_accuracy": value} for value in (0.5, 0.6, 0.604, 0.7)]
    stopping = callbacks.EarlyStopping("val_accuracy", patience=1, min_delta=0.01)
    assert Trainer().run(stopping, rows) == 3
    stopping = callbacks.EarlyStopping("val_accuracy", patience=2, mode="min")
    assert Trainer().run(stopping, rows) == 3


def test_early_stopping_does_not_take_nan_for_the_best():
    trainer, stopping = Trainer(), callbacks.EarlyStopping(patience=2)
    assert trainer.run(stopping, losses(math.nan, 1.0, math.nan, math.nan)) == 4
    assert trainer.network.weights.tolist() == [2, 2, 2]


def test_early_stopping_names_a_missing_column():
    with pytest.raises(ArgumentError, match=r"'val_loss'.*one of epoch, loss; pass validation"):
        Trainer().run(callbacks.EarlyStopping(), [{"loss": 1.0}])


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("name", ["loss", "val_loss"])
def test_terminate_on_nan(name, bad):
    stopping = callbacks.TerminateOnNaN()
    assert Trainer().run(stopping, [{"loss": 1.0}, {"loss": 1.0, name: bad}, {"loss": 1.0}]) == 2
    assert stopping.stopped_epoch == 2


def test_time_limit(monkeypatch):
    clock = iter([0.0, 4.0, 8.0, 12.0, 16.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    limit = callbacks.TimeLimit(10)
    assert Trainer().run(limit, losses(*range(9))) == 3
    assert limit.stopped_epoch == 3


def test_json_logger_writes_whole_lines_at_once(tmp_path):
    path, seen = tmp_path / "log.jsonl", []

    class Peek(callbacks.JSONLogger):
        def on_epoch_end(self, trainer, row):
            super().on_epoch_end(trainer, row)
            seen.append(path.read_text().count("\n"))

    rows = [{"loss": np.float32(0.5)}, {"loss": math.nan}]
    Trainer().run(Peek(path), rows)
    assert seen == [1, 2]
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines == [{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": None}]
    Trainer().run(callbacks.JSONLogger(path, append=True), rows)
    assert path.read_text().count("\n") == 4
    Trainer().run(callbacks.JSONLogger(path), rows)
    assert path.read_text().count("\n") == 2


def test_csv_logger(tmp_path):
    path = tmp_path / "log.csv"
    Trainer().run(callbacks.CSVLogger(path), losses(np.float32(0.5), 0.25))
    with path.open(newline="") as stream:
        assert list(csv.DictReader(stream)) == [
            {"epoch": "1", "loss": "1.0", "val_loss": "0.5"},
            {"epoch": "2", "loss": "1.0", "val_loss": "0.25"},
        ]
    with pytest.raises(ArgumentError, match="the first row's columns, epoch, loss"):
        Trainer().run(callbacks.CSVLogger(path), [{"loss": 1.0}, {"loss": 1.0, "more": 2.0}])


@pytest.mark.parametrize("logger", [callbacks.JSONLogger, callbacks.CSVLogger])
def test_loggers_fail_before_training(tmp_path, logger):
    with pytest.raises(FileNotFoundError):
        logger(tmp_path / "no" / "log").on_fit_begin(Trainer())


def test_progress_is_silent_without_a_terminal(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    Trainer(epochs=2).run(callbacks.Progress(), losses(1.0, 2.0))
    assert stream.getvalue() == ""
    Trainer(epochs=2).run(callbacks.Progress(force=True), losses(1.0, 2.0))
    assert "2/2" in stream.getvalue()
    assert "val_loss=2" in stream.getvalue()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: callbacks.EarlyStopping(patience=0), r"EarlyStopping: patience=0; wanted 1"),
        (lambda: callbacks.EarlyStopping(min_delta=-1), r"min_delta=-1; wanted 0 or more"),
        (lambda: callbacks.EarlyStopping(mode="up"), r"mode='up'; wanted 'auto', 'min' or 'max'"),
        (lambda: callbacks.TimeLimit(0), r"TimeLimit: seconds=0; wanted a number above 0"),
    ],
)
def test_refusals(make, message):
    with pytest.raises(ArgumentError, match=message):
        make()


# ---- history --------------------------------------------------------------------------------

ROWS = [{"epoch": 1, "loss": 0.5, "accuracy": 0.8}, {"epoch": 2, "loss": 0.25, "val_loss": 0.5}]


def test_history_columns():
    history = History(ROWS)
    assert history.loss == [0.5, 0.25]
    assert history.columns == ["epoch", "loss", "accuracy", "val_loss"]
    assert math.isnan(history["val_loss"][0])
    assert len(history) == 2
    assert [row["epoch"] for row in history] == [1, 2]
    assert "2 epochs: epoch=2, loss=0.25" in repr(history)
    with pytest.raises(KeyError, match="'los'; the history has epoch, loss"):
        history["los"]
    assert History().loss == []


def test_history_files(tmp_path):
    history = History(ROWS)
    history.to_jsonl(tmp_path / "h.jsonl")
    lines = (tmp_path / "h.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == ROWS
    history.to_csv(tmp_path / "h.csv")
    assert (tmp_path / "h.csv").read_text().splitlines() == [
        "epoch,loss,accuracy,val_loss", "1,0.5,0.8,", "2,0.25,,0.5",
    ]  # fmt: skip


def test_history_plot(tmp_path):
    pytest.importorskip("matplotlib")
    figure = History(ROWS).plot(tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    names = [[line.get_label() for line in axes.get_lines()] for axes in figure.axes]
    assert names == [["training", "validation"], ["training"]]
    with pytest.raises(ArgumentError, match=r"a history without rows.*call fit first"):
        History().plot()


def test_history_plot_says_which_extra(monkeypatch):
    monkeypatch.setattr(plots, "matplotlib_is_installed", lambda: False)
    with pytest.raises(ArgumentError, match=r'not installed; pip install "fastbp\[plot\]"'):
        History(ROWS).plot()
