"""Saving and loading: every stride and dtype comes back, and a failure leaves the old file."""

import json
import os
import pickle
import random
import stat
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from fastbp import checkpoint
from fastbp._errors import CheckpointError, DurabilityWarning

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
    kinds = [np.dtype(kind) for kind in "?bBhHiIlLefd"]
    arrays = {f"a{kind}": np.arange(5).astype(kind) for kind in kinds} | {"w": BASE[:, 1:]}
    checkpoint.save(path, arrays, {"text": 'größe "\\ \n'})
    found = load_file(path)
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        assert np.array_equal(found[name], array)
    with safe_open(path, framework="numpy") as file:
        assert file.metadata()["text"] == 'größe "\\ \n'
    assert checkpoint.load(path)[1] == {"text": 'größe "\\ \n'}


def test_a_text_that_looks_like_the_checksum_is_a_text(path):
    text = f'{{"{checkpoint.DIGEST}":"{"0" * 64}"}}'
    checkpoint.save(path, {"w": BASE}, {"a": text, "z": text})
    assert checkpoint.load(path)[1] == {"a": text, "z": text}


def test_saving_copies_nothing(path):
    arrays = {"a": np.ones(1 << 20), "b": np.ones((1 << 10, 1 << 10), np.float32)}
    checkpoint.save(path, arrays)
    tracemalloc.start()
    try:
        checkpoint.save(path, arrays)
        assert tracemalloc.get_traced_memory()[1] < 1 << 18
    finally:
        tracemalloc.stop()


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


CALLS = ("open", "write", "fsync", "close", "replace")
BEFORE_COMMIT = 6  # open, header, array, fsync, close, replace


def fail_at(monkeypatch, number):
    """Let the `number`-th call of the system (from 1) fail; returns the list of calls made."""
    made = []

    def patched(name):
        original = getattr(os, name)

        def call(*args, **kwargs):
            made.append(name)
            if len(made) == number:
                if name == "close":
                    original(*args)
                raise OSError(5, "Input/output error")
            return original(*args, **kwargs)

        monkeypatch.setattr(checkpoint.os, name, call)

    for name in CALLS:
        patched(name)
    return made


def test_whichever_call_fails_there_is_a_whole_file(path, monkeypatch):
    """Before the rename: an error and the old file. After it: a warning and the new one."""
    checkpoint.save(path, {"w": BASE})
    old, committed = path.read_bytes(), 0
    for number in range(1, 100):
        with monkeypatch.context() as patch:
            made = fail_at(patch, number)
            if number <= BEFORE_COMMIT:
                with pytest.raises(OSError, match="Input/output error"):
                    checkpoint.save(path, {"w": BASE + 1})
            elif number > BEFORE_COMMIT + 3:
                checkpoint.save(path, {"w": BASE + 1})
            else:
                committed += 1
                with pytest.warns(DurabilityWarning, match="its folder could not be synced"):
                    checkpoint.save(path, {"w": BASE + 1})
        assert list(path.parent.iterdir()) == [path]
        if number <= BEFORE_COMMIT:
            assert path.read_bytes() == old
        else:
            assert np.array_equal(checkpoint.load(path)[0]["w"], BASE + 1)
        if len(made) < number:
            break
    assert made == ["open", "write", "write", "fsync", "close", "replace", "open", "fsync", "close"]
    assert committed == 3


def test_a_short_write_goes_on(path, monkeypatch):
    write = os.write
    monkeypatch.setattr(checkpoint.os, "write", lambda handle, data: write(handle, data[:100]))
    checkpoint.save(path, {"w": BASE})
    assert np.array_equal(checkpoint.load(path)[0]["w"], BASE)


@pytest.mark.skipif(sys.platform != "linux", reason="limits and their signal differ elsewhere")
def test_a_limit_on_the_size_of_files(path):
    """As a full disk or a quota: in a process of its own, because limits cannot be taken back."""
    checkpoint.save(path, {"w": BASE})
    old = path.read_bytes()
    script = f"""
import resource, numpy as np
from fastbp import checkpoint
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
try:
    checkpoint.save({str(path)!r}, {{"w": np.zeros(100_000)}})
except OSError as error:
    print(error.strerror)
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True,
                            timeout=60, check=True)  # fmt: skip
    assert result.stdout.strip() == "File too large"
    assert path.read_bytes() == old
    assert list(path.parent.iterdir()) == [path]


def test_every_truncation_is_refused_by_name_and_reason(path):
    checkpoint.save(path, {"w": BASE, "v": BASE[0]}, {"fastbp": "{}"})
    whole = path.read_bytes()
    for size in {*range(20), *range(20, len(whole), 5), len(whole) - 1}:
        path.write_bytes(whole[:size])
        with pytest.raises(CheckpointError, match=r"model\.safetensors: damaged.*; wanted a file"):
            checkpoint.load(path)
    path.write_bytes(whole + b"\0")
    with pytest.raises(CheckpointError, match="damaged"):
        checkpoint.load(path)


@pytest.mark.parametrize("step", [7, pytest.param(1, marks=pytest.mark.nightly)])
def test_every_flipped_bit_is_refused(path, step):
    """One after the other, everywhere: the header's size, the header, the digest, the data."""
    checkpoint.save(path, {"w": BASE[:2], "v": BASE[0]}, {"fastbp": "{}"})
    data = bytearray(path.read_bytes())
    for place in range(0, 8 * len(data), step):
        data[place // 8] ^= 1 << place % 8
        path.write_bytes(data)
        with pytest.raises(CheckpointError, match=r"model\.safetensors: (damaged|cannot be read)"):
            checkpoint.load(path)
        data[place // 8] ^= 1 << place % 8
    path.write_bytes(data)
    checkpoint.load(path)


@pytest.mark.nightly
def test_100000_mutations_are_refused(path):
    checkpoint.save(path, ARRAYS, {"fastbp": "{}"})
    whole, rng = path.read_bytes(), random.Random(0)
    for _ in range(100_000):
        data = bytearray(whole)
        for _ in range(rng.randrange(1, 5)):
            begin = rng.randrange(len(data))
            data[begin : begin + rng.randrange(9)] = rng.randbytes(rng.randrange(9))
        if data == whole:
            continue
        path.write_bytes(data)
        with pytest.raises(CheckpointError):
            checkpoint.load(path)


def header(**entries):
    text = json.dumps(entries).encode()
    return len(text).to_bytes(8, "little") + text


def entry(shape, begin, end, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


@pytest.mark.parametrize("content", [
    header(w=entry([1 << 40], 0, 4)) + bytes(4),
    header(w=entry([1 << 62, 1 << 62], 0, 4)) + bytes(4),
    header(w=entry([1 << 38], 0, 1 << 40)) + bytes(4),
    header(w=entry([1], 0, 4), v=entry([1], 0, 4)) + bytes(4),
    header(w=entry([1], 4, 8)) + bytes(8),
    header(w=entry([1], 4, 0)) + bytes(8),
    header(w=entry([-1], 0, 4)) + bytes(4),
    header(w=entry([1], 0, 4, "O8")) + bytes(4),
    header(w=entry([1], 0, 4), __metadata__={"a": 1}) + bytes(4),
    b"\x1d" + bytes(7) + b'{"w":{"dtype":"F32"},"w":{}}  ',
    (1 << 63).to_bytes(8, "little") + b"{}", (1 << 40).to_bytes(8, "little") + b"{}",
    (100_000_000).to_bytes(8, "little") + b"{}",
    (20_000).to_bytes(8, "little") + b"[" * 20_000,
], ids=range(14))
def test_hostile_headers(path, content):
    path.write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError, match="damaged, or no safetensors file"):
            checkpoint.load(path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_files_of_other_writers_have_no_checksum_and_are_read(path):
    save_file({"w": BASE}, path, metadata={"format": "pt"})
    arrays, metadata = checkpoint.load(path)
    assert np.array_equal(arrays["w"], BASE)
    assert metadata == {"format": "pt"}


@pytest.mark.parametrize("name", [checkpoint.WRITER, checkpoint.DIGEST])
def test_a_checksum_that_was_taken_away_is_missed(path, name):
    checkpoint.save(path, {"w": BASE})
    with safe_open(path, framework="numpy") as file:
        rest = {key: text for key, text in file.metadata().items() if key != name}
    save_file({"w": BASE}, path, metadata=rest)
    with pytest.raises(CheckpointError, match=r"its checksum does not fit.*take an older copy"):
        checkpoint.load(path)


def test_a_file_replaced_while_it_is_read_is_read_again(path, monkeypatch):
    checkpoint.save(path, {"w": BASE})
    original, left = checkpoint._digest, [1]

    def replace_meanwhile(*arguments):
        if left:
            left.pop()
            checkpoint.save(path, {"w": BASE + 1})
        return original(*arguments)

    monkeypatch.setattr(checkpoint, "_digest", replace_meanwhile)
    assert np.array_equal(checkpoint.load(path)[0]["w"], BASE + 1)


def test_reading_never_unpickles(path, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("pickle")

    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    checkpoint.save(path, ARRAYS)
    checkpoint.load(path)
    for content in (pickle.dumps([1]), b"PK\3\4"):
        path.write_bytes(content)
        with pytest.raises(CheckpointError):
            checkpoint.load(path)


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
    [({"o": np.array([object()])}, {}), ({"s": np.array(["text"])}, {}), ({"w": BASE}, {"n": 3}),
     ({"w": BASE}, {3: "n"}), ({"w": BASE}, {"n": "\ud800"}), ({"c": np.zeros(2, complex)}, {}),
     ({"__metadata__": BASE}, {})],
)
def test_what_has_no_place_in_the_format(path, arrays, metadata):
    with pytest.raises(CheckpointError, match=r"cannot be stored .*; wanted numeric arrays"):
        checkpoint.save(path, arrays, metadata)
    assert not path.exists()


def test_a_missing_folder_is_an_os_error(path):
    with pytest.raises(FileNotFoundError):
        checkpoint.save(path.parent / "no" / "model.safetensors", {"w": BASE})
