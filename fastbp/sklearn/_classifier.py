"""`MLPClassifier`."""

from __future__ import annotations

from numbers import Real
from typing import Any, ClassVar

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils import column_or_1d
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import type_of_target, unique_labels
from sklearn.utils.validation import check_is_fitted

from fastbp._errors import ArgumentError, DataError
from fastbp.losses import smooth_labels
from fastbp.sklearn import _losses as losses
from fastbp.sklearn import _parameters as parameters
from fastbp.sklearn._base import BaseMLP
from fastbp.sklearn._compat import (
    Interval,
    StrOptions,
    TakesSeveralLabels,
    fit_context,
    is_first_partial_fit,
    with_callbacks,
)
from fastbp.sklearn._input import DTYPES, checked
from fastbp.sklearn._labels import fitted_binarizer, numbers_of
from fastbp.sklearn._state import unchanged_on_failure


class MLPClassifier(TakesSeveralLabels, ClassifierMixin, BaseMLP):
    """scikit-learn's MLPClassifier on fastbp: cross-entropy of one, several or multiple labels.

    The parameters up to `max_fun`, the attributes and the methods are scikit-learn's; its
    documentation describes them. Parameters of fastbp, all off by default:

    Arguments:
        activation: also "leaky_relu", "gelu", "silu", "softplus", and a list: one for each hidden
        layer.
        early_stopping: also "loss": the validation loss decides, not the accuracy.
        warm_start: also "full": the optimizer goes on, too.
        class_weight: dict of weights by class, or "balanced": N / (classes * their counts).
        label_smoothing: share of each label that goes to all classes evenly.
        dropout: rate behind each hidden layer. batch_norm: before each activation.
        optimizer: an object of fastbp.optim, in place of solver, rates and alpha.
        schedule: an object of fastbp.schedules, multiplies the learning rate.
        gradient_clip: largest norm of the gradient. max_time: seconds; the epoch is finished.
        n_threads: at most. dtype: "float32" or "float64" whatever X is. rng: "fast" orders samples
        by a faster generator than scikit-learn's. callbacks: of fastbp.callbacks. progress: a bar.

    Further attributes: validation_loss_curve_ (with validation data), best_validation_loss_,
    batch_norm_ (a dict for each hidden layer).
    """

    _is_classifier = True
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **parameters.ORIGINAL,
        **parameters.ADDED,
        "class_weight": [dict, list, StrOptions({"balanced"}), None],
        "label_smoothing": [Interval(Real, 0, 1, closed="left")],
    }

    def __init__(self, hidden_layer_sizes: Any = (100,), activation: Any = "relu", *,
                 solver: str = "adam", alpha: float = 0.0001, batch_size: Any = "auto",
                 learning_rate: str = "constant", learning_rate_init: float = 0.001,
                 power_t: float = 0.5, max_iter: int = 200, shuffle: bool = True,
                 random_state: Any = None, tol: float = 1e-4, verbose: Any = False,
                 warm_start: Any = False, momentum: float = 0.9, nesterovs_momentum: bool = True,
                 early_stopping: Any = False, validation_fraction: float = 0.1,
                 beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-8,
                 n_iter_no_change: float = 10, max_fun: int = 15000, class_weight: Any = None,
                 label_smoothing: float = 0.0, dropout: float = 0.0, batch_norm: bool = False,
                 optimizer: Any = None, schedule: Any = None, gradient_clip: float | None = None,
                 max_time: float | None = None, n_threads: int | None = None, dtype: Any = None,
                 rng: str = "sklearn", callbacks: Any = None, progress: bool = False) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.max_fun = max_fun
        self.class_weight = class_weight
        self.label_smoothing = label_smoothing
        self.dropout = dropout
        self.batch_norm = batch_norm
        self.optimizer = optimizer
        self.schedule = schedule
        self.gradient_clip = gradient_clip
        self.max_time = max_time
        self.n_threads = n_threads
        self.dtype = dtype
        self.rng = rng
        self.callbacks = callbacks
        self.progress = progress

    # ---- fitting ---------------------------------------------------------------------------------

    @with_callbacks
    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any, sample_weight: Any = None, *, X_val: Any = None,
            y_val: Any = None) -> MLPClassifier:
        """Fit the model.

        Arguments:
            X: (N, D), dense or sparse. y: labels (N,), or (N, C) of 0 and 1: several labels each.
            sample_weight: (N,), or None.
            X_val, y_val: validation data; scored after each epoch, and what early stopping looks
            at in place of a part of X.
        Raises:
            ValueError: input that does not fit, in scikit-learn's words where it has some. The
            estimator is then as it was.
        """
        return self._fit(X, y, sample_weight, held_out=parameters.held_out(X_val, y_val))

    @available_if(lambda estimator: estimator._check_solver())
    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None
                    ) -> MLPClassifier:
        """One epoch over these samples; the optimizer goes on from the call before.

        Arguments:
            X, y, sample_weight: as for `fit`. classes: all that there are; needed in the first
            call.
        """
        if isinstance(self.class_weight, str):
            raise ArgumentError("class_weight='balanced' in partial_fit", "a dict of weights",
                                "the counts of all classes are not known")
        with unchanged_on_failure(self):
            if is_first_partial_fit(self, classes):
                several = type_of_target(y).startswith("multilabel")
                self._label_binarizer = fitted_binarizer(y if several else classes)
            return self._fit(X, y, sample_weight, incremental=True)

    def _validate_input(self, X: Any, y: Any, incremental: bool, reset: bool
                        ) -> tuple[Any, np.ndarray, np.ndarray | None]:
        X, y = checked(self, X, y, reset=reset, multi_output=True, dtype=DTYPES)
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        if not hasattr(self, "classes_") or (not self.warm_start and not incremental):
            self._label_binarizer = fitted_binarizer(y)
            self.classes_ = self._label_binarizer.classes_
        else:
            self._check_classes(unique_labels(y))
        weights = None
        if self.class_weight is not None:
            from sklearn.utils.class_weight import compute_sample_weight

            weights = compute_sample_weight(self.class_weight, y)
        return X, self._encoded(y), weights

    def _check_classes(self, classes: np.ndarray) -> None:
        """Labels of a later call against those of the first."""
        if self.warm_start:
            if set(classes) != set(self.classes_):
                raise ValueError(
                    "warm_start can only be used where `y` has the same "
                    "classes as in the previous call to fit. Previously "
                    f"got {self.classes_}, `y` has {classes}"
                )
        elif len(np.setdiff1d(classes, self.classes_, assume_unique=True)):
            raise ValueError(
                "`y` has classes not in `self.classes_`. "
                f"`self.classes_` has {self.classes_}. 'y' has {classes}."
            )

    def _encoded(self, y: Any) -> np.ndarray:
        """Numbers of classes (N,) where there are more than two, else (N, C) of bool.

        What `LabelBinarizer.transform` gives, without a column for each class; all labels are
        known to be classes.
        """
        if self._label_binarizer.y_type_.startswith("multilabel"):
            return self._label_binarizer.transform(y).astype(bool)
        if len(self.classes_) > 2:
            return numbers_of(y, self.classes_)
        return (np.asarray(y) == self.classes_[-1])[:, None] & (len(self.classes_) == 2)

    def _outputs(self, y: np.ndarray) -> int:
        return len(self.classes_) if y.ndim == 1 else y.shape[1]

    def _validate_held_out(self, X: Any, y: Any) -> tuple[Any, np.ndarray]:
        X, y = checked(self, X, y, reset=False, multi_output=True, dtype=DTYPES)
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        unknown = np.setdiff1d(unique_labels(y), self.classes_)
        if len(unknown):
            raise DataError(f"y_val with {unknown.tolist()}", f"classes of y: {self.classes_}")
        return X, self._encoded(y)

    def _out_activation(self) -> str:
        return "softmax" if self._label_binarizer.y_type_ == "multiclass" else "logistic"

    def _criterion(self, dtype: Any, *, training: bool) -> losses.Criterion:
        smoothed = training and self.label_smoothing > 0
        return losses.classification(self.out_activation_, self.n_outputs_, dtype,
                                     smoothed=smoothed)

    def _as_target(self, y: np.ndarray, dtype: Any, *, training: bool) -> np.ndarray:
        smoothing = self.label_smoothing if training else 0.0
        if y.ndim == 1:
            return smooth_labels(y, self.n_outputs_, smoothing, dtype) if smoothing else y
        if smoothing:
            return y.astype(dtype) * (1 - smoothing) + np.asarray(smoothing / 2, dtype)
        return np.ascontiguousarray(y).view(np.uint8)

    # ---- predictions -----------------------------------------------------------------------------

    def _predict(self, X: Any, check_input: bool = True) -> np.ndarray:
        if self.out_activation_ == "softmax":  # keeps the order of outputs
            return self.classes_.take(self._logits(X, check_input, largest=True))
        output = self._forward_pass_fast(X, check_input=check_input)
        if self.n_outputs_ == 1:
            output = output.ravel()
        return self._label_binarizer.inverse_transform(output)

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities (N, classes), columns in the order of `classes_`; X as for `predict`."""
        check_is_fitted(self)
        output = self._forward_pass_fast(X)
        if self.n_outputs_ == 1:
            return np.hstack([1 - output, output])
        return output

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """log(predict_proba(X))."""
        probabilities = self.predict_proba(X)
        return np.log(probabilities, out=probabilities)
