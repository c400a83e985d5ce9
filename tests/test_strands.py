"""Strands: the executor's part, when they are taken, and that they train as one piece does."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import fastbp
from fastbp import training_plan
from fastbp._arena import allocate
from fastbp._program import Operand, Program
from fastbp.emit.reduce import emit_add, emit_fill
from fastbp.kernels.program import MOST_STRANDS
from fastbp.planner import Plan
from fastbp.strands import strand_count

# Sums over rows are taken in another order: some u * rows of a sum's largest term.
BOUND = {"float32": 3e-5, "float64": 1e-13}


def forced(count):
    """A `strand_count` that divides whatever can be divided."""

    def choose(plan):
        layers = [step.layer for step in plan.network.steps if step.layer is not None]
        if any(plan.sparse) or not all(layer.row_local for layer in layers):
            return 1
        return -(-plan.rows // -(-plan.rows // count))

    return choose


# ---- the executor ----------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_every_strand_runs_in_order_behind_what_is_before_it(threads):
    x = allocate(8 * 16, "float64").reshape(8, 16)
    total = allocate(16, "float64").reshape(1, 16)
    program = Program("float64")
    rows = [Operand.of(x[i : i + 1]) for i in range(8)]
    whole = Operand.of(total)
    emit_fill(program, whole, 1.0)
    with program.strands(8) as strands:
        for number in strands:
            emit_fill(program, rows[number], float(number))
            for _ in range(number):
                emit_add(program, rows[number], rows[number], whole)
    for row in rows:
        emit_add(program, whole, whole, row)
    with fastbp.threads(threads):
        program.run(3)
    np.testing.assert_array_equal(x, np.repeat(2.0 * np.arange(8)[:, None], 16, axis=1))
    np.testing.assert_array_equal(total, np.full((1, 16), 1.0 + 2 * 28))


def test_strands_within_strands_and_too_many_are_refused():
    program = Program("float32")
    for count in (0, MOST_STRANDS + 1):
        with pytest.raises(ValueError, match="strands"), program.strands(count):
            pass
    with program.strands(1) as strands:
        for _ in strands:
            with pytest.raises(ValueError, match="within"), program.strands(1):
                pass


# ---- when ------------------------------------------------------------------------------------


def count(layers, rows, **settings):
    net = fastbp.Sequential(layers, seed=0)
    net.build()
    return strand_count(Plan(net, rows, training=True, **settings))


def test_the_problem_alone_decides():
    def mlp(*sizes):
        return [fastbp.Affine(a, b) for a, b in itertools.pairwise(sizes)]

    assert count(mlp(64, 100, 10), 200) == 4
    with fastbp.threads(1):
        assert count(mlp(64, 100, 10), 200) == 4
    assert count(mlp(64, 100, 10), 100) == 1  # too little to do
    assert count(mlp(784, 512, 512, 10), 256) == 1  # too many gradients to add up
    assert count(mlp(64, 100, 10), 4096) == 16
    assert count([*mlp(64, 100), fastbp.BatchNorm(100), *mlp(100, 10)], 200) == 1
    assert count(mlp(64, 100, 10), 200, sparse=(True,)) == 1


# ---- what they compute -----------------------------------------------------------------------


def plain(dtype):
    return fastbp.Sequential([
        fastbp.Affine(7, 20, layout="row"), fastbp.GELU(), fastbp.Affine(20, 33, bias=False),
        fastbp.ReLU(), fastbp.Affine(33, 3)], dtype=dtype, seed=1)


def decorated(dtype):
    return fastbp.Sequential([
        fastbp.Affine(7, 20), fastbp.LayerNorm(20), fastbp.Tanh(), fastbp.Dropout(0.4),
        fastbp.Flatten(), fastbp.Affine(20, 3)], dtype=dtype, seed=1)


def residual(dtype):
    graph = fastbp.Graph(dtype=dtype, seed=1)
    x = graph.input(7)
    h = fastbp.ReLU()(fastbp.Affine(7, 12)(x))
    graph.output(fastbp.Affine(12, 3)(h + fastbp.SiLU()(fastbp.Affine(12, 12)(h))))
    return graph


@pytest.mark.parametrize("strands", [2, 5, 16])
@pytest.mark.parametrize("make", [plain, decorated, residual])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gradients_are_those_of_one_piece(make, dtype, strands, monkeypatch, rng):
    """Losses too; 31 rows: the last strand is smaller."""
    x = rng.standard_normal((31, 7)).astype(dtype)
    for loss, y in (("softmax_cross_entropy", rng.integers(0, 3, 31)),
                    ("mean_squared_error", rng.standard_normal((31, 3)).astype(dtype))):
        results = []
        for number in (1, strands):
            monkeypatch.setattr(training_plan, "strand_count", forced(number))
            value, gradients = fastbp.Trainer(make(dtype), loss).gradients(x, y)
            results.append((value, {name: g.copy() for name, g in gradients.items()}))
        (expected, whole), (value, parts) = results
        assert abs(value - expected) <= BOUND[dtype] * abs(expected)
        for name, g in whole.items():
            assert np.abs(g).max() > 0, "MISTRUSTED: no gradient"
            assert np.abs(parts[name] - g).max() <= BOUND[dtype] * np.abs(g).max(), name


@pytest.mark.parametrize("settings", [{}, {"clip_norm": 0.1}, {"optimizer": "adamw"},
                                      {"optimizer": fastbp.SGD(0.1, momentum=0.9,
                                                               weight_decay=0.1)}])
def test_fit_is_that_of_one_piece(settings, monkeypatch, rng):
    """Shuffled uint8 rows, several steps a run, weights of samples (which have no strands)."""
    x = rng.integers(0, 255, (90, 7)).astype(np.uint8)
    y = rng.integers(0, 3, 90)
    for weight in (None, rng.random(90) + 0.5):
        results = []
        for number in (1, 3):
            monkeypatch.setattr(training_plan, "strand_count", forced(number))
            net = plain("float64")
            trainer = fastbp.Trainer(net, **settings)
            history = trainer.fit(x, y, epochs=3, batch_size=32, sample_weight=weight)
            results.append((net.state_dict(), [row["loss"] for row in history]))
        (expected, losses), (state, others) = results
        np.testing.assert_allclose(others, losses, rtol=1e-11)
        for name, value in expected.items():
            np.testing.assert_allclose(state[name], value, rtol=1e-9, atol=1e-11, err_msg=name)


@pytest.mark.parametrize("loss", ["softmax_cross_entropy", "mean_squared_error"])
def test_rows_that_are_a_task_or_several_of_a_loss(loss, monkeypatch, rng):
    x, wide = rng.standard_normal((40, 3)).astype("float32"), 20_000
    y = rng.integers(0, wide, 40) if loss == "softmax_cross_entropy" else np.ones((40, wide))
    found = []
    for number in (1, 2):
        monkeypatch.setattr(training_plan, "strand_count", forced(number))
        net = fastbp.Sequential([fastbp.Affine(3, wide)], seed=1)
        found.append(fastbp.Trainer(net, loss).gradients(x, y)[0])
    assert abs(found[0] - found[1]) <= BOUND["float32"] * found[0]


def test_two_outputs_and_two_inputs(monkeypatch, rng):
    results = []
    a, b = rng.standard_normal((20, 4)), rng.standard_normal((20, 5))
    y, t = rng.integers(0, 2, 20), rng.standard_normal((20, 1))
    for number in (1, 4):
        monkeypatch.setattr(training_plan, "strand_count", forced(number))
        graph = fastbp.Graph(dtype="float64", seed=1)
        p, q = graph.input(4), graph.input(5)
        h = fastbp.ReLU()(fastbp.Affine(4, 6)(p) + fastbp.Affine(5, 6)(q))
        graph.output(fastbp.Affine(6, 2)(h))
        graph.output(fastbp.Affine(6, 1)(h))
        trainer = fastbp.Trainer(graph, ["softmax_cross_entropy", "mean_squared_error"])
        losses = [trainer.train_step((a, b), (y, t)) for _ in range(4)]
        results.append((losses, graph.state_dict()))
    np.testing.assert_allclose(results[1][0], results[0][0], rtol=1e-11)
    for name, value in results[0][1].items():
        np.testing.assert_allclose(results[1][1][name], value, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_bits_do_not_depend_on_threads(optimizer, rng):
    """A network that is divided by itself, trained at one address and from shuffled rows."""
    x, y = rng.standard_normal((700, 64)).astype("float32"), rng.integers(0, 10, 700)
    found = set()
    for threads in (1, 2, 3, 8):
        net = fastbp.Sequential([fastbp.Affine(64, 100), fastbp.ReLU(), fastbp.Affine(100, 10)],
                                seed=3)
        trainer = fastbp.Trainer(net, optimizer=optimizer)
        fastbp.set_num_threads(threads, oversubscribe=True)
        try:
            trainer.fit(x, y, epochs=4, batch_size=200)
            for _ in range(3):
                trainer.train_step(x[:200], y[:200])
        finally:
            fastbp.set_num_threads(None)
        assert strand_count(trainer.plan_of(trainer._samples(x, y, None), 200).plan) > 1
        found.add(b"".join(v.tobytes() for v in net.state_dict().values()))
    assert len(found) == 1


def test_a_bad_row_in_one_strand_changes_nothing(monkeypatch, rng):
    monkeypatch.setattr(training_plan, "strand_count", forced(4))
    net = plain("float32")
    trainer = fastbp.Trainer(net)
    x, y = rng.standard_normal((20, 7)).astype("float32"), rng.integers(0, 3, 20)
    trainer.train_step(x, y)
    before = net.state_dict()
    x[13, 2] = np.nan
    assert np.isnan(trainer.train_step(x, y))
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


def test_a_plan_knows_the_values_of_all_strands(monkeypatch, rng):
    x, y = rng.standard_normal((20, 7)).astype("float32"), rng.integers(0, 3, 20)
    monkeypatch.setattr(training_plan, "strand_count", forced(4))
    net = plain("float32")
    trainer = fastbp.Trainer(net)
    trainer.gradients(x, y)
    plan = trainer.run_gradients(trainer._samples(x, y, None), 20).plan
    assert len(plan.parts) == 4
    np.testing.assert_array_equal(plan.array_of(0), x)
    np.testing.assert_array_equal(plan.array_of(net.output_steps[0]), net.predict(x))
