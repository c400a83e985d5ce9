"""Checks 9 to 11: many processes that start at once, any damage, folders that cannot be used."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from starts import ANSWER, Starts

import fastbp
from fastbp import _cache, _folders
from fastbp._jit import DISABLED

pytestmark = pytest.mark.skipif(DISABLED or not _cache.ENABLED, reason="nothing is cached")
NAMES = ["work_float32", "work_float64"]


@pytest.fixture
def starts(tmp_path) -> Starts:
    return Starts(tmp_path)


def race(starts: Starts, processes: int, **options: str) -> list[str]:
    """Start so many at once, half of them as if for another CPU; what they compiled."""
    children = [starts.begin(NUMBA_SLP_VECTORIZE=str(number % 2), TEST_SECONDS="0.3", **options)
                for number in range(processes)]
    for child in children:
        out, err = child.communicate(timeout=300)
        assert (child.returncode, out.strip()) == (0, ANSWER), err
        assert not err
    assert len(starts.files()) == 4  # two keys, two dtypes
    assert not list(starts.cache.glob("*/*-*"))  # nothing half-written
    return starts.compiled()


def test_of_processes_that_start_at_once_one_compiles(starts):
    assert race(starts, 16) == sorted(f"{name} {key}" for name in NAMES for key in "01")


def test_without_the_lock_several_would_compile(starts):
    """The control of the test above; what they leave behind is right all the same."""
    compiled = race(starts, 6, after="import contextlib\n_native._cache.only_writer = "
                                     "lambda name: contextlib.nullcontext()")
    assert len(compiled) > 4


@pytest.mark.nightly
def test_fifty_races(tmp_path):
    for number in range(50):
        folder = tmp_path / str(number)
        folder.mkdir()
        race(Starts(folder), 16)
        shutil.rmtree(folder)


def flip(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :]


DAMAGE = {
    "empty": lambda c: b"", "one byte": lambda c: c[:1], "half": lambda c: c[: len(c) // 2],
    "last byte gone": lambda c: c[:-1], "a bit of the checksum": lambda c: flip(c, 5),
    "a bit in the middle": lambda c: flip(c, len(c) // 2),
    "a bit at the end": lambda c: flip(c, len(c) - 1), "something behind": lambda c: c + b"x",
}


def test_a_damaged_file_means_compiling_again_and_one_warning(starts):
    starts.run()
    assert starts.compiled() == [f"{name} None" for name in NAMES]
    path = starts.files()[0]
    whole = path.read_bytes()
    for what, damage in DAMAGE.items():
        path.write_bytes(damage(whole))
        assert starts.run().count("damaged file in the compile cache") == 1, what
        assert starts.compiled() == ["work_float32 None"], what
        assert path.read_bytes() == whole
        path.unlink()
        path.write_bytes(whole)
    assert starts.run() == ""
    assert starts.compiled() == []


def test_files_that_cannot_be_read_or_vanish(starts):
    starts.run()
    path = starts.files()[0]
    path.unlink()
    path.mkdir()
    assert "cannot read the compile cache" in starts.run()
    path.rmdir()
    gone = starts.run(after="""
import shutil, fastbp._cache as cache
read = cache.read
def read_nothing(name):
    shutil.rmtree(cache.cache_folder(), ignore_errors=True)
    return read(name)
cache.read = read_nothing""")
    assert gone == ""
    starts.compiled()
    if os.getuid():  # root reads anything
        starts.run()
        starts.files()[0].chmod(0)
        assert "cannot read the compile cache" in starts.run()


FULL = """
import errno, tempfile
real = tempfile.NamedTemporaryFile
def full(*args, **kwargs):
    file = real(*args, **kwargs)
    def write(data):
        file.file.write(data[:1000])
        raise OSError(errno.ENOSPC, "No space left on device")
    file.write = write
    return file
tempfile.NamedTemporaryFile = full
"""
READ_ONLY = """
import errno, pathlib
def refuse(self, *args, **kwargs):
    raise OSError(errno.EROFS, "Read-only file system")
pathlib.Path.mkdir = refuse
"""
NO_TEMPORARY = """
import tempfile
def none():
    raise FileNotFoundError(2, "No usable temporary directory found")
tempfile.gettempdir = none
"""


def test_a_full_disk_is_said_once_and_leaves_nothing(starts):
    assert starts.run(before=FULL).count("cannot write the compile cache (No space left") == 1
    assert starts.compiled() == [f"{name} None" for name in NAMES]
    assert list(starts.cache.glob("*/*-*")) == starts.files() == []


def test_nowhere_to_write(starts, tmp_path):
    nowhere = {"FASTBP_CACHE_DIR": None, "HOME": None, "XDG_CACHE_HOME": None}
    for before in (READ_ONLY, READ_ONLY + NO_TEMPORARY):
        assert starts.run(before=before, **nowhere) == ""
        assert starts.compiled() == [f"{name} None" for name in NAMES]
    home = tmp_path / "home"
    assert starts.run(**{**nowhere, "HOME": str(home)}) == ""
    assert [p.name for p in sorted(home.glob(".cache/fastbp/*/*.bin"))] == [
        f"{name}.bin" for name in NAMES]
    assert starts.run(**{**nowhere, "XDG_CACHE_HOME": str(tmp_path / "xdg")}) == ""
    assert list((tmp_path / "xdg" / "fastbp").glob("*/*.bin"))


# ---- folders ---------------------------------------------------------------------------------


@pytest.fixture
def warned():
    _folders.warn_once.cache_clear()
    yield
    _folders.warn_once.cache_clear()


def test_folders_are_for_this_user_only(tmp_path, warned):
    folder = _folders.own_subfolder(tmp_path / "new", "key")
    assert folder is not None
    assert [p.stat().st_mode & 0o777 for p in (folder, folder.parent)] == [0o700, 0o700]


@pytest.mark.parametrize("which", ["key", "base"])
def test_a_folder_that_others_may_write_is_refused(tmp_path, which, warned):
    base = tmp_path / "base"
    _folders.own_subfolder(base, "key")
    (base / "key" if which == "key" else base).chmod(0o777)
    with pytest.warns(RuntimeWarning, match="belongs to another user, or others may write there"):
        assert _folders.own_subfolder(base, "key") is None
    (base / "key" if which == "key" else base).chmod(0o1777 if which == "base" else 0o755)
    assert _folders.own_subfolder(base, "key") is not None


def test_a_folder_of_another_user_is_refused(tmp_path, monkeypatch, warned):
    _folders.own_subfolder(tmp_path, "key")
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    with pytest.warns(RuntimeWarning, match="belongs to another user"):
        assert _folders.own_subfolder(tmp_path, "key") is None


def test_a_link_is_refused(tmp_path, warned):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "key").symlink_to(elsewhere)
    with pytest.warns(RuntimeWarning, match="belongs to another user"):
        assert _folders.own_subfolder(tmp_path, "key") is None


def test_a_file_that_others_may_write_is_not_run(tmp_path, monkeypatch, warned):
    monkeypatch.setattr(_cache, "cache_folder", lambda: tmp_path)
    _cache.write("work", b"code")
    assert _cache.read("work") == b"code"
    (tmp_path / "work.bin").chmod(0o666)
    with pytest.warns(RuntimeWarning, match="may be written by other users"):
        assert _cache.read("work") is None


def test_old_folders_go_when_code_is_stored(tmp_path, monkeypatch):
    own, old, used, foreign = (tmp_path / name for name in ("a" * 24, "b" * 24, "c" * 24, "mine"))
    for folder in (own, old, used, foreign):
        folder.mkdir(mode=0o700)
        (folder / "work.bin").write_bytes(b"")
    long_ago = time.time() - 31 * 86_400
    for folder in (own, old, foreign):
        os.utime(folder, (long_ago, long_ago))
    monkeypatch.setattr(_cache, "cache_folder", lambda: own)
    _cache.write("work", b"code")
    assert {path.name for path in tmp_path.iterdir()} == {p.name for p in (own, used, foreign)}
    os.utime(own, (long_ago, long_ago))
    _cache.read("work")
    assert own.stat().st_mtime > long_ago + 1, "a folder that is read is in use"


# ---- what the key depends on -------------------------------------------------------------------


def key_of(package: Path, before: str = "") -> str:
    code = f"{before}\nimport fastbp\nfrom fastbp._cache import cache_key\nprint(cache_key())"
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True,
                          cwd=package, timeout=60).stdout


def test_any_change_of_a_kernel_gives_another_key(tmp_path):
    """Of the same size and time, in a file that is only called; and of the compilers."""
    shutil.copytree(Path(fastbp.__file__).parent, tmp_path / "fastbp")
    first = key_of(tmp_path)
    assert first == key_of(tmp_path)
    path = tmp_path / "fastbp" / "kernels" / "_strips.py"
    status, text = path.stat(), path.read_bytes()
    path.write_bytes(text.replace(b"e", b"a", 1))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert path.stat().st_size == len(text)
    others = ["", "import llvmlite\nllvmlite.__version__ = '0'", "import sys\nsys.version = '3'",
              "import fastbp._cache as c\nc._numba_version = lambda: b'0'",
              "import os\nos.environ['NUMBA_CPU_NAME'] = 'haswell'"]
    assert len({first, *(key_of(tmp_path, before) for before in others)}) == 6
