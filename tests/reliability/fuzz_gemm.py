"""A random matrix product between guard pages: every operand, every workspace (checks 1, 2, 12).

Values are integers small enough for exact results, so one element too many or too few changes
the result, and NaN around the data shows. PLANT in the environment puts in a mistake that must be
caught: read or write "+1" or "-1" element beside, write-to-input, drop-last-k.
"""

from __future__ import annotations

import os

import numpy as np
import reference
from cases import main
from guard_pages import Block, fenced, place

import fastbp
from fastbp import _pool
from fastbp._arena import address_of
from fastbp._program import Operand, Program
from fastbp.emit.gemm import NO_FLOOR, Finish, emit_gemm
from fastbp.kernels._instruction import HEADER
from fastbp.kernels.activations import LEAKY_RELU
from fastbp.kernels.gemm import ACTIVATE, GEMM
from fastbp.kernels.gemv import GEMV

PLANT = os.environ.get("PLANT", "")
BIAS, ADD, NOTHING = range(3)


def size(rng: np.random.Generator) -> int:
    """Mostly small, around the tiles; now and then several tasks long."""
    return int(rng.choice([rng.integers(0, 6), rng.integers(1, 40), rng.integers(1, 140)],
                          p=[0.2, 0.6, 0.2]))


def matrix(rng: np.random.Generator, rows: int, cols: int, dtype: type, right: bool, *,
           output: bool = False) -> tuple[Block, np.ndarray]:
    """A matrix in random order with gaps, reversed or not; outputs have contiguous columns."""
    gap = int(rng.choice([0, 0, 1, 3, 17]))
    inner = 1 if output else int(rng.choice([1, 1, 1, 2]))
    strides = (cols * inner + gap, inner)
    if not output and rng.random() < 0.4:
        strides = (inner, rows * inner + gap)
    if rng.random() < 0.15:
        strides = (-strides[0], strides[1])
    return place((rows, cols), strides, dtype, right=right)


def filled(block: Block, array: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Write the values and seal the block; gaps stay 0xFF."""
    array[...] = values
    block.seal()
    return array


def case(seed: int) -> int:
    """One product C = finish(C0 + A B); how many elements were compared."""
    rng = np.random.Generator(np.random.PCG64(seed))
    dtype = (np.float32, np.float64)[rng.integers(2)]
    m, n, k = size(rng), size(rng), size(rng)
    right = {"+1": True, "-1": False}.get(PLANT.split(" ")[-1], bool(rng.integers(2)))
    start, leaky, floor = int(rng.integers(3)), rng.random() < 0.2, rng.random() < 0.3
    a_block, a = matrix(rng, m, k, dtype, right)
    b_block, b = matrix(rng, k, n, dtype, right)
    c_block, c = matrix(rng, m, n, dtype, right, output=True)
    bias_block, bias = place((n,), (1,), dtype, right=right)
    filled(a_block, a, reference.integers(rng, (m, k), dtype))
    filled(b_block, b, reference.integers(rng, (k, n), dtype))
    filled(bias_block, bias, reference.integers(rng, (n,), dtype))
    expected = a.astype(np.int64) @ b.astype(np.int64)
    if start == ADD:
        c[...] = reference.integers(rng, (m, n), dtype)
        expected = expected + c.astype(np.int64)
    expected = expected + (bias.astype(np.int64) if start == BIAS else 0)
    finish = Finish(ACTIVATE, LEAKY_RELU, 0.5) if leaky else None  # halves are exact
    if leaky:
        expected = np.where(expected > 0, expected, expected / 2)
    elif floor:
        expected = np.maximum(expected, 0)

    with fenced(right=right):
        program = Program(dtype)
        emit_gemm(program, Operand.of(c), Operand.of(a), Operand.of(b), finish=finish,
                  bias=address_of(bias) if start == BIAS and n else 0, add=start == ADD,
                  floor=0.0 if floor and not leaky else NO_FLOOR)
        if PLANT:
            plant(program, a)
        gaps = outside(c_block, c)
        with fastbp.threads(int(rng.choice([1, 1, 2, 3])), oversubscribe=True):
            program.run()
    assert np.array_equal(c, expected), f"{m}x{n}x{k} {np.dtype(dtype)} {start=} {leaky=} {floor=}"
    assert np.array_equal(outside(c_block, c), gaps), "gaps of C were written"
    c_block.assert_slack_untouched("C")
    return c.size + 1


def outside(block: Block, array: np.ndarray) -> np.ndarray:
    """The bytes of a block that are not the array's."""
    if not array.size:
        return np.zeros(0, np.uint8)
    mask = np.zeros(len(block.data), bool)
    first = address_of(array) - block.data.ctypes.data
    item = array.itemsize
    places = first + sum(np.ix_(*(np.arange(n) * s for n, s in zip(array.shape, array.strides,
                                                                   strict=True))))
    mask[(places.reshape(-1, 1) + np.arange(item)).reshape(-1)] = True
    return block.data[~mask]


def plant(program: Program, a: np.ndarray) -> None:
    """Put the mistake PLANT into the table of instructions."""
    shift = {"+1": 1, "-1": -1}.get(PLANT.split()[-1], 0) * a.itemsize
    for row, code in enumerate(program.tables()[0]):
        for kind, out in ((GEMM, "c"), (GEMV, "y")):
            if code[0] != kind.number:
                continue
            word = {name: int(code[HEADER + number]) for number, name in enumerate(kind.words)}
            if PLANT.startswith("read"):
                program.set(row, kind, a=word["a"] + shift)
            elif PLANT.startswith("write "):
                program.set(row, kind, **{out: word[out] + shift})
            elif PLANT == "write-to-input":
                program.set(row, kind, **{out: address_of(a)})
            elif PLANT == "drop-last-k":
                program.set(row, kind, k=max(word["k"] - 1, 0))


if __name__ == "__main__":
    _pool.MOST_THREADS = 3  # each has 640 KB of scratch memory, which is poisoned for each case
    main(case)
