"""Optimizers as descriptions: which update kernel runs, with which numbers.

    SGD       w -= lr * g                      (momentum: v = mu*v + g; w -= lr*v)
    AdaGrad   s += g^2;                        w -= lr * g / (sqrt(s) + eps)
    RMSprop   s = rho*s + (1-rho)*g^2;         w -= lr * g / (sqrt(s) + eps)
    Adam      m, v: running means of g, g^2;   w -= lr * c1*m / (sqrt(c2*v) + eps)

`weight_decay` adds `weight_decay * w` to the gradient (L2 in the loss), except in AdamW, where
it takes `lr * weight_decay * w` off the parameter. The mathematics is in docs/math.md#optimizers,
the loops are in fastbp/kernels/update.py.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from fastbp._errors import ArgumentError
from fastbp.emit.update import bias_correction, bias_corrections
from fastbp.kernels import update

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["SGD", "AdaGrad", "Adam", "AdamW", "Optimizer", "RMSprop", "from_dict", "from_name"]


@dataclass(frozen=True)
class Optimizer:
    """What every optimizer tells the training program.

    `kind` is the update kernel's number, `slots` how many vectors of the size of the parameters it
    keeps, `hyper()` its constants and `rates()` what changes from step to step.
    """

    name: ClassVar[str] = ""
    lr: float

    @property
    def kind(self) -> int:
        """The number of the update in `fastbp.kernels.update`."""
        return int(getattr(update, self.name.upper()))

    @property
    def slots(self) -> int:
        """How many slot vectors it keeps (zero at the start)."""
        return int(update.SLOTS[self.kind])

    def hyper(self) -> NDArray[np.float64]:
        """The constants in the order of `update.HYPER`; what an optimizer lacks is 0."""
        return np.array([getattr(self, name, 0.0) for name in update.HYPER], np.float64)

    def rates(self, first_step: int, count: int, lrs: NDArray[np.float64]) -> NDArray[np.float64]:
        """What changes from step to step.

        Arguments:
            first_step: how many steps were made before (0 at the start of training).
            count: how many steps the table is for.
            lrs: learning rate of each of these steps, float64 (count,).
        Returns:
            float64 (count, 4): lr, c1, c2, 1 for each step, where c1 and c2 undo the start of
            Adam's running means at zero (1 for the other optimizers) and 1 leaves the decay alone.
        """
        table = np.ones((count, update.RATES))
        table[:, 0] = lrs
        steps = range(first_step + 1, first_step + count + 1)
        for column, corrections in enumerate(self._all_corrections(steps), 1):
            table[:, column] = corrections
        return table

    def corrections(self, step: int) -> tuple[float, float]:
        """(c1, c2) of the step with this number, from 1."""
        return 1.0, 1.0

    def _all_corrections(self, steps: range) -> tuple[list[float], ...]:
        """All c1 and all c2 of some steps, or nothing where they are 1."""
        return ()

    def as_dict(self) -> dict[str, Any]:
        """Name and settings, for a JSON file; `from_dict` reads it."""
        return {"name": self.name, **dataclasses.asdict(self)}


def _check(optimizer: Optimizer, name: str, low: float, high: float, *, open_low: bool) -> None:
    """Refuse a field that is no number in [low, high), or (low, high) with `open_low`."""
    value = getattr(optimizer, name)
    given = f"{type(optimizer).__name__}: {name}={value!r}"
    wanted = f"a number {'above' if open_low else 'from'} {low:g}"
    wanted += f" and below {high:g}" if math.isfinite(high) else ""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)):
        raise ArgumentError(given, wanted, "pass a plain Python float")
    fits = low < value < high if open_low else low <= value < high
    if not fits:
        raise ArgumentError(given, wanted, _REMEDY[name])
    object.__setattr__(optimizer, name, float(value))


_REMEDY = {
    "lr": "0.1 is usual for SGD and 1e-3 for Adam",
    "momentum": "0.9 is usual, 0 is plain SGD",
    "rho": "0.99 is usual",
    "beta1": "0.9 is usual",
    "beta2": "0.999 is usual",
    "eps": "1e-8 is usual: it keeps the division away from 0",
    "weight_decay": "0 switches it off",
}


def _validate(optimizer: Optimizer) -> None:
    """Check and convert every number of an optimizer, by the meaning of its name."""
    for field in dataclasses.fields(optimizer):
        if field.name in ("lr", "eps"):
            _check(optimizer, field.name, 0.0, math.inf, open_low=True)
        elif field.name == "weight_decay":
            _check(optimizer, field.name, 0.0, math.inf, open_low=False)
        elif field.name in ("momentum", "rho", "beta1", "beta2"):
            _check(optimizer, field.name, 0.0, 1.0, open_low=False)


@dataclass(frozen=True)
class SGD(Optimizer):
    """Gradient descent; with momentum (Polyak 1964) or Nesterov's (Sutskever et al. 2013)."""

    name: ClassVar[str] = "sgd"
    lr: float
    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        _validate(self)
        if not isinstance(self.nesterov, (bool, np.bool_)):
            raise ArgumentError(f"SGD: nesterov={self.nesterov!r}", "True or False")
        if self.nesterov and self.momentum == 0.0:
            raise ArgumentError(
                "SGD: nesterov=True with momentum=0",
                "a momentum above 0",
                "pass momentum=0.9 or leave nesterov out",
            )

    @property
    def kind(self) -> int:
        """Plain, momentum or Nesterov."""
        if self.momentum == 0.0:
            return int(update.SGD)
        return int(update.NESTEROV if self.nesterov else update.MOMENTUM)


@dataclass(frozen=True)
class AdaGrad(Optimizer):
    """Duchi, Hazan & Singer 2011."""

    name: ClassVar[str] = "adagrad"
    lr: float = 1e-2
    eps: float = 1e-10
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        _validate(self)


@dataclass(frozen=True)
class RMSprop(Optimizer):
    """Hinton's lecture 6e, 2012; `rho` is the memory of the mean square."""

    name: ClassVar[str] = "rmsprop"
    lr: float = 1e-2
    rho: float = 0.99
    eps: float = 1e-8
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        _validate(self)


@dataclass(frozen=True)
class Adam(Optimizer):
    """Kingma & Ba 2015, with bias correction; `weight_decay` is L2 in the gradient."""

    name: ClassVar[str] = "adam"
    lr: float = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        _validate(self)

    def corrections(self, step: int) -> tuple[float, float]:
        """1/(1 - beta1^step) and 1/(1 - beta2^step)."""
        return bias_correction(self.beta1, step), bias_correction(self.beta2, step)

    def _all_corrections(self, steps: range) -> tuple[list[float], ...]:
        return bias_corrections(self.beta1, steps), bias_corrections(self.beta2, steps)


@dataclass(frozen=True)
class AdamW(Adam):
    """Loshchilov & Hutter 2019: Adam with the decay taken off the parameter itself."""

    name: ClassVar[str] = "adamw"
    weight_decay: float = 1e-2

    def __post_init__(self) -> None:
        _validate(self)


_CLASSES: dict[str, tuple[type[Optimizer], dict[str, Any]]] = {
    "sgd": (SGD, {"lr": 0.1}),
    "momentum": (SGD, {"lr": 0.1, "momentum": 0.9}),
    "nesterov": (SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    "adagrad": (AdaGrad, {}),
    "rmsprop": (RMSprop, {}),
    "adam": (Adam, {}),
    "adamw": (AdamW, {}),
}
NAMES = tuple(_CLASSES)


def from_name(name: str, lr: float | None = None, **settings: Any) -> Optimizer:
    """The optimizer of that name; its own default learning rate where `lr` is None.

    "momentum" and "nesterov" are SGD with a momentum of 0.9; SGD's default rate is 0.1 here.
    """
    if name not in _CLASSES:
        raise ArgumentError(f"optimizer {name!r}", f"one of {', '.join(NAMES)}")
    kind, defaults = _CLASSES[name]
    known = [field.name for field in dataclasses.fields(kind)]
    unknown = sorted(set(settings) - set(known))
    if unknown:
        raise ArgumentError(
            f"optimizer {name!r}: unknown {', '.join(unknown)}",
            f"settings among {', '.join(known)}",
        )
    chosen = {**defaults, **settings}
    if lr is not None:
        chosen["lr"] = lr
    return kind(**chosen)


def from_dict(data: dict[str, Any]) -> Optimizer:
    """The optimizer that `as_dict` described."""
    settings = dict(data)
    if "name" not in settings:
        raise ArgumentError("an optimizer's description without a name", "the key 'name'")
    return from_name(settings.pop("name"), **settings)
