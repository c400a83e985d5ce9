"""Check 14: rows more than 2^31 elements apart, in memory that is never backed by pages."""

from __future__ import annotations

import mmap
import sys

import numpy as np
import pytest
import reference
from operations import OPERATIONS, bits, copies
from test_memory import resident

import fastbp
from fastbp import ops
from fastbp._jit import DISABLED

pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="MAP_NORESERVE"),
    pytest.mark.skipif(DISABLED, reason="sizes for compiled code"),
]
STEP = 2**31 + 64
"""Elements from one row to the next: their number does not fit 32 bits, signed or not."""
MOST_BYTES = 200 << 20
BY_ROWS = [op for op in OPERATIONS if op.name in (
    "matmul", "softmax", "batchnorm_forward", "batchnorm_backward", "layernorm_forward",
    "layernorm_backward", "affine_forward column relu", "affine_backward row relu",
    "affine_forward row gelu", "dropout_forward", "softmax_cross_entropy labels", "huber",
    "hinge", "tanh forward", "silu backward")]


def far(values: np.ndarray, step: int = STEP, *, columns: bool = False) -> np.ndarray:
    """The matrix with its rows (or columns) `step` elements apart."""
    if columns:
        return far(values.T, step).T
    size = ((values.shape[0] - 1) * step + values.shape[1]) * values.itemsize
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_NORESERVE", 0x4000)
    try:
        block = mmap.mmap(-1, size, flags)
    except OSError:
        pytest.skip("the system does not give out so many addresses")
    flat = np.frombuffer(block, values.dtype)
    rows = np.lib.stride_tricks.as_strided(
        flat, values.shape, (step * values.itemsize, values.itemsize))
    rows[...] = values
    return rows


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("columns", [False, True])
def test_products_are_exact(columns, dtype, rng):
    before = resident()
    for m, n, k in ((3, 5, 4), (4, 3, 3), (1, 4, 5)):
        a, b = reference.integers(rng, (m, k), dtype), reference.integers(rng, (k, n), dtype)
        expected = reference.exact_matmul(a, b)
        places = far(a, columns=columns), far(b, columns=columns)
        assert np.array_equal(ops.matmul(*places), expected)
        out = far(np.full((m, n), np.nan, dtype), columns=columns)
        ops.matmul(*places, out=out)
        assert np.array_equal(out, expected)
        assert np.array_equal(ops.matmul(places[0][::-1], b), expected[::-1])
    assert resident() - before < MOST_BYTES


@pytest.mark.parametrize("op", BY_ROWS, ids=str)
def test_operations_have_the_bits_of_a_contiguous_copy(op, rng):
    before = resident()
    args = op.make(rng, (4, 37, 5), np.float32)
    expected = bits(op.run(**copies(args)))
    given = {name: far(a) if a.ndim == 2 and a.dtype.kind == "f" else a for name, a in args.items()}
    assert bits(op.run(**given)) == expected
    assert resident() - before < MOST_BYTES


def test_networks_take_batches_from_far_away(rng):
    """Rows are gathered by an index; elements 2^33 bytes apart."""
    x, y = reference.reals(rng, (6, 5), np.float32), rng.integers(0, 3, 6)
    nets = [fastbp.Sequential([fastbp.Affine(5, 7), fastbp.Tanh(), fastbp.Affine(7, 3)], seed=1)
            for _ in "ab"]
    for net, samples in zip(nets, (x, far(x)), strict=True):
        fastbp.Trainer(net, seed=2).fit(samples, y, epochs=3, batch_size=2)
    assert np.array_equal(nets[0].parameters["0.w"], nets[1].parameters["0.w"])
    assert np.array_equal(nets[0].predict(x), nets[0].predict(far(x)))


@pytest.mark.nightly
def test_a_vector_of_more_than_two_to_the_31_elements():
    """uint8 samples: 2^31 + 2^20 of them, 2 GB, one a row."""
    count = 2**31 + 2**20
    x = np.zeros((count, 1), np.uint8)
    x[-3:] = [[1], [2], [3]]
    net = fastbp.Sequential([fastbp.Affine(1, 1)], seed=0)
    net.parameters["0.w"][...], net.parameters["0.b"][...] = 1, 0
    assert net.predict(x[-4:])[:, 0].tolist() == [0, 1, 2, 3]
    order = np.array([count - 1, 0, count - 2])
    assert net.predict(x[order])[:, 0].tolist() == [3, 0, 2]
