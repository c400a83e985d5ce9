"""Text tables: what is read, and that every error names file, line and column."""

import gzip

import numpy as np
import pytest

from fastbp._errors import DataError
from fastbp.data import Columns, read, read_csv, strata


@pytest.fixture
def write(tmp_path):
    def write(text, name="data.csv", encoding="utf-8"):
        path = tmp_path / name
        path.write_bytes(text.encode(encoding))
        return path

    return write


def assert_table(table, x, y, names=()):
    np.testing.assert_array_equal(table.x, x)
    assert table.x.dtype == np.float64
    assert table.y.tolist() == y
    assert table.feature_names == names


def test_header_is_found_where_no_cell_is_a_number(write):
    assert_table(read_csv(write("a,b,kind\n1,2,cat\n3.5,-4e1,dog\n")),
                 [[1, 2], [3.5, -40]], ["cat", "dog"], ("a", "b"))


def test_no_header_where_a_cell_is_a_number(write):
    assert_table(read_csv(write("1,2,cat\n3,4,dog\n")), [[1, 2], [3, 4]], ["cat", "dog"])


def test_header_of_numbers_must_be_announced(write):
    path = write("0,1,label\n1,2,0\n")
    assert_table(read_csv(path, header=True), [[1, 2]], ["0"], ("0", "1"))
    assert_table(read_csv(path, Columns("label")), [[1, 2]], ["0"], ("0", "1"))
    with pytest.raises(DataError, match="label 'label' is text"):
        strata(read_csv(path), "classification")


def test_header_of_text_can_be_denied(write):
    with pytest.raises(DataError, match=r"line 1, column 1: text 'a'.*pass --header"):
        read_csv(write("a,b\n1,2\n"), header=False)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_delimiters(write, delimiter):
    text = "a,b,t\n1,2,x\n3,4,y\n".replace(",", delimiter)
    assert_table(read_csv(write(text)), [[1, 2], [3, 4]], ["x", "y"], ("a", "b"))


def test_spaces_quotes_blank_lines_byte_order_mark_and_dos_line_ends(write):
    text = '\ufeff\r\n a , "b, c" ,t\r\n\r\n 1 , 2 , "x" \r\n\r\n3,4,y'
    table = read_csv(write(text))
    assert_table(table, [[1, 2], [3, 4]], ["x", "y"], ("a", "b, c"))
    assert table.positions.tolist() == [4, 6]


def test_line_numbers_count_lines_inside_quotes(write):
    table = read_csv(write('a,t\n1,"two\nlines"\n2,x\n'))
    assert table.positions.tolist() == [3, 4]


@pytest.mark.parametrize(("target", "features", "y"), [
    ("b", [[1, 3], [4, 6]], ["2", "5"]),
    (0, [[2, 3], [5, 6]], ["1", "4"]),
    ("0", [[2, 3], [5, 6]], ["1", "4"]),
    (-1, [[1, 2], [4, 5]], ["3", "6"]),
    ("-2", [[1, 3], [4, 6]], ["2", "5"]),
])
def test_target_by_name_or_index(write, target, features, y):
    table = read_csv(write("a,b,c\n1,2,3\n4,5,6\n"), Columns(target))
    np.testing.assert_array_equal(table.x, features)
    assert table.y.tolist() == y


def test_without_target_all_columns_are_features(write):
    table = read_csv(write("1,2\n3,4\n"), Columns(None))
    assert table.y is None
    assert table.features == 2


def test_gzip_is_recognised_by_content(tmp_path):
    path = tmp_path / "data.csv"
    path.write_bytes(gzip.compress(b"1,2\n3,4\n"))
    assert_table(read(path), [[1], [3]], ["2", "4"])


def test_columns_of_a_model_are_found_by_name_in_any_order(write):
    rule = Columns("kind", ("a", "b"), width=2)
    table = read_csv(write("kind,extra,b,a\nx,9,2,1\n"), rule)
    assert_table(table, [[1, 2]], ["x"], ("a", "b"))
    assert table.place(0, 1).endswith("line 2, column 3 (b)")
    assert table.target_place(0).endswith("line 2, column 1 (kind)")


def test_columns_of_a_model_without_names_by_position(write):
    rule = Columns(-1, (), width=2, target_required=False)
    assert_table(read_csv(write("1,2,x\n"), rule), [[1, 2]], ["x"])
    assert read_csv(write("1,2\n"), rule).y is None


@pytest.mark.parametrize(("text", "columns", "message"), [
    ("", None, "data.csv: empty file, zero rows of data; wanted at least one row"),
    ("\n\n", None, "data.csv: empty file, zero rows of data"),
    ("a,b\n", None, "data.csv: zero rows of data; wanted at least one row"),
    ("t\n1\n2\n", None, "data.csv: no feature columns"),
    ("1,2,3\n4,x,6\n", None, "data.csv, line 2, column 2: text 'x'; wanted a number"),
    ("a,b,c\n1,2,3\n4,x,6\n", None, "data.csv, line 3, column 2 (b): text 'x'; wanted a number"),
    ("a,b,c\n1,2,3\n4,1_0,6\n", None, "line 3, column 2 (b): text '1_0'"),
    ("a,b,c\n1,,3\n", None, "data.csv, line 2, column 2 (b): empty; wanted a number; fill in"),
    ("a,b,c\n1,NA,3\n", None, "line 2, column 2 (b): 'NA' stands for a missing value"),
    ("a,b,c\n1,nan,3\n", None, "line 2, column 2 (b): nan; wanted a finite number"),
    ("a,b,c\n1,2,3\n-inf,2,3\n", None, "line 3, column 1 (a): -inf; wanted a finite number"),
    ("a,b,c\n1,1e999,3\n", None, "line 2, column 2 (b): inf; wanted a finite number"),
    ("1,2,3\n4,5\n", None, "data.csv, line 2: 2 columns; wanted 3, as in the first line"),
    ("1,2,3\n\n4,5,6,7\n", None, "data.csv, line 3: 4 columns; wanted 3"),
    ("a,b,c\n1,2,3\n", Columns("d"), "data.csv: no column named 'd'; wanted one of 'a', 'b', 'c'"),
    ("1,2,3\n", Columns("d"), "data.csv: no column named 'd'; wanted an index"),
    ("1,2,3\n", Columns(3), "data.csv: no column 3; wanted an index from -3 to 2"),
    ("1,2,3\n", Columns(-1, (), 3), "3 columns, which are the features only; wanted 4 columns"),
    ("1,2,3\n", Columns(-1, (), 5), "data.csv: 2 features; wanted 5, as in the training data"),
    ("a,c\n1,2\n", Columns("t", ("a", "b"), 2), "data.csv: no column named 'b'; wanted the col"),
    ("a,b\n1,2\n", Columns("t", ("a", "b"), 2), "data.csv: no column named 't', the target"),
    ("1,2,\n3,4,\n", Columns(0), "data.csv, line 1, column 3: empty"),
])
def test_errors_say_what_and_where(write, text, columns, message):
    with pytest.raises(DataError) as error:
        read_csv(write(text), columns)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_long_cells_are_shortened(write):
    with pytest.raises(DataError) as error:
        read_csv(write(f"1,2\n{'x' * 5000},2\n"))
    assert len(str(error.value).split("data.csv")[1]) < 200


@pytest.mark.parametrize("content", [b"\xff\xfe1,2\n", "1,é\n".encode("latin-1")])
def test_binary_data_is_not_text(tmp_path, content):
    path = tmp_path / "data.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"data\.csv: not a text file \(byte 0x"):
        read(path)


def test_one_cell_beyond_the_csv_module(write):
    with pytest.raises(DataError, match=r"data\.csv, line 2: field larger than field limit"):
        read(write("1,2\n" + "9" * 200_000 + ",1\n"))


def test_missing_file_folder_and_truncated_gzip(tmp_path):
    with pytest.raises(DataError, match=r"nowhere\.csv: no such file$"):
        read(tmp_path / "nowhere.csv")
    with pytest.raises(DataError, match="is a folder; wanted a data file"):
        read(tmp_path)
    path = tmp_path / "cut.csv.gz"
    path.write_bytes(gzip.compress(b"1,2\n" * 1000)[:-12])
    with pytest.raises(DataError, match=r"cut\.csv\.gz: damaged or truncated gzip file"):
        read(path)


def test_wide_rows_and_many_rows_keep_their_numbers(write):
    values = np.random.default_rng(0).standard_normal((300, 41))
    text = "\n".join(",".join(map(repr, row)) for row in values.tolist())
    table = read_csv(write(text))
    np.testing.assert_array_equal(table.x, values[:, :-1])
    assert [float(v) for v in table.y] == values[:, -1].tolist()
