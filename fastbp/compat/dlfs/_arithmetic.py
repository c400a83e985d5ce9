"""The arithmetic behind the book's interface: kernels where there is work for them.

Handing work to a kernel takes up to 5 us (a call that is often repeated less than one), a small
product or a few thousand elements in NumPy less: below the sizes named here NumPy does it, in one
thread. Results are float32 only where all operands are, as NumPy has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastbp import ops
from fastbp._arena import address_of, allocate
from fastbp._program import Operand, Program
from fastbp.emit.affine import (
    emit_affine_db,
    emit_affine_dw,
    emit_affine_dx,
    emit_affine_forward,
)
from fastbp.emit.batchnorm import emit_batchnorm_backward, emit_batchnorm_forward
from fastbp.ops._norm import LARGE_BYTES
from fastbp.ops._plans import place, plan_for

FLOAT32, FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)
REAL = FLOAT64, FLOAT32
_ZERO = {dtype: np.zeros((), dtype) for dtype in REAL}
# Elements up to which elementwise work is NumPy's: of a few additions or comparisons, and of more.
SMALL_SIMPLE, SMALL = 1 << 15, 1 << 12
# Multiply-adds up to which a product is NumPy's (OpenBLAS takes one thread up to twice as many).
SMALL_PRODUCT = 1 << 17


def is_real(x: Any) -> bool:
    """True for an array that kernels take: float32 or float64, aligned."""
    return type(x) is np.ndarray and x.dtype in REAL and x.flags.aligned


def common_dtype(*arrays: Any) -> np.dtype:
    """float32 where all arrays are float32, else float64."""
    for array in arrays:
        if getattr(array, "dtype", None) != FLOAT32:
            return FLOAT64
    return FLOAT32


def converted(x: Any, dtype: np.dtype) -> np.ndarray:
    """`x` as an aligned array of that dtype: itself where it is one."""
    if type(x) is np.ndarray and x.dtype == dtype and x.flags.aligned:
        return x
    return np.array(x, dtype, order="C")


def alike(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> Sequence[np.ndarray]:
    """Three arrays in their common dtype, aligned."""
    dtype = x.dtype
    if dtype in REAL and y.dtype == dtype and z.dtype == dtype and x.flags.aligned \
            and y.flags.aligned and z.flags.aligned:
        return x, y, z
    dtype = common_dtype(x, y, z)
    return [converted(array, dtype) for array in (x, y, z)]


def sigmoid(x: Any) -> Any:
    """1 / (1 + exp(-x)); numbers and arrays of any kind."""
    if is_real(x) and x.size > SMALL:
        return ops.sigmoid_forward(x)
    return 1 / (1 + np.exp(-x))


def sigmoid_gradient(dout: Any, out: Any) -> Any:
    """dout * (1 - out) * out."""
    if type(dout) is np.ndarray and type(out) is np.ndarray and dout.dtype == out.dtype \
            and dout.shape == out.shape:
        if out.size > SMALL_SIMPLE and is_real(out) and is_real(dout):
            return ops.sigmoid_backward(dout, out)
        slope = 1.0 - out
        slope *= out
        slope *= dout
        return slope
    return dout * (1.0 - out) * out


def relu(x: Any) -> Any:
    """max(x, 0), of x's dtype."""
    zero = _ZERO.get(x.dtype) if type(x) is np.ndarray else None
    if zero is None:
        return np.maximum(x, 0)
    return np.maximum(x, zero) if x.size <= SMALL_SIMPLE else ops.relu_forward(x)


def softmax(x: Any) -> Any:
    """exp(x) / sum(exp(x)) over the last axis."""
    return ops.softmax(x if is_real(x) else np.asarray(x, common_dtype(x)))


# ---- products ------------------------------------------------------------------------------------


def _operand(number: int, x: np.ndarray) -> Operand:
    """The matrix x as array `number` of a plan."""
    (rows, cols), item = x.shape, x.itemsize
    return Operand(place(number), rows, cols, x.strides[0] // item, x.strides[1] // item)


def affine(x: np.ndarray, w: np.ndarray, b: np.ndarray) -> np.ndarray:
    """x w + b. x (N, D), w (D, C): any strides; b (C,): any strides; of one dtype kernels take."""
    if x.size * w.shape[1] <= SMALL_PRODUCT:
        y = x.dot(w)
        y += b
        return y
    y, b = np.empty((x.shape[0], w.shape[1]), x.dtype), np.ascontiguousarray(b)

    def build(program: Program) -> None:
        emit_affine_forward(program, _operand(0, y), _operand(1, x), _operand(2, w), place(3),
                            layout="column")

    key = (affine, x.dtype, x.shape, x.strides, w.shape, w.strides)
    plan_for(key, x.dtype, build).run(address_of(y), address_of(x), address_of(w), address_of(b))
    return y


def affine_gradients(dy: np.ndarray, x: np.ndarray, w: np.ndarray, *, need_dx: bool = True
                     ) -> tuple[np.ndarray | None, np.ndarray, np.ndarray]:
    """(dy w.T or None, x.T dy, column sums of dy) of `affine`."""
    if x.size * w.shape[1] <= SMALL_PRODUCT:
        return dy.dot(w.T) if need_dx else None, x.T.dot(dy), np.add.reduce(dy, 0)
    dtype = x.dtype
    if dy.strides[1] != dy.itemsize:
        dy = np.ascontiguousarray(dy)
    dx = np.empty(x.shape, dtype) if need_dx else None
    dw, db = np.empty(w.shape, dtype), np.empty(w.shape[1], dtype)

    def build(program: Program) -> None:
        upstream = _operand(2, dy)
        if dx is not None:
            emit_affine_dx(program, _operand(5, dx), upstream, _operand(4, w), layout="column")
        emit_affine_dw(program, _operand(0, dw), upstream, _operand(3, x), layout="column")
        emit_affine_db(program, place(1), upstream, None)

    key = (affine_gradients, dtype, x.shape, x.strides, w.shape, w.strides, dy.strides, need_dx)
    plan_for(key, dtype, build).run(
        address_of(dw), address_of(db), address_of(dy), address_of(x), address_of(w),
        address_of(dx) if dx is not None else 0)
    return dx, dw, db


# ---- normalization -------------------------------------------------------------------------------


def _like(x: np.ndarray) -> np.ndarray:
    """New memory in C order for a matrix of x's shape; a large one on a cache line."""
    if x.nbytes < LARGE_BYTES:
        return np.empty(x.shape, x.dtype)
    return allocate(x.size, x.dtype).reshape(x.shape)


def _written(number: int, x: np.ndarray) -> Operand:
    """A matrix from `_like` as array `number` of a plan."""
    rows, cols = x.shape
    return Operand(place(number, aligned=x.nbytes >= LARGE_BYTES), rows, cols, cols)


def _read(number: int, x: np.ndarray) -> Operand:
    """A matrix with contiguous columns as array `number` of a plan."""
    rows, cols = x.shape
    return Operand(place(number), rows, cols, x.strides[0] // x.itemsize)


def by_rows(x: np.ndarray) -> np.ndarray:
    """The matrix itself if its columns are contiguous, else a copy in C order."""
    return x if x.strides[1] == x.itemsize else np.ascontiguousarray(x)


def normalize(x: np.ndarray, gamma: np.ndarray, beta: np.ndarray, mean: np.ndarray,
              var: np.ndarray, eps: float, *, training: bool) -> tuple[np.ndarray, np.ndarray]:
    """(gamma*(x - mean)/sqrt(var + eps) + beta, rows with the mean and 1/sqrt(var + eps)).

    x (N, D), N >= 1, with contiguous columns; vectors (D,) contiguous; of one dtype. training: mean
    and var are 0, and receive what the batch has; else they are what is used.
    """
    y, moments = _like(x), np.empty((2, x.shape[1]), x.dtype)
    gap = moments.strides[0]

    def build(program: Program) -> None:
        emit_batchnorm_forward(
            program, _written(0, y), _read(1, x), gamma=place(2), beta=place(3), mean=place(6),
            rstd=place(6) + gap, running_mean=place(4), running_var=place(5), momentum=0.0, eps=eps,
            training=training)

    key = (normalize, x.dtype, x.shape, x.strides, eps, training)
    plan_for(key, x.dtype, build).run(*[address_of(array) for array in (
        y, x, gamma, beta, mean, var, moments)])
    return y, moments


def normalize_gradients(dy: np.ndarray, x: np.ndarray, moments: np.ndarray, gamma: np.ndarray
                        ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(dx, dgamma, dbeta) of `normalize` in training; dy as x, moments as they were returned."""
    dx, sums = _like(x), np.empty((2, x.shape[1]), x.dtype)
    gap = sums.strides[0]

    def build(program: Program) -> None:
        emit_batchnorm_backward(
            program, _written(0, dx), _read(1, dy), _read(2, x), dgamma=place(5),
            dbeta=place(5) + gap, mean=place(3), rstd=place(3) + gap, gamma=place(4))

    key = (normalize_gradients, x.dtype, x.shape, x.strides, dy.strides)
    plan_for(key, x.dtype, build).run(*[address_of(array) for array in (
        dx, dy, x, moments, gamma, sums)])
    return dx, sums[0], sums[1]
