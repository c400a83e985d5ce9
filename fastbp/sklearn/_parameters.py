"""What each parameter may be: scikit-learn's own rules, and those of what fastbp adds."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

import numpy as np

from fastbp._errors import ArgumentError
from fastbp.optim import Optimizer
from fastbp.schedules import Schedule
from fastbp.sklearn._compat import Interval, Options, StrOptions
from fastbp.sklearn._network import ACTIVATIONS

STOCHASTIC = ("sgd", "adam")

ORIGINAL: dict[str, list[Any]] = {
    "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
    "activation": [StrOptions(set(ACTIVATIONS)), "array-like"],
    "solver": [StrOptions({"lbfgs", *STOCHASTIC})],
    "alpha": [Interval(Real, 0, None, closed="left")],
    "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
    "learning_rate": [StrOptions({"constant", "invscaling", "adaptive"})],
    "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
    "power_t": [Interval(Real, 0, None, closed="left")],
    "max_iter": [Interval(Integral, 1, None, closed="left")],
    "shuffle": ["boolean"],
    "random_state": ["random_state"],
    "tol": [Interval(Real, 0, None, closed="left")],
    "verbose": ["verbose"],
    "warm_start": ["boolean", StrOptions({"full"})],
    "momentum": [Interval(Real, 0, 1, closed="both")],
    "nesterovs_momentum": ["boolean"],
    "early_stopping": ["boolean", StrOptions({"loss"})],
    "validation_fraction": [Interval(Real, 0, 1, closed="left")],
    "beta_1": [Interval(Real, 0, 1, closed="left")],
    "beta_2": [Interval(Real, 0, 1, closed="left")],
    "epsilon": [Interval(Real, 0, None, closed="neither")],
    "n_iter_no_change": [Interval(Integral, 1, None, closed="left"), Options(Real, {np.inf})],
    "max_fun": [Interval(Integral, 1, None, closed="left")],
}
"""scikit-learn's parameters, some with more values than it knows."""

ADDED: dict[str, list[Any]] = {
    "dropout": [Interval(Real, 0, 1, closed="left")],
    "batch_norm": ["boolean"],
    "optimizer": [Optimizer, None],
    "schedule": [Schedule, None],
    "gradient_clip": [Interval(Real, 0, None, closed="neither"), None],
    "max_time": [Interval(Real, 0, None, closed="neither"), None],
    "n_threads": [Interval(Integral, 1, None, closed="left"), None],
    "dtype": [StrOptions({"float32", "float64"}), Options(type, {np.float32, np.float64}), None],
    "rng": [StrOptions({"sklearn", "fast"})],
    "callbacks": ["array-like", None],
    "progress": ["boolean"],
}
"""fastbp's parameters for both estimators, and what leaves scikit-learn's behaviour as it is."""

OFF: dict[str, Any] = {
    "dropout": 0.0, "batch_norm": False, "optimizer": None, "schedule": None,
    "gradient_clip": None, "max_time": None, "n_threads": None, "dtype": None, "rng": "sklearn",
    "callbacks": None, "progress": False,
}  # fmt: skip

NOT_WITH_LBFGS = ("dropout", "batch_norm", "optimizer", "schedule", "gradient_clip", "max_time",
                  "callbacks", "progress")  # fmt: skip
"""They belong to training in batches."""


def hidden_sizes(estimator: Any) -> list[int]:
    """The sizes of the hidden layers.

    Raises:
        ValueError: one is below 1, in scikit-learn's words.
    """
    given = estimator.hidden_layer_sizes
    sizes = list(given) if hasattr(given, "__iter__") else [given]
    if np.any(np.array(sizes) <= 0):
        raise ValueError(f"hidden_layer_sizes must be > 0, got {sizes}.")
    return [int(size) for size in sizes]


def hidden_activations(estimator: Any, count: int) -> list[str]:
    """The activation of each of `count` hidden layers.

    Raises:
        ArgumentError: a list of another length, or with an unknown name.
    """
    given = estimator.activation
    if isinstance(given, str):
        return [given] * count
    names = list(given)
    unknown = [name for name in names if name not in ACTIVATIONS]
    if len(names) != count or unknown:
        raise ArgumentError(
            f"activation={names!r} for {count} hidden layers",
            f"a name, or a list with one of {', '.join(sorted(ACTIVATIONS))} for each layer",
        )
    return names


def check_combinations(estimator: Any) -> None:
    """Refuse what would have no effect, or two answers to one question.

    Raises:
        ArgumentError: such a combination of parameters.
    """
    if estimator.solver == "lbfgs":
        used = [name for name in NOT_WITH_LBFGS if is_used(estimator, name)]
        if used:
            raise ArgumentError(f"{', '.join(used)} with solver='lbfgs'",
                                "solver='adam' or 'sgd'", "lbfgs has no batches and no epochs")
    decides_the_rate = estimator.solver == "sgd" and estimator.learning_rate != "constant"
    if estimator.schedule is not None and estimator.optimizer is None and decides_the_rate:
        raise ArgumentError(f"schedule with learning_rate={estimator.learning_rate!r}",
                            "one of them", "leave learning_rate at 'constant'")


def held_out(x: Any, y: Any) -> tuple[Any, Any] | None:
    """Validation data as `fit` was given it.

    Raises:
        ArgumentError: one half of it.
    """
    if (x is None) != (y is None):
        given = "y_val" if x is None else "X_val"
        raise ArgumentError(f"{given} alone", "X_val and y_val")
    return None if x is None else (x, y)


def is_used(estimator: Any, name: str) -> bool:
    """Whether an added parameter is anything but off."""
    value = getattr(estimator, name)
    if name == "callbacks":
        return value is not None and len(value) > 0
    return bool(value is not OFF[name] and value != OFF[name])
