"""NumPy and IDX files, and separate files of labels."""

import gzip
import struct

import numpy as np
import pytest

from fastbp._errors import DataError
from fastbp.data import Columns, has_part, read, read_idx, read_npy, read_npz

X = np.arange(12, dtype=np.float32).reshape(4, 3)
Y = np.array([0, 1, 1, 0])
IMAGES = (np.arange(2 * 3 * 4, dtype=np.uint8) * 10).reshape(2, 3, 4)


def idx_bytes(array, kind=0x08):
    return (bytes([0, 0, kind, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
            + array.astype(array.dtype.newbyteorder(">")).tobytes())


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


# ---- .npy and .npz --------------------------------------------------------------------------


def test_npy_last_column_is_the_target(folder):
    np.save("a.npy", np.column_stack([X, Y]))
    table = read("a.npy")
    np.testing.assert_array_equal(table.x, X)
    np.testing.assert_array_equal(table.y, Y)


def test_npy_other_target_and_place(folder):
    np.save("a.npy", np.column_stack([Y, X]))
    table = read_npy("a.npy", Columns(0))
    np.testing.assert_array_equal(table.y, Y)
    assert table.target_column == 1
    assert table.place(2, 1) == "a.npy, the array[2, 1]"


@pytest.mark.parametrize("keys", [("X", "y"), ("x", "y"), ("x_train", "y_train"),
                                  ("X_train", "y_train")])
def test_npz_keys(folder, keys):
    np.savez("a.npz", **dict(zip(keys, (X, Y), strict=True)))
    table = read_npz("a.npz", "train")
    np.testing.assert_array_equal(table.x, X)
    np.testing.assert_array_equal(table.y, Y)


def test_npz_parts(folder):
    np.savez_compressed("a.npz", x_train=X, y_train=Y, x_test=X[:2], y_test=Y[:2])
    assert read("a.npz", part="test").rows == 2
    assert has_part("a.npz", "test")
    assert not has_part("a.npz", "validation")
    with pytest.raises(DataError, match="keys found: x_train, y_train, x_test, y_test; wanted X"):
        read("a.npz", part="validation")


def test_npz_without_targets(folder):
    np.savez("a.npz", X=X)
    assert read("a.npz").y is None


def test_gzipped_npy_and_npz(folder):
    np.save("a.npy", np.column_stack([X, Y]))
    np.savez("a.npz", X=X, y=Y)
    for name in ("a.npy", "a.npz"):
        (folder / f"{name}.gz").write_bytes(gzip.compress((folder / name).read_bytes()))
        np.testing.assert_array_equal(read(f"{name}.gz").x, X)


def test_images_are_flattened_and_bytes_are_pixels(folder):
    np.savez("a.npz", X=IMAGES, y=[0, 1])
    table = read("a.npz")
    np.testing.assert_array_equal(table.x, IMAGES.reshape(2, 12))
    assert table.pixels
    np.savez("b.npz", X=IMAGES.astype(np.float32), y=[0, 1])
    assert not read("b.npz").pixels


def test_targets_of_one_column_and_of_text(folder):
    np.savez("a.npz", X=X, y=Y[:, None])
    assert read("a.npz").y.shape == (4,)
    np.savez("b.npz", X=X, y=np.array(["no", "yes", "yes", "no"]))
    assert read("b.npz").y.tolist() == ["no", "yes", "yes", "no"]


@pytest.mark.parametrize(("arrays", "message"), [
    ({"data": X, "target": Y}, "a.npz: keys found: data, target; wanted X and y, x and y, or "),
    ({}, "a.npz: keys found: none"),
    ({"X": X, "y": Y[:3]}, "a.npz: 4 rows in X but 3 in y; wanted one target a row"),
    ({"X": X[:0], "y": Y[:0]}, "a.npz: zero rows of data"),
    ({"X": X[:, :0], "y": Y}, "a.npz: no feature columns"),
    ({"X": X[:, 0], "y": Y}, "a.npz: X has shape (4,); wanted shape (rows, features)"),
    ({"X": X, "y": Y[:, None, None]}, "a.npz: y has shape (4, 1, 1)"),
    ({"X": X.astype("U"), "y": Y}, "a.npz: X holds <U32; wanted real numbers"),
    ({"X": X + 1j, "y": Y}, "a.npz: X holds complex64; wanted real numbers"),
    ({"X": np.where(X == 7, np.nan, X), "y": Y}, "a.npz, X[2, 1]: nan; wanted a finite number"),
    ({"X": np.where(X == 5, -np.inf, X), "y": Y}, "a.npz, X[1, 2]: -inf; wanted a finite number"),
    ({"X": np.array([[object()]]), "y": Y}, "a.npz: array 'X' cannot be read (Object arrays"),
])
def test_npz_errors(folder, arrays, message):
    np.savez("a.npz", **arrays)
    with pytest.raises(DataError) as error:
        read("a.npz")
    assert message in str(error.value)


@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
def test_files_that_are_not_what_they_say(folder, name):
    (folder / name).write_text("1,2\n")
    with pytest.raises(DataError, match=rf"{name}: not a NumPy file"):
        read(name)


@pytest.mark.parametrize("keep", [8, 60, 140])
def test_truncated_npy(folder, keep):
    np.save("a.npy", np.column_stack([X, Y]))
    (folder / "a.npy").write_bytes((folder / "a.npy").read_bytes()[:keep])
    with pytest.raises(DataError, match=r"a\.npy: not a readable \.npy file"):
        read("a.npy")


def test_truncated_npz(folder):
    np.savez("a.npz", X=X, y=Y)
    (folder / "a.npz").write_bytes((folder / "a.npz").read_bytes()[:-30])
    with pytest.raises(DataError, match=r"a\.npz: not a readable \.npz file"):
        read("a.npz")


def test_damaged_member_of_npz(folder):
    np.savez("a.npz", X=X, y=Y)
    content = bytearray((folder / "a.npz").read_bytes())
    place = content.index(X.tobytes())
    content[place] ^= 1
    (folder / "a.npz").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.npz: array 'X' cannot be read"):
        read("a.npz")


def test_npy_of_images_needs_a_file_of_labels(folder):
    np.save("a.npy", IMAGES)
    np.save("l.npy", Y[:2])
    with pytest.raises(DataError, match=r"a\.npy: an array of shape \(2, 3, 4\).*--labels"):
        read("a.npy")
    assert read("a.npy", labels="l.npy").y.tolist() == [0, 1]


# ---- IDX ------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_idx_images_and_labels(folder, suffix):
    pack = gzip.compress if suffix else bytes
    (folder / f"i-idx3-ubyte{suffix}").write_bytes(pack(idx_bytes(IMAGES)))
    (folder / f"l-idx1-ubyte{suffix}").write_bytes(pack(idx_bytes(np.array([3, 9], np.uint8))))
    for table in (read_idx(f"i-idx3-ubyte{suffix}", f"l-idx1-ubyte{suffix}"),
                  read(f"i-idx3-ubyte{suffix}", labels=f"l-idx1-ubyte{suffix}")):
        assert table.x.dtype == np.float32
        np.testing.assert_array_equal(table.x, IMAGES.reshape(2, 12) / np.float32(255))
        assert table.y.tolist() == [3, 9]
        assert table.pixels


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_idx_images_of_several_blocks(folder, suffix):
    images = np.random.default_rng(0).integers(0, 256, (1001, 27, 29), np.uint8)
    content = idx_bytes(images)
    (folder / "i").write_bytes(gzip.compress(content) if suffix else content)
    np.testing.assert_array_equal(read("i").x, images.reshape(1001, -1) / np.float32(255))


def test_idx_images_that_do_not_fit_into_memory(folder, monkeypatch):
    def refuse(count, dtype):
        if dtype == np.float32 and count:
            raise MemoryError
        return plain(count, dtype)

    plain = np.empty
    (folder / "i").write_bytes(idx_bytes(IMAGES))
    monkeypatch.setattr(np, "empty", refuse)
    with pytest.raises(DataError, match="i: 24 pixels as float32 do not fit into memory"):
        read("i")


def test_idx_without_labels(folder):
    (folder / "i").write_bytes(idx_bytes(IMAGES))
    assert read("i").y is None


@pytest.mark.parametrize(("kind", "dtype"), [(0x09, "i1"), (0x0B, "i2"), (0x0C, "i4"),
                                             (0x0D, "f4"), (0x0E, "f8")])
def test_idx_number_types(folder, kind, dtype):
    values = np.array([[-3, 2], [100, -7]], dtype)
    (folder / "i").write_bytes(idx_bytes(values, kind))
    table = read("i")
    np.testing.assert_array_equal(table.x, values)
    assert table.x.dtype == np.dtype(dtype)


@pytest.mark.parametrize(("content", "message"), [
    (idx_bytes(IMAGES)[:-1], "i: 23 bytes of numbers; wanted 24 bytes, as the header says shape"),
    (idx_bytes(IMAGES) + b"x", "i: 25 bytes of numbers; wanted 24 bytes"),
    (idx_bytes(IMAGES)[:9], "i: truncated in the IDX header"),
    (b"\0\0\x08\x03" + b"\xff" * 12, "i: 0 bytes of numbers; wanted"),
    (idx_bytes(np.array([1, 2], np.uint8)), "i: holds 1-dimensional data; wanted images; is this"),
    (idx_bytes(IMAGES[:0]), "i: zero rows of data"),
])
def test_idx_errors(folder, content, message):
    (folder / "i").write_bytes(content)
    with pytest.raises(DataError) as error:
        read("i")
    assert message in str(error.value)


def test_a_text_file_that_calls_itself_idx(folder):
    (folder / "t-idx3-ubyte").write_text("1,2\n")
    with pytest.raises(DataError, match="t-idx3-ubyte: not an IDX file"):
        read("t-idx3-ubyte")


# ---- damage ---------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:Reading `.npy` or `.npz` file required additional header")
@pytest.mark.parametrize("kind", ["npy", "npz", "compressed npz", "idx", "idx.gz", "csv"])
def test_damaged_files_raise_data_errors_only(folder, kind):
    table = np.column_stack([X, Y])
    if kind == "npy":
        np.save("a", table)
    elif "npz" in kind:
        (np.savez if kind == "npz" else np.savez_compressed)("a", X=X, y=Y)
    elif kind == "csv":
        np.savetxt("a.csv", table, delimiter=",")
    else:
        pack = gzip.compress if kind == "idx.gz" else bytes
        (folder / "a.idx").write_bytes(pack(idx_bytes(IMAGES)))
    (path,) = folder.iterdir()
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    messages = []
    for _ in range(300):
        content = bytearray(whole)
        for place in rng.integers(0, min(len(content), 200), rng.integers(1, 4)):
            content[place] = rng.integers(0, 256)
        path.write_bytes(content[: rng.integers(1, len(content) + 1)])
        try:
            read(path)
        except DataError as error:
            messages.append(str(error))
    assert len(messages) > 200
    assert all(path.name in message and "\n" not in message for message in messages)


# ---- separate labels ------------------------------------------------------------------------


def test_labels_from_text(folder):
    (folder / "x.csv").write_text("a,b\n1,2\n3,4\n")
    (folder / "l.txt").write_text("cat\ndog\n\n")
    table = read("x.csv", labels="l.txt")
    assert table.feature_names == ("a", "b")
    assert table.y.tolist() == ["cat", "dog"]
    assert table.target_place(1) == "l.txt, label 1 (counting from 0)"


def test_labels_of_another_length(folder):
    (folder / "x.csv").write_text("1,2\n3,4\n")
    (folder / "l.txt").write_text("cat\n")
    with pytest.raises(DataError, match=r"x\.csv: 2 rows in X but 1 in l\.txt"):
        read("x.csv", labels="l.txt")


def test_labels_exchanged_with_images(folder):
    (folder / "i").write_bytes(idx_bytes(IMAGES))
    with pytest.raises(DataError, match=r"i: holds 3-dimensional data.*exchanged"):
        read("i", labels="i")


def test_labels_twice(folder):
    np.savez("a.npz", X=X, y=Y)
    np.save("l.npy", Y)
    with pytest.raises(DataError, match=r"a\.npz: holds targets itself"):
        read("a.npz", labels="l.npy")
    np.save("x.npy", X)
    with pytest.raises(DataError, match=r"a\.npz: an \.npz archive"):
        read("x.npy", labels="a.npz")
