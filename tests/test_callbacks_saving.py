"""Callbacks that write: checkpoints, and logs that a resumed fit goes on with."""

import csv
import json
import sys
import time

import numpy as np
import pytest

import fastbp
from fastbp import callbacks, training_state
from fastbp.callbacks import Checkpoint, CSVLogger, JSONLogger, LearningRateLogger, TensorBoard

ROWS, BATCH = 100, 10
RNG = np.random.default_rng(1)
X = RNG.normal(size=(ROWS, 6)).astype(np.float32)
Y = X[:, :3].argmax(axis=1)


def make(seed=1):
    network = fastbp.Sequential([fastbp.Affine(6, 8), fastbp.Tanh(), fastbp.Affine(8, 3)],
                                seed=seed)
    return fastbp.Trainer(network, optimizer=fastbp.SGD(0.1))


def fit(*hooks, epochs=4, **settings):
    trainer = make()
    history = trainer.fit(X, Y, epochs=epochs, batch_size=BATCH, callbacks=hooks, **settings)
    return trainer, history


class StopAt(callbacks.Callback):
    def __init__(self, step):
        self.next_step = step

    def on_steps(self, trainer, steps):
        trainer.stop_now |= trainer.step_count == self.next_step


def steps_in(folder):
    return [training_state.number_of(file) for file in training_state.files(folder)]


# ---- checkpoints -----------------------------------------------------------------------------


@pytest.mark.parametrize(("settings", "expected"), [
    ({}, [40, 30]),
    ({"keep": 1}, [40]),
    ({"keep": 9}, [40, 30, 20, 10]),
    ({"every_epochs": 3}, [30]),
    ({"every_epochs": None}, []),
    ({"every_epochs": None, "every_steps": 7, "keep": 9}, [35, 28, 21, 14, 7]),
    ({"every_epochs": None, "every_seconds": 1e-9, "keep": 99}, None),
    ({"every_epochs": None, "every_seconds": 99.0}, []),
])
def test_when_to_save_and_what_to_keep(tmp_path, settings, expected):
    folder = tmp_path / "saved"
    fit(Checkpoint(folder, **settings))
    if expected is None:
        assert len(steps_in(folder)) > 4  # at each edge; where those are depends on time
    else:
        assert steps_in(folder) == expected
    assert folder.exists() == (expected != [])


def test_the_last_file_is_known_and_announced(tmp_path):
    said = []
    saved = Checkpoint(tmp_path, announce=said.append, every_epochs=4)
    fit(saved)
    assert saved.saved == tmp_path / "step-0000000040.safetensors"
    assert said == [f"saved    {saved.saved}"]


def test_the_best_is_kept(tmp_path):
    seen = {}

    class Watch(callbacks.Callback):
        def on_epoch_end(self, trainer, row):
            row["score"] = [1.0, 3.0, 2.0, 3.0][row["epoch"] - 1]
            seen[row["epoch"]] = trainer.network.values.copy()

    fit(Watch(), Checkpoint(tmp_path, best="score"), StopAt(25))
    assert np.array_equal(fastbp.load(tmp_path / "best.safetensors").values, seen[2])
    fit(Watch(), Checkpoint(tmp_path, best="score"), resume=tmp_path)
    assert np.array_equal(fastbp.load(tmp_path / "best.safetensors").values, seen[2])
    fit(Watch(), Checkpoint(tmp_path / "least", best="score", mode="min"))
    assert np.array_equal(fastbp.load(tmp_path / "least/best.safetensors").values, seen[1])


def test_another_training_in_the_folder_is_not_thrown_away(tmp_path):
    fit(Checkpoint(tmp_path, best="loss"))
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(fastbp.ArgumentError, match=r"holds checkpoints of an earlier.*overwrite=T"):
        fit(Checkpoint(tmp_path))
    assert before == {path: path.read_bytes() for path in tmp_path.iterdir()}
    fit(Checkpoint(tmp_path, overwrite=True), epochs=1)
    assert [path.name for path in tmp_path.iterdir()] == ["step-0000000010.safetensors"]


def test_going_back_takes_later_files_away(tmp_path):
    fit(Checkpoint(tmp_path, keep=9))
    older = tmp_path / "step-0000000020.safetensors"
    fit(Checkpoint(tmp_path, keep=9), StopAt(25), resume=older)
    assert steps_in(tmp_path) == [25, 20, 10]


def test_going_on_in_another_folder(tmp_path):
    fit(Checkpoint(tmp_path / "old"), StopAt(25))
    fit(Checkpoint(tmp_path / "other"))
    before = steps_in(tmp_path / "other")
    with pytest.raises(fastbp.ArgumentError, match="holds checkpoints of an earlier training"):
        fit(Checkpoint(tmp_path / "other"), resume=tmp_path / "old")
    assert steps_in(tmp_path / "other") == before
    fit(Checkpoint(tmp_path / "new"), resume=tmp_path / "old")
    assert steps_in(tmp_path / "new") == [40, 30]
    assert steps_in(tmp_path / "old") == [25, 20]


@pytest.mark.skipif(sys.platform == "win32", reason="nobody is kept out there")
def test_one_training_at_a_time_in_a_folder(tmp_path):
    class Intrude(callbacks.Callback):
        def on_epoch_end(self, trainer, row):
            with pytest.raises(fastbp.ConcurrencyError, match="another training is under way"):
                fit(Checkpoint(tmp_path, overwrite=True))
            intruded.append(row["epoch"])

    intruded = []
    fit(Intrude(), Checkpoint(tmp_path))
    assert intruded == [1, 2, 3, 4]
    assert steps_in(tmp_path) == [40, 30]
    fit(Checkpoint(tmp_path, overwrite=True))  # the lock is gone


def test_what_a_killed_process_was_writing_goes(tmp_path):
    (tmp_path / ".step-0000000007.safetensors.0a1b2c3d.part").write_bytes(b"half")
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "step-x.safetensors").write_text("mine")
    fit(Checkpoint(tmp_path, keep=1))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "notes.txt", "step-0000000040.safetensors", "step-x.safetensors"]


def test_a_full_disk_ends_the_fit_and_leaves_the_older_file(tmp_path, monkeypatch):
    write, calls = training_state.checkpoint.write, []

    def fails_later(path, *data):
        calls.append(path)
        if len(calls) > 1:
            raise OSError(28, "No space left on device")
        write(path, *data)

    monkeypatch.setattr(training_state.checkpoint, "write", fails_later)
    with pytest.raises(OSError, match="No space left"):
        fit(Checkpoint(tmp_path))
    assert steps_in(tmp_path) == [10]
    assert len(calls) == 2
    monkeypatch.undo()
    _, expected = fit()
    _, history = fit(Checkpoint(tmp_path), resume=tmp_path)
    assert history.loss == expected.loss


def test_a_time_limit_pauses_and_is_saved(tmp_path, monkeypatch):
    limit = callbacks.TimeLimit(1e-9, at_step_edge=True)
    trainer, history = fit(limit, Checkpoint(tmp_path))
    assert limit.expired
    assert limit.stopped_epoch == 1
    assert not trainer.finished
    assert len(history) == 0
    assert steps_in(tmp_path) == [trainer.step_count]
    trainer, _ = fit(callbacks.TimeLimit(1e-9), resume=tmp_path)
    assert trainer.finished  # stopped for good, at the end of the epoch
    assert trainer.step_count == 10


@pytest.mark.parametrize(("make_one", "message"), [
    (lambda: Checkpoint("a", every_steps=0), "Checkpoint: every_steps=0; wanted a number above 0"),
    (lambda: Checkpoint("a", keep=0), "Checkpoint: keep=0; wanted 1 or more"),
    (lambda: Checkpoint("a", mode="up"), "Checkpoint: mode='up'; wanted 'auto', 'min' or 'max'"),
    (lambda: LearningRateLogger("a", every=0), "LearningRateLogger: every=0; wanted 1 or more"),
])
def test_refusals(make_one, message):
    with pytest.raises(fastbp.ArgumentError, match=message):
        make_one()


def test_a_state_that_cannot_be_saved_is_an_error_that_says_so(tmp_path):
    class Odd(callbacks.Callback):
        def state(self):
            return {"fine": np.zeros(3), "odd": {"deep": np.zeros(3)}}

    with pytest.raises(fastbp.CheckpointError, match=r"state of a callback cannot be saved"):
        fit(Odd(), Checkpoint(tmp_path))
    assert steps_in(tmp_path) == []


def test_what_is_no_callback_is_refused():
    with pytest.raises(fastbp.ArgumentError, match=r"callbacks\[1\] is a str; wanted objects of"):
        make().fit(X, Y, callbacks=[Checkpoint("a"), "log.csv"])


# ---- logs --------------------------------------------------------------------------------------


def rows_of(path):
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text().splitlines()]
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def without_times(rows):
    return [{k: v for k, v in row.items() if k not in ("seconds", "samples_per_second")}
            for row in rows]


@pytest.mark.parametrize(("logger", "name"), [
    (JSONLogger, "log.jsonl"), (CSVLogger, "log.csv"), (LearningRateLogger, "rates.csv")])
def test_a_resumed_fit_goes_on_with_the_log(tmp_path, logger, name):
    """What was logged after the checkpoint comes again, once."""
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    whole.mkdir()
    cut.mkdir()
    fit(logger(whole / name))
    fit(logger(cut / name), Checkpoint(cut / "saved", every_epochs=None, every_steps=15, keep=9),
        epochs=4)
    fit(logger(cut / name), resume=cut / "saved" / "step-0000000015.safetensors")
    assert without_times(rows_of(cut / name)) == without_times(rows_of(whole / name))


@pytest.mark.parametrize(("logger", "name"), [(JSONLogger, "a.jsonl"), (CSVLogger, "a.csv")])
def test_a_log_that_was_lost_is_written_anew(tmp_path, logger, name):
    path = tmp_path / name
    fit(logger(path), StopAt(25), Checkpoint(tmp_path / "saved"))
    path.unlink()
    fit(logger(path), resume=tmp_path / "saved")
    assert [int(row["epoch"]) for row in rows_of(path)] == [1, 2, 3, 4]


def test_appending_keeps_the_earlier_fits(tmp_path):
    path = tmp_path / "log.jsonl"
    fit(JSONLogger(path), epochs=2)
    fit(JSONLogger(path, append=True), StopAt(25), Checkpoint(tmp_path / "saved"))
    fit(JSONLogger(path, append=True), resume=tmp_path / "saved")
    assert [row["epoch"] for row in rows_of(path)] == [1, 2, 1, 2, 3, 4]


def test_learning_rates_by_step(tmp_path):
    trainer = fastbp.Trainer(make().network, optimizer=fastbp.SGD(0.1),
                             schedule=fastbp.schedules.Step(1, 0.5))
    trainer.fit(X, Y, epochs=2, batch_size=BATCH,
                callbacks=[LearningRateLogger(tmp_path / "lr.csv", every=4)])
    rows = rows_of(tmp_path / "lr.csv")
    assert [(int(r["step"]), int(r["epoch"]), float(r["lr"])) for r in rows] == [
        (4, 1, 0.1), (8, 1, 0.1), (12, 2, 0.05), (16, 2, 0.05), (20, 2, 0.05)]
    assert all(0 < float(row["loss"]) < 3 for row in rows)


def test_columns_that_a_callback_adds_are_in_history_log_and_checkpoint(tmp_path):
    class Add(callbacks.Callback):
        def on_epoch_end(self, trainer, row):
            row["extra"] = np.float32(row["epoch"])

    hooks = [Add(), CSVLogger(tmp_path / "log.csv")]
    _, history = fit(*hooks, StopAt(25), Checkpoint(tmp_path / "saved"))
    assert history["extra"] == [1.0, 2.0]
    _, history = fit(*hooks, resume=tmp_path / "saved")
    assert history["extra"] == [1.0, 2.0, 3.0, 4.0]
    assert [row["extra"] for row in rows_of(tmp_path / "log.csv")] == ["1.0", "2.0", "3.0", "4.0"]


def test_tensorboard(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    _, history = fit(TensorBoard(tmp_path / "events"), StopAt(25), Checkpoint(tmp_path / "saved"))
    time.sleep(1.1)  # files are named by the second
    fit(TensorBoard(tmp_path / "events"), resume=tmp_path / "saved")
    first, second = sorted((tmp_path / "events").iterdir(), key=lambda path: path.name)
    losses = [(event.step, value.tensor.float_val[0])
              for event in EventFileLoader(str(first)).Load()
              for value in event.summary.value if value.tag == "loss"]
    assert losses == [(1, pytest.approx(history.loss[0])), (2, pytest.approx(history.loss[1]))]
    starts = [event.step for event in EventFileLoader(str(second)).Load()
              if event.session_log.status == 1]
    assert starts == [3]  # what is there from epoch 3 on is no more


def test_tensorboard_that_is_missing(monkeypatch):
    monkeypatch.setattr(callbacks._tensorboard.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(fastbp.ArgumentError, match=r'not installed; pip install "fastbp\[tensorb'):
        TensorBoard("events")
