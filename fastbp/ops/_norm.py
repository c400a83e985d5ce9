"""What the normalising operations share: their vectors, their results, what backward needs."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastbp._arena import address_of, allocate
from fastbp._errors import ArgumentError, DTypeError, ShapeError
from fastbp._program import Operand, Program
from fastbp.ops._again import again, key_of, remember
from fastbp.ops._check import as_matrix, as_real, output, same_dtype
from fastbp.ops._plans import Plan, run_over
from fastbp.ops._short import Short

_backward = Short("norm_backward")

# Results from this size on come from aligned memory, so that kernels may write past the caches.
LARGE_BYTES = 1 << 20


@dataclass(eq=False, slots=True)
class Saved:
    """What the backward pass of a normalising operation needs.

    `x` is the input itself wherever possible, as a matrix (N, D): leave it unchanged until the
    backward pass. `mean` and `rstd` = 1/sqrt(var + eps) are (D,) for BatchNorm, (N,) for LayerNorm.
    """

    kind: str
    x: np.ndarray
    shape: tuple[int, ...]
    mean: np.ndarray
    rstd: np.ndarray
    gamma: np.ndarray
    training: bool = True


def saved_of(kind: str, x: np.ndarray, statistics: np.ndarray, gamma: np.ndarray,
             training: bool = True) -> Saved:
    """What a repeated forward call has to save: x lies as a matrix, whatever its shape."""
    rows = x if len(x.shape) == 2 else x.reshape(x.shape[0], -1)
    return Saved(kind, rows, x.shape, statistics[0], statistics[1], gamma.copy(), training)


def backward_call(dy: Any, saved: Any, kind: str, out: np.ndarray | None
                  ) -> tuple[Hashable, tuple[np.ndarray, ...]]:
    """(key, arrays) of a backward call, as `again` takes them; no key where `saved` is wrong."""
    if type(saved) is not Saved or saved.kind != kind:
        return None, ()
    given = (dy, saved.x, saved.mean, saved.rstd, saved.gamma)
    return key_of((kind, saved.shape, saved.training), given, out), given


def remember_backward(key: Hashable, given: tuple[np.ndarray, ...], plan: Plan, dx: np.ndarray,
                      sums: np.ndarray, out: np.ndarray | None) -> None:
    """Keep a backward call; places: dx, dy, x, dgamma and dbeta (the sums), mean, rstd, gamma."""
    if dx.nbytes < LARGE_BYTES:
        row = sums.strides[0]
        remember(key, given, plan, [dx, sums], out=out,
                 links=[(0, 0), (2, 0), (3, 0), (1, 0), (1, row), (4, 0), (5, 0), (6, 0)])


def inputs(x: Any, gamma: Any, beta: Any, eps: float
           ) -> tuple[np.ndarray, tuple[int, ...], np.ndarray, np.ndarray]:
    """(x as a matrix, its shape, contiguous gamma and beta), all of one dtype."""
    rows, shape = as_matrix("x", x)
    scale, shift = vector("gamma", gamma, rows), vector("beta", beta, rows)
    same_dtype(x=rows, gamma=scale, beta=shift)
    if not (eps >= 0 and math.isfinite(eps)):
        raise ArgumentError(f"eps={eps!r}", "a number of at least 0", "1e-5 is usual")
    return rows, shape, np.ascontiguousarray(scale), np.ascontiguousarray(shift)


def vector(name: str, values: Any, rows: np.ndarray) -> np.ndarray:
    """`values` with one number a column of `rows`."""
    array = as_real(name, values)
    if array.shape != (rows.shape[1],):
        raise ShapeError(f"{name} with shape {array.shape} for x with {rows.shape[1]} numbers a "
                         "sample", f"({rows.shape[1]},)")
    return array


def upstream(dy: Any, saved: Any, kind: str) -> np.ndarray:
    """dy as a matrix that fits what the forward pass saved."""
    if not isinstance(saved, Saved) or saved.kind != kind:
        given = saved.kind if isinstance(saved, Saved) else type(saved).__name__
        raise ArgumentError(f"saved of {given}", f"what {kind}_forward returned",
                            f"y, saved = {kind}_forward(...)")
    rows, shape = as_matrix("dy", dy)
    if shape != saved.shape:
        raise ShapeError(f"dy with shape {shape}", f"x's shape {saved.shape}")
    same_dtype(dy=rows, x=saved.x)
    return rows


def result(out: np.ndarray | None, rows: np.ndarray, *others: np.ndarray) -> np.ndarray:
    """Memory in C order for a matrix like `rows`: `out` itself where it lies so."""
    if out is not None:
        if any(np.may_share_memory(out, array) for array in (rows, *others)):
            raise ArgumentError("out overlaps an array that is read", "another array",
                                "forward's x is needed until the backward pass is done")
        if out.flags.c_contiguous and out.flags.aligned:
            return out.reshape(rows.shape)
    if rows.nbytes >= LARGE_BYTES:
        return allocate(rows.size, rows.dtype).reshape(rows.shape)
    return np.empty(rows.shape, rows.dtype)


def operand(matrix: np.ndarray) -> Operand:
    """The matrix as an operand; a single column is contiguous whatever its stride says."""
    place = Operand.of(matrix)
    return Operand(place.address, place.rows, place.cols, place.row_step)


def shaped(y: np.ndarray | None, target: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The result in the shape of x, and in `out` where there is one."""
    if y is None:
        return target.reshape(shape)
    if not np.may_share_memory(y, target):
        y[...] = target.reshape(shape)
    return y


def running_statistics(mean: Any, var: Any, rows: np.ndarray, training: bool
                       ) -> list[np.ndarray]:
    """The running statistics as contiguous arrays (copies where they are not), or none."""
    if mean is None and var is None:
        if not training:
            raise ArgumentError("training=False without running_mean and running_var", "both",
                                "they are what x is normalised by")
        return []
    found = []
    for name, array in (("running_mean", mean), ("running_var", var)):
        if not isinstance(array, np.ndarray):
            raise ArgumentError(f"{name} is {type(array).__name__}", "a NumPy array",
                                "pass both running statistics, or neither")
        if array.dtype.newbyteorder("=") != rows.dtype:
            raise DTypeError(f"{name} with dtype {array.dtype}", f"x's dtype {rows.dtype}")
        if training and not array.flags.writeable:
            raise ArgumentError(f"{name} is read-only", "a writeable array",
                                "training changes it in place")
        found.append(np.ascontiguousarray(vector(name, as_real(name, array), rows)))
    return found


def run_backward(kind: str, emit: Callable[..., None], dy: Any, saved: Saved,
                 out: np.ndarray | None, *settings: str
                 ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(dx, dgamma, dbeta) by `emit(program, dx, dy, x, dgamma=..., ...)`.

    settings: what `emit` is told of `saved` besides.
    """
    arguments = None
    if (type(saved) is Saved and saved.kind == kind and type(dy) is np.ndarray
            and dy.shape == saved.shape):
        done = _backward.call(kind, saved.training, dy, saved.x, saved.mean, saved.rstd,
                              saved.gamma, out)
        if done is not None:
            return done[0], done[1][0], done[1][1]
        arguments = (kind, saved.training, dy, saved.x, saved.mean, saved.rstd, saved.gamma, out)
    key, given = backward_call(dy, saved, kind, out)
    known = again(key, given, out, short=arguments and _backward, arguments=arguments or ())
    if known is not None:
        return known[0], known[1][0], known[1][1]
    rows = upstream(dy, saved, kind)
    told = {name: getattr(saved, name) for name in settings}
    dx = None if out is None else output(out, saved.shape, rows.dtype)
    target = result(dx, rows, saved.x)
    sums = np.empty((2, rows.shape[1]), rows.dtype)
    place = address_of(sums)

    def build(program: Program, dx: Operand, dy: Operand, x: Operand, *addresses: int) -> None:
        names = ("dgamma", "dbeta", "mean", "rstd", "gamma")
        emit(program, dx, dy, x, **dict(zip(names, addresses, strict=True)), **told)

    plan = run_over((operand(target), operand(rows), operand(saved.x), place,
                     place + sums.strides[0], address_of(saved.mean), address_of(saved.rstd),
                     address_of(saved.gamma)), (emit, *told.values()), rows.dtype, build)
    dx = shaped(dx, target, saved.shape)
    remember_backward(key, given, plan, dx, sums, out)
    return dx, sums[0], sums[1]
