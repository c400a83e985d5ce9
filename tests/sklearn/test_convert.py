"""To scikit-learn's estimators, from them, and into their place."""

from __future__ import annotations

import pickle

import numpy as np
import oracle
import pytest
import sklearn.neural_network as theirs_module

from fastbp import ArgumentError
from fastbp.sklearn import MLPClassifier, MLPRegressor, from_sklearn, patch


@pytest.mark.parametrize("problem", oracle.PROBLEMS)
def test_there_and_back(problem):
    x, y, _ = oracle.data(problem)
    ours, theirs = oracle.pair(problem, max_iter=3, early_stopping=True)
    for estimator in (ours, theirs):
        oracle.quietly(estimator.fit, x, y)
    real, back = ours.to_sklearn(), from_sklearn(theirs)
    assert type(real) is type(theirs)
    assert type(back) is type(ours)
    assert real.get_params() == theirs.get_params()
    assert back.get_params() == ours.get_params()
    for a, b in ((ours, real), (back, theirs), (ours, from_sklearn(real))):
        oracle.assert_same_path(a, b, x)
        assert not np.shares_memory(a.coefs_[0], b.coefs_[0])
        assert np.array_equal(a.predict(x), b.predict(x)) or problem not in oracle.PROBLEMS[:3]
    back.set_params(early_stopping=False).partial_fit(x, y)
    assert pickle.loads(pickle.dumps(back)).n_iter_ == back.n_iter_


def test_batch_norm_is_folded_into_the_weights():
    x, y, _ = oracle.data("regression 2")
    ours = MLPRegressor(hidden_layer_sizes=(6, 5), batch_norm=True, dropout=0.1, loss="huber",
                        random_state=0, max_iter=20, warm_start="full")
    oracle.quietly(ours.fit, x, y)
    real = ours.to_sklearn()
    np.testing.assert_allclose(real.predict(x), ours.predict(x), rtol=1e-10)
    assert real.loss == "squared_error"
    assert real.warm_start is True


def test_unfitted_ones_and_what_cannot_be_converted():
    assert MLPClassifier((3,), alpha=1).to_sklearn().get_params()["alpha"] == 1
    assert from_sklearn(theirs_module.MLPRegressor()).get_params() == MLPRegressor().get_params()
    real = MLPClassifier((3, 4), activation=["tanh", "tanh"]).to_sklearn()
    assert real.activation == "tanh"
    for activation in ("gelu", ["tanh", "relu"]):
        with pytest.raises(ArgumentError, match="scikit-learn has no others"):
            MLPClassifier((3, 4), activation=activation).to_sklearn()
    with pytest.raises(ArgumentError, match="from_sklearn of a dict"):
        from_sklearn({})


def test_patch_as_a_block_and_as_a_call():
    original = theirs_module.MLPClassifier
    assert original is not MLPClassifier
    with patch():
        from sklearn.neural_network import MLPClassifier as Seen
        from sklearn.neural_network import MLPRegressor as SeenRegressor

        assert Seen is MLPClassifier
        assert SeenRegressor is MLPRegressor
        real = Seen((3,)).to_sklearn()
        assert type(real) is original
        assert type(pickle.loads(pickle.dumps(real))) is original
        assert isinstance(from_sklearn(real), MLPClassifier)
    assert theirs_module.MLPClassifier is original
    applied = patch()
    assert theirs_module.MLPClassifier is MLPClassifier
    applied.undo()
    applied.undo()
    assert theirs_module.MLPClassifier is original
