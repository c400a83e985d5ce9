"""Optimizer steps on arrays, in place (docs/math.md#optimizers).

Every function changes the parameter `w` and its slots and returns nothing. w, the gradient g and
the slots have one shape and one dtype, float32 or float64; w and slots must be writeable NumPy
arrays of any strides, slots zero before the first step. weight_decay adds weight_decay*w to the
gradient, except in `adamw_step`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastbp._arena import address_of, flat_view
from fastbp._errors import ArgumentError, DTypeError
from fastbp._program import Program
from fastbp.emit.update import bias_correction, emit_update, hyper_row
from fastbp.kernels.update import ADAGRAD, ADAM, ADAMW, MOMENTUM, NESTEROV, RATES, RMSPROP, SGD
from fastbp.ops._again import again, key_of, recall, remember
from fastbp.ops._check import as_real, same_dtype, same_shape
from fastbp.ops._plans import place, plan_for
from fastbp.ops._short import Short

_short = Short("optimizer_step", numbers=3)


def sgd_step(w: np.ndarray, g: Any, *, lr: float, weight_decay: float = 0.0) -> None:
    """w -= lr*g."""
    _step(SGD, w, g, {}, lr, weight_decay)


def momentum_step(w: np.ndarray, g: Any, v: np.ndarray, *, lr: float, momentum: float = 0.9,
                  nesterov: bool = False, weight_decay: float = 0.0) -> None:
    """v = momentum*v + g; w -= lr*v, or with `nesterov` w -= lr*(g + momentum*v)."""
    _step(NESTEROV if nesterov else MOMENTUM, w, g, {"v": v}, lr, weight_decay, momentum=momentum)


def adagrad_step(w: np.ndarray, g: Any, s: np.ndarray, *, lr: float, eps: float = 1e-10,
                 weight_decay: float = 0.0) -> None:
    """s += g^2; w -= lr*g/(sqrt(s) + eps)."""
    _step(ADAGRAD, w, g, {"s": s}, lr, weight_decay, eps=eps)


def rmsprop_step(w: np.ndarray, g: Any, s: np.ndarray, *, lr: float, rho: float = 0.99,
                 eps: float = 1e-8, weight_decay: float = 0.0) -> None:
    """s = rho*s + (1 - rho)*g^2; w -= lr*g/(sqrt(s) + eps)."""
    _step(RMSPROP, w, g, {"s": s}, lr, weight_decay, rho=rho, eps=eps)


def adam_step(w: np.ndarray, g: Any, m: np.ndarray, v: np.ndarray, *, step: int, lr: float = 1e-3,
              beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8,
              weight_decay: float = 0.0) -> None:
    """Step number `step` = 1, 2, ...

    m = beta1*m + (1 - beta1)*g; v = beta2*v + (1 - beta2)*g^2;
    w -= lr * m/(1 - beta1^step) / (sqrt(v/(1 - beta2^step)) + eps).
    """
    _adam(ADAM, w, g, m, v, step, lr, beta1, beta2, eps, weight_decay)


def adamw_step(w: np.ndarray, g: Any, m: np.ndarray, v: np.ndarray, *, step: int, lr: float = 1e-3,
               beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8,
               weight_decay: float = 1e-2) -> None:
    """w -= lr*weight_decay*w, then the step of `adam_step` with the gradient as it is."""
    _adam(ADAMW, w, g, m, v, step, lr, beta1, beta2, eps, weight_decay)


def _adam(kind: int, w: np.ndarray, g: Any, m: np.ndarray, v: np.ndarray, step: int, lr: float,
          beta1: float, beta2: float, eps: float, weight_decay: float) -> None:
    if not step >= 1 or step != int(step):
        raise ArgumentError(f"step={step!r}", "1 for the first step, then 2, 3, ...")
    _step(kind, w, g, {"m": m, "v": v}, lr, weight_decay, step=int(step), beta1=beta1, beta2=beta2,
          eps=eps)


def _step(kind: int, w: np.ndarray, g: Any, slots: dict[str, np.ndarray], lr: float,
          weight_decay: float, *, step: int = 0, **settings: float) -> None:
    """Check, run on contiguous memory, write back where that is a copy."""
    _check_number("lr", lr)
    _check_number("weight_decay", weight_decay)
    for name, value in settings.items():
        _check_number(name, value, math.inf if name == "eps" else 1.0)
    rates = (float(lr), 1.0, 1.0) if step == 0 else (
        float(lr), bias_correction(settings["beta1"], step),
        bias_correction(settings["beta2"], step))
    arguments = (kind, weight_decay, *settings.values(), g, w, *slots.values(), *rates)
    if _short.call(*arguments) is not None:
        return
    given = (g, w, *slots.values())
    key = key_of((kind, weight_decay, *settings.values()), given)
    known = recall(key)
    if known is not None:
        _set(known.plan.kept, rates)
        if again(key, given, short=_short, arguments=arguments) is not None:
            return
    arrays, gradient = _arrays({"w": w, **slots}, g)
    memory = [np.ascontiguousarray(array) for array in arrays]
    if any(np.may_share_memory(gradient, array) for array in memory):
        gradient = gradient.copy()
    gradient = np.ascontiguousarray(gradient)
    size = gradient.size

    def build(program: Program, g: int, w: int, *slots: int) -> Any:
        hyper = program.keep(hyper_row(weight_decay=weight_decay, **settings))
        numbers = np.ones(RATES)
        emit_update(program, kind, w, g, size, hyper=address_of(hyper), rates=address_of(numbers),
                    slots=slots)
        return flat_view(numbers)

    dtype = gradient.dtype
    plan = plan_for((kind, size, dtype, weight_decay, *settings.values()), dtype,
                    lambda program: build(program, *map(place, range(len(given)))))
    _set(plan.kept, rates)
    plan.run(*map(address_of, (gradient, *memory)))
    for changed, computed in zip((w, *slots.values()), memory, strict=True):
        if computed is not changed:
            changed[...] = computed
    remember(key, given, plan, [], changed=range(1, len(given)))


def _set(words: Any, rates: tuple[float, ...]) -> None:
    words[0], words[1], words[2] = rates


def _arrays(changed: dict[str, Any], g: Any) -> tuple[list[np.ndarray], np.ndarray]:
    """(w and slots, the gradient), checked."""
    for name, array in changed.items():
        if not isinstance(array, np.ndarray):
            raise DTypeError(f"{name} is {type(array).__name__}", "a NumPy array",
                             "it is changed in place")
        if not array.flags.writeable:
            raise ArgumentError(f"{name} is read-only", "a writeable array",
                                "it is changed in place")
    arrays = {name: as_real(name, array) for name, array in changed.items()}
    gradient = as_real("g", g)
    same_dtype(**arrays, g=gradient)
    same_shape(**arrays, g=gradient)
    return list(arrays.values()), gradient


def _check_number(name: str, value: float, below: float = math.inf) -> None:
    """Refuse what is no number in [0, below)."""
    if not 0 <= value < below:
        raise ArgumentError(f"{name}={value!r}", "a number of at least 0"
                            + (f" and below {below:g}" if math.isfinite(below) else ""))
