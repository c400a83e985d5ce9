"""Optimizer steps against their twins: one step from any state, in place and nothing else."""

from __future__ import annotations

import os

import conditions
import numpy as np
import pytest
import reference

import fastbp
from fastbp import ops
from fastbp._arena import address_of
from fastbp._errors import ArgumentError, DTypeError, ShapeError
from fastbp._jit import DISABLED, entry
from fastbp._program import Program
from fastbp._simd import at, data_pointer
from fastbp.emit.update import emit_update, hyper_row, rates_row
from fastbp.kernels import update

PLAIN = DISABLED
SLOW = PLAIN or os.environ.get("FASTBP_BOUNDSCHECK") == "1"
LR = 0.05
# name: (operation, twin, slots, settings of the operation, of the twin)
STEPS = {
    "sgd": (ops.sgd_step, reference.sgd, 0, {}, {}),
    "momentum": (ops.momentum_step, reference.momentum, 1, {"momentum": 0.8}, {"mu": 0.8}),
    "nesterov": (ops.momentum_step, reference.nesterov, 1, {"momentum": 0.8, "nesterov": True},
                 {"mu": 0.8}),
    "adagrad": (ops.adagrad_step, reference.adagrad, 1, {"eps": 1e-7}, {"eps": 1e-7}),
    "rmsprop": (ops.rmsprop_step, reference.rmsprop, 1, {"rho": 0.95}, {"rho": 0.95}),
    "adam": (ops.adam_step, reference.adam, 2, {"step": 3}, {"t": 3}),
    "adamw": (ops.adamw_step, reference.adam, 2, {"step": 3, "weight_decay": 0.0}, {"t": 3}),
}
SIZES = conditions.VECTOR_SIZES if SLOW else (*conditions.VECTOR_SIZES, 40_001)


def state(rng, shape, dtype, slots):
    """(w, g, slots): slots are means or sums of squares, so the last one is positive."""
    arrays = [reference.reals(rng, shape, dtype) for _ in range(2 + slots)]
    if slots:
        arrays[-1] = np.abs(arrays[-1])
    return arrays[0], arrays[1], arrays[2:]


def twin(name, w, g, slots, decay):
    """(the new w and slots, the magnitude of what is added up in each)."""
    function, settings = STEPS[name][1], dict(STEPS[name][4])
    positional = (settings.pop("t"),) if "t" in settings else ()
    settings |= {"decay" if name == "adamw" else "l2": decay, "lr": LR}
    new = function(w, g, *slots, *positional, **settings)
    new = list(new) if slots else [new]
    # |each term| added: gradients and first slots by their size, second slots are positive.
    sizes = function(np.abs(w), -np.abs(g) - decay * np.abs(w), *(
        -np.abs(s) if number == 0 and name not in ("adagrad", "rmsprop") else s
        for number, s in enumerate(slots)), *positional, **{**settings, "l2": 0.0})
    return new, [np.abs(s) for s in (sizes if slots else [sizes])]


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("dtype", conditions.DTYPES)
@pytest.mark.parametrize("name", STEPS)
def test_one_step_is_the_twins(name, dtype, decay, rng):
    operation, _, count, settings, _ = STEPS[name]
    for size in SIZES:
        w, g, slots = state(rng, (size,), dtype, count)
        expected, magnitudes = twin(name, w, g, slots, decay)
        places = [conditions.Output((size,), dtype) for _ in range(1 + count)]
        for place, values in zip(places, (w, *slots), strict=True):
            place.array[...] = values
        before = g.tobytes()
        operation(places[0].array, g, *(p.array for p in places[1:]), lr=LR,
                  **{**settings, "weight_decay": decay})
        for number, place in enumerate(places):
            # Up to 12 roundings, each of at most the sum of what is added up.
            bound = 12 * reference.unit_roundoff(dtype) * magnitudes[number]
            reference.assert_within(place.array, expected[number], bound, f"{name} {number} {size}")
            place.assert_only_array_written()
        assert g.tobytes() == before


@pytest.mark.parametrize("kind", conditions.OUTPUT_KINDS, ids=str)
def test_memory_of_any_kind_is_changed_in_place(kind, rng):
    w, g, (m, v) = state(rng, (7, 20), np.float32, 2)
    expected = [a.copy() for a in (w, m, v)]
    ops.adam_step(expected[0], g, *expected[1:], step=1)
    places = [conditions.Output((7, 20), np.float32, kind) for _ in range(3)]
    for place, values in zip(places, (w, m, v), strict=True):
        place.array[...] = values
    ops.adam_step(places[0].array, conditions.make(g, kind), *(p.array for p in places[1:]), step=1)
    for place, values in zip(places, expected, strict=True):
        assert np.array_equal(place.array, values)
        place.assert_only_array_written()


def test_a_single_number_and_a_gradient_that_is_the_parameter():
    w = np.array(2.0)
    ops.sgd_step(w, 1.0, lr=0.5)
    assert w == 1.5
    w = np.ones(1000, np.float32)
    ops.sgd_step(w, w, lr=0.5)
    assert np.array_equal(w, np.full(1000, 0.5))


@entry
def blocks(kind, w, s1, s2, g, rows, cols, step, hyper, rates):
    """Tiles of up to 14 x 32, as the epilogue of the weight gradient goes."""
    p, a, b, q = data_pointer(w), data_pointer(s1), data_pointer(s2), data_pointer(g)
    for i in range(0, rows, 14):
        for j in range(0, cols, 32):
            k = i * step + j
            update.update_block(
                kind, at(p, k), step, at(a, k), step, at(b, k), step, at(q, i * cols + j), cols,
                min(14, rows - i), min(32, cols - j), data_pointer(hyper), data_pointer(rates))


@pytest.mark.parametrize("dtype", conditions.DTYPES)
def test_fused_tiles_give_the_bits_of_the_whole_vector(dtype, rng):
    rows, cols, step = 37, 77, 80
    hyper = hyper_row(weight_decay=0.01, momentum=0.9, rho=0.99, beta1=0.9, beta2=0.999, eps=1e-8)
    for kind in range(len(update.NAMES)):
        rates = rates_row(LR, 2, 0.9, 0.999) if kind >= update.ADAM else rates_row(LR)
        w, _, (m, v) = state(rng, (rows, step), dtype, 2)
        g = reference.reals(rng, (rows, step), dtype)
        if kind in (update.ADAGRAD, update.RMSPROP):
            m = np.abs(m)
        fused, whole = [[a.copy() for a in (w, m, v)] for _ in range(2)]
        blocks(kind, *fused, np.ascontiguousarray(g[:, :cols]), rows, cols, step, hyper, rates)
        program = Program(dtype)
        slots = tuple(address_of(a) for a in whole[1:])[: update.SLOTS[kind]]
        emit_update(program, kind, address_of(whole[0]), address_of(g), w.size, slots=slots,
                    hyper=address_of(hyper), rates=address_of(rates))
        program.run()
        for a, b, original in zip(fused, whole, (w, m, v), strict=True):
            assert np.array_equal(a[:, :cols], b[:, :cols]), kind
            assert np.array_equal(a[:, cols:], original[:, cols:]), kind
        assert not np.array_equal(fused[0], w)


@pytest.mark.parametrize("dtype", conditions.DTYPES)
def test_steps_of_one_run_take_their_rates_in_order_and_are_scaled(dtype, rng):
    w, g, (m, v) = state(rng, (40,), dtype, 2)
    m[...] = v[...] = 0
    hyper, scale = hyper_row(beta1=0.9, beta2=0.999, eps=1e-8), np.array([0.25])
    rates = np.array([rates_row(0.1 / t, t, 0.9, 0.999) for t in (1, 2, 3)])
    one, run = [[a.copy() for a in (w, m, v)] for _ in range(2)]
    program = Program(dtype)
    emit_update(program, update.ADAM, address_of(run[0]), address_of(g), 40,
                hyper=address_of(hyper), rates=address_of(rates), scale=address_of(scale),
                slots=(address_of(run[1]), address_of(run[2])))
    program.run(3)
    for t in (1, 2, 3):
        ops.adam_step(one[0], g * dtype(0.25), *one[1:], step=t, lr=0.1 / t)
    for a, b in zip(one, run, strict=True):
        assert np.array_equal(a, b)


@pytest.mark.parametrize("kind", [update.NESTEROV, update.ADAM, update.ADAMW])
def test_each_step_can_scale_the_weight_decay(kind, rng):
    w, g, (m, v) = state(rng, (40,), np.float64, 2)
    shared, rows = hyper_row(weight_decay=0.5, momentum=0.9, beta1=0.9, beta2=0.999, eps=1e-8), []
    scaled, each = [[a.copy() for a in (w, m, v)] for _ in range(2)]
    for decay in (0.0, 0.25, 2.0):
        rows.append([*rates_row(LR)[:3], decay])
        own = hyper_row(weight_decay=0.5 * decay, momentum=0.9, beta1=0.9, beta2=0.999, eps=1e-8)
        step(kind, each, g, own, rates_row(LR), 1)
    step(kind, scaled, g, shared, np.array(rows), 3)
    assert np.array_equal(scaled[0], each[0])


def step(kind, arrays, g, hyper, rates, steps):
    """So many steps on (w, slots)."""
    program = Program(g.dtype)
    slots = tuple(address_of(a) for a in arrays[1:])[: update.SLOTS[kind]]
    emit_update(program, kind, address_of(arrays[0]), address_of(g), g.size, slots=slots,
                hyper=address_of(hyper), rates=address_of(rates))
    program.run(steps)


@pytest.mark.parametrize("dtype", conditions.DTYPES)
@pytest.mark.parametrize("name", ["adagrad", "rmsprop", "adam", "adamw"])
def test_extreme_gradients_move_a_parameter_by_a_finite_step(name, dtype):
    operation, _, count, settings, _ = STEPS[name]
    for value in (0.0, 1e-30, 1e-12, 1e15, -1e15):
        w, slots = np.ones(40, dtype), [np.zeros(40, dtype) for _ in range(count)]
        g = np.full(40, value, dtype)
        operation(w, g, *slots, lr=LR, **{**settings, **({"step": 1} if count == 2 else {})})
        if value == 0:
            assert np.array_equal(w, np.ones(40)), value
        else:  # adaptive steps forget the gradient's size; RMSprop's first is lr/sqrt(1-rho)
            assert np.all(np.abs(w - 1) <= 5 * LR), value
            assert abs(value) < 1 or np.all(np.sign(1 - w) == np.sign(value)), value


@pytest.mark.skipif(SLOW, reason="large")
def test_the_same_bits_for_every_number_of_threads(rng):
    w, g, (m, v) = state(rng, (100_003,), np.float32, 2)
    results = set()
    for threads in (1, 2, 4):
        arrays = [a.copy() for a in (w, m, v)]
        with fastbp.threads(threads, oversubscribe=True):
            ops.adam_step(arrays[0], g, *arrays[1:], step=1)
        results.add(b"".join(a.tobytes() for a in arrays))
    assert len(results) == 1


def test_what_does_not_fit_is_refused_and_nothing_changes():
    w, g = np.ones(4, np.float32), np.ones(4, np.float32)
    frozen = np.ones(4, np.float32)
    frozen.flags.writeable = False
    for error, text, call in (
        (DTypeError, "w float32, g float64; wanted one dtype",
         lambda: ops.sgd_step(w, np.ones(4), lr=1)),
        (ShapeError, r"w \(4,\), g \(3,\); wanted equal shapes",
         lambda: ops.sgd_step(w, g[:3], lr=1)),
        (DTypeError, "w is list; wanted a NumPy array; it is changed in place",
         lambda: ops.sgd_step([1.0], [1.0], lr=1)),
        (ArgumentError, "v is read-only; wanted a writeable array",
         lambda: ops.momentum_step(w, g, frozen, lr=1)),
        (ArgumentError, "step=0; wanted 1 for the first step",
         lambda: ops.adam_step(w, g, w.copy(), w.copy(), step=0)),
        (ArgumentError, "lr=-1; wanted a number of at least 0", lambda: ops.sgd_step(w, g, lr=-1)),
        (ArgumentError, r"beta2=1.0; wanted a number of at least 0 and below 1",
         lambda: ops.adam_step(w, g, w.copy(), w.copy(), step=1, beta2=1.0)),
    ):
        with pytest.raises(error, match=text):
            call()
    assert np.array_equal(w, np.ones(4))


def test_emit_update_refuses_a_wrong_number_of_slots():
    with pytest.raises(ValueError, match="kind 5 has 2 slots, not 1"):
        emit_update(Program(np.float32), update.ADAM, 0, 0, 1, hyper=0, rates=0, slots=(0,))
    with pytest.raises(TypeError, match="unknown constants"):
        hyper_row(beta3=0.5)
