"""A network's forward and backward pass over a batch, on the kernels of fastbp.

Letters: n calls; layer l has `widths[l]` inputs and `widths[l+1]` neurons. Parameters lie as
`parameters()` lists them: a row of (weights, bias) for each neuron; all biases follow once more,
because kernels read a bias row without gaps.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from fastbp._arena import address_of, allocate, padded
from fastbp._program import Operand, Program
from fastbp.emit.activations import emit_activation_backward
from fastbp.emit.affine import (
    Producer,
    emit_affine_db,
    emit_affine_dw,
    emit_affine_dx,
    emit_affine_forward,
)
from fastbp.kernels.activations import IDENTITY, RELU
from fastbp.ops._plans import place, plan_for

FLOAT64 = np.dtype(np.float64)
ITEM = FLOAT64.itemsize


class Shape(NamedTuple):
    """A network of fully connected layers; `relu` has a flag for each."""

    widths: tuple[int, ...]
    relu: tuple[bool, ...]

    @property
    def parameters(self) -> int:
        """Weights and biases."""
        return sum((d + 1) * c for d, c in zip(self.widths, self.widths[1:], strict=False))


@functools.cache
def bias_places(shape: Shape) -> np.ndarray:
    """Where the biases are among the parameters."""
    places: list[int] = []
    start = 0
    for d, c in zip(shape.widths, shape.widths[1:], strict=False):
        places += range(start + d, start + c * (d + 1), d + 1)
        start += c * (d + 1)
    return np.array(places, np.intp)


def parameter_buffer(shape: Shape, parameters: list[float]) -> np.ndarray:
    """The parameters as `forward` and `backward` take them."""
    result = allocate(shape.parameters + sum(shape.widths[1:]), FLOAT64)
    result[: shape.parameters] = parameters
    result[shape.parameters :] = result[bias_places(shape)]
    return result


def buffer(shape: Shape, n: int) -> np.ndarray:
    """Memory for n rows of the inputs and of each layer's outputs, or of their gradients."""
    return allocate(sum(padded(n * width, FLOAT64) for width in shape.widths), FLOAT64)


def matrices(buffer: np.ndarray, shape: Shape, n: int) -> list[np.ndarray]:
    """The (n, width) arrays in a buffer."""
    views, start = [], 0
    for width in shape.widths:
        views.append(buffer[start : start + n * width].reshape(n, width))
        start += padded(n * width, FLOAT64)
    return views


def forward(shape: Shape, n: int, values: np.ndarray, parameters: np.ndarray) -> None:
    """Y[l+1] = f(Y[l] W^T + b) for each layer, in the buffer `values`, whose Y[0] is given."""

    def build(program: Program) -> None:
        y = _operands(0, shape, n)
        for number, (w, b) in enumerate(_layers(1, shape)):
            emit_affine_forward(program, y[number + 1], y[number], w, b, layout="row",
                                kind=RELU if shape.relu[number] else IDENTITY)

    plan = plan_for((forward, shape, n), FLOAT64, build)
    plan.run(address_of(values), address_of(parameters))


def backward(shape: Shape, n: int, values: np.ndarray, parameters: np.ndarray,
             gradients: np.ndarray, *, need_dx: bool) -> np.ndarray:
    """Gradient by the parameters, in their order; that by the inputs where it is needed.

    values: the buffer after `forward`. gradients: another, with the last layer's dY given; the
    others are overwritten, and dY by the gradient before the activation.
    """

    def build(program: Program) -> None:
        y, dz = _operands(0, shape, n), _operands(2, shape, n)
        weights, results = _layers(1, shape), _layers(3, shape)
        if shape.relu[-1]:
            emit_activation_backward(program, dz[-1], dz[-1], y[-1], RELU)
        sums = None
        for number in reversed(range(len(weights))):
            dw, db = results[number]
            emit_affine_dw(program, dw, dz[number + 1], y[number], layout="row")
            emit_affine_db(program, db, dz[number + 1], sums)
            if number or need_dx:
                through = Producer(RELU, 0.0, y[number]) if number and shape.relu[number - 1] \
                    else None
                sums = emit_affine_dx(program, dz[number], dz[number + 1], weights[number][0],
                                      layout="row", through=through)

    result = allocate(shape.parameters + sum(shape.widths[1:]), FLOAT64)
    plan = plan_for((backward, shape, n, need_dx), FLOAT64, build)
    plan.run(address_of(values), address_of(parameters), address_of(gradients), address_of(result))
    result[bias_places(shape)] = result[shape.parameters :]
    return result[: shape.parameters]


def _operands(number: int, shape: Shape, n: int) -> list[Operand]:
    """The matrices of a buffer at place `number`."""
    operands, address = [], place(number, aligned=True)
    for width in shape.widths:
        operands.append(Operand(address, n, width, width))
        address += padded(n * width, FLOAT64) * ITEM
    return operands


def _layers(number: int, shape: Shape) -> list[tuple[Operand, int]]:
    """(weights, address of the biases without gaps) of each layer at place `number`."""
    layers, address = [], place(number, aligned=True)
    biases = address + shape.parameters * ITEM
    for d, c in zip(shape.widths, shape.widths[1:], strict=False):
        layers.append((Operand(address, c, d, d + 1), biases))
        address += c * (d + 1) * ITEM
        biases += c * ITEM
    return layers
