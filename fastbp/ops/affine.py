"""The affine layer on arrays, forward and backward (docs/math.md#affine)."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastbp._errors import ArgumentError, ShapeError
from fastbp._program import Operand
from fastbp.emit.activations import emit_activation_backward
from fastbp.emit.affine import (
    emit_affine_db,
    emit_affine_dw,
    emit_affine_dx,
    emit_affine_forward,
    needs_input,
)
from fastbp.kernels.activations import IDENTITY, NAMES
from fastbp.ops._again import again, key_of, remember
from fastbp.ops._check import as_matrix, as_real, output, same_dtype
from fastbp.ops._plans import run_over
from fastbp.ops._short import Short

LAYOUTS = ("column", "row")

_forward, _backward = Short("affine_forward"), Short("affine_backward")


def affine_forward(x: Any, w: Any, b: Any = None, *, layout: str = "column",
                   activation: str = "identity", slope: float = 0.01,
                   out: np.ndarray | None = None) -> np.ndarray:
    """y = activation(x W + b) in one pass.

    Arguments:
        x: (N, ...) with D numbers a sample. b: (C,), or None.
        w: (D, C) in layout "column" (y = x @ w), (C, D) in layout "row" (y = x @ w.T). Any strides.
        activation: identity, relu, leaky_relu (slope), sigmoid, tanh, gelu, softplus, silu.
        out: C-ordered array (N, C) for the result.
    Returns:
        y (N, C).
    """
    done = _forward.call(x, w, b, layout, activation, slope, out)
    if done is not None:
        return done
    given = (x, w) if b is None else (x, w, b)
    key = key_of((affine_forward, layout, activation, slope), given, out)
    known = again(key, given, out, short=_forward,
                  arguments=(x, w, b, layout, activation, slope, out))
    if known is not None:
        return known[0]
    rows, weights, bias, kind = _inputs(x, w, b, layout, activation)
    c = weights.shape[1 if layout == "column" else 0]
    y = output(out, (len(rows), c), rows.dtype)
    target = y if y.flags.c_contiguous and not _overlaps(y, rows, weights, bias) else np.empty_like(
        y, order="C")
    row = None if bias is None else Operand.of(bias)

    def build(program: Any, y: Operand, x: Operand, w: Operand, b: Operand | None) -> None:
        emit_affine_forward(program, y, x, w, b.address if b else 0, layout=layout, kind=kind,
                            slope=slope)

    plan = run_over((Operand.of(target), Operand.of(rows), Operand.of(weights), row),
                    (affine_forward, layout, kind, slope), rows.dtype, build)
    if target is not y:
        y[...] = target
    remember(key, given, plan, [y], out=out)
    return y


def affine_backward(dy: Any, x: Any, w: Any, *, layout: str = "column",
                    activation: str = "identity", y: Any = None, b: Any = None,
                    slope: float = 0.01) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(dx, dw, db) of `affine_forward`.

    Arguments:
        dy: gradient of the loss by y, (N, C). x, w, layout, activation: as in the forward pass.
        y: the forward result, if at hand: relu, leaky_relu, sigmoid, tanh and softplus need no
            more. Otherwise (and for gelu, silu) x W + b is computed again, for which `b` is needed
            unless it was None.
    Returns:
        dx of x's shape, dw of w's shape, db (C,): sums over the batch of what dy says, no 1/N.
    """
    done = _backward.call(dy, x, w, b, y, layout, activation, slope)
    if done is not None:
        return done
    given = tuple([array for array in (dy, x, w, b, y) if array is not None])
    key = key_of((affine_backward, layout, activation, slope, b is None, y is None), given)
    known = again(key, given, short=_backward,
                  arguments=(dy, x, w, b, y, layout, activation, slope))
    if known is not None:
        return known[0], known[1], known[2]
    rows, weights, bias, kind = _inputs(x, w, b, layout, activation)
    c = weights.shape[1 if layout == "column" else 0]
    upstream, _ = as_matrix("dy", dy)
    same_dtype(x=rows, dy=upstream)
    if upstream.shape != (len(rows), c):
        raise ShapeError(f"dy with shape {np.shape(dy)}", f"({len(rows)}, {c})")
    dtype = rows.dtype
    dx = np.empty((len(rows), rows.shape[1]), dtype)
    dw, db = np.empty(weights.shape, dtype), np.zeros(c, dtype)
    saved = _given(y, rows, c) if y is not None and not needs_input(kind) else None
    operands = (Operand.of(dx), Operand.of(dw), Operand.of(db), Operand.of(upstream),
                Operand.of(rows), Operand.of(weights), None if bias is None else Operand.of(bias),
                None if saved is None or kind == IDENTITY else Operand.of(saved))

    def build(program: Any, dx: Operand, dw: Operand, db: Operand, dy: Operand, x: Operand,
              w: Operand, b: Operand | None, y: Operand | None) -> None:
        dz = dy
        if kind != IDENTITY:
            dz = Operand(program.workspace(dy.rows * dy.cols), dy.rows, dy.cols, dy.cols)
            kept = y or _once_more(program, dy, x, w, b, layout, kind, slope)
            emit_activation_backward(program, dz, dy, kept, kind, slope)
        emit_affine_dx(program, dx, dz, w, layout=layout)
        emit_affine_dw(program, dw, dz, x, layout=layout)
        emit_affine_db(program, db.address, dz, None)

    plan = run_over(operands, (affine_backward, layout, kind, slope), dtype, build)
    dx = dx.reshape(np.shape(x))
    # y comes one place earlier where there is no b.
    remember(key, given, plan, [dx, dw, db],
             links=[(n, 0) for n in (*range(6), 6, 6 if b is None else 7)])
    return dx, dw, db


def _given(y: Any, rows: np.ndarray, c: int) -> np.ndarray:
    """The forward result as a matrix, checked."""
    given, _ = as_matrix("y", y)
    same_dtype(x=rows, y=given)
    if given.shape != (len(rows), c):
        raise ShapeError(f"y with shape {np.shape(y)}", f"({len(rows)}, {c})")
    return given


def _once_more(program: Any, dy: Operand, x: Operand, w: Operand, b: Operand | None, layout: str,
               kind: int, slope: float) -> Operand:
    """What the activation's gradient is a function of, computed again: y, or z = x W + b."""
    again = Operand(program.workspace(dy.rows * dy.cols), dy.rows, dy.cols, dy.cols)
    emit_affine_forward(program, again, x, w, b.address if b else 0, layout=layout,
                        kind=IDENTITY if needs_input(kind) else kind, slope=slope)
    return again


def affine_relu_forward(x: Any, w: Any, b: Any = None, *, layout: str = "column",
                        out: np.ndarray | None = None) -> np.ndarray:
    """max(x W + b, 0) in one pass; see `affine_forward`."""
    return affine_forward(x, w, b, layout=layout, activation="relu", out=out)


def affine_relu_backward(dy: Any, x: Any, w: Any, y: Any, *, layout: str = "column"
                         ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(dx, dw, db) of `affine_relu_forward` with its result y; see `affine_backward`."""
    return affine_backward(dy, x, w, layout=layout, activation="relu", y=y)


def _inputs(x: Any, w: Any, b: Any, layout: str, activation: str
            ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, int]:
    """Everything checked: x as a matrix, w as it lies, b contiguous, the activation's number."""
    if layout not in LAYOUTS:
        raise ArgumentError(f"layout={layout!r}", "'column' for w (D, C) or 'row' for w (C, D)")
    if activation not in NAMES:
        raise ArgumentError(f"activation={activation!r}", f"one of {', '.join(NAMES)}")
    given = as_real("x", x)
    if given.ndim == 0:
        raise ShapeError("x is a single number", "(N, ...)")
    shape = given.shape
    rows = given if given.ndim == 2 else given.reshape(shape[0], -1 if given.size else
                                                       int(np.prod(shape[1:])))
    weights = as_real("w", w)
    same_dtype(x=rows, w=weights)
    if weights.ndim != 2:
        raise ShapeError(f"w with shape {weights.shape}", "two dimensions")
    d = weights.shape[0 if layout == "column" else 1]
    if rows.shape[1] != d:
        other = "row" if layout == "column" else "column"
        fits = rows.shape[1] == weights.shape[1 if layout == "column" else 0]
        raise ShapeError(
            f"x with shape {shape} ({rows.shape[1]} features) and w with shape {weights.shape} "
            f"in layout {layout!r}", f"w with {rows.shape[1]} "
            f"{'rows' if layout == 'column' else 'columns'}",
            f"layout={other!r} would fit" if fits else "")
    if b is None:
        return rows, weights, None, NAMES[activation]
    bias = as_real("b", b)
    same_dtype(x=rows, b=bias)
    c = weights.shape[1 if layout == "column" else 0]
    if bias.size != c or bias.ndim > 2 or (bias.ndim == 2 and 1 not in bias.shape):
        raise ShapeError(f"b with shape {bias.shape}", f"({c},)")
    return rows, weights, np.ascontiguousarray(bias.reshape(-1)), NAMES[activation]


def _overlaps(y: np.ndarray, *others: np.ndarray | None) -> bool:
    return any(o is not None and np.may_share_memory(y, o) for o in others)
