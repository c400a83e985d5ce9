"""The short way through a repeated call gives the bits and the errors of the long way."""

import copy
import math

import numpy as np
import pytest
from operations import OPERATIONS, bits, copies

from fastbp import _runtime, ops
from fastbp._errors import ArgumentError, DataError, FastbpError, ShapeError
from fastbp.ops import _again, _builtin, _lessons

# Calls from which on built-in functions learn them, and how short those are that hold the lock of
# the interpreter.
WAYS = {"built-in": (0, math.inf), "lock let go": (0, -1.0), "python": (math.inf, 0.0)}


@pytest.fixture(autouse=True, params=WAYS)
def way(request, monkeypatch):
    """The short ways: built-in functions that learn every call, or none."""
    if request.param != "python" and not _builtin.is_possible():
        pytest.skip("there are no built-in functions here")
    _again.forget()
    monkeypatch.setattr(_again, "_FROM", WAYS[request.param][0])
    monkeypatch.setattr(_again, "_HOLD_SECONDS", WAYS[request.param][1])
    _runtime.set_num_threads(1)  # else it depends on whether workers are awake
    yield request.param
    _again.forget()


class Runs:
    """How calls went: the short way to the end (`made`), the built-in one (`hits`), or not."""

    def __init__(self):
        self.python, self.refused, self._before = 0, 0, _lessons.hits()

    @property
    def hits(self):
        return _lessons.hits() - self._before

    @property
    def made(self):
        return self.python + self.hits


@pytest.fixture
def runs(monkeypatch):
    counted = Runs()

    def run(self, inputs, out, plain=_again.Known.run):
        done = plain(self, inputs, out)
        counted.python += done is not None
        counted.refused += done is None
        return done

    monkeypatch.setattr(_again.Known, "run", run)
    return counted


@pytest.mark.parametrize("op", OPERATIONS, ids=lambda op: op.name)
def test_a_repeated_call_gives_the_same_bits(op, runs, way):
    args = op.make(np.random.Generator(np.random.PCG64(5)), (6, 5, 4), np.float32)
    if not all(v.size for v in args.values() if isinstance(v, np.ndarray)):
        pytest.skip("nothing to compute")
    first = bits(op.run(**copies(args)))
    assert runs.made == 0
    assert bits(op.run(**copies(args))) == first
    for number in range(4):  # long ones are learnt from the third on
        before, hits = runs.made, runs.hits
        again = copies(args)
        assert bits(op.run(**again)) == first
        assert runs.made > before
        assert number < 3 or (runs.hits > hits) == (way != "python")
        for name in set(args) - set(op.changed):
            assert np.array_equal(again[name], args[name])


def affine():
    rng = np.random.Generator(np.random.PCG64(1))
    x, w, b = (rng.random(shape).astype(np.float32) for shape in ((6, 5), (5, 4), (4,)))
    return x, w, b, ops.affine_forward(x, w, b)


def test_other_arrays_of_the_same_kind(runs):
    x, w, b, y = affine()
    assert np.array_equal(ops.affine_forward(x + 1, w, b), ops.affine_forward((x + 1).copy(), w, b))
    assert runs.made == 2
    assert np.array_equal(ops.affine_forward(x, w, b), y)


@pytest.mark.parametrize("change", [
    lambda x: x.astype(np.float64), lambda x: x[:5], lambda x: x[:, :4], lambda x: x.astype(">f4"),
    lambda x: np.asfortranarray(x), lambda x: x[::-1], lambda x: x.tolist(),
    lambda x: x.view(Other),
], ids=["dtype", "rows", "columns", "bytes", "order", "strides", "list", "class"])  # fmt: skip
def test_other_kinds_give_what_they_gave(change):
    x, w, b, _ = affine()

    def outcome():
        try:
            return bits((ops.affine_forward(change(x), w, b),))
        except FastbpError as error:
            return type(error), str(error)

    repeated = [outcome() for _ in range(3)]
    for _ in range(2):
        ops.affine_forward(x, w, b)
    repeated.append(outcome())
    _again.forget()
    assert repeated == [outcome()] * 4


class Other(np.ndarray):
    pass


def test_settings_are_part_of_what_is_remembered(runs):
    x, w, b, y = affine()
    assert np.array_equal(ops.affine_forward(x - 1, w, b, activation="relu"),
                          np.maximum(ops.affine_forward(x - 1, w, b), 0))
    with pytest.raises(ArgumentError, match="layout='rows'"):
        ops.affine_forward(x, w, b, layout="rows")
    with pytest.raises(ArgumentError, match="activation='rely'"):
        ops.affine_forward(x, w, b, activation="rely")
    images = np.ones((1, 1, 4, 4), np.float32)
    ops.max_pool2d_forward(images, 2, stride=1)
    with pytest.raises(ArgumentError, match="stride=True"):
        ops.max_pool2d_forward(images, 2, stride=True)
    for size in ([2, 2], [2, 2]):
        assert ops.max_pool2d_forward(images, size)[0].shape == (1, 1, 2, 2)
    assert np.array_equal(y, ops.affine_forward(x, w, b))


def test_out_is_checked_each_time(runs):
    x, w, b, y = affine()
    out = np.empty_like(y)
    for _ in range(4):
        assert ops.affine_forward(x, w, b, out=out) is out
        assert np.array_equal(out, y)
    assert runs.made == 3
    out.flags.writeable = False
    with pytest.raises(ArgumentError, match="out is read-only"):
        ops.affine_forward(x, w, b, out=out)
    with pytest.raises(ShapeError, match="out with shape"):
        ops.affine_forward(x, w, b, out=np.empty((6, 5), np.float32))
    memory = np.zeros(60, np.float32)
    left, over = memory[:30].reshape(6, 5), memory[20:44].reshape(6, 4)
    left[...] = x
    assert np.array_equal(ops.affine_forward(left, w, b, out=over), y)


def test_elementwise_work_may_lie_over_its_input(runs):
    x = np.linspace(-1, 1, 40, dtype=np.float32)
    expected = ops.relu_forward(x)
    for _ in range(3):
        here = x.copy()
        assert ops.relu_forward(here, out=here) is here
        assert np.array_equal(here, expected)
    assert runs.made == 2
    memory = np.zeros(41, np.float32)
    memory[:40] = x
    assert np.array_equal(ops.relu_forward(memory[:40], out=memory[1:]), expected)


def test_memory_that_is_not_aligned(runs):
    x, w, b, y = affine()
    memory = np.zeros(x.nbytes + 1, np.uint8)
    shifted = memory[1:].view(np.float32).reshape(6, 5)
    shifted[...] = x
    for count in (0, 1, 2):
        assert runs.made == count
        assert np.array_equal(ops.affine_forward(shifted, w, b), y)
        assert runs.made == count
        assert np.array_equal(ops.affine_forward(x, w, b), y)
    assert runs.refused == 3


def test_what_is_changed_must_be_writeable_and_apart(runs):
    w, g = np.ones(20, np.float32), np.full(20, 0.5, np.float32)
    for _ in range(3):
        ops.sgd_step(w, g, lr=0.5)
    assert runs.made == 2
    assert np.all(w == 0.25)
    ops.sgd_step(w, w, lr=0.5)  # the gradient is copied
    assert np.all(w == 0.125)
    w.flags.writeable = False
    with pytest.raises(ArgumentError, match="w is read-only"):
        ops.sgd_step(w, g, lr=0.5)
    with pytest.raises(ArgumentError, match="lr=-1"):
        ops.sgd_step(np.ones(20, np.float32), g, lr=-1)


def test_rates_and_steps_are_those_of_the_call():
    g = np.full(6, 0.5)
    for name in ("short", "long"):
        w, m, v = np.ones(6), np.zeros(6), np.zeros(6)
        for step in range(1, 6):
            if name == "long":
                _again.forget()
            ops.adam_step(w, g, m, v, step=step, lr=0.1 / step)
        if name == "short":
            expected = w
    assert np.array_equal(w, expected)
    x = np.ones((30, 20), np.float32)
    masks = [ops.dropout_forward(x, 0.5, seed=3, step=step)[0] for step in (0, 1, 0)]
    assert np.array_equal(masks[0], masks[2])
    assert not np.array_equal(masks[0], masks[1])


def test_running_statistics_change_in_each_call():
    rng = np.random.Generator(np.random.PCG64(2))
    x, gamma, beta = rng.random((8, 3)), np.ones(3), np.zeros(3)
    means = []
    for forget in (False, True):
        mean, var = np.zeros(3), np.ones(3)
        for _ in range(4):
            if forget:
                _again.forget()
            ops.batchnorm_forward(x, gamma, beta, mean, var)
        means.append((mean, var))
    assert np.array_equal(means[0], means[1])
    assert not np.array_equal(means[0][0], np.zeros(3))
    mean.flags.writeable = False
    with pytest.raises(ArgumentError, match="running_mean is read-only"):
        ops.batchnorm_forward(x, gamma, beta, mean, var)


def test_gamma_is_saved_as_it_was():
    x, gamma, beta = np.arange(12.0).reshape(4, 3), np.ones(3), np.zeros(3)
    for _ in range(3):
        y, saved = ops.batchnorm_forward(x, gamma, beta)
        gamma += 1
        kept = copy.deepcopy(saved)
        dx = ops.batchnorm_backward(y, saved)[0]
        _again.forget()
        assert np.array_equal(ops.batchnorm_backward(y, kept)[0], dx)
        gamma -= 1
        ops.batchnorm_forward(x, gamma, beta)
    with pytest.raises(ArgumentError, match="saved of batchnorm"):
        ops.layernorm_backward(y, saved)


def test_a_label_that_is_no_class(runs):
    x, labels = np.zeros((4, 3), np.float32), np.array([0, 1, 2, 0])
    for _ in range(3):
        loss, gradient = ops.hinge(x, labels)
    assert runs.made == 2
    labels[2] = 3
    with pytest.raises(DataError, match=r"target\[2\] is 3"):
        ops.hinge(x, labels)
    labels[2] = 2
    again, same = ops.hinge(x, labels)
    assert again == loss
    assert np.array_equal(same, gradient)


def test_the_same_array_twice():
    x = np.arange(9.0).reshape(3, 3)
    expected = x @ x
    for other in (x, x, x + 1, x):
        assert np.array_equal(ops.matmul(x, other), x @ other)
    assert np.array_equal(expected, ops.matmul(x, x))


def test_calls_are_bounded():
    for size in range(1, 2 * _again._MOST):
        ops.relu_forward(np.ones(size, np.float32))
        assert len(_again._local.known) <= _again._MOST


def test_few_calls_load_nothing(runs, monkeypatch):
    """Loading built-in functions takes as long as thousands of calls gain."""
    monkeypatch.setattr(_again, "_FROM", 20)
    monkeypatch.setattr(_again._local, "repeated", 0)
    x = np.ones((3, 4))
    for _ in range(20):
        ops.relu_forward(x)
    assert (runs.python, runs.hits) == (19, 0)
