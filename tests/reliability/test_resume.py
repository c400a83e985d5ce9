"""A resumed training is the undisturbed one, bit by bit: cut anywhere, with other threads."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from trainings import OPTIMIZERS, ROWS, STEPS, StopAt, data, fit, outcome, trainer

import fastbp
from fastbp import _chunks, callbacks, checkpoint, schedules, training_state
from fastbp.callbacks import Checkpoint
from fastbp.data import _blocks as blocks
from fastbp.fitting import shuffled

SCHEDULES = {
    "constant": schedules.Constant(),
    "step": schedules.Step(1, 0.5),
    "cosine": schedules.Cosine(warmup_epochs=1),
    "onecycle": schedules.OneCycle(),
}


def cut(folder, steps, make=trainer, hooks=list, threads=(1, 2), **settings):
    """Train in pieces that end after these steps, each with a new trainer; the last one's result.

    Each piece ends as if the process died: what the trainer knew is gone.
    """
    for number, step in enumerate([*steps, None]):
        one = make()
        stop = [] if step is None else [StopAt(step)]
        with fastbp.threads(threads[number % len(threads)], oversubscribe=True):
            history = fit(one, *hooks(), *stop, Checkpoint(folder), resume=folder, **settings)
        assert one.finished == (step is None)
    return outcome(one, history)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_goes_on(tmp_path, name, rng):
    whole = trainer(name)
    expected = outcome(whole, fit(whole))
    steps = sorted(int(step) for step in rng.choice(np.arange(1, STEPS), 3, replace=False))
    assert cut(tmp_path, steps, lambda: trainer(name)) == expected, steps


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_goes_on(tmp_path, name):
    whole = trainer(schedule=SCHEDULES[name])
    expected = outcome(whole, fit(whole))
    assert cut(tmp_path, [7, 20], lambda: trainer(schedule=SCHEDULES[name])) == expected


def test_every_cut_goes_on(tmp_path):
    """At the first step, around the end of an epoch, after it, at the last step: all of them."""
    whole = trainer()
    expected = outcome(whole, fit(whole))
    assert STEPS == 40
    assert cut(tmp_path, list(range(1, STEPS + 1))) == expected


@pytest.mark.nightly
def test_50_cuts_in_new_processes(tmp_path, rng):
    whole = trainer()
    expected = outcome(whole, fit(whole))
    for number in range(50):
        folder = tmp_path / str(number)
        step, threads = int(rng.integers(1, STEPS)), 1 + number % 3
        first = trainer()
        fit(first, StopAt(step), Checkpoint(folder), resume=folder)
        run_elsewhere(folder, threads)
        assert (folder / "outcome").read_bytes() == repr(expected).encode(), step


def test_a_new_process_with_another_number_of_threads_goes_on(tmp_path):
    whole = trainer()
    expected = outcome(whole, fit(whole))
    fit(trainer(), StopAt(17), Checkpoint(tmp_path), resume=tmp_path)
    run_elsewhere(tmp_path, 3)
    assert (tmp_path / "outcome").read_bytes() == repr(expected).encode()


def run_elsewhere(folder, threads):
    script = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import fastbp
from pathlib import Path
from trainings import fit, outcome, trainer
one = trainer()
with fastbp.threads({threads}, oversubscribe=True):
    history = fit(one, resume={str(folder)!r})
Path({str(folder / "outcome")!r}).write_text(repr(outcome(one, history)))
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)


def test_plateau_and_early_stopping_go_on(tmp_path):
    """Their best values, what they waited, and the best epoch's weights."""

    def make():
        return trainer("momentum", schedules.Plateau(patience=0, factor=0.5,
                                                         min_delta=0.4))

    def hooks():
        return [callbacks.EarlyStopping(monitor="val_loss", patience=3, min_delta=0.4)]

    whole, (stopping,) = make(), hooks()
    expected = outcome(whole, fit(whole, stopping))
    assert stopping.best_epoch < len(expected[1])  # so that weights came back
    last = []

    def remembered():
        last[:] = hooks()
        return last

    assert cut(tmp_path, [12, 25], make, remembered) == expected
    assert vars(last[0]).keys() == vars(stopping).keys()
    assert (last[0].best, last[0].best_epoch, last[0].stopped_epoch) == (
        stopping.best, stopping.best_epoch, stopping.stopped_epoch)


def test_a_stop_by_a_callback_is_remembered(tmp_path):
    x, y = data()
    hooks = [callbacks.EarlyStopping(monitor="loss", patience=1, min_delta=1e9),
             Checkpoint(tmp_path)]
    one = trainer()
    before = one.fit(x, y, epochs=9, callbacks=hooks)
    assert len(before) == 2
    two = trainer()
    after = two.fit(x, y, epochs=9, callbacks=hooks, resume=tmp_path)
    assert two.finished
    assert outcome(two, after) == outcome(one, before)


def test_weights_several_outputs_and_clipping_go_on(tmp_path, rng):
    x = rng.normal(size=(130, 6))
    y = (x[:, :2] * 2, (x[:, 2] > 0).astype(np.int64))
    weights = rng.random(130)

    def make():
        graph = fastbp.Graph(dtype="float64", seed=2)
        hidden = fastbp.Affine(6, 9, activation="tanh")(graph.input(6))
        graph.output(fastbp.Affine(9, 2)(hidden))
        graph.output(fastbp.Affine(9, 2)(hidden))
        losses = ["mean_squared_error", "softmax_cross_entropy"]
        return fastbp.Trainer(graph, loss=losses, optimizer="adam", clip_norm=0.5)

    def run(one, *hooks, **settings):
        history = one.fit(x, y, epochs=3, batch_size=16, sample_weight=weights, shuffle=False,
                          callbacks=hooks, **settings)
        return outcome(one, history)

    expected = run(make())
    run(make(), StopAt(13), Checkpoint(tmp_path))
    assert run(make(), Checkpoint(tmp_path), resume=tmp_path) == expected


@pytest.mark.parametrize("step", [3, 10, 17])
def test_blocks_and_batches_go_on(tmp_path, monkeypatch, step):
    """Data that are read piece by piece: the pieces lie elsewhere after a cut, the bits do not."""
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 5000)
    x, y = data()
    pieces = [(x[begin : begin + 20], y[begin : begin + 20]) for begin in range(0, 200, 20)]

    def run(source, folder=None, *hooks):
        one = trainer(schedule=schedules.Constant())
        if folder is not None:
            hooks = (*hooks, Checkpoint(folder))
        history = one.fit(source, epochs=2, callbacks=hooks, resume=folder)
        return outcome(one, history)

    for name, source in (("blocks", blocks.ArrayBlocks(x, y)), ("batches", pieces)):
        expected = run(source)
        run(source, tmp_path / name, StopAt(step))
        assert run(source, tmp_path / name) == expected, name


def test_more_epochs_of_batches_of_unknown_number(tmp_path):
    x, y = data()

    def batches():
        return ((x[begin : begin + 20], y[begin : begin + 20]) for begin in range(0, 200, 20))

    def run(epochs, **settings):
        one = trainer(schedule=schedules.Constant())
        return outcome(one, one.fit(batches, epochs=epochs, **settings))

    run(1, callbacks=[Checkpoint(tmp_path)])
    assert run(2, resume=tmp_path) == run(2)


def test_a_layer_in_python_goes_on(tmp_path):
    class Halve:
        parameters = None

        def forward(self, x):
            return x / 2

        def backward(self, dy):
            return dy / 2

    def make():
        network = fastbp.Sequential([fastbp.Affine(20, 8), Halve(), fastbp.Affine(8, 4)], seed=1)
        return fastbp.Trainer(network, optimizer="adam")

    whole = make()
    expected = outcome(whole, fit(whole))
    assert cut(tmp_path, [3, 11], make) == expected


def test_edges_do_not_change_bits(monkeypatch):
    """Chunks of one step against chunks as long as time allows."""
    found = []
    for seconds in (0.0, 10.0):
        monkeypatch.setattr(_chunks, "SECONDS", seconds)
        one = trainer()
        found.append(outcome(one, fit(one)))
    assert found[0] == found[1]


def test_more_epochs_where_the_schedule_does_not_care(tmp_path):
    x, y = data()

    def run(schedule, epochs, **settings):
        one = trainer(schedule=schedule)
        return outcome(one, one.fit(x, y, epochs=epochs, callbacks=[
            Checkpoint(tmp_path / schedule.name)], **settings))

    run(schedules.Constant(), 2)
    longer = run(schedules.Constant(), 4, resume=tmp_path / "constant")
    whole = trainer(schedule=schedules.Constant())
    assert longer == outcome(whole, whole.fit(x, y, epochs=4))
    run(schedules.OneCycle(), 2)
    with pytest.raises(fastbp.CheckpointError, match=r"epochs=4; wanted the checkpoint's epochs=2"):
        run(schedules.OneCycle(), 4, resume=tmp_path / "onecycle")


# ---- what does not fit is refused, and nothing is changed ----------------------------------------


@pytest.fixture
def saved(tmp_path):
    fit(trainer(), StopAt(15), Checkpoint(tmp_path / "saved"))
    return tmp_path / "saved"


def other_data():
    x, y = data()
    return x + 1, y


@pytest.mark.parametrize(("change", "message"), [
    ({"optimizer": "sgd"}, r"optimizer=\{'name': 'sgd'.*wanted the checkpoint's optimizer=\{"),
    ({"schedule": schedules.Constant()}, r"schedule=\{'name': 'constant'\}; wanted the checkp"),
    ({"clip_norm": 1.0}, r"clip_norm=1.0; wanted the checkpoint's clip_norm=None"),
    ({"batch_size": 16}, r"batch_size=16; wanted the checkpoint's batch_size=32; leave resume out"),
    ({"shuffle": False}, "shuffle=False"),
    ({"data": other_data}, "another data than the checkpoint's; wanted the same data"),
    ({"rows": 100}, "samples=100; wanted the checkpoint's samples=310"),
    ({"validation": None}, "validation=False"),
    ({"network": 41}, "another network than the checkpoint's"),
])
def test_another_training_is_refused(saved, change, message):
    x, y = change.pop("data", data)()
    rows = change.pop("rows", ROWS)
    validation = None if "validation" in change else (x[ROWS:], y[ROWS:])
    settings = {name: change[name] for name in ("batch_size", "shuffle") if name in change}
    one = trainer(**{name: change[name] for name in ("optimizer", "schedule", "clip_norm")
                     if name in change})
    if "network" in change:
        one = fastbp.Trainer(fastbp.Sequential([fastbp.Affine(20, 4)]), seed=7,
                             schedule=schedules.OneCycle(), optimizer=OPTIMIZERS["adam"])
    before = one.network.values.copy()
    with pytest.raises(fastbp.CheckpointError, match=message) as error:
        one.fit(x[:rows], y[:rows], validation_data=validation, resume=saved,
                **{"epochs": 4, "batch_size": 32, **settings})
    assert "step-0000000015.safetensors" in str(error.value)
    assert one.step_count == 0
    assert np.array_equal(one.network.values, before)


def test_a_missing_callback_is_refused(tmp_path):
    fit(trainer(), callbacks.EarlyStopping(), StopAt(15), Checkpoint(tmp_path))
    with pytest.raises(fastbp.CheckpointError, match="the state of a callback EarlyStopping"):
        fit(trainer(), resume=tmp_path)


def test_a_folder_without_checkpoints_is_a_fresh_start_and_a_missing_file_is_none(tmp_path):
    whole = trainer()
    expected = outcome(whole, fit(whole))
    for place in (tmp_path, tmp_path / "new"):
        one = trainer()
        assert outcome(one, fit(one, resume=place)) == expected
    with pytest.raises(fastbp.CheckpointError, match="no such file"):
        fit(trainer(), resume=tmp_path / "none.safetensors")


def test_a_model_is_no_checkpoint(tmp_path):
    one = trainer()
    one.network.save(tmp_path / "model.safetensors")
    with pytest.raises(fastbp.CheckpointError, match="a model without the state of a training"):
        fit(one, resume=tmp_path / "model.safetensors")


def test_a_damaged_file_is_passed_over_for_the_one_before(tmp_path):
    whole = trainer()
    expected = outcome(whole, fit(whole))
    fit(trainer(), StopAt(15), Checkpoint(tmp_path, every_steps=6, keep=3))
    newest, before, *_ = training_state.files(tmp_path)
    content = bytearray(newest.read_bytes())
    content[-5] ^= 4
    newest.write_bytes(content)
    one = trainer()
    with pytest.warns(RuntimeWarning, match=f"checksum does not fit.*went back to {before.name}"):
        history = fit(one, Checkpoint(tmp_path), resume=tmp_path)
    assert outcome(one, history) == expected
    for file in training_state.files(tmp_path):
        file.write_bytes(b"")
    with pytest.raises(fastbp.CheckpointError, match="damaged"):
        fit(trainer(), resume=tmp_path)


def record_of(file):
    arrays, metadata = checkpoint.load(file)
    return arrays, metadata, json.loads(metadata[checkpoint.RECORD])


@pytest.mark.parametrize("change", [
    {"format": 2}, {"step": "x"}, {"epoch": 0}, {"position": -1}, {"order": {}},
    {"order": {"state": "g", "inc": "0"}}, {"history": 3}, {"history": [3]},
    {"callbacks": {"a": 1}}, {"configuration": None},
    {"callbacks": [{"class": "A", "decides": True, "state": {}, "arrays": ["none"]}]},
    {"schedule": [1]}, {"loss_sum": None},
], ids=str)  # fmt: skip
def test_records_that_make_no_sense_are_refused(saved, change):
    (file,) = training_state.files(saved)[:1]
    arrays, metadata, record = record_of(file)
    text = json.dumps({**record, **change})
    checkpoint.save(file, arrays, {**metadata, checkpoint.RECORD: text})
    with pytest.raises(fastbp.CheckpointError, match=r"damaged record|format 2 of another version"):
        training_state.read(file)


@pytest.mark.parametrize("text", ["", "[]", "{}", "[" * 100_000, '{"format": 1}', "null"])
def test_records_that_are_none_are_refused(saved, text):
    (file,) = training_state.files(saved)[:1]
    arrays, metadata, _ = record_of(file)
    checkpoint.save(file, arrays, {**metadata, checkpoint.RECORD: text})
    with pytest.raises(fastbp.CheckpointError, match="damaged record"):
        training_state.read(file)


def test_a_checkpoint_is_a_model_too(saved):
    (file, *_) = training_state.files(saved)
    network = fastbp.load(file)
    arrays, _, _ = record_of(file)
    assert all(np.array_equal(view, arrays[name]) for name, view in network.parameters.items())
    assert network.metadata == {}


# ---- the order of samples ------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 3, 1000, 4096])
def test_an_order_has_every_number_once(count):
    order = shuffled(np.random.PCG64(1), count)
    assert order.dtype == np.int64
    assert np.array_equal(np.sort(order), np.arange(count))


def test_orders_are_those_of_every_version_of_numpy():
    """Written down: another order would break every checkpoint there is."""
    bits = np.random.PCG64(2024)
    assert [shuffled(bits, 8).tolist() for _ in range(2)] == [
        [6, 5, 7, 1, 2, 0, 3, 4], [6, 4, 1, 0, 7, 5, 2, 3]]


def test_all_orders_are_as_likely():
    bits, seen = np.random.PCG64(3), {}
    for _ in range(6000):
        order = tuple(shuffled(bits, 3))
        seen[order] = seen.get(order, 0) + 1
    assert len(seen) == 6
    # Six bins of 6000 draws: a standard deviation of 29.
    assert max(abs(count - 1000) for count in seen.values()) < 5 * 29
