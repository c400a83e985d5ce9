"""Matrix product of arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastbp._errors import ShapeError
from fastbp._program import Operand
from fastbp.emit.gemm import emit_gemm
from fastbp.ops._again import again, remember
from fastbp.ops._check import as_real, output, same_dtype
from fastbp.ops._plans import Plan, run_over
from fastbp.ops._short import Short

_short = Short("matmul")


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
    done = _short.call(a, b, out)
    if done is not None:
        return done
    key = None
    if type(a) is np.ndarray and type(b) is np.ndarray and (out is None or type(out) is np.ndarray):
        # As `key_of` would have it, in half the time.
        where = None if out is None else (out.shape, out.strides, out.dtype)
        key = matmul, a.shape, a.strides, a.dtype, b.shape, b.strides, b.dtype, where
        known = again(key, (a, b), out, short=_short, arguments=(a, b, out))
        if known is not None:
            return known[0]
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
    found = _product(target, rows, cols)
    if target is not result:
        result[...] = target
    elif found is not None and result.ndim:
        plan, swapped = found
        remember(key, (a, b), plan, [result], out=out,
                 links=((0, 0), (2, 0), (1, 0)) if swapped else None)
    return result[()] if result.ndim == 0 else result


def _remedy(left: np.ndarray, right: np.ndarray) -> str:
    fits = right.ndim == 2 and right.shape[1] == left.shape[-1]
    return "b.T fits: the weights may be row per neuron" if fits else ""


def _product(target: np.ndarray, a: np.ndarray, b: np.ndarray) -> tuple[Plan, bool] | None:
    """target (any strides, rows x cols elements in C order) = a b.

    Returns the plan that wrote target itself, and whether it computed the transpose.
    """
    m, n, item = a.shape[0], b.shape[1], a.itemsize
    c = target.reshape(m, n) if target.flags.c_contiguous else target
    if not _is_writable_by_rows(c) and not _is_writable_by_rows(c.T):
        c = np.empty((m, n), a.dtype)
    left, right, into = Operand.of(a), Operand.of(b), Operand.of(c)
    swapped = n > 1 and c.strides[1] != item
    if swapped:
        into, left, right = into.transposed, right.transposed, left.transposed
    plan = run_over((into, left, right), emit_gemm, a.dtype, emit_gemm)
    if not np.may_share_memory(c, target):
        target[...] = c.reshape(target.shape)
        return None
    return plan, swapped


def _is_writable_by_rows(c: np.ndarray) -> bool:
    """True for an aligned matrix whose columns are contiguous."""
    item = c.itemsize
    return (c.ndim == 2 and c.flags.aligned and c.strides[0] % item == 0
            and (c.strides[1] == item or c.shape[1] <= 1))
