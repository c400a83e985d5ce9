"""BatchNormalization of the book."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastbp import ops
from fastbp._errors import FastbpError, ShapeError
from fastbp.compat.dlfs import _arithmetic
from fastbp.compat.dlfs._layers import computed, forget, used_before_forward

# The book writes 10e-7.
EPS = 1e-6


class BatchNormalization:
    """gamma * (x - mean)/sqrt(var + 1e-6) + beta, with statistics of each element of a sample.

    Images (N, C, H, W) have C*H*W elements: statistics are not per channel.

    Arguments:
        gamma, beta: (D,), references are kept. momentum: running = momentum*running +
            (1 - momentum)*batch, with the biased variance. running_mean, running_var: (D,) or None
            for zeros; every training pass makes new arrays of them.
    Attributes, of the last training pass:
        batch_size, std (D,), xc and xn (N, D): x - mean, and xc/std; dgamma, dbeta (D,).
    """

    def __init__(self, gamma: np.ndarray, beta: np.ndarray, momentum: float = 0.9,
                 running_mean: Any = None, running_var: Any = None) -> None:
        self.gamma = gamma
        self.beta = beta
        self.momentum = momentum
        self.input_shape: Any = None
        self.running_mean = running_mean
        self.running_var = running_var
        self.batch_size: Any = None
        self.dgamma: Any = None
        self.dbeta: Any = None
        self._saved: Any = None

    @computed
    def std(self) -> Any:
        """sqrt(var + 1e-6) of the last training pass, or None."""
        return None if self._saved is None else 1.0 / self._saved.rstd

    @computed
    def xc(self) -> Any:
        """x - mean of the last training pass, or None."""
        return None if self._saved is None else self._saved.x - self._saved.mean

    @computed
    def xn(self) -> Any:
        """xc/std of the last training pass, or None."""
        return None if self._saved is None else self.xc * self._saved.rstd

    def forward(self, x: np.ndarray, train_flg: bool = True) -> np.ndarray:
        """y of x's shape; float32 only if x, gamma and beta are (and the statistics, in a test)."""
        self.input_shape = x.shape
        rows = x if x.ndim == 2 else x.reshape(x.shape[0], -1)
        if self.running_mean is None:
            self.running_mean, self.running_var = np.zeros((2, rows.shape[1]))
        try:
            y = self._train(rows) if train_flg else self._test(rows)
        except FastbpError as error:
            raise type(error)(f"BatchNormalization: {error.given}", error.wanted, error.remedy
                              ) from None
        return y.reshape(x.shape)

    def _train(self, rows: np.ndarray) -> np.ndarray:
        dtype = _arithmetic.common_dtype(rows, self.gamma, self.beta)
        # Running means of no memory are the batch's own.
        mean, var = np.zeros((2, rows.shape[1]), dtype)
        x, gamma, beta = self._as(dtype, rows, self.gamma, self.beta)
        y, self._saved = ops.batchnorm_forward(x, gamma, beta, mean, var, momentum=0.0, eps=EPS)
        self.batch_size = len(rows)
        forget(self, "xc", "xn", "std")
        rest = 1 - self.momentum
        self.running_mean = self.momentum * self.running_mean + rest * mean
        self.running_var = self.momentum * self.running_var + rest * var
        return y

    def _test(self, rows: np.ndarray) -> np.ndarray:
        given = (rows, self.gamma, self.beta, self.running_mean, self.running_var)
        x, gamma, beta, mean, var = self._as(_arithmetic.common_dtype(*given), *given)
        return ops.batchnorm_forward(x, gamma, beta, mean, var, eps=EPS, training=False)[0]

    @staticmethod
    def _as(dtype: np.dtype, *arrays: Any) -> list[np.ndarray]:
        return [_arithmetic.converted(array, dtype) for array in arrays]

    def backward(self, dout: np.ndarray) -> np.ndarray:
        """The gradient by x of the last training pass, of its shape; sets dgamma and dbeta."""
        if self._saved is None:
            raise used_before_forward(self)
        rows = dout if dout.ndim == 2 else dout.reshape(dout.shape[0], -1)
        if rows.shape != self._saved.x.shape:
            raise ShapeError(f"BatchNormalization: dout with shape {dout.shape}",
                             f"{self.input_shape}, that of x")
        dx, self.dgamma, self.dbeta = ops.batchnorm_backward(
            _arithmetic.converted(rows, self._saved.x.dtype), self._saved)
        return dx.reshape(self.input_shape)
