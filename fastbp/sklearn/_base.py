"""What classifier and regressor share: a fit from checked input to fitted attributes."""

from __future__ import annotations

import copy
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from fastbp._errors import ArgumentError
from fastbp.sklearn import _parameters as parameters
from fastbp.sklearn._batches import Batches, Settings
from fastbp.sklearn._callbacks import TaskTree, Trainer, hooks_of
from fastbp.sklearn._compat import (
    CallbackSupport,
    TakesSparse,
    check_sample_weight,
)
from fastbp.sklearn._data import Samples
from fastbp.sklearn._fit import Fit
from fastbp.sklearn._input import checked, note_passed, parameters_have_passed
from fastbp.sklearn._kept import Kept, spares
from fastbp.sklearn._lbfgs import Objective, minimize
from fastbp.sklearn._losses import Criterion, activate
from fastbp.sklearn._network import Model, draw_weights
from fastbp.sklearn._predict import Predictor
from fastbp.sklearn._solver import Solver, solver_of
from fastbp.sklearn._state import unchanged_on_failure
from fastbp.sklearn._threads import running
from fastbp.sklearn._validation import Validation

TOO_SMALL = ("The validation set is too small. Increase 'validation_fraction' "
             "or the size of your dataset.")  # fmt: skip
NOT_FINITE = ("Solver produced non-finite parameter weights. The input data may"
              " contain large values and need to be preprocessed.")  # fmt: skip


class BaseMLP(CallbackSupport, TakesSparse, ABC):
    """A multilayer perceptron with scikit-learn's interface."""

    _is_classifier = False
    _predictor: Predictor
    _kept: Kept

    # ---- what the two kinds of estimators answer -----------------------------------------------

    @abstractmethod
    def _validate_input(self, X: Any, y: Any, incremental: bool, reset: bool
                        ) -> tuple[Any, np.ndarray, np.ndarray | None]:
        """(X, targets, weights of the samples' classes or None); sets classes_ and such.

        Targets: (N, C), or numbers of more than two classes (N,).
        """

    @abstractmethod
    def _validate_held_out(self, X: Any, y: Any) -> tuple[Any, np.ndarray]:
        """(X, targets) of validation data."""

    @abstractmethod
    def _outputs(self, y: np.ndarray) -> int:
        """How many outputs there are for these targets."""

    @abstractmethod
    def _out_activation(self) -> str:
        """Name of the output's activation."""

    @abstractmethod
    def _criterion(self, dtype: Any, *, training: bool) -> Criterion:
        """The loss, in training or for validation."""

    @abstractmethod
    def _as_target(self, y: np.ndarray, dtype: Any, *, training: bool) -> np.ndarray:
        """Targets as the loss takes them."""

    # ---- fitting ---------------------------------------------------------------------------------

    def _validate_params(self) -> None:
        if not parameters_have_passed(self):
            super()._validate_params()
            note_passed(self)

    def _fit(self, X: Any, y: Any, sample_weight: Any = None, *, incremental: bool = False,
             held_out: tuple[Any, Any] | None = None) -> Any:
        """Fit, or one epoch of it; all of it or, with an error, nothing."""
        with unchanged_on_failure(self), running():
            sizes = parameters.hidden_sizes(self)
            parameters.check_combinations(self)
            continues = hasattr(self, "coefs_") and bool(self.warm_start or incremental)
            labels = y
            X, y, class_weights = self._validate_input(X, y, incremental, not continues)
            if sample_weight is not None:
                sample_weight = check_sample_weight(sample_weight, X)
            weights = sample_weight
            if class_weights is not None:
                weights = class_weights if weights is None else weights * class_weights
            self.n_outputs_ = self._outputs(y)
            units = [X.shape[1], *sizes, self.n_outputs_]
            self._random_state = check_random_state(self.random_state)
            if continues:
                self._check_shapes(units)
            else:
                self._initialize(units, np.dtype(self.dtype or X.dtype))
            tasks = TaskTree(self, X, labels, sample_weight,
                             0 if self.solver == "lbfgs" else self.max_iter)
            if self.solver == "lbfgs":
                if held_out is not None:
                    raise ArgumentError("X_val with solver='lbfgs'", "solver='adam' or 'sgd'",
                                        "lbfgs has no epochs")
                self._fit_lbfgs(X, y, weights, tasks)
            else:
                self._fit_stochastic(X, y, weights, tasks, incremental, held_out)
        return self

    def _initialize(self, units: list[int], dtype: np.dtype) -> None:
        """Start a new model: first weights and empty curves."""
        self.n_iter_, self.t_, self.n_layers_ = 0, 0, len(units)
        self.out_activation_ = self._out_activation()
        names = parameters.hidden_activations(self, len(units) - 2)
        last = self.activation if isinstance(self.activation, str) else (names or [""])[-1]
        self.coefs_, self.intercepts_ = draw_weights(self._random_state, units, [*names, last],
                                                     dtype)
        for name in ("batch_norm_", "validation_loss_curve_", "best_validation_loss_"):
            self.__dict__.pop(name, None)
        if self.solver != "lbfgs":
            self._no_improvement_count = 0
            self.loss_curve_: list[float] = []
            self.best_loss_: float | None = None if self.early_stopping else np.inf
            self.validation_scores_: list[float] | None = [] if self.early_stopping else None
            self.best_validation_score_ = -np.inf if self.early_stopping else None

    def _check_shapes(self, units: list[int]) -> None:
        """Refuse to go on with weights of another network."""
        known = [self.coefs_[0].shape[0], *(coef.shape[1] for coef in self.coefs_)]
        if known != units:
            raise ArgumentError(f"layers of {units} units where the fitted weights are of {known}",
                                "the same network",
                                "set hidden_layer_sizes back, or fit anew with warm_start=False")

    def _model(self, dtype: Any, seed: int = 0) -> Model:
        """The network with the estimator's weights."""
        units = [self.coefs_[0].shape[0], *(coef.shape[1] for coef in self.coefs_)]
        names = parameters.hidden_activations(self, len(units) - 2)
        model = Model(units, names, dtype=dtype, dropout=self.dropout, batch_norm=self.batch_norm,
                      seed=seed)
        self._load(model)
        return model

    def _load(self, model: Model) -> None:
        """The estimator's weights become the model's."""
        model.load(self.coefs_, self.intercepts_, getattr(self, "batch_norm_", None))

    def _take_weights(self, model: Model) -> None:
        """The model's weights become the estimator's."""
        if not model.is_finite():
            raise ValueError(NOT_FINITE)
        known = getattr(self, "_predictor", None)
        for name, value in self._reconstruction(model)().items():
            setattr(self, name, value)
        self._predictor = known or self._predictor

    def _reconstruction(self, model: Model) -> Callable[[], dict[str, Any]]:
        """What makes a copy of the estimator ready to predict with the model's weights."""

        def attributes() -> dict[str, Any]:
            found = {"coefs_": model.coefs(), "intercepts_": model.intercepts(),
                     "_predictor": Predictor()}
            return found | ({"batch_norm_": model.norm_parts()} if model.norms else {})

        return attributes

    def _fit_lbfgs(self, X: Any, y: np.ndarray, weights: np.ndarray | None, tasks: TaskTree
                   ) -> None:
        model = self._model(np.float64)
        criterion = self._criterion(np.float64, training=True)
        samples = Samples(X, self._as_target(y, np.float64, training=True), weights)
        objective = Objective(model, criterion, samples, self.alpha, self.n_threads)
        self.loss_, self.n_iter_ = minimize(objective, tol=self.tol, max_iter=self.max_iter,
                                            max_fun=self.max_fun)
        self._take_weights(model)
        tasks.fit_ends(self._reconstruction(model))

    def _fit_stochastic(self, X: Any, y: np.ndarray, weights: np.ndarray | None, tasks: TaskTree,
                        incremental: bool, held_out: tuple[Any, Any] | None) -> None:
        if self.early_stopping and incremental:
            raise ValueError("partial_fit does not support early_stopping=True")
        dtype = self.coefs_[0].dtype
        seed = self._random_state.randint(2**31 - 1) if self.dropout else 0
        rows, validation = self._hold_out(X, y, weights, dtype, held_out)
        samples = Samples(X, self._as_target(y, dtype, training=True), weights)
        rng = self._random_state
        if self.rng == "fast":
            rng = np.random.Generator(np.random.PCG64(rng.randint(2**31 - 1)))
        self._continue_curves(validation is not None)
        settings = Settings(self._criterion(dtype, training=True),
                            self._batch_size(len(samples) if rows is None else len(rows)),
                            self.gradient_clip)
        hooks = hooks_of(self)
        key, batches = self._batches(samples, rows, settings, seed, incremental)
        self._optimizer = batches.solver
        model = batches.model
        with batches.solver.unchanged_on_failure():
            Fit(self, batches, rng, validation=validation, schedule=copy.deepcopy(self.schedule),
                trainer=Trainer(model.network, self.max_iter, hooks), tasks=tasks,
                incremental=incremental).run()
            self._take_weights(model)
            tasks.fit_ends(self._reconstruction(model))
        self._kept = Kept()
        if self.dropout:
            return  # masks depend on the call's seed
        if incremental:
            self._kept.put(key, batches)
        elif not self.batch_norm and not hooks and not tasks.is_heard:
            spares.put(key, batches)  # nobody else has the model

    def _batches(self, samples: Samples, rows: np.ndarray | None, settings: Settings, seed: int,
                 incremental: bool) -> tuple[tuple[Any, ...], Batches]:
        """(what the programs depend on, programs with the estimator's weights and solver)."""
        known: Solver | None = getattr(self, "_optimizer", None)
        goes_on = known is not None and (incremental or self.warm_start == "full")
        solver = copy.copy(known) if goes_on and known is not None else solver_of(self)
        if solver.decays:
            solver.hyper = {**solver.hyper, "weight_decay": self.alpha}
        names = parameters.hidden_activations(self, len(self.coefs_) - 1)
        key = (settings, len(samples) if rows is None else len(rows), rows is None,
               [coef.shape for coef in self.coefs_], names, self.coefs_[0].dtype, self.batch_norm,
               self.dropout, solver.kind, solver.decays, solver.hyper, self.shuffle,
               samples.weights is None, samples.target.shape[1:])
        kept = self._kept.take(key, known) if incremental and hasattr(self, "_kept") else None
        if kept is not None:
            self._load(kept.model)
            kept.renew(samples, self.n_threads)
            return key, kept
        spare = spares.take(key)
        if spare is not None:
            self._load(spare.model)
            spare.begin(solver, samples, rows, self.n_threads)
            return key, spare
        model = self._model(self.coefs_[0].dtype, seed)
        solver.attach(model.network.layout.size, model.network.dtype)
        return key, Batches(model, solver, settings, samples, rows, n_threads=self.n_threads)

    def _batch_size(self, rows: int) -> int:
        if self.batch_size == "auto":
            return min(200, rows)
        if self.batch_size > rows:
            warnings.warn("Got `batch_size` less than 1 or larger than "
                          "sample size. It is going to be clipped", stacklevel=2)  # fmt: skip
        return int(np.clip(self.batch_size, 1, rows))

    def _hold_out(self, X: Any, y: np.ndarray, weights: np.ndarray | None, dtype: Any,
                  held_out: tuple[Any, Any] | None
                  ) -> tuple[np.ndarray | None, Validation | None]:
        """(rows to train on, or None for all; validation data)."""
        rows, held_weights = None, None
        if held_out is not None:
            held_x, held_y = self._validate_held_out(*held_out)
        elif self.early_stopping:
            from sklearn.model_selection import train_test_split

            stratify = y if self._is_classifier and self.n_outputs_ == 1 else None
            rows, held = train_test_split(
                np.arange(X.shape[0]), random_state=self._random_state,
                test_size=self.validation_fraction, stratify=stratify)
            if len(held) < 2:
                raise ValueError(TOO_SMALL)
            held_x, held_y = X[held], y[held]
            held_weights = None if weights is None else weights[held]
        else:
            return None, None
        return rows, Validation(
            held_x, self._as_target(held_y, dtype, training=False), held_weights,
            self._criterion(dtype, training=False), self.out_activation_,
            classifier=self._is_classifier)

    def _continue_curves(self, validated: bool) -> None:
        """Copies of the curves of an earlier fit, for a warm start, and what they lack."""
        self._no_improvement_count = getattr(self, "_no_improvement_count", 0)
        self.loss_curve_ = list(getattr(self, "loss_curve_", []))
        if not self.early_stopping and getattr(self, "best_loss_", None) is None:
            self.best_loss_ = np.inf
        if validated:
            self.validation_scores_ = list(self.validation_scores_ or [])
            self.validation_loss_curve_ = list(getattr(self, "validation_loss_curve_", []))
            self.best_validation_loss_ = getattr(self, "best_validation_loss_", np.inf)
            if self.best_validation_score_ is None:
                self.best_validation_score_ = -np.inf

    # ---- predictions -----------------------------------------------------------------------------

    def _forward_pass_fast(self, X: Any, check_input: bool = True) -> np.ndarray:
        """Outputs (N, C) after their activation."""
        return activate(self._logits(X, check_input), self.out_activation_)

    def _logits(self, X: Any, check_input: bool, *, largest: bool = False) -> np.ndarray:
        """Outputs (N, C) before their activation, or the number of each row's largest."""
        if check_input:
            X = checked(self, X, reset=False)
        names = parameters.hidden_activations(self, len(self.coefs_) - 1)
        return self._predictor.logits(X, self.coefs_, self.intercepts_, names,
                                      getattr(self, "batch_norm_", []), self.n_threads,
                                      largest=largest)

    def predict(self, X: Any) -> np.ndarray:
        """Predictions for samples.

        Arguments:
            X: (N, D), dense or sparse.
        Returns:
            (N,), or (N, C) for several outputs: labels of a classifier, else numbers.
        """
        check_is_fitted(self)
        return self._predict(X)

    @abstractmethod
    def _predict(self, X: Any, check_input: bool = True) -> np.ndarray:
        """`predict` of a fitted estimator."""

    def _check_solver(self) -> bool:
        """Whether there is a `partial_fit`."""
        if self.solver not in parameters.STOCHASTIC:
            raise AttributeError("partial_fit is only available for stochastic"
                                 f" optimizers. {self.solver} is not stochastic.")  # fmt: skip
        return True

    def to_sklearn(self) -> Any:
        """scikit-learn's own estimator with the same parameters and fitted attributes.

        What it has no parameter for is left out where predictions do not depend on it (dropout,
        optimizers, losses of the same output); batch normalisation becomes part of `coefs_`.

        Raises:
            ArgumentError: it does not have the activations.
        """
        from fastbp.sklearn._convert import to_sklearn

        return to_sklearn(self)
