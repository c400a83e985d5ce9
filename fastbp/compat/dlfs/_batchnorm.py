"""BatchNormalization of the book."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastbp._errors import ShapeError
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
        # x as a matrix, and rows with its mean and 1/std.
        self._saved: Any = None

    @computed
    def std(self) -> Any:
        """sqrt(var + 1e-6) of the last training pass, or None."""
        return None if self._saved is None else 1.0 / self._saved[1][1]

    @computed
    def xc(self) -> Any:
        """x - mean of the last training pass, or None."""
        return None if self._saved is None else self._saved[0] - self._saved[1][0]

    @computed
    def xn(self) -> Any:
        """xc/std of the last training pass, or None."""
        return None if self._saved is None else self.xc * self._saved[1][1]

    def forward(self, x: np.ndarray, train_flg: bool = True) -> np.ndarray:
        """y of x's shape; float32 only if x, gamma and beta are (and the statistics, in a test)."""
        rows = x if x.ndim == 2 else x.reshape(x.shape[0], -1)
        if not len(rows):
            raise ShapeError(f"BatchNormalization: x with shape {x.shape}: no samples",
                             "at least one to take the mean of")
        self._check(x, rows.shape[1], "gamma", "beta")
        if not train_flg and self.running_mean is not None:
            self._check(x, rows.shape[1], "running_mean", "running_var")
        self.input_shape = x.shape
        if self.running_mean is None:
            self.running_mean, self.running_var = np.zeros((2, rows.shape[1]))
        return (self._train(rows) if train_flg else self._test(rows)).reshape(x.shape)

    def _check(self, x: np.ndarray, width: int, *names: str) -> None:
        for name in names:
            shape = np.shape(getattr(self, name))
            if shape != (width,):
                raise ShapeError(f"BatchNormalization: {name} with shape {shape} for x with shape "
                                 f"{x.shape}", f"({width},)")

    def _train(self, rows: np.ndarray) -> np.ndarray:
        x, gamma, beta = self._as(_arithmetic.common_dtype(rows, self.gamma, self.beta), rows,
                                  self.gamma, self.beta)  # fmt: skip
        mean, var = np.zeros((2, rows.shape[1]), x.dtype)
        y, moments = _arithmetic.normalize(x, gamma, beta, mean, var, EPS, training=True)
        self._saved = x, moments
        forget(self, "xc", "xn", "std")
        self.batch_size = len(rows)
        rest = 1 - self.momentum
        self.running_mean = self.momentum * self.running_mean + rest * mean
        self.running_var = self.momentum * self.running_var + rest * var
        return y

    def _test(self, rows: np.ndarray) -> np.ndarray:
        given = (rows, self.gamma, self.beta, self.running_mean, self.running_var)
        x, gamma, beta, mean, var = self._as(_arithmetic.common_dtype(*given), *given)
        return _arithmetic.normalize(x, gamma, beta, mean, var, EPS, training=False)[0]

    @staticmethod
    def _as(dtype: np.dtype, rows: np.ndarray, *vectors: Any) -> list[np.ndarray]:
        """All in that dtype and as kernels take them."""
        return [_arithmetic.by_rows(_arithmetic.converted(rows, dtype)),
                *[np.ascontiguousarray(_arithmetic.converted(v, dtype)) for v in vectors]]

    def backward(self, dout: np.ndarray) -> np.ndarray:
        """The gradient by x of the last training pass, of its shape; sets dgamma and dbeta."""
        if self._saved is None:
            raise used_before_forward(self)
        x, moments = self._saved
        rows = dout if dout.ndim == 2 else dout.reshape(dout.shape[0], -1)
        if rows.shape != x.shape:
            raise ShapeError(f"BatchNormalization: dout with shape {dout.shape}",
                             f"{self.input_shape}, that of x")
        dtype = _arithmetic.common_dtype(rows, x, self.gamma)
        up, gamma = self._as(dtype, rows, self.gamma)
        x, moments = _arithmetic.converted(x, dtype), _arithmetic.converted(moments, dtype)
        dx, self.dgamma, self.dbeta = _arithmetic.normalize_gradients(up, x, moments, gamma)
        return dx.reshape(self.input_shape)
