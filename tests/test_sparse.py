"""Sparse inputs: the first layer on CSR rows gives what it gives on the dense matrix."""

from __future__ import annotations

import numpy as np
import pytest
import reference

import fastbp
from fastbp import Affine, Graph, ReLU, Sequential
from fastbp._arena import address_of
from fastbp._errors import ArgumentError, DataError, ShapeError
from fastbp._jit import DISABLED
from fastbp._program import Operand, Program
from fastbp.emit.sparse import SparseInput, SparseRows, emit_sparse_affine, emit_sparse_weight
from fastbp.kernels.sparse import SPARSE_AFFINE, SPARSE_WEIGHT

COLUMNS = (1, 3, 16, 17, 64, 65, 130)


def csr(dense: np.ndarray, index: type = np.int32) -> SparseRows:
    """A dense matrix's entries that are not 0, row by row from the last column to the first."""
    rows = [np.flatnonzero(row)[::-1] for row in dense]
    indptr = np.concatenate([[0], np.cumsum([len(r) for r in rows])])
    indices = np.concatenate(rows) if rows else np.zeros(0)
    values = np.concatenate([row[at] for row, at in zip(dense, rows, strict=True)])
    return SparseRows(indptr.astype(index), indices.astype(index), values, dense.shape[1])


def sparse_integers(rng, shape, dtype):
    return reference.integers(rng, shape, dtype) * (rng.random(shape) < 0.2)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("layout", ["column", "row"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_both_directions_are_exact_on_integers(dtype, layout, threads, rng):
    """Rows without entries, rows by an index, both index types, values of another dtype."""
    for cols in COLUMNS:
        rows, features = 21, 37
        source = sparse_integers(rng, (50, features), np.float64 if cols % 2 else np.float32)
        source[[3, 7]] = 0
        index = rng.integers(0, 50, 2 * rows)
        w = reference.integers(rng, (features, cols), dtype)
        stored = np.ascontiguousarray(w if layout == "column" else w.T)
        factor = Operand.of(stored) if layout == "column" else Operand.of(stored).transposed
        bias = reference.integers(rng, cols, dtype)
        dz = reference.integers(rng, (rows, cols), dtype)
        y, dw = np.full((rows, cols), np.nan, dtype), np.full(stored.shape, np.nan, dtype)
        into = Operand.of(dw) if layout == "column" else Operand.of(dw).transposed
        program, x = Program(dtype), SparseInput(rows, features)
        first = emit_sparse_affine(program, Operand.of(y), x, factor, address_of(bias))
        second = emit_sparse_weight(program, into, Operand.of(dz), x)
        given = csr(source, np.int32 if cols % 3 else np.int64)
        program.set(first, SPARSE_AFFINE, **given.words(address_of(index)))
        program.set(second, SPARSE_WEIGHT, **given.words(address_of(index)))
        with fastbp.threads(threads, oversubscribe=True):
            program.run(steps=2)  # what remains is the second batch's
        batch = source[index[rows:]]
        assert np.array_equal(y, batch @ w + bias), cols
        assert np.array_equal(dw if layout == "column" else dw.T, batch.T @ dz), cols


@pytest.mark.parametrize("layout", ["column", "row"])
def test_a_network_predicts_the_same_from_csr_and_dense_rows(layout, rng):
    sparse = pytest.importorskip("scipy.sparse")
    rows = 20 if DISABLED else 2100  # more than are predicted at once
    x = (rng.random((rows, 300)) * (rng.random((rows, 300)) < 0.05)).astype(np.float32)
    net = Sequential([Affine(300, 40, layout=layout, activation="tanh"), Affine(40, 5)], seed=1)
    dense = net.predict(x)
    for kind in (sparse.csr_matrix, sparse.csc_array, sparse.coo_array):
        # 15 products of size 1 each summed in another order, through two layers: 1e-5 is ample.
        np.testing.assert_allclose(net.predict(kind(x)), dense, rtol=0, atol=1e-5)


def test_what_does_not_fit_is_refused():
    sparse = pytest.importorskip("scipy.sparse")
    x = sparse.csr_array(np.eye(4))
    with pytest.raises(ShapeError, match=r"a sparse x with 4 features; wanted 5"):
        Sequential([Affine(5, 2)]).predict(x)
    with pytest.raises(ArgumentError, match=r"ReLU\(\) on a sparse input; wanted an Affine"):
        Sequential([ReLU(), Affine(4, 2)], input_shape=4).predict(x)
    graph = Graph()
    node = graph.input(4)
    graph.output(ReLU()(node) + Affine(4, 4)(node))
    with pytest.raises(ArgumentError, match="sparse input"):
        graph.predict(x)
    x.indices[2] = 9
    with pytest.raises(DataError, match=r"indices outside its shape \(4, 4\)"):
        Sequential([Affine(4, 2)]).predict(x)
