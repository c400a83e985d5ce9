"""Optimizer steps: parameters and slots are updated in place, gradients are read.

Every step is one elementwise rule on registers (`_sgd` ... `_adamw`), swept over a vector or over
a tile of a weight gradient that is still in L1. Each product that meets a sum is spelled `fma`,
so the compiler has no contraction to choose: a parameter gets the same bits wherever the rule is
inlined.

Scalars: `hyper` is HYPER float64 numbers; `rates` is a row of RATES numbers that change from step
to step: lr, c1 = 1/(1 - beta1^t), c2 = 1/(1 - beta2^t) (both 1 for other kinds), and what
multiplies the weight decay (1 unless the penalty follows the batch). They are combined in float64
and rounded once. Mathematics: docs/math.md#optimizers.
"""

from __future__ import annotations

import math

import numpy as np

from fastbp._jit import kernel
from fastbp._simd import at, fma, lanes, load, pointer, pointer_to, splat, store
from fastbp._simd.estimate import divide, root
from fastbp.kernels._instruction import Instruction

SGD, MOMENTUM, NESTEROV, ADAGRAD, RMSPROP, ADAM, ADAMW = range(7)
NAMES = {"sgd": SGD, "momentum": MOMENTUM, "nesterov": NESTEROV, "adagrad": ADAGRAD,
         "rmsprop": RMSPROP, "adam": ADAM, "adamw": ADAMW}
SLOTS = (0, 1, 1, 1, 1, 2, 2)
HYPER = ("weight_decay", "momentum", "rho", "beta1", "beta2", "eps")
RATES = 4

UPDATE = Instruction("update", "kind w slot1 slot2 g size block hyper rates scale")

# What `_constants` returns, in its order.
(_SCALE, _DECAY, _MOMENTUM, _RHO, _REST_RHO, _BETA1, _REST1, _BETA2, _REST2, _EPS, _LR, _LR_DECAY,
 _LR_ADAM, _EPS_ADAM) = range(14)


@kernel
def _constants(like, hyper, rates, scale):
    """The registers that the rules use; learning rates are negative, ready for fma.

    Adam's correction moves out of the root: lr*c1*m / (sqrt(c2*v) + eps) =
    (lr*c1/sqrt(c2)) * m / (sqrt(v) + eps/sqrt(c2)).
    """
    root2, decay = math.sqrt(rates[2]), hyper[0] * rates[3]
    return (
        splat(like, scale), splat(like, decay), splat(like, hyper[1]),
        splat(like, hyper[2]), splat(like, 1.0 - hyper[2]),
        splat(like, hyper[3]), splat(like, 1.0 - hyper[3]),
        splat(like, hyper[4]), splat(like, 1.0 - hyper[4]), splat(like, hyper[5]),
        splat(like, -rates[0]), splat(like, -(rates[0] * decay)),
        splat(like, -(rates[0] * rates[1] / root2)), splat(like, hyper[5] / root2),
    )


# ---- rules: registers of a parameter w, its gradient g and slots a, b; return the new w, a, b ----


@kernel
def _sgd(w, g, a, b, c):
    """g += decay*w;  w -= lr*g."""
    return fma(c[_LR], fma(c[_DECAY], w, g), w), a, b


@kernel
def _momentum(w, g, a, b, c):
    """g += decay*w;  v = mu*v + g;  w -= lr*v.  v: a."""
    a = fma(c[_MOMENTUM], a, fma(c[_DECAY], w, g))
    return fma(c[_LR], a, w), a, b


@kernel
def _nesterov(w, g, a, b, c):
    """g += decay*w;  v = mu*v + g;  w -= lr*(g + mu*v).  v: a."""
    g = fma(c[_DECAY], w, g)
    a = fma(c[_MOMENTUM], a, g)
    return fma(c[_LR], fma(c[_MOMENTUM], a, g), w), a, b


@kernel
def _adagrad(w, g, a, b, c):
    """g += decay*w;  s += g^2;  w -= lr*g/(sqrt(s) + eps).  s: a."""
    g = fma(c[_DECAY], w, g)
    a = fma(g, g, a)
    return fma(c[_LR], divide(g, root(a) + c[_EPS]), w), a, b


@kernel
def _rmsprop(w, g, a, b, c):
    """g += decay*w;  s = rho*s + (1-rho)*g^2;  w -= lr*g/(sqrt(s) + eps).  s: a."""
    g = fma(c[_DECAY], w, g)
    a = fma(c[_REST_RHO] * g, g, c[_RHO] * a)
    return fma(c[_LR], divide(g, root(a) + c[_EPS]), w), a, b


@kernel
def _adam(w, g, a, b, c):
    """g += decay*w, then the step of `_adamw` without decay."""
    return _adam_step(w, fma(c[_DECAY], w, g), a, b, c)


@kernel
def _adamw(w, g, a, b, c):
    """w -= lr*decay*w, then Adam's step."""
    return _adam_step(fma(c[_LR_DECAY], w, w), g, a, b, c)


@kernel
def _adam_step(w, g, a, b, c):
    """m = b1*m + (1-b1)*g;  v = b2*v + (1-b2)*g^2;  w -= lr*c1*m/(sqrt(c2*v) + eps).

    m: a, v: b.
    """
    a = fma(c[_BETA1], a, c[_REST1] * g)
    b = fma(c[_REST2] * g, g, c[_BETA2] * b)
    return fma(c[_LR_ADAM], divide(a, root(b) + c[_EPS_ADAM]), w), a, b


# ---- sweeps --------------------------------------------------------------------------------------


def _sweep(rule, slots):
    """The kernel that applies `rule` to each register of a (rows, cols) block.

    A factory, so that each rule's loop is compiled with the rule inside it.
    """

    @kernel
    def apply(w, a, b, g, i, n, c):
        p = load(w, i, n)
        q = load(a, i, n) if slots > 0 else p
        s = load(b, i, n) if slots > 1 else p
        p, q, s = rule(p, load(g, i, n) * c[_SCALE], q, s, c)
        store(w, i, p, n)
        if slots > 0:
            store(a, i, q, n)
        if slots > 1:
            store(b, i, s, n)

    @kernel
    def sweep(w, w_step, s1, s1_step, s2, s2_step, g, g_step, rows, cols, c):
        width = lanes(w)
        for r in range(rows):
            p, g_row = at(w, r * w_step), at(g, r * g_step)
            a, b = at(s1, r * s1_step), at(s2, r * s2_step)
            if cols == 2 * width:  # a tile of a matmul
                apply(p, a, b, g_row, 0, None, c)
                apply(p, a, b, g_row, width, None, c)
            else:
                for i in range(0, cols - width + 1, width):
                    apply(p, a, b, g_row, i, None, c)
                if cols % width > 0:
                    apply(p, a, b, g_row, cols - cols % width, cols % width, c)

    return sweep


(_sweep_sgd, _sweep_momentum, _sweep_nesterov, _sweep_adagrad, _sweep_rmsprop, _sweep_adam,
 _sweep_adamw) = map(
     _sweep, (_sgd, _momentum, _nesterov, _adagrad, _rmsprop, _adam, _adamw), SLOTS)


@kernel
def update_scaled_block(kind, w, w_step, s1, s1_step, s2, s2_step, g, g_step, rows, cols, hyper,
                        rates, scale):
    """One step of optimizer `kind` on a (rows, cols) block, with the gradient `scale*g`.

    w, s1, s2 (rows, cols): parameters and slots, overwritten; slots the kind lacks are not
    touched (any pointer). g (rows, cols): read. Rows at their steps, columns contiguous; all of
    one dtype. Elementwise: no accumulation. Source: docs/math.md#optimizers.
    """
    c = _constants(w, hyper, rates, scale)
    if kind == SGD:
        _sweep_sgd(w, w_step, s1, s1_step, s2, s2_step, g, g_step, rows, cols, c)
    elif kind == MOMENTUM:
        _sweep_momentum(w, w_step, s1, s1_step, s2, s2_step, g, g_step, rows, cols, c)
    elif kind == NESTEROV:
        _sweep_nesterov(w, w_step, s1, s1_step, s2, s2_step, g, g_step, rows, cols, c)
    elif kind == ADAGRAD:
        _sweep_adagrad(w, w_step, s1, s1_step, s2, s2_step, g, g_step, rows, cols, c)
    elif kind == RMSPROP:
        _sweep_rmsprop(w, w_step, s1, s1_step, s2, s2_step, g, g_step, rows, cols, c)
    elif kind == ADAM:
        _sweep_adam(w, w_step, s1, s1_step, s2, s2_step, g, g_step, rows, cols, c)
    elif kind == ADAMW:
        _sweep_adamw(w, w_step, s1, s1_step, s2, s2_step, g, g_step, rows, cols, c)


@kernel
def update_block(kind, w, w_step, s1, s1_step, s2, s2_step, g, g_step, rows, cols, hyper, rates):
    """`update_scaled_block` with scale 1: the epilogue of a weight gradient's tile."""
    update_scaled_block(kind, w, w_step, s1, s1_step, s2, s2_step, g, g_step, rows, cols, hyper,
                        rates, 1.0)


@kernel
def run_update(w, r, task, step, slot, like):
    """Elements task*block .. of contiguous vectors; `scale`: address of a float64, 0 for 1."""
    begin = task * w[6]
    scale = 1.0
    if w[9] != 0:
        scale = pointer_to(w[9], np.float64)[0]
    update_scaled_block(
        w[0], at(pointer(w[1], like), begin), 0, at(pointer(w[2], like), begin), 0,
        at(pointer(w[3], like), begin), 0, at(pointer(w[4], like), begin), 0, 1,
        min(w[6], w[5] - begin), pointer_to(w[7], np.float64),
        at(pointer_to(w[8], np.float64), RATES * step), scale)


INSTRUCTIONS = ((UPDATE, run_update),)
