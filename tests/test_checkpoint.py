"""Saving and loading: every stride and dtype comes back, and a failure leaves the old file."""

import os
import random
import stat

import numpy as np
import pytest
from safetensors.numpy import load_file

from fastbp import checkpoint
from fastbp._errors import CheckpointError

BASE = np.arange(32, dtype=np.float32).reshape(4, 8)
ARRAYS = {
    "C": BASE,
    "F": BASE.T,
    "padded rows": BASE[:, :5],
    "negative": BASE[::-1, ::-2],
    "scalar": np.float64(3),
    "empty": np.zeros((0, 3)),
    "big-endian": np.arange(3, dtype=">f8"),
    "integers": np.arange(-2, 4),
    "flags": np.array([True, False]),
}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


def test_every_stride_and_dtype_comes_back(path):
    before = {name: np.array(array) for name, array in ARRAYS.items()}
    checkpoint.save(path, ARRAYS, {"fastbp": '{"a": 1}', "unicode": "größe"})
    arrays, metadata = checkpoint.load(path)
    assert metadata == {"fastbp": '{"a": 1}', "unicode": "größe"}
    assert set(arrays) == set(ARRAYS)
    for name, array in arrays.items():
        assert array.shape == np.shape(ARRAYS[name]), name
        assert array.dtype.isnative
        assert array.dtype == np.asarray(ARRAYS[name]).dtype.newbyteorder("="), name
        assert np.array_equal(array, before[name]), name
        assert np.array_equal(ARRAYS[name], before[name]), name


def test_other_readers_understand_it(path):
    checkpoint.save(path, {"w": BASE[:, 1:]})
    assert np.array_equal(load_file(path)["w"], BASE[:, 1:])
    assert checkpoint.load(path)[1] == {}


def test_nothing_is_left_beside_it_and_permissions_follow_the_umask(path):
    old = os.umask(0o027)
    try:
        checkpoint.save(path, ARRAYS)
        checkpoint.save(path, ARRAYS)
    finally:
        os.umask(old)
    assert list(path.parent.iterdir()) == [path]
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_link_stays_a_link(path):
    link = path.with_name("latest.safetensors")
    link.symlink_to(path.name)
    checkpoint.save(link, {"w": BASE})
    assert link.is_symlink()
    assert np.array_equal(checkpoint.load(path)[0]["w"], BASE)


def test_order_is_write_sync_rename_sync(path, monkeypatch):
    calls = []

    def record(module, name):
        original = getattr(module, name)

        def call(*args, **kwargs):
            calls.append(name)
            return original(*args, **kwargs)

        monkeypatch.setattr(module, name, call)

    record(os, "fsync")
    record(os, "replace")
    checkpoint.save(path, {"w": BASE})
    assert calls == ["fsync", "replace", "fsync"]


@pytest.mark.parametrize("name", ["open", "fdopen", "fsync"])
def test_failed_writes_leave_the_old_file(path, monkeypatch, name):
    checkpoint.save(path, {"w": BASE})
    old = path.read_bytes()

    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint.os, name, fail)
    with pytest.raises(OSError, match="No space left"):
        checkpoint.save(path, {"w": BASE + 1})
    monkeypatch.undo()
    assert path.read_bytes() == old
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_that_cannot_be_synced_is_a_warning(path, monkeypatch):
    fsync, count = os.fsync, iter(range(9))

    def second_fails(handle):
        if next(count) == 1:
            raise OSError(22, "Invalid argument")
        fsync(handle)

    monkeypatch.setattr(checkpoint.os, "fsync", second_fails)
    with pytest.warns(RuntimeWarning, match="written, but its folder could not be synced"):
        checkpoint.save(path, {"w": BASE})
    assert np.array_equal(checkpoint.load(path)[0]["w"], BASE)


def test_every_truncation_is_refused_by_name_and_reason(path):
    checkpoint.save(path, {"w": BASE, "v": BASE[0]}, {"fastbp": "{}"})
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(CheckpointError, match=r"model\.safetensors: damaged.*; wanted a file"):
            checkpoint.load(path)
    path.write_bytes(whole + b"\0")
    with pytest.raises(CheckpointError, match="damaged"):
        checkpoint.load(path)


def test_flipped_bits_in_the_header_never_escape_as_other_errors(path):
    """Not every flip is seen (a name may change into another name); none may crash the reader."""
    checkpoint.save(path, {"w": BASE, "v": BASE[0]}, {"fastbp": "{}"})
    whole, rng, refused = path.read_bytes(), random.Random(0), 0
    header = 8 + int.from_bytes(whole[:8], "little")
    for _ in range(1000):
        data = bytearray(whole)
        data[rng.randrange(header)] ^= 1 << rng.randrange(8)
        path.write_bytes(data)
        try:
            checkpoint.load(path)
        except CheckpointError:
            refused += 1
    assert refused > 500


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no such file; wanted a saved model"), (b"PK\3\4 a zip file", "damaged, or no safe"),
     (b"\x80\x04\x95", "damaged, or no safe")],
)  # fmt: skip
def test_foreign_and_missing_files(path, content, message):
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        checkpoint.load(path)


def test_a_folder_is_refused(path):
    with pytest.raises(CheckpointError, match=r"cannot be read|damaged"):
        checkpoint.load(path.parent)


@pytest.mark.parametrize(
    ("arrays", "metadata"),
    [({"o": np.array([object()])}, {}), ({"s": np.array(["text"])}, {}), ({"w": BASE}, {"n": 3})],
)
def test_what_has_no_place_in_the_format(path, arrays, metadata):
    with pytest.raises(CheckpointError, match=r"cannot be stored .*; wanted numeric arrays"):
        checkpoint.save(path, arrays, metadata)
    assert not path.exists()


def test_a_missing_folder_is_an_os_error(path):
    with pytest.raises(FileNotFoundError):
        checkpoint.save(path.parent / "no" / "model.safetensors", {"w": BASE})
