"""Layers in plain NumPy, computed as the book "Deep Learning from Scratch" does: the twins of
`fastbp.compat.dlfs`.

Written for comparisons, of speed here and of results in tests; arguments and attributes are those
of `fastbp.compat.dlfs`, whose docstrings say what they are.
"""

# ruff: noqa: N803, NPY002

from __future__ import annotations

from typing import Any

import numpy as np


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def sigmoid_grad(x: Any) -> Any:
    return (1.0 - sigmoid(x)) * sigmoid(x)


def relu(x: Any) -> Any:
    return np.maximum(0, x)


def relu_grad(x: Any) -> Any:
    slope = np.zeros_like(x)
    slope[x >= 0] = 1
    return slope


def softmax(x: Any) -> Any:
    shifted = x - np.max(x, axis=-1, keepdims=True)
    return np.exp(shifted) / np.sum(np.exp(shifted), axis=-1, keepdims=True)


def cross_entropy_error(y: Any, t: Any) -> Any:
    if y.ndim == 1:
        y, t = y[None, :], t.reshape(1, t.size)
    labels = t.argmax(axis=1) if t.size == y.size else t
    return -np.sum(np.log(y[np.arange(len(y)), labels] + 1e-7)) / len(y)


def im2col(images: Any, fh: int, fw: int, stride: int = 1, pad: int = 0) -> Any:
    n, c, h, w = images.shape
    oh, ow = (h + 2 * pad - fh) // stride + 1, (w + 2 * pad - fw) // stride + 1
    padded = np.pad(images, [(0, 0), (0, 0), (pad, pad), (pad, pad)], "constant")
    cols = np.zeros((n, c, fh, fw, oh, ow))
    for i in range(fh):
        rows = slice(i, i + stride * oh, stride)
        for j in range(fw):
            cols[:, :, i, j] = padded[:, :, rows, j : j + stride * ow : stride]
    return cols.transpose(0, 4, 5, 1, 2, 3).reshape(n * oh * ow, -1)


def col2im(cols: Any, shape: Any, fh: int, fw: int, stride: int = 1, pad: int = 0) -> Any:
    n, c, h, w = shape
    oh, ow = (h + 2 * pad - fh) // stride + 1, (w + 2 * pad - fw) // stride + 1
    cols = cols.reshape(n, oh, ow, c, fh, fw).transpose(0, 3, 4, 5, 1, 2)
    images = np.zeros((n, c, h + 2 * pad + stride - 1, w + 2 * pad + stride - 1))
    for i in range(fh):
        rows = slice(i, i + stride * oh, stride)
        for j in range(fw):
            images[:, :, rows, j : j + stride * ow : stride] += cols[:, :, i, j]
    return images[:, :, pad : h + pad, pad : w + pad]


class Relu:
    def forward(self, x: Any) -> Any:
        self.mask = x <= 0
        y = x.copy()
        y[self.mask] = 0
        return y

    def backward(self, dout: Any) -> Any:
        dout[self.mask] = 0
        return dout


class Sigmoid:
    def forward(self, x: Any) -> Any:
        self.out = sigmoid(x)
        return self.out

    def backward(self, dout: Any) -> Any:
        return dout * (1.0 - self.out) * self.out


class Affine:
    def __init__(self, W: Any, b: Any) -> None:
        self.W, self.b = W, b

    def forward(self, x: Any) -> Any:
        self.original_x_shape = x.shape
        self.x = x.reshape(len(x), -1)
        return np.dot(self.x, self.W) + self.b

    def backward(self, dout: Any) -> Any:
        dx = np.dot(dout, self.W.T)
        self.dW = np.dot(self.x.T, dout)
        self.db = np.sum(dout, axis=0)
        return dx.reshape(self.original_x_shape)


class SoftmaxWithLoss:
    def forward(self, x: Any, t: Any) -> Any:
        self.t, self.y = t, softmax(x)
        self.loss = cross_entropy_error(self.y, t)
        return self.loss

    def backward(self, dout: Any = 1) -> Any:
        count = len(self.t)
        if self.t.size == self.y.size:
            return (self.y - self.t) / count
        dx = self.y.copy()
        dx[np.arange(count), self.t] -= 1
        return dx / count


class Dropout:
    def __init__(self, dropout_ratio: float = 0.5) -> None:
        self.dropout_ratio = dropout_ratio

    def forward(self, x: Any, train_flg: bool = True) -> Any:
        if not train_flg:
            return x * (1.0 - self.dropout_ratio)
        self.mask = np.random.rand(*x.shape) > self.dropout_ratio
        return x * self.mask

    def backward(self, dout: Any) -> Any:
        return dout * self.mask


class BatchNormalization:
    def __init__(self, gamma: Any, beta: Any, momentum: float = 0.9, running_mean: Any = None,
                 running_var: Any = None) -> None:
        self.gamma, self.beta, self.momentum = gamma, beta, momentum
        self.running_mean, self.running_var = running_mean, running_var

    def forward(self, x: Any, train_flg: bool = True) -> Any:
        self.input_shape = x.shape
        x = x.reshape(len(x), -1)
        if self.running_mean is None:
            self.running_mean = np.zeros(x.shape[1])
            self.running_var = np.zeros(x.shape[1])
        if not train_flg:
            xn = (x - self.running_mean) / np.sqrt(self.running_var + 1e-6)
            return (self.gamma * xn + self.beta).reshape(self.input_shape)
        mean = x.mean(axis=0)
        self.xc = x - mean
        var = np.mean(self.xc**2, axis=0)
        self.std = np.sqrt(var + 1e-6)
        self.xn = self.xc / self.std
        self.batch_size = len(x)
        self.running_mean = self.momentum * self.running_mean + (1 - self.momentum) * mean
        self.running_var = self.momentum * self.running_var + (1 - self.momentum) * var
        return (self.gamma * self.xn + self.beta).reshape(self.input_shape)

    def backward(self, dout: Any) -> Any:
        dout = dout.reshape(len(dout), -1)
        self.dbeta = dout.sum(axis=0)
        self.dgamma = np.sum(self.xn * dout, axis=0)
        dxn = self.gamma * dout
        dxc = dxn / self.std
        dstd = -np.sum((dxn * self.xc) / (self.std * self.std), axis=0)
        dxc += (2.0 / self.batch_size) * self.xc * (0.5 * dstd / self.std)
        return (dxc - np.sum(dxc, axis=0) / self.batch_size).reshape(self.input_shape)


class Convolution:
    def __init__(self, W: Any, b: Any, stride: int = 1, pad: int = 0) -> None:
        self.W, self.b, self.stride, self.pad = W, b, stride, pad

    def forward(self, x: Any) -> Any:
        count, _, fh, fw = self.W.shape
        n, _, h, w = x.shape
        oh = 1 + int((h + 2 * self.pad - fh) / self.stride)
        ow = 1 + int((w + 2 * self.pad - fw) / self.stride)
        self.x, self.col = x, im2col(x, fh, fw, self.stride, self.pad)
        self.col_W = self.W.reshape(count, -1).T
        y = np.dot(self.col, self.col_W) + self.b
        return y.reshape(n, oh, ow, -1).transpose(0, 3, 1, 2)

    def backward(self, dout: Any) -> Any:
        count, _, fh, fw = self.W.shape
        rows = dout.transpose(0, 2, 3, 1).reshape(-1, count)
        self.db = np.sum(rows, axis=0)
        self.dW = np.dot(self.col.T, rows).T.reshape(self.W.shape)
        return col2im(np.dot(rows, self.col_W.T), self.x.shape, fh, fw, self.stride, self.pad)


class Pooling:
    def __init__(self, pool_h: int, pool_w: int, stride: int = 2, pad: int = 0) -> None:
        self.pool_h, self.pool_w, self.stride, self.pad = pool_h, pool_w, stride, pad

    def forward(self, x: Any) -> Any:
        n, c, h, w = x.shape
        oh, ow = 1 + int((h - self.pool_h) / self.stride), 1 + int((w - self.pool_w) / self.stride)
        col = im2col(x, self.pool_h, self.pool_w, self.stride, self.pad)
        col = col.reshape(-1, self.pool_h * self.pool_w)
        self.x, self.arg_max = x, np.argmax(col, axis=1)
        return np.max(col, axis=1).reshape(n, oh, ow, c).transpose(0, 3, 1, 2)

    def backward(self, dout: Any) -> Any:
        dout = dout.transpose(0, 2, 3, 1)
        n, oh, ow, _ = dout.shape
        dmax = np.zeros((dout.size, self.pool_h * self.pool_w))
        dmax[np.arange(self.arg_max.size), self.arg_max] = dout.flatten()
        return col2im(dmax.reshape(n * oh * ow, -1), self.x.shape, self.pool_h, self.pool_w,
                      self.stride, self.pad)
