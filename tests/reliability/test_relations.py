"""Check 30: relations between results that hold whatever the values, without any twin.

Sizes and seeds come from Hypothesis (derandomised, see conftest.py; 1000 examples at night).
Relations marked "bits" hold bit by bit.
"""

from __future__ import annotations

import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st

from fastbp import ops
from fastbp._jit import DISABLED

U = {np.float32: 2.0**-24, np.float64: 2.0**-53}
# Around the tiles of any vector width, now and then more than one task.
SIZES = st.one_of(st.integers(1, 40), st.integers(1, 150))
CASE = st.tuples(SIZES, SIZES, SIZES, st.sampled_from([np.float32, np.float64]),
                 st.integers(0, 2**32 - 1))


class Case:
    """Matrices for one example: a (m, k), b (k, n), and what a relation needs besides."""

    def __init__(self, m, n, k, dtype, seed) -> None:
        self.rng = np.random.Generator(np.random.PCG64(seed))
        self.m, self.n, self.k, self.dtype, self.u = m, n, k, dtype, U[dtype]
        self.a, self.b = self.reals(m, k), self.reals(k, n)

    def reals(self, *shape: int) -> np.ndarray:
        return reference.reals(self.rng, shape, self.dtype)

    def product_error(self, a, b):
        return (self.k + 2) * self.u * (np.abs(a).astype(np.float64) @ np.abs(b))


def sum_of_products(c: Case) -> None:
    """A (B + C) = A B + A C within the bounds of the three products and of two sums."""
    other = c.reals(c.k, c.n)
    one, two = ops.matmul(c.a, c.b), ops.matmul(c.a, other)
    whole = ops.matmul(c.a, c.b + other)
    bound = (c.product_error(c.a, c.b) + c.product_error(c.a, other)) * 2.1
    assert (np.abs(whole.astype(np.float64) - one - two) <= bound + c.u * np.abs(whole)).all()


def powers_of_two(c: Case) -> None:
    """Bits: (2^p A) (2^q B) = 2^(p+q) A B."""
    p, q = c.rng.integers(-8, 8, 2)
    scaled = ops.matmul(c.a * c.dtype(2.0**p), c.b * c.dtype(2.0**q))
    assert np.array_equal(scaled, ops.matmul(c.a, c.b) * c.dtype(2.0 ** (p + q)))


def rows_in_another_order(c: Case) -> None:
    """Bits: permuted rows of A permute rows of A B; permuted columns of B its columns."""
    rows, cols = c.rng.permutation(c.m), c.rng.permutation(c.n)
    product = ops.matmul(c.a, c.b)
    # As it lies: products of vectors are summed in lanes where memory allows it.
    other = np.ascontiguousarray(c.b[:, cols])
    assert np.array_equal(ops.matmul(c.a[rows], other), product[rows][:, cols])


def zeros_behind_the_depth(c: Case) -> None:
    """Bits: zero columns behind A and rows behind B (sums run in order)."""
    more = int(c.rng.integers(1, 40))
    a = np.concatenate([c.a, np.zeros((c.m, more), c.dtype)], axis=1)
    b = np.concatenate([c.b, np.zeros((more, c.n), c.dtype)])
    if c.k + more < 128 and 1 not in (c.m, c.n):  # one k block; sums of vectors have lanes
        assert np.array_equal(ops.matmul(a, b), ops.matmul(c.a, c.b))


def transposes(c: Case) -> None:
    """Bits: (A B)^T = B^T A^T."""
    assert np.array_equal(ops.matmul(c.b.T, c.a.T), ops.matmul(c.a, c.b).T)


def identity_matrix(c: Case) -> None:
    """Bits: A I = A, I B = B."""
    assert np.array_equal(ops.matmul(c.a, np.eye(c.k, dtype=c.dtype)), c.a)
    assert np.array_equal(ops.matmul(np.eye(c.k, dtype=c.dtype), c.b), c.b)


def pieces_of_a_batch(c: Case) -> None:
    """Bits: rows of an affine layer's y and dx do not depend on the others; dw, db add up."""
    w, bias, dy = c.b, c.reals(c.n), c.reals(c.m, c.n)
    cut = int(c.rng.integers(0, c.m + 1))
    y = ops.affine_forward(c.a, w, bias)
    dx, dw, db = ops.affine_backward(dy, c.a, w)
    parts = [ops.affine_backward(dy[s], c.a[s], w) for s in (slice(0, cut), slice(cut, c.m))]
    if 1 not in (c.m, cut, c.m - cut, c.n, c.k):  # single rows are sums of other lanes
        pieces = [ops.affine_forward(c.a[:cut], w, bias), ops.affine_forward(c.a[cut:], w, bias)]
        assert np.array_equal(np.concatenate(pieces), y)
        assert np.array_equal(np.concatenate([p[0] for p in parts]), dx)
    size = np.abs(c.a).T.astype(np.float64) @ np.abs(dy)
    assert (np.abs(dw - parts[0][1] - parts[1][1].astype(np.float64))
            <= (2 * c.m + 6) * c.u * size).all()
    assert (np.abs(db - parts[0][2] - parts[1][2].astype(np.float64))
            <= (2 * c.m + 6) * c.u * np.abs(dy).sum(axis=0)).all()


def shifted_logits(c: Case) -> None:
    """Bits: softmax(x + c) = softmax(x) on a grid on which x + c is exact."""
    x = (c.rng.integers(-64, 64, (c.m, c.n)) / 8).astype(c.dtype)
    shift = c.dtype(c.rng.integers(-512, 512) / 8)
    assert np.array_equal(ops.softmax(x + shift), ops.softmax(x))
    labels = c.rng.integers(0, c.n, c.m)
    one, two = ops.softmax_cross_entropy(x, labels), ops.softmax_cross_entropy(x + shift, labels)
    assert np.array_equal(one[1], two[1])
    assert one[0] == two[0]


def weights_orthogonal_to_their_gradient(c: Case) -> None:
    """BatchNorm's output does not change with the scale of what comes in: <x, dx> is about 0."""
    rows = c.m + 2
    x, dy = c.reals(rows, c.n), c.reals(rows, c.n)
    ones, zeros = np.ones(c.n, c.dtype), np.zeros(c.n, c.dtype)
    _, saved = ops.batchnorm_forward(x, ones, zeros, eps=0.0)
    dx, _, _ = ops.batchnorm_backward(dy, saved)
    wide = x.astype(np.float64)
    centred = np.abs(wide - wide.mean(axis=0))
    inverse = 1 / wide.std(axis=0)
    size = (np.abs(wide) * (np.abs(dy) + (np.abs(dy) * (1 + centred * inverse)).sum(axis=0))
            * inverse * (1 + np.abs(wide).max(axis=0) * inverse)).sum(axis=0)
    assert (np.abs((wide * dx).sum(axis=0)) <= (rows + 20) * c.u * size).all()


def normalised_twice(c: Case) -> None:
    """LayerNorm and BatchNorm of numbers times 2^p have the same bits where eps is 0."""
    p = c.dtype(2.0 ** c.rng.integers(-6, 6))
    for forward, x in ((ops.layernorm_forward, c.reals(c.m, c.n + 1)),
                       (ops.batchnorm_forward, c.reals(c.m + 1, c.n))):
        gamma, beta = c.reals(x.shape[1]), c.reals(x.shape[1])
        assert np.array_equal(forward(x * p, gamma, beta, eps=0.0)[0],
                              forward(x, gamma, beta, eps=0.0)[0])


def odd_and_even(c: Case) -> None:
    """Bits: tanh(-x) = -tanh(x); relu(x) - relu(-x) = x; |huber slope| is even."""
    x = c.reals(c.m, c.n) * c.dtype(3)
    assert np.array_equal(ops.tanh_forward(-x), -ops.tanh_forward(x))
    assert np.array_equal(ops.relu_forward(x) - ops.relu_forward(-x), x)
    assert np.array_equal(ops.huber(x, 0 * x)[1], -ops.huber(-x, 0 * x)[1])
    assert ops.mean_squared_error(x, 0 * x)[0] == ops.mean_squared_error(-x, 0 * x)[0]


def sigmoid_of_both_signs(c: Case) -> None:
    """sigmoid(x) + sigmoid(-x) = 1 within three roundings; so in the logistic loss."""
    x = c.reals(c.m, c.n) * c.dtype(5)
    both = ops.sigmoid_forward(x).astype(np.float64) + ops.sigmoid_forward(-x)
    assert (np.abs(both - 1) <= 6 * c.u).all()
    t = c.rng.integers(0, 2, x.shape).astype(c.dtype)
    one, two = ops.sigmoid_cross_entropy(x, t), ops.sigmoid_cross_entropy(-x, 1 - t)
    assert abs(one[0] - two[0]) <= 40 * c.u * max(one[0], 1)
    assert (np.abs(one[1].astype(np.float64) + two[1]) <= 8 * c.u / x.size).all()


def steps_in_pieces(c: Case) -> None:
    """Bits: an optimizer's step on a vector is its step on the pieces."""
    w, g, m, v = (c.reals(c.m * c.n + 1) for _ in range(4))
    v = np.abs(v)
    pieces = [x.copy() for x in (w, m, v)]
    ops.adam_step(w, g, m, v, step=2)
    cut = int(c.rng.integers(0, len(g)))
    for part in (slice(0, cut), slice(cut, None)):
        ops.adam_step(pieces[0][part], g[part], pieces[1][part], pieces[2][part], step=2)
    for one, two in zip((w, m, v), pieces, strict=True):
        assert np.array_equal(one, two)


def masks_of_dropout(c: Case) -> None:
    """Bits: forward and backward have one mask; what is kept is x / (1 - rate)."""
    x = c.reals(c.m, c.n)
    seed, rate = int(c.rng.integers(2**63)), float(c.rng.uniform(0, 0.9))
    y, saved = ops.dropout_forward(x, rate, seed=seed)
    assert np.array_equal(ops.dropout_backward(x, saved), y)
    assert np.array_equal(ops.dropout_forward(2 * x, rate, seed=seed)[0], 2 * y)


RELATIONS = (sum_of_products, powers_of_two, rows_in_another_order, zeros_behind_the_depth,
             transposes, identity_matrix, pieces_of_a_batch, shifted_logits,
             weights_orthogonal_to_their_gradient, normalised_twice, odd_and_even,
             sigmoid_of_both_signs, steps_in_pieces, masks_of_dropout)


@pytest.mark.skipif(DISABLED, reason="sizes that only compiled code handles in time")
@pytest.mark.parametrize("relation", RELATIONS, ids=lambda r: r.__name__)
@given(case=CASE)
def test_relation(relation, case):
    relation(Case(*case))


@pytest.mark.nightly
@pytest.mark.parametrize("relation", RELATIONS, ids=lambda r: r.__name__)
@settings(max_examples=1000)
@given(case=CASE)
def test_relation_a_thousand_times(relation, case):
    relation(Case(*case))
