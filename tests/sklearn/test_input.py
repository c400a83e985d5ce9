"""Checks that are passed over: only where scikit-learn's would change and say nothing."""

from __future__ import annotations

import contextlib
import itertools

import numpy as np
import pytest
from sklearn.exceptions import DataConversionWarning
from sklearn.preprocessing import LabelBinarizer

from fastbp.sklearn import MLPClassifier, MLPRegressor, _input, _labels
from fastbp.sklearn._order import shuffler

SETTINGS = {"hidden_layer_sizes": (4,), "max_iter": 1, "random_state": 0}
pytestmark = pytest.mark.filterwarnings("ignore:Stochastic Optimizer")


@pytest.fixture
def asked(monkeypatch):
    """Which arrays scikit-learn's own check is asked about."""
    calls, check = [], _input.validate_data

    def ask(estimator, *arrays, **options):
        calls.append(arrays)
        return check(estimator, *arrays, **options)

    monkeypatch.setattr(_input, "validate_data", ask)
    return calls


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_plain_arrays_pass(dtype, asked, rng):
    x, y = rng.standard_normal((30, 3)).astype(dtype), rng.integers(0, 3, 30)
    for order in (x, np.asfortranarray(x), np.repeat(x, 2, axis=0)[::2]):
        model = MLPClassifier(**SETTINGS).fit(order, y)
        assert model.n_features_in_ == 3
        model.predict(order)
    MLPRegressor(**SETTINGS).fit(x, x[:, 0]).predict(x)
    assert not asked


@pytest.mark.parametrize("change", [
    lambda x, y: (x.tolist(), y), lambda x, y: (x, y.tolist()), lambda x, y: (x.astype(int), y),
    lambda x, y: (x.astype(">f8"), y), lambda x, y: (x, y[:, None]),
    lambda x, y: (x, y.astype(str)), lambda x, y: (x.view(np.memmap), y),
    lambda x, y: (np.where(x > 2, np.inf, x), y), lambda x, y: (np.where(x > 2, np.nan, x), y),
    lambda x, y: (x[:, :0], y), lambda x, y: (x[:0], y[:0]), lambda x, y: (x[1:], y),
    lambda x, y: (x[0], y), lambda x, y: (x.astype("float16"), y), lambda x, y: (x, None),
])
def test_all_else_is_asked_about(change, asked, rng):
    x, y = rng.standard_normal((60, 3)), rng.integers(0, 3, 60)
    x[0, 0] = 3.0
    with contextlib.suppress(ValueError, DataConversionWarning):
        MLPClassifier(**SETTINGS).fit(*change(x, y))
    assert len(asked) == 1


def test_names_and_numbers_of_features_are_compared(asked, rng):
    pandas = pytest.importorskip("pandas")
    x, y = rng.standard_normal((30, 3)), rng.integers(0, 3, 30)
    model = MLPClassifier(**SETTINGS).fit(pandas.DataFrame(x, columns=list("abc")), y)
    with pytest.warns(UserWarning, match="valid feature names"):
        model.predict(x)
    model.fit(x, y)
    assert not hasattr(model, "feature_names_in_")
    with pytest.raises(ValueError, match="X has 2 features, but MLPClassifier is expecting 3"):
        model.predict(x[:, :2])
    assert len(asked) == 3


def test_large_numbers_are_finite(rng):
    """Their sum is not."""
    x, y = np.full((30, 3), 3e38, np.float32), rng.integers(0, 3, 30)
    model = MLPClassifier(**SETTINGS, learning_rate_init=1e-30)
    _input.checked(model, x, y, reset=True, multi_output=True, dtype=_input.DTYPES)
    assert model.n_features_in_ == 3


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_many_numbers_are_finite(dtype, monkeypatch, rng):
    """By all threads."""
    monkeypatch.setattr(_input, "MANY", 1)
    for shape in ((1, 1), (3, 5), (200, 100), (50, 1001)):
        x = rng.standard_normal(shape).astype(dtype)
        assert _input._are_finite(x)
        for place, wrong in itertools.product((0, x.size // 2, x.size - 1), (np.nan, -np.inf)):
            bad = x.copy()
            bad.flat[place] = wrong
            assert not _input._are_finite(bad)
    assert _input._are_finite(np.full((300, 300), np.finfo(np.float32).max, np.float32))


def test_parameters_pass_once_by_value_and_type():
    _input._passed.clear()
    models = [MLPClassifier(alpha=1), MLPClassifier(alpha=1.0), MLPClassifier(alpha=True),
              MLPRegressor(alpha=1), MLPClassifier(alpha=1, hidden_layer_sizes=(1,))]
    for known, model in enumerate(models):
        assert not _input.parameters_have_passed(model)
        model._validate_params()
        assert len(_input._passed) == known + 1
        assert _input.parameters_have_passed(model)
    for _ in range(2):
        with pytest.raises(ValueError, match="alpha"):
            MLPClassifier(alpha=-1)._validate_params()
        with pytest.raises(ValueError, match="max_iter"):
            MLPClassifier(max_iter=1.0)._validate_params()
    MLPClassifier(random_state=np.random.RandomState(0), hidden_layer_sizes=[1])._validate_params()
    MLPClassifier(hidden_layer_sizes=([1],))._validate_params()
    assert len(_input._passed) == len(models)


# ---- labels ----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "int64", "uint64", "float64", "str"])
@pytest.mark.parametrize("values", [[0, 1], [3], [-7, 2, 120], [0, 1, 2, 3], [5, 1000]], ids=str)
def test_labels_are_counted_as_scikit_learn_sorts_them(dtype, values, rng):
    if dtype.startswith("uint"):
        values = np.abs(values)
    y = np.asarray(values)[rng.integers(0, len(values), 200)].astype(dtype)
    found, expected = _labels.fitted_binarizer(y), LabelBinarizer().fit(y)
    assert vars(found).keys() == vars(expected).keys()
    np.testing.assert_array_equal(found.classes_, expected.classes_)
    assert found.classes_.dtype == expected.classes_.dtype
    assert (found.y_type_, found.sparse_input_) == (expected.y_type_, expected.sparse_input_)
    np.testing.assert_array_equal(found.transform(y), expected.transform(y))
    numbers = _labels.numbers_of(y, found.classes_)
    assert numbers.dtype == np.int64
    np.testing.assert_array_equal(found.classes_[numbers], y)
    np.testing.assert_array_equal(_labels.numbers_of(y[:3], found.classes_), numbers[:3])


def test_labels_far_apart_and_what_is_no_label():
    y = np.repeat([0, 10**15, -(2**63)], 10)
    binarizer = _labels.fitted_binarizer(y)
    np.testing.assert_array_equal(binarizer.classes_, [-(2**63), 0, 10**15])
    np.testing.assert_array_equal(_labels.numbers_of(y, binarizer.classes_),
                                  np.repeat([1, 2, 0], 10))
    for wrong in (np.array([], int), np.array([0.5, 1.5]), [[1, 2], [3, 4]]):
        with pytest.raises(ValueError, match=r"0 samples|label type|Multioutput"):
            _labels.fitted_binarizer(wrong)


# ---- orders ----------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [np.random.MT19937, np.random.PCG64])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5, 7, 8, 9, 16, 17, 1000])
def test_orders_are_those_of_numpy(bits, count):
    ours, numpys = (np.random.RandomState(bits(7)) for _ in range(2))
    found, expected = np.arange(count), np.arange(count)
    shuffle = shuffler(ours)
    for _ in range(3):
        shuffle(found)
        numpys.shuffle(expected)
        np.testing.assert_array_equal(found, expected)
        assert ours.normal() == numpys.normal()
        assert ours.normal() == numpys.normal()  # the second of the pair


def test_other_generators_are_asked_themselves():
    class Reversing(np.random.RandomState):
        def shuffle(self, numbers):
            numbers[:] = numbers[::-1].copy()

    for generator in (np.random.default_rng(0), Reversing(0)):
        assert shuffler(generator) == generator.shuffle
