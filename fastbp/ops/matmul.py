"""Matrix product of arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastbp._errors import ShapeError
from fastbp._program import Operand
from fastbp.emit.gemm import emit_gemm
from fastbp.ops._check import as_real, output, same_dtype
from fastbp.ops._plans import run_over


def matmul(a: Any, b: Any, *, out: np.ndarray | None = None) -> np.ndarray:
    """a @ b.

    Arguments:
        a: (..., M, K) or (K,); leading dimensions are taken as more rows. b: (K, N) or (K,).
        out: array for the result, of its shape and dtype; it may be strided, and may overlap a or
        b.
    Returns:
        (..., M, N), without the axes of vectors, as `numpy.matmul` gives it.
    Raises:
        ShapeError: K differs, or out has the wrong shape. DTypeError: neither float32 nor float64,
        or mixed.

    All strides are read in place: transposed, sliced, reversed, read-only. The error is at most
    (K+2) u |a||b|; sums run over K in order, so the result has the same bits for every number of
    threads.
    """
    left, right = as_real("a", a), as_real("b", b)
    same_dtype(a=left, b=right)
    if left.ndim < 1 or right.ndim not in (1, 2):
        raise ShapeError(f"a with shape {left.shape}, b with shape {right.shape}",
                         "a (..., M, K) and b (K, N), or vectors (K,)")
    if left.shape[-1] != right.shape[0]:
        raise ShapeError(f"a with shape {left.shape}, b with shape {right.shape}",
                         f"b with {left.shape[-1]} rows", _remedy(left, right))
    rows = left.reshape(-1, left.shape[-1]) if left.ndim != 2 else left
    cols = right[:, None] if right.ndim == 1 else right
    shape = left.shape[:-1] + right.shape[1:]
    result = output(out, shape, left.dtype)
    target = result
    if out is not None and (np.may_share_memory(out, left) or np.may_share_memory(out, right)):
        target = np.empty(shape, left.dtype)
    _product(target, rows, cols)
    if target is not result:
        result[...] = target
    return result[()] if result.ndim == 0 else result


def _remedy(left: np.ndarray, right: np.ndarray) -> str:
    fits = right.ndim == 2 and right.shape[1] == left.shape[-1]
    return "b.T fits: the weights may be row per neuron" if fits else ""


def _product(target: np.ndarray, a: np.ndarray, b: np.ndarray) -> None:
    """target (any strides, rows x cols elements in C order) = a b."""
    m, n, item = a.shape[0], b.shape[1], a.itemsize
    c = target.reshape(m, n) if target.flags.c_contiguous else target
    if not _is_writable_by_rows(c) and not _is_writable_by_rows(c.T):
        c = np.empty((m, n), a.dtype)
    left, right, into = Operand.of(a), Operand.of(b), Operand.of(c)
    if n > 1 and c.strides[1] != item:
        into, left, right = into.transposed, right.transposed, left.transposed
    run_over((into, left, right), emit_gemm, a.dtype, emit_gemm)
    if not np.may_share_memory(c, target):
        target[...] = c.reshape(target.shape)


def _is_writable_by_rows(c: np.ndarray) -> bool:
    """True for an aligned matrix whose columns are contiguous."""
    item = c.itemsize
    return (c.ndim == 2 and c.flags.aligned and c.strides[0] % item == 0
            and (c.strides[1] == item or c.shape[1] <= 1))
