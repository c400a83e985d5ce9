"""Losses on arrays: (mean loss, gradient by the first argument) in one pass (docs/math.md#losses).

Rows are samples; further dimensions count as columns. With `sample_weight` w (N,) the loss is sum_i
w_i l_i / sum_i w_i. `out`: array of the first argument's shape and dtype for the gradient (it may
be that argument itself): without it every call asks the system for new memory, which for large
matrices takes longer than the loss.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from fastbp._arena import address_of
from fastbp._errors import ArgumentError, ShapeError
from fastbp._program import Operand, Program
from fastbp.emit import losses as emit
from fastbp.ops._again import again, key_of, recall, remember
from fastbp.ops._check import (
    as_labels,
    as_matrix,
    as_real,
    output,
    rows_of,
    same_dtype,
    target_of,
)
from fastbp.ops._plans import Plan, place, plan_for
from fastbp.ops._short import Short

_softmax, _short = Short("softmax"), Short("loss", keeps="number")


def softmax(x: Any, *, out: np.ndarray | None = None) -> np.ndarray:
    """exp(x) / sum(exp(x)) over the last axis; no overflow for any finite x.

    A row with NaN or inf, or of -inf only, is NaN. out: C-ordered array of x's shape; may be x.
    """
    done = _softmax.call(x, out)
    if done is not None:
        return done
    key = key_of((softmax,), (x,), out)
    known = again(key, (x,), out, short=_softmax, arguments=(x, out))
    if known is not None:
        return known[0]
    array = as_real("x", x)
    if array.ndim == 0:
        raise ShapeError("x is a single number", "at least one dimension")
    y = output(out, array.shape, array.dtype)
    target = target_of(y, out, array)
    if array.size:
        cols = array.shape[-1]
        matrix = rows_of(array if array.ndim == 2 else array.reshape(-1, cols))
        rows, step = len(matrix), matrix.strides[0] // matrix.itemsize
        plan = plan_for((softmax, array.dtype, rows, cols, step), array.dtype,
                        lambda program: emit.emit_softmax(
                            program, Operand(place(0), rows, cols, cols),
                            Operand(place(1), rows, cols, step)))
        plan.run(address_of(target), address_of(matrix))
        remember(key, (x,), plan, [y], out=out, elementwise=True)
    if target is not y:
        y[...] = target
    return y


def softmax_cross_entropy(logits: Any, target: Any, *, sample_weight: Any = None,
                          out: np.ndarray | None = None) -> tuple[float, np.ndarray]:
    """-log softmax(logits) at the label, or -sum_j t_j log softmax(logits)_j, averaged over rows.

    Arguments:
        logits: (N, C). target: labels (N,), whole numbers from 0 to C-1, or probabilities (N, C).
        sample_weight: (N,), or None for equal weights.
    Returns:
        (loss as a float, dlogits (N, C) = (softmax(logits) - t) / N).
    """
    return _loss(emit.emit_softmax_cross_entropy, _labels_or_shares, "logits", logits, target,
                 sample_weight, out)


def hinge(scores: Any, target: Any, *, sample_weight: Any = None,
          out: np.ndarray | None = None) -> tuple[float, np.ndarray]:
    """sum over j != label of max(0, s_j - s_label + 1), averaged over rows.

    scores (N, C), target: labels (N,). Returns (loss, dscores); the slope at the kink is 0.
    """
    return _loss(emit.emit_hinge, _labels, "scores", scores, target, sample_weight, out)


def sigmoid_cross_entropy(logits: Any, target: Any, *, sample_weight: Any = None,
                          out: np.ndarray | None = None) -> tuple[float, np.ndarray]:
    """-t log sigmoid(z) - (1-t) log sigmoid(-z), averaged over all elements.

    target: of logits' shape, 0 .. 1. Returns (loss, dlogits = (sigmoid(z) - t) / size).
    """
    return _loss(emit.emit_sigmoid_cross_entropy, _elements, "logits", logits, target,
                 sample_weight, out)


def mean_squared_error(pred: Any, target: Any, *, sample_weight: Any = None,
                       out: np.ndarray | None = None) -> tuple[float, np.ndarray]:
    """(p - t)^2 averaged over all elements. Returns (loss, dpred = 2 (p - t) / size)."""
    return _loss(emit.emit_mean_squared_error, _elements, "pred", pred, target, sample_weight, out)


def mean_absolute_error(pred: Any, target: Any, *, sample_weight: Any = None,
                        out: np.ndarray | None = None) -> tuple[float, np.ndarray]:
    """|p - t| averaged over all elements. Returns (loss, dpred); the slope at p = t is 0."""
    return _loss(emit.emit_mean_absolute_error, _elements, "pred", pred, target, sample_weight, out)


def huber(pred: Any, target: Any, *, delta: float = 1.0, sample_weight: Any = None,
          out: np.ndarray | None = None) -> tuple[float, np.ndarray]:
    """d^2/2 where |d| <= delta, else delta (|d| - delta/2), d = p - t; averaged over all elements.

    Returns (loss, dpred).
    """
    if not (delta > 0 and math.isfinite(delta)):
        raise ArgumentError(f"delta={delta!r}", "a positive number")
    return _loss(emit.emit_huber, _elements, "pred", pred, target, sample_weight, out,
                 delta=float(delta))


def poisson_deviance(log_mean: Any, target: Any, *, sample_weight: Any = None,
                     out: np.ndarray | None = None) -> tuple[float, np.ndarray]:
    """e^z - t*z + t*log(t) - t, half the Poisson deviance, averaged over all elements.

    log_mean: z, logarithms of the means; target: counts, of z's shape, at least 0 (0*log(0) = 0).
    Returns (loss, dz = (e^z - t) / size).
    """
    return _loss(emit.emit_poisson_deviance, _elements, "log_mean", log_mean, target,
                 sample_weight, out)


def pinball(pred: Any, target: Any, *, quantile: float = 0.5, sample_weight: Any = None,
            out: np.ndarray | None = None) -> tuple[float, np.ndarray]:
    """quantile*(t - p) where t > p, (1 - quantile)*(p - t) elsewhere; averaged over all elements.

    Its minimum is that quantile of the targets. Returns (loss, dpred); the slope at p = t is 0.
    """
    if not 0 < quantile < 1:
        raise ArgumentError(f"quantile={quantile!r}", "a number between 0 and 1")
    return _loss(emit.emit_pinball, _elements, "pred", pred, target, sample_weight, out,
                 quantile=float(quantile))


# ---- what is computed -------------------------------------------------------------------------

# (the first argument as a matrix, its shape, the target as a matrix or labels), checked.
_Prepared = tuple[np.ndarray, tuple[int, ...], np.ndarray]


def _elements(name: str, pred: Any, target: Any) -> _Prepared:
    """A mean over elements. Without gaps between rows: their number decides how it is summed."""
    x, shape = as_matrix(name, pred)
    t = np.asarray(as_real("target", target), order="C")
    return _matrices(name, np.asarray(x, order="C"), shape, t)


def _matrices(name: str, x: np.ndarray, shape: tuple[int, ...], target: Any) -> _Prepared:
    t, target_shape = as_matrix("target", target)
    if target_shape != shape:
        raise ShapeError(f"{name} with shape {shape}, target with shape {target_shape}",
                         "equal shapes", _remedy(shape, target_shape))
    if t.dtype != x.dtype:
        same_dtype(**{name: x, "target": t})
    return x, shape, t


def _labels(name: str, scores: Any, target: Any) -> _Prepared:
    x, shape = as_matrix(name, scores)
    if len(shape) != 2:
        raise ShapeError(f"{name} with shape {shape}",
                         "(N, C): one row a sample, one column a class")
    return x, shape, as_labels("target", target, *shape)


def _labels_or_shares(name: str, logits: Any, target: Any) -> _Prepared:
    goal = np.asarray(target)
    if goal.ndim > 1 and goal.dtype.kind == "f":
        return _matrices(name, *as_matrix(name, logits), goal)
    return _labels(name, logits, goal)


def _loss(emitter: Callable[..., None], prepare: Callable[[str, Any, Any], _Prepared], name: str,
          pred: Any, target: Any, sample_weight: Any, out: np.ndarray | None, **settings: float
          ) -> tuple[float, np.ndarray]:
    """(loss, gradient by pred); weights, whose values are checked, take the long way."""
    given = pred, target
    key = None
    if sample_weight is None:
        numbers = settings.values()
        result = _short.call(emitter, *numbers, pred, target, out)
        if result is not None:
            return result
        key = key_of((emitter, *numbers), given, out)
        done = again(key, given, out, short=_short,
                     arguments=(emitter, *numbers, pred, target, out))
        known = recall(key)
        if known is not None and done is not None:
            return float(known.plan.kept[0]), done[0]
    x, shape, goal = prepare(name, pred, target)
    if x.size == 0:
        raise ShapeError(f"{name} with shape {shape}", "at least one element",
                         "the mean of nothing is not a number")
    weights = None if sample_weight is None else _weights(sample_weight, x)
    plan = _plan(emitter, x, goal, weights is not None, settings)
    y = output(out, shape, x.dtype)
    gradient = y
    if out is not None and (not (y.flags.c_contiguous and y.flags.aligned)
                            or np.may_share_memory(y, x) or np.may_share_memory(y, goal)):
        gradient = np.empty(shape, x.dtype)
    plan.run(address_of(gradient), address_of(x), address_of(goal),
             0 if weights is None else address_of(weights))
    if gradient is not y:
        y[...] = gradient
    remember(key, given, plan, [y], out=out)
    return float(plan.kept[0]), y


def _plan(emitter: Callable[..., None], x: np.ndarray, target: np.ndarray, weighted: bool,
          settings: dict[str, float]) -> Plan:
    """Places: the gradient, x, the target (a matrix or labels), weights; it keeps the loss."""
    rows, cols = x.shape
    step = x.strides[0] // x.itemsize
    target_step = target.strides[0] // x.itemsize if target.ndim == 2 else None

    def build(program: Program) -> np.ndarray:
        loss = np.zeros(1)
        if target.ndim == 1:
            program.require_labels(place(2), rows, cols)
        goal = place(2) if target_step is None else Operand(place(2), rows, cols, target_step)
        emitter(program, Operand(place(0), rows, cols, cols), Operand(place(1), rows, cols, step),
                goal, address_of(loss), weights=place(3) if weighted else 0, **settings)
        return loss

    key = (emitter, x.dtype, rows, cols, step, target_step, not weighted, *settings.values())
    return plan_for(key, x.dtype, build)


def _weights(sample_weight: Any, x: np.ndarray) -> np.ndarray:
    """(N,) weights in x's dtype: none negative, not all 0."""
    weights = np.ascontiguousarray(sample_weight, x.dtype)
    if weights.shape != (len(x),):
        raise ShapeError(f"sample_weight with shape {weights.shape}", f"({len(x)},)")
    if not (np.all(weights >= 0) and 0 < weights.sum(dtype=np.float64) < np.inf):
        raise ArgumentError("sample_weight with negative or not finite numbers, or only zeros",
                            "finite weights of at least 0, one of them above")
    return weights


def _remedy(shape: tuple[int, ...], target: tuple[int, ...]) -> str:
    if shape == (*target, 1):
        return "target[:, None] fits"
    return "target[:, 0] fits" if target == (*shape, 1) else ""
