"""Losses: each gives (loss, gradient by its first argument), docs/math.md#losses.

The loss of sample i is l_i; the loss of the batch is sum_i(w_i * l_i) / sum_i(w_i), all w_i = 1
where no `sample_weight` is given. For element losses l_i is the mean over the elements of row i.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .activations import sigmoid
from .precision import Array, as_rows, widen

LossAndGradient = tuple[Any, Array]


def _batch(per_sample: Array, gradient: Array, sample_weight: Array | None) -> LossAndGradient:
    """Weighted mean of l_i (N,), and of dl_i/dx_i (N, ...) with the factor of each sample."""
    ones = np.ones(len(per_sample))
    weight = np.asarray(ones if sample_weight is None else sample_weight, per_sample.dtype)
    share = weight / weight.sum()
    column = share.reshape(-1, *[1] * (gradient.ndim - 1))
    return (share * per_sample).sum(), column * gradient


def _elementwise(value: Array, slope: Array, sample_weight: Array | None) -> LossAndGradient:
    """A loss given for each element by its value and slope, both in the shape of the input."""
    rows = as_rows(value)
    return _batch(rows.mean(axis=1), slope / rows.shape[1], sample_weight)


def softmax(x: Array) -> Array:
    """exp(x) / sum(exp(x)) over the last axis, shifted by the maximum."""
    return _softmax(widen(x))


def _softmax(x: Array) -> Array:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    p: Array = e / e.sum(axis=-1, keepdims=True)
    return p


def log_softmax(x: Array) -> Array:
    """x - log(sum(exp(x))) over the last axis, shifted by the maximum."""
    return _log_softmax(widen(x))


def _log_softmax(x: Array) -> Array:
    shifted = x - x.max(axis=-1, keepdims=True)
    log_p: Array = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return log_p


def one_hot(labels: Array, classes: int) -> Array:
    """Rows of the identity matrix: (N,) labels to (N, classes)."""
    rows: Array = np.eye(classes)[np.asarray(labels)]
    return rows


def softmax_cross_entropy(
    logits: Array, target: Array, sample_weight: Array | None = None
) -> LossAndGradient:
    """l_i = -sum_j t_ij log softmax(s_i)_j; target: labels (N,) or distributions (N, C)."""
    logits, target = widen(logits), np.asarray(target)
    t = target if target.ndim == 2 else one_hot(target, logits.shape[1])
    log_p = _log_softmax(logits)
    per_sample = -np.where(t != 0, t * log_p, 0).sum(axis=1)
    gradient = _softmax(logits) * t.sum(axis=1, keepdims=True) - t
    return _batch(per_sample, gradient, sample_weight)


def sigmoid_cross_entropy(
    logits: Array, target: Array, sample_weight: Array | None = None
) -> LossAndGradient:
    """Each element -t log sigmoid(z) - (1 - t) log sigmoid(-z) = max(z,0) - z t + log(1+e^-|z|)."""
    z, t = widen(logits, target)
    value = np.maximum(z, 0) - z * t + np.log1p(np.exp(-np.abs(z)))
    return _elementwise(value, sigmoid(z) - t, sample_weight)


def mean_squared_error(
    pred: Array, target: Array, sample_weight: Array | None = None
) -> LossAndGradient:
    """Each element (p - t)^2."""
    pred, target = widen(pred, target)
    difference = pred - target
    return _elementwise(difference**2, 2 * difference, sample_weight)


def mean_absolute_error(
    pred: Array, target: Array, sample_weight: Array | None = None
) -> LossAndGradient:
    """Each element |p - t|, with the subgradient 0 where p = t."""
    pred, target = widen(pred, target)
    difference = pred - target
    return _elementwise(np.abs(difference), np.sign(difference), sample_weight)


def huber(
    pred: Array,
    target: Array,
    sample_weight: Array | None = None,
    *,
    delta: float = 1.0,
) -> LossAndGradient:
    """Each element d^2/2 where |d| <= delta, else delta*(|d| - delta/2); d = p - t."""
    pred, target = widen(pred, target)
    d = pred - target
    value = np.where(np.abs(d) <= delta, d**2 / 2, delta * (np.abs(d) - d.dtype.type(delta) / 2))
    return _elementwise(value, np.clip(d, -delta, delta), sample_weight)


def poisson_deviance(
    log_mean: Array, target: Array, sample_weight: Array | None = None
) -> LossAndGradient:
    """Each element e^z - t z + t log t - t, with 0 log 0 = 0."""
    z, t = widen(log_mean, target)
    entropy = t * np.log(np.where(t == 0, 1, t))
    return _elementwise(np.exp(z) - t * z + entropy - t, np.exp(z) - t, sample_weight)


def pinball(
    pred: Array,
    target: Array,
    sample_weight: Array | None = None,
    *,
    quantile: float = 0.5,
) -> LossAndGradient:
    """Each element q (t - p) where t > p, (1 - q) (p - t) elsewhere; slope 0 where they meet."""
    pred, target = widen(pred, target)
    q, d = pred.dtype.type(quantile), pred - target
    slope = np.where(d > 0, 1 - q, np.where(d < 0, -q, d))  # the last: 0 or NaN
    return _elementwise(slope * d, slope, sample_weight)


def largest(x: Array) -> Array:
    """The first largest column of each row (N,); NaN is the largest number."""
    return np.array([np.argmax(row) for row in widen(x)], np.int64)


def hinge(scores: Array, target: Array, sample_weight: Array | None = None) -> LossAndGradient:
    """l_i = sum over j != y_i of max(0, s_ij - s_iy + 1), labels (N,); slope 0 at the kink."""
    scores, labels = widen(scores), np.asarray(target)
    right = one_hot(labels, scores.shape[1])
    own = (scores * right).sum(axis=1, keepdims=True)
    margin = np.where(right == 1, 0, scores - own + 1)
    violated = (margin > 0).astype(scores.dtype)
    gradient = violated - right * violated.sum(axis=1, keepdims=True)
    return _batch(np.maximum(margin, 0).sum(axis=1), gradient, sample_weight)
