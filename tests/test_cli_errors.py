"""What cannot be used: one line that says what and where, status 2, nothing written."""

import gzip
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastbp
from fastbp.cli import main

# The package under test, also for processes that start in another folder.
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(fastbp.__file__).parents[1])}
ROWS = 24


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with usable files, as the current one."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((ROWS, 3)), np.arange(ROWS) % 3
    table = np.column_stack([x, y])
    np.savetxt("good.csv", table, "%.6g", ",")
    np.savez("good.npz", X=x, y=y)
    write_csv("names.csv", table, header="a,b,c,kind", kinds=("cat", "dog", "eel"))
    write_csv("prices.csv", np.column_stack([x, x @ [1, 2, 3]]), header="a,b,c,price")
    Path("images.gz").write_bytes(gzip.compress(idx(np.zeros((ROWS, 2, 2), np.uint8))))
    Path("labels.gz").write_bytes(gzip.compress(idx((np.arange(ROWS) % 2).astype(np.uint8))))
    return tmp_path


def idx(array):
    sizes = struct.pack(f">{array.ndim}I", *array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes()


def write_csv(name, table, header, kinds=None):
    rows = [[f"{v:.6g}" for v in row] for row in table]
    for row in rows:
        if kinds:
            row[-1] = kinds[int(row[-1])]
    Path(name).write_text("\n".join([header, *map(",".join, rows)]) + "\n")


def edited(name, line, old, new, source="good.csv"):
    """A copy of a file with one change in the given line (from 1)."""
    lines = Path(source).read_text().splitlines()
    fields = lines[line - 1].split(",")
    fields[old] = new
    lines[line - 1] = ",".join(fields)
    Path(name).write_text("\n".join(lines) + "\n")


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def refused(folder, capsys, *argv):
    """Run a command that must be refused, and return its one line."""
    before = files(folder)
    status = main(argv)
    out, err = capsys.readouterr()
    assert status == 2
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("fastbp: error: ")
    assert "Traceback" not in err
    assert files(folder) == before, "nothing may be written"
    return err.removeprefix("fastbp: error: ").rstrip("\n")


# ---- training data --------------------------------------------------------------------------


@pytest.mark.parametrize(("cell", "message"), [
    ((7, 1, "abc"), "bad.csv, line 7, column 2: text 'abc'; wanted a number"),
    ((7, 1, ""), "bad.csv, line 7, column 2: empty; wanted a number; fill in or drop such rows"),
    ((9, 0, "nan"), "bad.csv, line 9, column 1: nan; wanted a finite number"),
    ((9, 2, "inf"), "bad.csv, line 9, column 3: inf; wanted a finite number"),
    ((5, 3, "-1"), "bad.csv, line 5, column 4: label -1 is negative"),
    ((5, 3, "1.5"), "bad.csv, line 5, column 4: label 1.5 is not a whole number"),
    ((5, 3, "nan"), "bad.csv, line 5, column 4: label nan"),
    ((5, 3, ""), "bad.csv, line 5, column 4: empty label"),
    ((5, 3, "cat"), "bad.csv, line 5, column 4: label 'cat' is text, but bad.csv, line 1, "),
    ((5, 3, "1,2"), "bad.csv, line 5: 5 columns; wanted 4, as in the first line"),
])
def test_one_bad_cell(folder, capsys, cell, message):
    edited("bad.csv", *cell)
    assert refused(folder, capsys, "train", "bad.csv", "--out", "run").startswith(message)


@pytest.mark.parametrize(("name", "content", "message"), [
    ("empty.csv", b"", "empty.csv: empty file, zero rows of data"),
    ("head.csv", b"a,b,c\n", "head.csv: zero rows of data"),
    ("one.csv", b"1,2,7\n3,4,7\n", "one.csv: every row has the label '7'; wanted at least two cl"),
    ("bytes.csv", b"\xff\xd8\xff\xe0", "bytes.csv: not a text file (byte 0xff)"),
    ("cut.csv.gz", gzip.compress(b"1,2\n" * 99)[:-9], "cut.csv.gz: damaged or truncated gzip"),
    ("text.npz", b"1,2,3", "text.npz: not a NumPy file"),
    ("cut.npy", b"\x93NUMPY\x01\x00v", "cut.npy: not a readable .npy file"),
    ("cut-idx3-ubyte", b"\0\0\x08\x03\0\0", "cut-idx3-ubyte: truncated in the IDX header"),
])
def test_bad_files(folder, capsys, name, content, message):
    Path(name).write_bytes(content)
    assert refused(folder, capsys, "train", name).startswith(message)


def test_missing_file(folder, capsys):
    assert refused(folder, capsys, "train", "no/such.csv") == "no/such.csv: no such file"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0,
                    reason="the superuser may read everything")
def test_unreadable_file(folder, capsys):
    Path("good.csv").chmod(0)
    assert refused(folder, capsys, "train", "good.csv") == (
        "good.csv: permission to read it is missing")


@pytest.mark.parametrize(("options", "message"), [
    (("good.npz", "--labels", "labels.gz"), "good.npz: holds targets itself"),
    (("images.gz",), "images.gz: holds no targets; wanted targets beside the features; pass"),
    (("images.gz", "--labels", "images.gz"), "images.gz: holds 3-dimensional data; wanted one la"),
    (("labels.gz", "--labels", "labels.gz"), "labels.gz: holds 1-dimensional data; wanted images"),
    (("names.csv", "--target", "sort"), "names.csv: no column named 'sort'; wanted one of 'a', "),
    (("good.csv", "--target", "9"), "good.csv: no column 9; wanted an index from -4 to 3"),
    (("names.csv", "--task", "regression"), "names.csv, line 2, column 4 (kind): text 'cat'; wa"),
    (("names.csv", "--no-header"), "names.csv, line 1, column 1: text 'a'; wanted a number"),
    (("prices.csv",), "prices.csv, line 2, column 4 (price): label"),
    (("prices.csv", "--task", "regression", "--target", "0", "--test", "names.csv"),
     "names.csv: no column named 'price'; wanted the columns of the training data"),
    (("good.csv", "--loss", "huber"), "--loss huber for a classification; wanted --task regres"),
    (("--target", "3"), "--target without a data file; wanted fastbp train DATA"),
    (("--test", "0.5"), "--test 0.5 with the bundled digits; wanted a file; their test part is"),
    (("good.csv", "--validation", "0", "--early-stopping", "3"),
     "--early-stopping 3 without validation data; wanted a validation loss to watch"),
    (("good.csv", "--validation", "0", "--schedule", "plateau"),
     "--schedule plateau without validation data"),
    (("good.csv", "--betas", "0.9,0.99", "--optimizer", "momentum"),
     "--betas with --optimizer momentum; wanted --optimizer adam or adamw"),
    (("prices.csv", "--task", "regression", "--label-smoothing", "0.1"),
     "--label-smoothing 0.1 for a regression; wanted --task classification"),
    (("good.csv", "--epochs", "5", "--warmup-epochs", "5"),
     "--warmup-epochs 5 with --epochs 5; wanted fewer epochs of rise than there are in all"),
    (("good.csv", "--out", "good.npz"), "--out good.npz: cannot be used as a folder"),
    (("good.csv", "--optimizer", "sgd", "--weight-decay", "1e400"), None),
])
def test_options_and_files_that_do_not_fit(folder, capsys, options, message):
    if message is None:
        with pytest.raises(SystemExit):
            main(["train", *options])
        return
    assert refused(folder, capsys, "train", *options).startswith(message)


# ---- test and validation data ---------------------------------------------------------------


@pytest.mark.parametrize("role", ["--test", "--validation"])
@pytest.mark.parametrize(("cell", "message"), [
    ((3, 3, "5"), "bad.csv, line 3, column 4: label '5' does not occur in the training data; want"),
    ((3, 3, "x"), "bad.csv, line 3, column 4: label 'x' is text"),
    ((4, 0, "x"), "bad.csv, line 4, column 1: text 'x'; wanted a number"),
    ((4, 0, "nan"), "bad.csv, line 4, column 1: nan; wanted a finite number"),
    ((4, 0, "1e300"), "bad.csv, line 4, column 1: 1e+300 is beyond float32"),
])
def test_bad_cells_elsewhere(folder, capsys, role, cell, message):
    edited("bad.csv", *cell)
    found = refused(folder, capsys, "train", "good.csv", role, "bad.csv", "--out", "run")
    assert found.startswith(message)


@pytest.mark.parametrize("role", ["--test", "--validation"])
@pytest.mark.parametrize(("content", "message"), [
    ("1,0\n", "other.csv: 1 features; wanted 3, as in the training data"),
    ("1,2,3,4,0\n", "other.csv: 4 features; wanted 3, as in the training data"),
    ("1,2,3\n", "other.csv: 3 columns, which are the features only; wanted 4 columns"),
    ("", "other.csv: empty file, zero rows of data"),
])
def test_other_numbers_of_columns(folder, capsys, role, content, message):
    Path("other.csv").write_text(content)
    assert refused(folder, capsys, "train", "good.csv", role, "other.csv").startswith(message)
    np.savez("wide.npz", X=np.zeros((2, 5)), y=[0, 1])
    assert refused(folder, capsys, "train", "good.csv", role, "wide.npz") == (
        "wide.npz: 5 features; wanted 3, as in the training data")


# ---- the command line itself ----------------------------------------------------------------


@pytest.mark.parametrize(("argv", "message"), [
    ((), "the following arguments are required: COMMAND"),
    (("fly",), "invalid choice: 'fly'"),
    (("train", "--epochs", "0"), "--epochs: '0' is not a whole number of 1 or more"),
    (("train", "--epochs", "x"), "--epochs: 'x' is not a whole number of 1 or more"),
    (("train", "--batch-size", "-3"), "--batch-size: '-3' is not a whole number of 1 or more"),
    (("train", "--seed", "-1"), "--seed: '-1' is not a whole number of 0 or more"),
    (("train", "--lr", "0"), "--lr: '0' is not a number above 0"),
    (("train", "--lr", "nan"), "--lr: 'nan' is not a number above 0"),
    (("train", "--weight-decay", "-1"), "--weight-decay: '-1' is not a number of 0 or more"),
    (("train", "--dropout", "1"), "--dropout: '1' is not a number from 0 to below 1"),
    (("train", "--validation", "1.5"), "--validation: '1.5' is not a number from 0 to below 1"),
    (("train", "--hidden", "64,,3"), "--hidden: '' is not a whole number of 1 or more"),
    (("train", "--hidden", "0"), "--hidden: '0' is not a whole number of 1 or more"),
    (("train", "--activation", "step"), "--activation: invalid choice: 'step'"),
    (("train", "--optimizer", "newton"), "--optimizer: invalid choice: 'newton'"),
    (("train", "--dtype", "float16"), "--dtype: invalid choice: 'float16'"),
    (("train", "--flag"), "unrecognized arguments: --flag"),
    (("predict", "model"), "the following arguments are required: DATA"),
])
def test_malformed_command_lines(folder, capsys, argv, message):
    with pytest.raises(SystemExit) as ending:
        main(argv)
    err = capsys.readouterr().err
    assert ending.value.code == 2
    assert err.count("\n") == 1
    assert err.startswith("fastbp: error: ")
    assert message in err
    assert files(folder) == sorted(["good.csv", "good.npz", "names.csv", "prices.csv",
                                    "images.gz", "labels.gz"])


@pytest.mark.parametrize("command", ["predict", "evaluate"])
@pytest.mark.parametrize(("name", "content"), [
    ("none.safetensors", None), ("junk.safetensors", b"junk"), ("empty.safetensors", b"")])
def test_models_that_cannot_be_read(folder, capsys, command, name, content):
    if content is not None:
        Path(name).write_bytes(content)
    assert name in refused(folder, capsys, command, name, "good.csv")


def test_a_whole_process_prints_one_line_and_no_traceback(folder):
    edited("bad.csv", 7, 1, "abc")
    result = subprocess.run([sys.executable, "-m", "fastbp", "train", "bad.csv"], text=True,
                            capture_output=True, timeout=120, check=False, env=ENVIRONMENT)
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr == ("fastbp: error: bad.csv, line 7, column 2: text 'abc'; wanted a "
                             "number; if the first line holds column names, pass --header\n")
    assert not Path("runs").exists()
