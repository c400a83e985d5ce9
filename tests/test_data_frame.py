"""Data frames by the names of their columns."""

from __future__ import annotations

import numpy as np
import pytest

from fastbp import DataError
from fastbp.data import Columns, fit_preparation, from_frame
from fastbp.data._frame import frame_matrix

COLUMNS = {"width": [1.5, 2.5, 3.5], "height": [1, 2, 3], "colour": ["red", "blue", "red"]}


@pytest.fixture(params=["pandas", "polars"])
def frame(request):
    return pytest.importorskip(request.param).DataFrame(COLUMNS)


def test_columns_are_chosen_by_name(frame):
    table = from_frame(frame, Columns("colour"))
    assert table.feature_names == ("width", "height")
    assert table.target_name == "colour"
    assert np.array_equal(table.x, [[1.5, 1], [2.5, 2], [3.5, 3]])
    preparation = fit_preparation(table, "classification")
    assert preparation.targets(table, "float32").tolist() == [1, 0, 1]
    other = from_frame(frame, Columns("colour", features=("height",)))
    assert np.array_equal(other.x, [[1], [2], [3]])


def test_a_wrong_column_is_named(frame):
    with pytest.raises(DataError, match=r"no column named 'colr'; wanted one of 'width', 'height'"):
        from_frame(frame, Columns("colr"))
    with pytest.raises(DataError, match=r"data frame, column 'colour': 'red'; wanted numbers"):
        from_frame(frame, Columns("width"))
    with pytest.raises(DataError, match="column 'colour'"):
        frame_matrix(frame)
    assert frame_matrix(frame, without="colour").dtype == np.float64


def test_values_that_are_missing_are_named_with_their_row(frame):
    module = type(frame).__module__.split(".")[0]
    import importlib

    frames = importlib.import_module(module)
    holes = frames.DataFrame({"a": [1.0, None, 3.0], "y": [0, 1, 0]})
    with pytest.raises(DataError, match=r"line 1, column 1 \(a\)"):
        from_frame(holes, Columns("y"))


def test_nullable_and_boolean_columns_are_numbers():
    pandas = pytest.importorskip("pandas")
    nullable = pandas.array([1, 2], "Int64")
    frame = pandas.DataFrame({"a": nullable, "b": [True, False], 3: [0.5, 1.5]})
    assert np.array_equal(frame_matrix(frame), [[1, 1, 0.5], [2, 0, 1.5]])
