"""The compile cache: what is stored is checked.

That whole processes compile again after any damage: tests/reliability/test_cache_starts.py.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastbp import _cache
from fastbp._jit import DISABLED

pytestmark = pytest.mark.skipif(DISABLED or not _cache.ENABLED, reason="nothing is cached")

@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(_cache, "cache_folder", lambda: tmp_path)
    _cache.warn_once.cache_clear()
    return tmp_path


def test_round_trip(folder):
    assert _cache.read("work") is None
    assert _cache.cache_is_cold()
    _cache.write("work", b"some code")
    assert _cache.read("work") == b"some code"
    assert not _cache.cache_is_cold()
    assert [path.name for path in folder.iterdir()] == ["work.bin"]


@pytest.mark.parametrize("damage", [lambda b: b[:-1], lambda b: b[:20], lambda b: b"",
                                    lambda b: b[:40] + bytes([b[40] ^ 1]) + b[41:],
                                    lambda b: bytes([b[0] ^ 128]) + b[1:]])  # fmt: skip
def test_damage_is_noticed(folder, damage):
    _cache.write("work", b"some code that is longer than a checksum")
    path = folder / "work.bin"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.warns(RuntimeWarning, match="damaged file in the compile cache"):
        assert _cache.read("work") is None


@given(st.dictionaries(st.from_regex(r"[a-z_0-9]{1,20}", fullmatch=True), st.binary(max_size=50),
                       min_size=1))
def test_object_files_are_packed_and_unpacked(objects):
    assert _cache.unpack(_cache.pack(objects)) == objects


@pytest.mark.parametrize("content", [b"name 3\n\nab", b"name 3\n\nabcd", b"name\n\n",
                                     b"name x\n\n", b"\xff 0\n\n", b"\x7fELF"])  # fmt: skip
def test_what_is_not_packed_is_refused(content):
    with pytest.raises(ValueError, match=r"bytes in place of|invalid literal|can't decode"):
        _cache.unpack(content)


def test_object_files_of_all_functions_of_a_dtype(folder):
    for name in ("work_float32", "other_float32", "work_float64"):
        _cache.write(name, _cache.pack({name: name.encode()}))
    assert _cache.stored_objects("_float32") == {"work_float32": b"work_float32",
                                                 "other_float32": b"other_float32"}  # fmt: skip
    (folder / "other_float32.bin").write_bytes(b"damaged")
    with pytest.warns(RuntimeWarning, match="damaged file in the compile cache"):
        assert list(_cache.stored_objects("_float32")) == ["work_float32"]


def test_a_folder_that_cannot_be_written_is_done_without(folder, monkeypatch):
    monkeypatch.setattr(_cache, "cache_folder", lambda: folder / "gone" / "with its parent")
    with pytest.warns(RuntimeWarning, match="cannot write the compile cache"):
        _cache.write("work", b"code")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _cache.write("work", b"code")  # warned once


def test_no_folder_at_all(monkeypatch):
    monkeypatch.setattr(_cache, "cache_folder", lambda: None)
    _cache.write("work", b"code")
    assert _cache.read("work") is None
    assert _cache.cache_is_cold()


def test_the_key_covers_every_compiled_source():
    package = Path(_cache.__file__).parent
    covered = {path for pattern in _cache._SOURCES for path in package.glob(pattern)}
    assert covered >= {*package.glob("_simd/*.py"), *package.glob("kernels/*.py")}
