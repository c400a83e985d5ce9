"""Activations and their gradients, elementwise over a block of rows.

Each is a rule on registers, swept over a block; the kind is looked at once per block, so that the
matmul can call both kernels for a tile that is still in L1. Rules keep NaN. Gradients take the
value that is at hand after the forward pass: y where the slope is a function of y, else z (the
kinds in FROM_INPUT). Mathematics: docs/math.md#activations.

Design: one loop serves full registers and the last one, choosing only how to load and store, so a
rule of 60 instructions is compiled once and not twice. The price is two predicted branches a
register: ReLU on data in L1 takes 2.5 cycles a register.
"""

from __future__ import annotations

from fastbp._jit import kernel
from fastbp._simd import (
    absolute,
    at,
    lanes,
    load,
    maximum,
    minimum,
    pointer,
    select,
    splat,
    store,
)
from fastbp._simd.elementary import constant
from fastbp.kernels._instruction import Instruction
from fastbp.kernels._registers import load_upto, store_upto
from fastbp.kernels._strips import block
from fastbp.kernels._vmath import (
    TAIL_MOST,
    exp_nonpositive,
    expm1_nonpositive,
    normal_cdf_and_density,
    sigmoid,
    sigmoid_from,
    softplus,
    tanh,
)

IDENTITY, RELU, LEAKY_RELU, SIGMOID, TANH, GELU, SOFTPLUS, SILU = range(8)
NAMES = {"identity": IDENTITY, "relu": RELU, "leaky_relu": LEAKY_RELU, "sigmoid": SIGMOID,
         "tanh": TANH, "gelu": GELU, "softplus": SOFTPLUS, "silu": SILU}
# Kinds whose gradient is computed from z, not from y.
FROM_INPUT = (GELU, SILU)

ACTIVATE = Instruction(
    "activate", "y y_step z z_step rows cols block_rows block_cols kind", "slope")
ACTIVATION_GRADIENT = Instruction(
    "activation_gradient",
    "dz dz_step dy dy_step saved saved_step rows cols block_rows block_cols kind", "slope")

# sigmoid is 0 below: z * sigmoid(z) must not become inf * 0.
_SIGMOID_LEAST = (-104.0, -746.0)


# ---- rules: forward(z, slope) -> y beside backward(dy, saved, slope) -> dz -----------------------


@kernel
def _identity(z, slope):
    return z


@kernel
def _relu(z, slope):
    """max(z, 0)."""
    return maximum(z, constant(z, 0.0, 0.0))


@kernel
def _relu_gradient(dy, y, slope):
    """dy where y > 0, else 0."""
    return select(y > 0.0, dy, constant(dy, 0.0, 0.0))


@kernel
def _leaky_relu(z, slope):
    """z where z > 0, else slope*z."""
    return select(z > 0.0, z, slope * z)


@kernel
def _leaky_relu_gradient(dy, y, slope):
    """dy where y > 0, else slope*dy; y and z have the same sign as slope >= 0."""
    return select(y > 0.0, dy, slope * dy)


@kernel
def _sigmoid(z, slope):
    return sigmoid(z)


@kernel
def _sigmoid_gradient(dy, y, slope):
    """dy*y*(1 - y)."""
    return dy * (y * (1.0 - y))


@kernel
def _tanh(z, slope):
    return tanh(z)


@kernel
def _tanh_gradient(dy, y, slope):
    """dy*(1 - y^2), as a product: no cancellation beyond that of 1 - |y|."""
    return dy * ((1.0 - y) * (1.0 + y))


@kernel
def _softplus(z, slope):
    return softplus(z)


@kernel
def _softplus_gradient(dy, y, slope):
    """dy*sigmoid(z) = dy*(1 - exp(-y))."""
    return dy * -expm1_nonpositive(-y)


@kernel
def _gelu(z, slope):
    """z*Phi(z); the limit 0 at -inf."""
    least = constant(z, -TAIL_MOST[0], -TAIL_MOST[1])
    return maximum(z, least) * normal_cdf_and_density(z)[0]


@kernel
def _gelu_gradient(dy, z, slope):
    """dy*(Phi(z) + z*phi(z))."""
    cdf, density = normal_cdf_and_density(z)
    most = constant(z, TAIL_MOST[0], TAIL_MOST[1])
    finite = minimum(maximum(z, -most), most)
    return dy * (cdf + finite * density)


@kernel
def _silu(z, slope):
    """z*sigmoid(z); the limit 0 at -inf."""
    return maximum(z, constant(z, _SIGMOID_LEAST[0], _SIGMOID_LEAST[1])) * sigmoid(z)


@kernel
def _silu_gradient(dy, z, slope):
    """dy*s*(1 + z*(1 - s)) with s = sigmoid(z), 1 - s = sigmoid(-z)."""
    e = exp_nonpositive(-absolute(z))
    least = constant(z, _SIGMOID_LEAST[0], _SIGMOID_LEAST[1])
    finite = minimum(maximum(z, least), -least)
    return dy * (sigmoid_from(z, e) * (1.0 + finite * sigmoid_from(-z, e)))


# ---- sweeps --------------------------------------------------------------------------------------


def _forward(rule):
    """The kernel that applies a forward rule to a block (a factory: see update.py)."""

    @kernel
    def sweep(y, y_step, z, z_step, rows, cols, slope):
        a = splat(z, slope)
        for r in range(rows):
            to, of = at(y, r * y_step), at(z, r * z_step)
            for i in range(0, cols, lanes(z)):
                store_upto(to, i, rule(load_upto(of, i, cols - i), a), cols - i)

    return sweep


def _backward(rule):
    """The kernel that applies a gradient rule to a block."""

    @kernel
    def sweep(dz, dz_step, dy, dy_step, saved, saved_step, rows, cols, slope):
        a = splat(dy, slope)
        for r in range(rows):
            to, of, kept = at(dz, r * dz_step), at(dy, r * dy_step), at(saved, r * saved_step)
            for i in range(0, cols, lanes(dy)):
                n = cols - i
                store_upto(to, i, rule(load_upto(of, i, n), load_upto(kept, i, n), a), n)

    return sweep


@kernel
def _copy_gradient(dz, dz_step, dy, dy_step, saved, saved_step, rows, cols, slope):
    """The identity's gradient: `saved` is not read."""
    copy(dz, dz_step, dy, dy_step, rows, cols, slope)


copy = _forward(_identity)
relu, relu_gradient = _forward(_relu), _backward(_relu_gradient)
leaky_relu, leaky_relu_gradient = _forward(_leaky_relu), _backward(_leaky_relu_gradient)
sigmoid_block, sigmoid_gradient = _forward(_sigmoid), _backward(_sigmoid_gradient)
tanh_block, tanh_gradient = _forward(_tanh), _backward(_tanh_gradient)
gelu, gelu_gradient = _forward(_gelu), _backward(_gelu_gradient)
softplus_block, softplus_gradient = _forward(_softplus), _backward(_softplus_gradient)
silu, silu_gradient = _forward(_silu), _backward(_silu_gradient)


@kernel
def activate_block(y, y_step, z, z_step, rows, cols, kind, slope):
    """y = f(z).

    y, z (rows, cols), rows at their steps, columns contiguous, one dtype; y may be z. Overwrites y.
    kind: one of IDENTITY ... SILU; slope >= 0: leaky ReLU's, float64. Errors of at most 2 units in
    the last place; SiLU 2.5, GELU 6. These two are 0, or less exact, where sigmoid or Phi is below
    the smallest normal number, at values under 1.1e-36 (1.6e-305). NaN gives NaN; at infinity the
    limit. Source: docs/math.md#activations.
    """
    if kind == RELU:
        relu(y, y_step, z, z_step, rows, cols, slope)
    elif kind == LEAKY_RELU:
        leaky_relu(y, y_step, z, z_step, rows, cols, slope)
    elif kind == SIGMOID:
        sigmoid_block(y, y_step, z, z_step, rows, cols, slope)
    elif kind == TANH:
        tanh_block(y, y_step, z, z_step, rows, cols, slope)
    elif kind == GELU:
        gelu(y, y_step, z, z_step, rows, cols, slope)
    elif kind == SOFTPLUS:
        softplus_block(y, y_step, z, z_step, rows, cols, slope)
    elif kind == SILU:
        silu(y, y_step, z, z_step, rows, cols, slope)
    else:
        copy(y, y_step, z, z_step, rows, cols, slope)


@kernel
def activation_gradient_block(dz, dz_step, dy, dy_step, saved, saved_step, rows, cols, kind, slope):
    """dz = dy * f'(z).

    All (rows, cols), rows at their steps, columns contiguous, one dtype; dz may be dy or saved.
    Overwrites dz. saved: z for FROM_INPUT kinds, else y = f(z) (relu and leaky_relu take either).
    The slope of ReLU at 0 is 0, of leaky ReLU `slope`. The identity does not read saved. Source:
    docs/math.md#activations.
    """
    if kind == RELU:
        relu_gradient(dz, dz_step, dy, dy_step, saved, saved_step, rows, cols, slope)
    elif kind == LEAKY_RELU:
        leaky_relu_gradient(dz, dz_step, dy, dy_step, saved, saved_step, rows, cols, slope)
    elif kind == SIGMOID:
        sigmoid_gradient(dz, dz_step, dy, dy_step, saved, saved_step, rows, cols, slope)
    elif kind == TANH:
        tanh_gradient(dz, dz_step, dy, dy_step, saved, saved_step, rows, cols, slope)
    elif kind == GELU:
        gelu_gradient(dz, dz_step, dy, dy_step, saved, saved_step, rows, cols, slope)
    elif kind == SOFTPLUS:
        softplus_gradient(dz, dz_step, dy, dy_step, saved, saved_step, rows, cols, slope)
    elif kind == SILU:
        silu_gradient(dz, dz_step, dy, dy_step, saved, saved_step, rows, cols, slope)
    else:
        _copy_gradient(dz, dz_step, dy, dy_step, saved, saved_step, rows, cols, slope)


@kernel
def relu_gradient_sums(sums, dz, dz_step, saved, saved_step, rows, cols, first):
    """dz = dz where saved > 0, else 0;  sums[j] (+)= sum_i dz[i, j], i ascending.

    A tile of a matmul in one walk: dz, saved (rows, cols), rows at their steps, sums (cols,),
    columns contiguous, one dtype, cols at most two registers. Overwrites dz and, with `first`,
    sums. Bits as of `activation_gradient_block` and sums after it. Source:
    docs/math.md#activations.
    """
    register, zero = lanes(dz), splat(dz, 0.0)
    left = zero if first else load(sums, 0, cols)
    if cols > register:  # two sums side by side: an addition takes four cycles
        rest = cols - register
        right = zero if first else load(sums, register, rest)
        for r in range(rows):
            d, y = at(dz, r * dz_step), at(saved, r * saved_step)
            a = select(load(y, 0, None) > 0.0, load(d, 0, None), zero)
            b = select(load(y, register, rest) > 0.0, load(d, register, rest), zero)
            store(d, 0, a, None)
            store(d, register, b, rest)
            left, right = left + a, right + b
        store(sums, register, right, rest)
    else:
        for r in range(rows):
            d, y = at(dz, r * dz_step), at(saved, r * saved_step)
            a = select(load(y, 0, cols) > 0.0, load(d, 0, cols), zero)
            store(d, 0, a, cols)
            left = left + a
    store(sums, 0, left, cols)


# ---- instructions --------------------------------------------------------------------------------


@kernel
def run_activate(w, r, task, step, slot, like):
    """One block of the matrix."""
    i, j, rows, cols = block(task, w[4], w[5], w[6], w[7])
    activate_block(at(pointer(w[0], like), i * w[1] + j), w[1],
                   at(pointer(w[2], like), i * w[3] + j), w[3], rows, cols, w[8], r[0])


@kernel
def run_activation_gradient(w, r, task, step, slot, like):
    """One block of the matrix."""
    i, j, rows, cols = block(task, w[6], w[7], w[8], w[9])
    activation_gradient_block(
        at(pointer(w[0], like), i * w[1] + j), w[1], at(pointer(w[2], like), i * w[3] + j), w[3],
        at(pointer(w[4], like), i * w[5] + j), w[5], rows, cols, w[10], r[0])


INSTRUCTIONS = ((ACTIVATE, run_activate), (ACTIVATION_GRADIENT, run_activation_gradient))
