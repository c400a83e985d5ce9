"""Samples read block by block: folders of files, mapped arrays, reading ahead."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest

from fastbp import DataError
from fastbp.data import ArrayBlocks, Blocks, Shards
from fastbp.data import _blocks as blocks
from fastbp.data._mapped import Rows


@pytest.fixture
def samples(rng):
    x = rng.standard_normal((70, 2, 3)).astype(np.float32)
    return x, np.arange(70)


def write(folder, samples, cuts, kind):
    x, y = samples
    for number, (begin, end) in enumerate(zip([0, *cuts], [*cuts, len(x)], strict=True)):
        if kind == "npz" or (kind == "mixed" and number % 2):
            np.savez(folder / f"x_{number:03}.npz", x=x[begin:end], y=y[begin:end])
        else:
            np.save(folder / f"x_{number:03}.npy", x[begin:end])
            np.save(folder / f"y_{number:03}.npy", y[begin:end])


@pytest.mark.parametrize("kind", ["npy", "npz", "mixed"])
def test_a_folder_is_one_long_array(tmp_path, samples, rng, kind):
    write(tmp_path, samples, [10, 11, 40], kind)
    source = Shards(tmp_path)
    assert isinstance(source, Blocks)
    assert (source.rows, source.shape, source.row_bytes) == (70, (2, 3), 6 * 4 + 8)
    x, y = samples
    for numbers in (np.arange(70), rng.permutation(70), rng.integers(0, 70, 9), np.array([40])):
        block = source.take(numbers)
        assert np.array_equal(block.x[block.index], x[numbers])
        assert np.array_equal(block.y[block.index], y[numbers])


@pytest.mark.parametrize("kind", ["npy", "npz"])
def test_an_epoch_meets_each_sample_once_and_archives_file_by_file(tmp_path, samples, rng, kind):
    write(tmp_path, samples, [20, 45], kind)
    source = Shards(tmp_path)
    order = source.order(rng.permutation)
    assert sorted(order) == list(range(70))
    files = np.searchsorted([20, 45], order, side="right")
    changes = int((np.diff(files) != 0).sum())
    assert (changes == 2) == (kind == "npz"), "rows of an archive stay together, others do not"


def test_what_is_wrong_with_a_folder_is_said_with_the_file(tmp_path, samples):
    with pytest.raises(DataError, match="no such folder"):
        Shards(tmp_path / "none")
    with pytest.raises(DataError, match=r"no \.npz and no x\*\.npy file"):
        Shards(tmp_path)
    x, y = samples
    np.save(tmp_path / "x1.npy", x)
    with pytest.raises(DataError, match=r"x1\.npy: no y1\.npy beside it"):
        Shards(tmp_path)
    np.save(tmp_path / "y1.npy", y[:-1])
    with pytest.raises(DataError, match=r"x of shape \(70, 2, 3\) with y of shape \(69,\)"):
        Shards(tmp_path)
    np.save(tmp_path / "y1.npy", y)
    np.savez(tmp_path / "x2.npz", x=x[:, :1], y=y)
    with pytest.raises(DataError, match=r"x2\.npz: shape \(1, 3\); wanted \(2, 3\) as in x1\.npy"):
        Shards(tmp_path)
    np.savez(tmp_path / "x2.npz", x=x)
    with pytest.raises(DataError, match=r"x2\.npz: no array 'y' among x"):
        Shards(tmp_path)
    (tmp_path / "x2.npz").write_bytes(b"PK no")
    with pytest.raises(DataError, match=r"x2\.npz: not a readable"):
        Shards(tmp_path)


def test_pickled_objects_are_never_read(tmp_path):
    np.save(tmp_path / "x1.npy", np.array([{}, {}], object), allow_pickle=True)
    np.save(tmp_path / "y1.npy", np.zeros(2))
    with pytest.raises(DataError, match="x holds object"):
        Shards(tmp_path)


def resident() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * 4096


@pytest.mark.parametrize("mode", ["r", "r+"])
@pytest.mark.parametrize("way", ["file", "map"])
def test_rows_of_a_mapped_file_do_not_stay_in_memory(tmp_path, mode, way, rng):
    """64 MB are read in blocks of 1 MB: the process never holds more than a part of them."""
    path = tmp_path / "x.npy"
    np.save(path, np.ones((1 << 14, 1 << 10), np.float32))
    x = np.load(path, mmap_mode=mode)
    if way == "map":
        path.unlink()
    source = ArrayBlocks(x.view(), np.zeros(len(x)))
    order = rng.permutation(len(x))
    before = resident()
    for begin in range(0, len(x), 256):
        source.take(order[begin : begin + 256])
        assert resident() - before < 24 << 20


@pytest.mark.parametrize("dtype", [np.uint8, np.float64])
@pytest.mark.parametrize("width", [1, 3, 700, 5000])
def test_rows_are_those_of_the_array_wherever_they_lie(tmp_path, rng, width, dtype):
    """Parts of a file, steps, rows given twice, neighbours and rows far apart."""
    path = tmp_path / "x.npy"
    np.save(path, rng.integers(0, 256, (3000, width)).astype(dtype))
    whole = np.load(path, mmap_mode="r")
    numbers = np.sort(np.concatenate([rng.integers(0, 900, 60), np.arange(300, 340), [0, 899]]))
    for x in (whole, whole[17:], whole[5::3], whole[::-1], whole[:, ::2], whole[:, width // 2 :]):
        assert np.array_equal(Rows(x).take(numbers), x[numbers])


def test_a_file_that_was_replaced_or_cut_is_not_read(tmp_path):
    path = tmp_path / "x.npy"
    np.save(path, np.arange(4000.0).reshape(1000, 4))
    x = np.load(path, mmap_mode="r")
    other = tmp_path / "other.npy"
    np.save(other, np.zeros((1000, 4)) - 1)
    other.rename(path)  # the map is still the old file
    assert np.array_equal(Rows(x).take(np.array([3, 700])), x[[3, 700]])


def test_private_changes_to_a_mapping_are_not_lost(tmp_path):
    path = tmp_path / "x.npy"
    np.save(path, np.zeros((100, 1000)))
    x = np.load(path, mmap_mode="c")
    x[:] = 7.0
    ArrayBlocks(x, np.zeros(100)).take(np.arange(100))
    assert (x == 7.0).all()


def test_reading_ahead_keeps_the_order_and_is_one_result_ahead():
    started = []

    def read(task):
        started.append(task)
        return task * 10

    results = blocks.read_ahead(read, range(20))
    assert next(results) == 0
    time.sleep(0.2)
    assert started == [0, 1, 2], "one waits, one is ready to be put"
    assert list(results) == [10 * i for i in range(1, 20)]


def test_an_error_while_reading_ahead_is_raised_and_the_thread_ends():
    def read(task):
        if task == 2:
            raise OSError("the disk is gone")
        return task

    before = threading.active_count()
    results = blocks.read_ahead(read, range(5))
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(OSError, match="the disk is gone"):
        next(results)
    early = blocks.read_ahead(lambda task: task, range(1000))
    next(early)
    early.close()
    assert threading.active_count() == before


def test_blocks_have_whole_batches(samples, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 32 * 25)  # 25 samples
    source = ArrayBlocks(*samples)
    found = list(blocks.blocks_in_order(source, np.arange(70)[::-1].copy(), 10))
    assert [len(b.index) for b in found] == [20, 20, 20, 10]
    assert np.concatenate([b.y[b.index] for b in found]).tolist() == list(range(70))[::-1]
