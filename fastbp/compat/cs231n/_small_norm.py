"""Normalisation of a few numbers in plain NumPy, where a call of `fastbp.ops` takes longer."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

# Numbers in x from which on one call is faster.
SMALL = 2048


class Saved(NamedTuple):
    """What `backward` needs: xhat (N, D), 1/sqrt(var + eps) along the axis, gamma (D,)."""

    xhat: np.ndarray
    rstd: np.ndarray
    gamma: np.ndarray
    axis: int


def suits(x: np.ndarray, gamma: np.ndarray, beta: np.ndarray, eps: float) -> bool:
    """True for few numbers x (N, D), gamma, beta (D,); what does not fit is for ops to refuse."""
    return (0 < x.size < SMALL and x.ndim == 2 and x.shape[1:] == gamma.shape == beta.shape
            and eps >= 0)


def forward(x: np.ndarray, gamma: np.ndarray, beta: np.ndarray, eps: float, axis: int
            ) -> tuple[np.ndarray, Saved, np.ndarray, np.ndarray]:
    """(gamma * (x - mean) / sqrt(var + eps) + beta, saved, mean, var), statistics along axis.

    axis 0: BatchNorm, 1: LayerNorm. mean and var keep that axis, of length 1.
    """
    mean = _mean(x, axis)
    centred = x - mean
    var = _mean(centred * centred, axis)
    rstd = 1 / np.sqrt(var + eps)
    centred *= rstd
    return gamma * centred + beta, Saved(centred, rstd, gamma.copy(), axis), mean, var


def backward(dout: np.ndarray, saved: Saved) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(dx, dgamma, dbeta): dx = rstd * (g - mean(g) - xhat * mean(g xhat)), g = gamma * dout."""
    xhat, rstd, gamma, axis = saved
    scaled = dout * gamma
    dx = scaled - _mean(scaled, axis)
    dx -= xhat * _mean(scaled * xhat, axis)
    dx *= rstd
    return dx, np.add.reduce(dout * xhat, axis=0), np.add.reduce(dout, axis=0)


def _mean(x: np.ndarray, axis: int) -> np.ndarray:
    """The mean along an axis, which stays; np.mean asks more questions than it adds numbers."""
    total: np.ndarray = np.add.reduce(x, axis=axis, keepdims=True)
    total /= x.shape[axis]
    return total
