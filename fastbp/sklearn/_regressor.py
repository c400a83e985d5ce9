"""`MLPRegressor`."""

from __future__ import annotations

from numbers import Real
from typing import Any, ClassVar

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.utils import column_or_1d
from sklearn.utils.metaestimators import available_if

from fastbp.sklearn import _losses as losses
from fastbp.sklearn import _parameters as parameters
from fastbp.sklearn._base import BaseMLP
from fastbp.sklearn._compat import (
    Interval,
    StrOptions,
    fit_context,
    with_callbacks,
)
from fastbp.sklearn._input import DTYPES, checked


class MLPRegressor(RegressorMixin, BaseMLP):
    """scikit-learn's MLPRegressor on fastbp: squared error, Poisson deviance, and more losses.

    The parameters up to `max_fun`, the attributes and the methods are scikit-learn's; its
    documentation describes them. Parameters of fastbp, all off by default:

    Arguments:
        loss: also "absolute_error", "huber" (with `delta`) and "quantile" (with `quantile`), each
        summed over outputs.
        activation: also "leaky_relu", "gelu", "silu", "softplus", and a list: one for each hidden
        layer.
        early_stopping: also "loss": the validation loss decides, not R^2.
        warm_start: also "full": the optimizer goes on, too.
        dropout: rate behind each hidden layer. batch_norm: before each activation.
        optimizer: an object of fastbp.optim, in place of solver, rates and alpha.
        schedule: an object of fastbp.schedules, multiplies the learning rate.
        gradient_clip: largest norm of the gradient. max_time: seconds; the epoch is finished.
        n_threads: at most. dtype: "float32" or "float64" whatever X is. rng: "fast" orders samples
        by a faster generator than scikit-learn's. callbacks: of fastbp.callbacks. progress: a bar.

    Further attributes: validation_loss_curve_ (with validation data), best_validation_loss_,
    batch_norm_ (a dict for each hidden layer).
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **parameters.ORIGINAL,
        **parameters.ADDED,
        "loss": [StrOptions(set(losses.REGRESSION))],
        "delta": [Interval(Real, 0, None, closed="neither")],
        "quantile": [Interval(Real, 0, 1, closed="neither")],
    }

    def __init__(self, loss: str = "squared_error", hidden_layer_sizes: Any = (100,),
                 activation: Any = "relu", *, solver: str = "adam", alpha: float = 0.0001,
                 batch_size: Any = "auto", learning_rate: str = "constant",
                 learning_rate_init: float = 0.001, power_t: float = 0.5, max_iter: int = 200,
                 shuffle: bool = True, random_state: Any = None, tol: float = 1e-4,
                 verbose: Any = False, warm_start: Any = False, momentum: float = 0.9,
                 nesterovs_momentum: bool = True, early_stopping: Any = False,
                 validation_fraction: float = 0.1, beta_1: float = 0.9, beta_2: float = 0.999,
                 epsilon: float = 1e-8, n_iter_no_change: float = 10, max_fun: int = 15000,
                 delta: float = 1.0, quantile: float = 0.5, dropout: float = 0.0,
                 batch_norm: bool = False, optimizer: Any = None, schedule: Any = None,
                 gradient_clip: float | None = None, max_time: float | None = None,
                 n_threads: int | None = None, dtype: Any = None, rng: str = "sklearn",
                 callbacks: Any = None, progress: bool = False) -> None:
        self.loss = loss
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
        self.delta = delta
        self.quantile = quantile
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
            y_val: Any = None) -> MLPRegressor:
        """Fit the model.

        Arguments:
            X: (N, D), dense or sparse. y: (N,) or (N, C) numbers. sample_weight: (N,), or None.
            X_val, y_val: validation data; scored after each epoch, and what early stopping looks
            at in place of a part of X.
        Raises:
            ValueError: input that does not fit, in scikit-learn's words where it has some. The
            estimator is then as it was.
        """
        return self._fit(X, y, sample_weight, held_out=parameters.held_out(X_val, y_val))

    @available_if(lambda estimator: estimator._check_solver())
    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> MLPRegressor:
        """One epoch over these samples; the optimizer goes on. Arguments as for `fit`."""
        return self._fit(X, y, sample_weight, incremental=True)

    def _checked(self, X: Any, y: Any, reset: bool) -> tuple[Any, np.ndarray]:
        X, y = checked(self, X, y, reset=reset, multi_output=True, y_numeric=True, dtype=DTYPES)
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        return X, y.reshape(-1, 1) if y.ndim == 1 else y

    def _validate_input(self, X: Any, y: Any, incremental: bool, reset: bool
                        ) -> tuple[Any, np.ndarray, np.ndarray | None]:
        return *self._checked(X, y, reset), None

    def _validate_held_out(self, X: Any, y: Any) -> tuple[Any, np.ndarray]:
        return self._checked(X, y, False)

    def _outputs(self, y: np.ndarray) -> int:
        return int(y.shape[1])

    def _out_activation(self) -> str:
        return "exp" if self.loss == "poisson" else "identity"

    def _criterion(self, dtype: Any, *, training: bool) -> losses.Criterion:
        return losses.regression(self.loss, self.n_outputs_, self.delta, self.quantile)

    def _as_target(self, y: np.ndarray, dtype: Any, *, training: bool) -> np.ndarray:
        return y.astype(dtype, copy=False)

    # ---- predictions -----------------------------------------------------------------------------

    def _predict(self, X: Any, check_input: bool = True) -> np.ndarray:
        output = self._forward_pass_fast(X, check_input=check_input)
        return output.ravel() if output.shape[1] == 1 else output
