"""Labels, targets, standardisation, splitting, and the record kept in a model."""

import json

import numpy as np
import pytest

from fastbp._errors import CheckpointError, DataError
from fastbp.data import (
    Table,
    fit_preparation,
    fit_scaler,
    hold_out,
    preparation_of,
    strata,
    stratified_split,
)
from fastbp.datasets import load_digits


def table(x, y, **more):
    x = np.asarray(x, dtype=more.pop("dtype", np.float64))
    return Table(x, None if y is None else np.asarray(y), "d.npz", np.arange(len(x)), **more)


def labelled(y):
    return table(np.arange(len(y), dtype=float)[:, None], y)


# ---- labels ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("labels", "classes", "codes"), [
    ([2, 0, 1, 10, 2], ("0", "1", "2", "10"), [2, 0, 1, 3, 2]),
    ([1.0, 0.0, 1.0], ("0", "1"), [1, 0, 1]),
    ([True, False, True], ("0", "1"), [1, 0, 1]),
    (["10", "9", "9.0", "09"], ("9", "10"), [1, 0, 0, 0]),
    (["dog", "cat", "dog"], ("cat", "dog"), [1, 0, 1]),
])
def test_labels_become_codes_and_names(labels, classes, codes):
    data = labelled(labels)
    preparation = fit_preparation(data, "classification")
    assert preparation.classes == classes
    assert preparation.outputs == len(classes)
    targets = preparation.targets(data, "float32")
    assert targets.dtype == np.int64
    assert targets.tolist() == codes
    logits = np.eye(len(classes))[codes]
    assert preparation.answers(logits).tolist() == [classes[code] for code in codes]


@pytest.mark.parametrize(("labels", "message"), [
    ([0, 1, -1], "d.npz, y[2]: label -1 is negative; wanted a class; number the classes"),
    ([0, 1, 0.5], "d.npz, y[2]: label 0.5 is not a whole number; wanted a class"),
    ([0, np.nan, 1], "d.npz, y[1]: label nan; wanted a class; fill in"),
    ([0, 1, 1e300], "d.npz, y[2]: label 1e+300 is too large"),
    (["0", "1", "2.5"], "d.npz, y[2]: label 2.5 is not a whole number"),
    (["0", "1", "-2"], "d.npz, y[2]: label -2 is negative"),
    (["0", "1", "x1"], "d.npz, y[2]: label 'x1' is text, but d.npz, y[0] has the number '0'"),
    (["a", "", "b"], "d.npz, y[1]: empty label"),
    ([3, 3, 3], "d.npz: every row has the label '3'; wanted at least two classes"),
    (["a", "a"], "d.npz: every row has the label 'a'; wanted at least two classes"),
    (list(range(100)), "d.npz: 100 different labels in 100 rows; wanted classes with several"),
    ([[0, 1], [1, 0]], "d.npz: y has shape (2, 2); wanted one label a row"),
])
def test_labels_that_cannot_be_used(labels, message):
    with pytest.raises(DataError) as error:
        fit_preparation(labelled(labels), "classification")
    assert message in str(error.value)
    with pytest.raises(DataError) as same:
        strata(labelled(labels), "classification")
    assert str(same.value) == str(error.value)


def test_label_that_training_data_lack():
    preparation = fit_preparation(labelled([0, 1, 1]), "classification")
    with pytest.raises(DataError) as error:
        preparation.targets(labelled([1, 0, 7]), "float32")
    assert "d.npz, y[2]: label '7' does not occur in the training data" in str(error.value)
    assert "one of 2 classes: 0, 1" in str(error.value)


# ---- regression targets ---------------------------------------------------------------------


def test_targets_are_standardised_and_come_back():
    data = labelled(["1.5", "2.5", "6.5"])
    preparation = fit_preparation(data, "regression")
    z = preparation.targets(data, "float64")
    assert z.shape == (3, 1)
    np.testing.assert_allclose([z.mean(), z.std()], [0, 1], atol=1e-15)
    np.testing.assert_allclose(preparation.answers(z)[:, 0], [1.5, 2.5, 6.5], rtol=1e-15)


def test_several_targets():
    data = labelled(np.array([[1.0, 10.0], [2.0, 30.0], [3.0, 20.0]]))
    preparation = fit_preparation(data, "regression")
    assert preparation.outputs == 2
    np.testing.assert_allclose(preparation.answers(preparation.targets(data, "float64")), data.y)
    with pytest.raises(DataError, match=r"d\.npz: 1 targets a row; wanted 2"):
        preparation.targets(labelled([1.0, 2.0]), "float32")


@pytest.mark.parametrize(("targets", "message"), [
    ([1.0, np.inf], "d.npz, y[1]: inf; wanted a finite number"),
    (["1", "nan"], "d.npz, y[1]: nan; wanted a finite number"),
    (["1", "cheap"], "d.npz, y[1]: text 'cheap'; wanted a number; for classes pass"),
    ([2.0, 2.0], "d.npz: every target is 2; wanted targets that differ"),
    (None, "d.npz: holds no targets; wanted targets; pass their file with --labels"),
])
def test_targets_that_cannot_be_used(targets, message):
    data = table([[1.0], [2.0]], targets)
    with pytest.raises(DataError) as error:
        fit_preparation(data, "regression")
    assert message in str(error.value)


# ---- standardisation ------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [2, 21844, 21845, 21846])
def test_columns_get_mean_0_and_deviation_1(rows):
    """Around the number of rows of a block, 2**16 // 3, too."""
    rng = np.random.default_rng(rows)
    x = rng.normal([5.0, -1e6, 0.0], [2.0, 1e-2, 1e-9], (rows, 3))
    z = fit_scaler(x).apply(x, "float64")
    # Bound: 4 roundings of x itself, each eps * |mean| / deviation = 2.2e-8 in the second column.
    np.testing.assert_allclose(z.mean(axis=0), 0, atol=1e-7)
    np.testing.assert_allclose(z.std(axis=0), 1, rtol=1e-7)


def test_large_offsets_survive_float32():
    seconds = 1.7e9 + np.arange(100.0)[:, None]  # float32 steps are 128 here
    z = fit_scaler(seconds).apply(seconds, "float32")
    assert len(np.unique(z)) == 100


def test_constant_columns_become_zero():
    x = np.column_stack([np.full(10, 0.1), np.zeros(10), np.arange(10.0)])
    z = fit_scaler(x).apply(x, "float32")
    np.testing.assert_allclose(z[:, :2], 0, atol=1e-15)
    assert np.isfinite(z).all()


def test_pixels_share_one_scale_and_columns_do_not():
    x = np.array([[0, 100], [10, 200], [20, 0]], np.uint8)
    pixels = fit_preparation(table(x, [0, 1, 1], dtype=np.uint8, pixels=True), "classification")
    assert pixels.inputs_scaler.mean.shape == (1,)
    z = pixels.inputs(table(x, None, dtype=np.uint8), "float64")
    np.testing.assert_allclose([z.mean(), z.std()], [0, 1], atol=1e-15)
    columns = fit_preparation(table(x, [0, 1, 1], dtype=np.uint8), "classification")
    assert columns.inputs_scaler.mean.shape == (2,)


def test_scaling_can_be_chosen():
    data = table([[1.0, 20.0], [3.0, 40.0]], [0, 1])
    assert fit_preparation(data, "classification", "all").inputs_scaler.mean.tolist() == [16.0]
    none = fit_preparation(data, "classification", "none")
    np.testing.assert_array_equal(none.inputs(data, "float64"), data.x)


def test_values_beyond_the_dtype_are_refused_with_their_place():
    preparation = fit_preparation(table([[1.0], [2.0]], [0, 1]), "classification")
    with pytest.raises(DataError) as error:
        preparation.inputs(table([[1.0], [1e300]], None), "float32")
    assert "d.npz, X[1, 0]: 1e+300 is beyond float32" in str(error.value)


def test_values_too_large_to_standardise_are_refused():
    with pytest.raises(DataError) as error:
        fit_preparation(table([[1.0, 1.0], [2.0, 1e300]], [0, 1]), "classification")
    assert "d.npz, X[1, 1]: 1e+300 is too large to standardise" in str(error.value)


def test_another_number_of_features():
    preparation = fit_preparation(table([[1.0], [2.0]], [0, 1]), "classification")
    with pytest.raises(DataError, match=r"d\.npz: 2 features; wanted 1, as in the training data"):
        preparation.inputs(table([[1.0, 2.0]], None), "float32")


# ---- the record -----------------------------------------------------------------------------


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_record_keeps_every_bit(task):
    rng = np.random.default_rng(0)
    data = table(rng.standard_normal((20, 3)), np.arange(20) % 4,
                 feature_names=("a", "b", "c"), target_name="t", columns=(1, 2, 3))
    preparation = fit_preparation(data, task)
    metadata = preparation.to_metadata()
    assert all(isinstance(text, str) for pair in metadata.items() for text in pair)
    again = preparation_of(metadata, "m")
    assert again.to_metadata() == metadata
    for dtype in ("float32", "float64"):
        np.testing.assert_array_equal(again.inputs(data, dtype), preparation.inputs(data, dtype))
    assert again.columns(target_required=True) == preparation.columns(target_required=True)
    assert again.classes == preparation.classes
    assert again.target == "t"


def test_a_model_without_record_or_with_a_damaged_one():
    with pytest.raises(CheckpointError, match="m: does not say how its inputs were prepared"):
        preparation_of({}, "m")
    record = json.loads(fit_preparation(labelled([0, 1]), "classification")
                        .to_metadata()["preparation"])
    del record["classes"]
    for text in ("{", "[]", "{}", json.dumps(record)):
        with pytest.raises(CheckpointError, match="m: damaged record"):
            preparation_of({"preparation": text}, "m")


# ---- splitting ------------------------------------------------------------------------------


def test_digits():
    x, y = load_digits()
    assert x.shape == (1797, 64)
    assert x.dtype == np.float32
    assert (x.min(), x.max()) == (0.0, 1.0)
    np.testing.assert_array_equal(x * 16, np.round(x * 16))
    assert y.shape == (1797,)
    assert y.dtype == np.int64
    # The counts that the repository publishes for this part of the data.
    assert np.bincount(y).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


def test_split_is_stratified_complete_and_reproducible():
    _, y = load_digits()
    parts = stratified_split(y, validation=0.1, test=0.2, seed=3)
    assert sorted(np.concatenate(parts)) == list(range(len(y)))
    for part, fraction in zip(parts, (0.7, 0.1, 0.2), strict=True):
        assert abs(len(part) - fraction * len(y)) <= 1
        assert (np.abs(np.bincount(y[part]) - fraction * np.bincount(y)) <= 2).all()
        assert (np.diff(part) > 0).all()
    for one, other in zip(parts, stratified_split(y, seed=3), strict=True):
        np.testing.assert_array_equal(one, other)
    assert not np.array_equal(parts[2], stratified_split(y, seed=4)[2])


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.9])
def test_no_class_is_held_out_entirely(fraction):
    y = np.array([0] * 50 + [1] * 3 + [2])
    kept, held = hold_out(y, fraction, seed=0)
    assert set(y[kept]) == {0, 1, 2}
    assert len(held) == min(round(fraction * len(y)), len(y) - 3)


def test_fractions_out_of_range():
    y = np.arange(10) % 2
    assert [len(part) for part in hold_out(y, 0.0, 0)] == [10, 0]
    for fraction in (1.0, -0.1, np.nan):
        with pytest.raises(DataError, match="at least 0 and less than 1"):
            hold_out(y, fraction, 0)
    with pytest.raises(DataError, match="leaves no row to test with"):
        hold_out(y, 0.01, 0)
    with pytest.raises(DataError, match="a sum less than 1"):
        stratified_split(y, validation=0.5, test=0.5)
