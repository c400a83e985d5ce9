"""Fitted models between fastbp.sklearn and scikit-learn."""

from __future__ import annotations

import copy
import importlib
from typing import Any

import numpy as np

from fastbp._errors import ArgumentError
from fastbp.sklearn import _parameters as parameters
from fastbp.sklearn._classifier import MLPClassifier
from fastbp.sklearn._predict import Predictor
from fastbp.sklearn._regressor import MLPRegressor

ACTIVATIONS = ("identity", "logistic", "tanh", "relu")
LOSSES = ("squared_error", "poisson")
FITTED = (
    "classes_", "_label_binarizer", "loss_", "best_loss_", "loss_curve_", "validation_scores_",
    "best_validation_score_", "t_", "coefs_", "intercepts_", "n_features_in_",
    "feature_names_in_", "n_iter_", "n_layers_", "n_outputs_", "out_activation_",
    "_no_improvement_count",
)  # fmt: skip
"""What both kinds of estimators have after a fit; the optimizer's state is not among it."""


def originals() -> tuple[type[Any], type[Any]]:
    """scikit-learn's own (MLPClassifier, MLPRegressor), also while `patch` is in force."""
    module = importlib.import_module("sklearn.neural_network._multilayer_perceptron")
    return module.MLPClassifier, module.MLPRegressor


def to_sklearn(estimator: Any) -> Any:
    """See `BaseMLP.to_sklearn`."""
    classifier, regressor = originals()
    kind = classifier if isinstance(estimator, MLPClassifier) else regressor
    given = estimator.get_params(deep=False)
    names = set(kind().get_params(deep=False))
    settings = {name: copy.deepcopy(value) for name, value in given.items() if name in names}
    settings["activation"] = _one_activation(estimator)
    for name in ("early_stopping", "warm_start"):
        settings[name] = bool(settings[name])
    if settings.get("loss", "squared_error") not in LOSSES:
        settings["loss"] = "squared_error"  # predictions of all these losses are the same
    result = kind(**settings)
    _copy_fitted(estimator, result)
    if getattr(estimator, "batch_norm_", None):
        _fold_norms(result, estimator)
    return result


def _one_activation(estimator: Any) -> str:
    """The name scikit-learn knows for all hidden layers."""
    count = len(getattr(estimator, "coefs_", [0])) - 1
    names = [estimator.activation] if isinstance(estimator.activation, str) else (
        parameters.hidden_activations(estimator, count or len(estimator.activation)))
    if len(set(names)) > 1 or names[0] not in ACTIVATIONS:
        raise ArgumentError(f"activation={estimator.activation!r}",
                            f"one of {', '.join(ACTIVATIONS)} for all layers",
                            "scikit-learn has no others")
    return str(names[0])


def _copy_fitted(source: Any, target: Any) -> None:
    for name in FITTED:
        if hasattr(source, name):
            setattr(target, name, copy.deepcopy(getattr(source, name)))


def _fold_norms(target: Any, source: Any) -> None:
    """gamma (z - mean)/sqrt(var + eps) + beta of z = x W + b is again an affine function of x."""
    from fastbp.layers import BatchNorm

    for number, parts in enumerate(source.batch_norm_):
        eps = BatchNorm(len(parts["gamma"])).eps
        scale = parts["gamma"] / np.sqrt(parts["running_var"] + eps)
        shift = parts["beta"] - parts["running_mean"] * scale
        target.coefs_[number] = target.coefs_[number] * scale
        target.intercepts_[number] = target.intercepts_[number] * scale + shift


def from_sklearn(estimator: Any) -> MLPClassifier | MLPRegressor:
    """fastbp's estimator with the parameters and fitted attributes of scikit-learn's.

    Arguments:
        estimator: a MLPClassifier or MLPRegressor of scikit-learn, fitted or not. Its optimizer's
        state is not taken over: `partial_fit` starts a new one.
    Raises:
        ArgumentError: anything else.
    """
    classifier, regressor = originals()
    if not isinstance(estimator, (classifier, regressor)):
        raise ArgumentError(f"from_sklearn of a {type(estimator).__name__}",
                            "scikit-learn's MLPClassifier or MLPRegressor")
    kind = MLPClassifier if isinstance(estimator, classifier) else MLPRegressor
    result = kind(**copy.deepcopy(estimator.get_params(deep=False)))
    _copy_fitted(estimator, result)
    if hasattr(result, "coefs_"):
        result._predictor = Predictor()
    return result
