"""Solvers: which update runs, its rates for each step of an epoch, and the learning-rate modes.

A solver is what an estimator keeps as `_optimizer`: it survives pickling and goes on in
`partial_fit`. scikit-learn's forms of the updates differ from fastbp's in two ways.

* Adam adds eps to sqrt(v) without bias correction: w -= lr_t m / (sqrt(v) + eps) with lr_t =
  lr sqrt(1 - beta2^t)/(1 - beta1^t). That is fastbp's with the rate lr_t and corrections of 1.
* SGD's velocity is v = mu v - lr g. fastbp keeps u = -v/lr, so u is divided by the change where
  the rate changes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from fastbp._arena import allocate
from fastbp.kernels import update
from fastbp.optim import Optimizer
from fastbp.planner import Update

# The rate below which "adaptive" gives up, and what it divides the rate by.
LEAST_RATE, ADAPTIVE_FACTOR = 1e-6, 5.0


class Solver:
    """Base: constants, slots (as long as the network's arena), number of steps made.

    Attributes: learning_rate (of the next step), steps (made so far), decays (whether alpha is the
    weight decay), changes_slots (whether `epoch_ends` does).
    """

    decays, changes_slots = True, False

    def __init__(self, kind: int, hyper: dict[str, float], learning_rate: float) -> None:
        self.kind, self.hyper = kind, hyper
        self.learning_rate = float(learning_rate)
        self.steps = 0
        self.slots: tuple[np.ndarray, ...] = ()

    def attach(self, size: int, dtype: np.dtype, memory: tuple[np.ndarray, ...] = ()) -> None:
        """Have slots for a network of this size: zeros, or what was kept, in aligned memory.

        memory: slots of another solver of the kind, to be overwritten; default: new ones.
        """
        slots = memory or tuple(allocate(size, dtype) for _ in range(update.SLOTS[self.kind]))
        for number, slot in enumerate(slots):
            kept = self.slots[number] if number < len(self.slots) else slot[:0]
            slot[...] = kept if len(kept) == size else 0.0
        self.slots = slots

    @contextlib.contextmanager
    def unchanged_on_failure(self) -> Iterator[None]:
        """Put rate, steps and slots back where the block raises."""
        before, slots = dict(self.__dict__), [slot.copy() for slot in self.slots]
        try:
            yield
        except BaseException:
            self.__dict__.update(before)
            for slot, kept in zip(self.slots, slots, strict=True):
                slot[...] = kept
            raise

    def update(self, steps: int, clip_norm: float | None) -> Update:
        """What a training program of up to `steps` steps a run needs."""
        hyper = np.array([self.hyper.get(name, 0.0) for name in update.HYPER])
        plain = hyper.copy()
        plain[update.HYPER.index("weight_decay")] = 0.0
        return Update(self.kind, hyper, plain, np.ones((steps, update.RATES)), self.slots,
                      clip_norm)

    def rates(self, factors: np.ndarray) -> np.ndarray:
        """The rates of the next len(factors) steps (kernels/update.py), decay not yet scaled."""
        table = np.ones((len(factors), update.RATES))
        table[:, 0] = self.learning_rate * factors
        return table

    def epoch_ends(self, samples: int) -> None:
        """After an epoch; `samples` were seen so far."""

    def gives_up(self) -> tuple[bool, str]:
        """When there was no progress: (whether to stop, what to say about it)."""
        return True, " Stopping."


class SGD(Solver):
    """Plain, with momentum, or with Nesterov's; the rate constant, "invscaling" or "adaptive"."""

    def __init__(self, learning_rate: float, mode: str, momentum: float, nesterov: bool,
                 power_t: float, alpha: float) -> None:
        kind = update.NESTEROV if nesterov else update.MOMENTUM
        super().__init__(kind if momentum else update.SGD,
                         {"weight_decay": alpha, "momentum": momentum}, learning_rate)
        self.mode, self.power_t, self.learning_rate_init = mode, power_t, float(learning_rate)
        self.changes_slots = mode == "invscaling"

    def _change_rate(self, rate: float) -> None:
        for slot in self.slots:
            slot *= self.learning_rate / rate
        self.learning_rate = rate

    def epoch_ends(self, samples: int) -> None:
        """The rate follows the number of samples in the mode "invscaling"."""
        if self.mode == "invscaling":
            self._change_rate(self.learning_rate_init / (samples + 1) ** self.power_t)

    def gives_up(self) -> tuple[bool, str]:
        """In the mode "adaptive" the rate is divided by 5 first, until that is too small."""
        if self.mode != "adaptive":
            return True, " Stopping."
        if self.learning_rate <= LEAST_RATE:
            return True, " Learning rate too small. Stopping."
        self._change_rate(self.learning_rate / ADAPTIVE_FACTOR)
        return False, f" Setting learning rate to {self.learning_rate:f}"


class Adam(Solver):
    """Kingma & Ba 2015 with eps outside of the bias correction."""

    def __init__(self, learning_rate: float, beta_1: float, beta_2: float, epsilon: float,
                 alpha: float) -> None:
        super().__init__(update.ADAM, {"weight_decay": alpha, "beta1": beta_1, "beta2": beta_2,
                                       "eps": epsilon}, learning_rate)  # fmt: skip

    def rates(self, factors: np.ndarray) -> np.ndarray:
        """lr sqrt(1 - beta2^t)/(1 - beta1^t), and corrections of 1."""
        table = super().rates(factors)
        t = np.arange(self.steps + 1, self.steps + len(factors) + 1)
        correction = np.sqrt(1 - self.hyper["beta2"] ** t) / (1 - self.hyper["beta1"] ** t)
        table[:, 0] *= correction
        return table


class Given(Solver):
    """An optimizer of `fastbp.optim`, with its own weight decay in alpha's place."""

    decays = False

    def __init__(self, optimizer: Optimizer) -> None:
        hyper = dict(zip(update.HYPER, optimizer.hyper().tolist(), strict=True))
        super().__init__(optimizer.kind, hyper, optimizer.lr)
        self.optimizer = optimizer

    def rates(self, factors: np.ndarray) -> np.ndarray:
        """As fastbp's Trainer has them."""
        return self.optimizer.rates(self.steps, len(factors), self.learning_rate * factors)


def solver_of(estimator: Any) -> Solver:
    """The solver that an estimator's parameters describe."""
    est = estimator
    if est.optimizer is not None:
        return Given(est.optimizer)
    if est.solver == "sgd":
        return SGD(est.learning_rate_init, est.learning_rate, est.momentum,
                   est.nesterovs_momentum, est.power_t, est.alpha)
    return Adam(est.learning_rate_init, est.beta_1, est.beta_2, est.epsilon, est.alpha)
