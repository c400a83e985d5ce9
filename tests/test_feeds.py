"""What a fit may be given: however the samples come, the bits of the training are the same."""

from __future__ import annotations

import subprocess
import sys
import threading

import numpy as np
import pytest

import fastbp
from fastbp import (
    Adam,
    Affine,
    ArgumentError,
    DataError,
    NonFiniteError,
    Sequential,
    Trainer,
    reading,
)
from fastbp.callbacks import Callback, Checkpoint
from fastbp.data import Shards
from fastbp.data import _blocks as blocks
from fastbp.schedules import Cosine

ROWS, FEATURES, CLASSES, BATCH = 203, 12, 5, 8


@pytest.fixture
def samples(rng):
    x = rng.standard_normal((ROWS, FEATURES)).astype(np.float32)
    return x, rng.integers(0, CLASSES, ROWS), rng.random(ROWS)


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    """Blocks of three batches, and everything that is mapped is read in blocks."""
    for module in (blocks, reading):
        monkeypatch.setattr(module, "BLOCK_BYTES", 3 * BATCH * (4 * FEATURES + 8))


def trainer(**settings) -> Trainer:
    net = Sequential([Affine(FEATURES, 9, activation="relu"), Affine(9, CLASSES)], seed=3)
    return Trainer(net, optimizer=Adam(1e-2), seed=5, **settings)


def assert_same(one: Trainer, other: Trainer) -> None:
    assert np.array_equal(one.network.values, other.network.values)
    assert one.step_count == other.step_count


def mapped(folder, samples):
    np.save(folder / "mapped.npy", samples[0])
    return np.load(folder / "mapped.npy", mmap_mode="r")


def sharded(folder, samples, kind="npy"):
    place = folder / kind
    place.mkdir()
    for number, rows in enumerate((slice(0, 50), slice(50, 51), slice(51, ROWS))):
        if kind == "npy":
            np.save(place / f"x{number}.npy", samples[0][rows])
            np.save(place / f"y{number}.npy", samples[1][rows])
        else:
            np.savez(place / f"{number}.npz", x=samples[0][rows], y=samples[1][rows])
    return place


@pytest.mark.parametrize("weighted", [False, True])
def test_arrays_mapped_arrays_and_folders_give_the_same_bits(tmp_path, samples, weighted):
    x, y, weights = samples
    weights = weights if weighted else None
    settings = {"epochs": 3, "batch_size": BATCH, "sample_weight": weights}
    plain, from_map, from_folder = (trainer(schedule=Cosine()) for _ in range(3))
    history = plain.fit(x, y, **settings)
    for other, given in ((from_map, (mapped(tmp_path, samples), y)),
                         (from_folder, (Shards(sharded(tmp_path, samples)),))):
        found = other.fit(*given, **settings)
        assert_same(plain, other)
        assert found.loss == history.loss


def test_archives_train_and_a_folder_is_evaluated_like_arrays(tmp_path, samples):
    x, y, _ = samples
    fitted = trainer()
    history = fitted.fit(sharded(tmp_path, samples, "npz"), epochs=4, batch_size=BATCH,
                         validation_data=str(sharded(tmp_path, samples)))
    assert history.loss[-1] < history.loss[0]
    scores = fitted.evaluate(x, y)
    found = fitted.evaluate(Shards(tmp_path / "npz"))
    assert found["accuracy"] == pytest.approx(scores["accuracy"], rel=1e-12)
    # Sums of 203 float32 losses in another order.
    assert found["loss"] == pytest.approx(scores["loss"], rel=203 * 6e-8)
    assert history.rows[-1]["val_loss"] == found["loss"]


def test_batches_of_any_size_make_one_step_each(samples):
    x, y, weights = samples
    cuts = [slice(0, 8), slice(8, 9), slice(9, 60), slice(60, ROWS)]
    batches = [(x[c], y[c], weights[c]) for c in cuts]
    by_steps, by_list, by_function = trainer(), trainer(), trainer()
    losses = [[by_steps.train_step(*b) for b in batches] for _ in range(2)]
    found = by_list.fit(batches, epochs=2)
    assert_same(by_steps, by_list)
    sums = [b[2].astype(np.float32).sum(dtype=np.float64) for b in batches]
    means = [np.dot(epoch, sums) / np.sum(sums) for epoch in losses]
    np.testing.assert_allclose(found.loss, means, rtol=1e-14)
    by_function.fit(lambda: iter(batches), epochs=2)
    assert_same(by_steps, by_function)


class _StopAt(Callback):
    """Ends the fit after a step, at an edge that falls exactly there."""

    def __init__(self, step: int) -> None:
        self.next_step = step

    def on_steps(self, trainer, steps):
        if trainer.step_count >= self.next_step:
            trainer.stop_now = True


@pytest.mark.parametrize("kind", ["map", "npy", "npz", "batches"])
@pytest.mark.parametrize("step", [2, 26, 37])
def test_a_fit_that_reads_goes_on_where_it_was(tmp_path, samples, kind, step):
    """Cut within the first epoch, at its end, and within the second; in the middle of blocks."""
    x, y, _ = samples
    batches = [(x[i : i + BATCH], y[i : i + BATCH]) for i in range(0, ROWS, BATCH)]
    given = {"map": lambda: (mapped(tmp_path, samples), y), "batches": lambda: (batches,)}.get(
        kind, lambda: (sharded(tmp_path, samples, kind),))()
    whole, part = trainer(), trainer()
    history = whole.fit(*given, epochs=2, batch_size=BATCH)
    part.fit(*given, epochs=2, batch_size=BATCH,
             callbacks=[Checkpoint(tmp_path / "run"), _StopAt(step)])
    assert part.step_count == step
    resumed = trainer()
    found = resumed.fit(*given, epochs=2, batch_size=BATCH, resume=tmp_path / "run",
                        callbacks=[Checkpoint(tmp_path / "run")])
    assert_same(whole, resumed)
    assert found.loss == history.loss


def test_a_sample_that_is_not_finite_is_named_by_its_own_number(tmp_path, samples):
    x, y, _ = samples
    x[147, 3] = np.nan
    for given in ((x, y), (mapped(tmp_path, (x, y)), y), (sharded(tmp_path, (x, y)),)):
        with pytest.raises(NonFiniteError, match="sample 147 of x is not finite"):
            trainer().fit(*given, batch_size=BATCH)
    batches = [(x[i : i + BATCH], y[i : i + BATCH]) for i in range(0, ROWS, BATCH)]
    with pytest.raises(NonFiniteError, match="sample 147 of x"):
        trainer().fit(batches)


def test_sparse_rows_train_as_dense_ones(samples):
    sparse = pytest.importorskip("scipy.sparse")
    x, y, weights = samples
    x[np.abs(x) < 1] = 0
    dense, rows = trainer(), trainer()
    for fitted, given in ((dense, x), (rows, sparse.csr_array(x))):
        fitted.fit(given, y, epochs=3, batch_size=BATCH, sample_weight=weights)
    # 78 steps of Adam (rate 0.01) on gradients that differ by rounding.
    np.testing.assert_allclose(rows.network.values, dense.network.values, rtol=0, atol=1e-4)
    assert rows.evaluate(sparse.csr_array(x), y)["loss"] == pytest.approx(
        dense.evaluate(x, y)["loss"], rel=1e-3)


@pytest.mark.parametrize("module", ["pandas", "polars"])
def test_a_data_frame_with_the_name_of_its_target(module, samples):
    frames = pytest.importorskip(module)
    x, y, _ = samples
    columns = {f"c{i}": x[:, i] for i in range(FEATURES)}
    frame = frames.DataFrame({**columns, "kind": y})
    plain, named, apart = trainer(), trainer(), trainer()
    plain.fit(x, y, epochs=2)
    named.fit(frame, "kind", epochs=2, validation_data=(frame, "kind"))
    apart.fit(frames.DataFrame(columns), frame["kind"], epochs=2)
    assert_same(plain, named)
    assert_same(plain, apart)
    with pytest.raises(DataError, match=r"no column named 'sort'; wanted one of 'c0'"):
        named.fit(frame, "sort")


def test_what_cannot_be_data_is_refused(samples, tmp_path):
    x, y, weights = samples
    batches = [(x, y)]
    fitted = trainer()
    with pytest.raises(ArgumentError, match="x is a ndarray and there is no y"):
        fitted.fit(x)
    with pytest.raises(ArgumentError, match="sample_weight beside batches"):
        fitted.fit(batches, sample_weight=weights)
    with pytest.raises(ArgumentError, match="y beside a Shards"):
        fitted.fit(Shards(sharded(tmp_path, samples)), y)
    with pytest.raises(DataError, match=r"a batch that is a ndarray; wanted \(x, y\)"):
        fitted.fit([x, y])
    with pytest.raises(DataError, match="an iterator of batches, which has come to its end"):
        fitted.fit(iter(batches), epochs=2)
    with pytest.raises(ArgumentError, match="schedule 'cosine' with batches of unknown number"):
        trainer(schedule=Cosine()).fit(iter(batches), epochs=1)
    with pytest.raises(DataError, match="203 samples with 202 targets"):
        fitted.fit(mapped(tmp_path, samples), y[1:])
    trainer(schedule=Cosine()).fit(batches, epochs=2)


MEMORY = """
import sys
from pathlib import Path
import numpy as np
import fastbp
from fastbp.data._mapped import let_go
rows, path = int(sys.argv[1]), sys.argv[2]
x = np.lib.format.open_memmap(path, "w+", np.uint8, (rows, 4096))
for begin in range(0, rows, 4096):
    x[begin : begin + 4096] = ((np.arange(4096) * 7 + begin) % 251).astype(np.uint8)
    let_go(x)
y = np.arange(rows) % 10
net = fastbp.Sequential([fastbp.Affine(4096, 64, activation="relu"), fastbp.Affine(64, 10)],
                        input_scale=1 / 255, seed=0)
trainer = fastbp.Trainer(net, optimizer=fastbp.SGD(0.01))
trainer.train_step(np.zeros((512, 4096), np.uint8), y[:512])  # compiling takes memory too
Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
history = trainer.fit(np.load(path, mmap_mode="r"), y, epochs=1, batch_size=512)
assert np.isfinite(history.loss[0])
status = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
print(int(status["VmHWM"].split()[0]) // 1024)
"""


def peak_of(rows: int, path) -> int:
    """MB that a process needs at most to train on so many rows of 4 KiB."""
    done = subprocess.run([sys.executable, "-c", MEMORY, str(rows), str(path)], check=True,
                          capture_output=True, text=True)
    return int(done.stdout)


def test_memory_does_not_grow_with_the_data(tmp_path):
    """512 MB of samples, shuffled: less than 400 MB in memory, with everything else."""
    assert peak_of(1 << 17, tmp_path / "x.npy") < 400


@pytest.mark.nightly
def test_eight_gigabytes_in_600_megabytes(tmp_path):
    assert peak_of(1 << 21, tmp_path / "x.npy") < 600


def test_nothing_is_left_open_when_a_fit_ends_early(tmp_path, samples):
    before = threading.active_count()
    folder = sharded(tmp_path, samples)
    with fastbp.threads(1):
        trainer().fit(folder, epochs=3, callbacks=[_StopAt(3)], batch_size=BATCH)
    assert threading.active_count() == before
