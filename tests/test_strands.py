"""Strands: the executor's part, when they are taken, and that they train as one piece does."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import fastbp
from fastbp import training_plan
from fastbp._arena import allocate
from fastbp._program import Operand, Program
from fastbp.emit.reduce import emit_add, emit_fill, emit_scale
from fastbp.kernels.losses import MERGE_LOSS
from fastbp.kernels.program import MOST_STRANDS
from fastbp.kernels.reduce import SQUARED_NORM
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


@pytest.fixture
def threads(request):
    """So many, even where there are fewer cores; 11 are more than the executor has counters."""
    fastbp.set_num_threads(request.param, oversubscribe=True)
    yield request.param
    fastbp.set_num_threads(None)


SOME_THREADS = pytest.mark.parametrize("threads", [1, 2, 3, 11], indirect=True)


@SOME_THREADS
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
    program.run(3)
    np.testing.assert_array_equal(x, np.repeat(2.0 * np.arange(8)[:, None], 16, axis=1))
    np.testing.assert_array_equal(total, np.full((1, 16), 1.0 + 2 * 28))


@SOME_THREADS
def test_a_run_is_opened_before_its_first_step_and_closed_behind_its_last(threads):
    x = allocate(8 * 16, "float64").reshape(8, 16)
    program = Program("float64")
    rows = [Operand.of(x[i : i + 1]) for i in range(8)]

    def add_to_each(value):
        one = Operand.of(program.keep(np.full(16, value)))
        with program.strands(4) as strands:
            for number in strands:
                emit_add(program, rows[number], rows[number], one)
                emit_scale(program, rows[number + 4], rows[number], 1.0)

    emit_fill(program, Operand.of(x), 100.0)
    add_to_each(10.0)
    program.end_opening()
    add_to_each(1.0)
    emit_add(program, rows[0], rows[0], rows[1])  # what strands of the next step wait for
    program.begin_closing()
    add_to_each(0.5)
    emit_scale(program, rows[7], rows[0], 2.0)
    for steps in (1, 3, 2):
        first, others = 110.0, 110.0
        for _ in range(steps):
            others += 1.0
            first += 1.0 + others
        program.run(steps)
        np.testing.assert_array_equal(x[:, 0], [first + 0.5, *[others + 0.5] * 3, first + 0.5,
                                                *[others + 0.5] * 2, 2 * first + 1.0])


@SOME_THREADS
def test_a_run_may_leave_out_how_it_is_opened_or_closed(threads):
    """Also one without any step."""
    x = allocate(4 * 16, "float64").reshape(4, 16)
    program = Program("float64")

    def add_to_each(value):
        one = Operand.of(program.keep(np.full(16, value)))
        with program.strands(4) as strands:
            for number in strands:
                row = Operand.of(x[number : number + 1])
                emit_add(program, row, row, one)

    add_to_each(100.0)
    program.end_opening()
    add_to_each(1.0)
    add_to_each(1.0)
    program.begin_closing()
    add_to_each(0.25)
    expected = 0.0
    for steps, opens, closes in itertools.product((0, 1, 3), (True, False), (True, False)):
        program.choose_ends(opens=opens, closes=closes)
        program.run(steps)
        expected += 100.0 * opens + 2.0 * steps + 0.25 * closes
        np.testing.assert_array_equal(x, np.full((4, 16), expected))


@SOME_THREADS
def test_a_halted_run_is_closed(threads):
    cells = allocate(3 * 16, "float64").reshape(3, 16)
    program = Program("float64", halts=True)
    value, limit, kept = (Operand.of(row[None]) for row in cells)
    emit_fill(program, value, 0.0)
    program.end_opening()
    for _ in range(2):
        with program.strands(2) as strands:
            for number in strands:
                if number:
                    emit_add(program, value, value, limit)
    partials = program.workspace(1, "float64")
    program.emit(SQUARED_NORM, out=partials, x=value.address, size=1, block=1)
    program.emit(MERGE_LOSS, losses=program.workspace(8, "float64"), partials=partials, count=1,
                 cell=0, norms=0, norm_count=0,
                 rates=0, halted=program.halted_word, factor=1.0, penalty=0.0)
    emit_fill(program, limit, 1.0)
    program.begin_closing()
    emit_scale(program, kept, value, 1.0)
    cells[1] = 1e200  # the square of 2e200 is infinite
    program.run(5)
    assert program.halted
    np.testing.assert_array_equal(cells[:, 0], [2e200, 1e200, 2e200])
    cells[1] = 1.0
    program.run(5)
    assert not program.halted
    np.testing.assert_array_equal(cells[:, 0], [10.0, 1.0, 10.0])


def test_a_thread_that_was_not_asked_may_join():
    """Those of an earlier run are still looking for work; what they do counts."""
    x = allocate(64, "float64").reshape(4, 16)
    program = Program("float64")
    for _ in range(4):
        with program.strands(4) as strands:
            for number in strands:
                row = Operand.of(x[number : number + 1])
                for _ in range(20):
                    emit_add(program, row, row, Operand.of(program.keep(np.ones((1, 16)))))
    for _ in range(50):
        for threads in (7, 2):
            fastbp.set_num_threads(threads, oversubscribe=True)
            program.run(3)
    fastbp.set_num_threads(None)
    np.testing.assert_array_equal(x, np.full((4, 16), 4.0 * 20 * 3 * 100))


def test_a_run_is_opened_and_closed_once():
    program = Program("float32")
    emit_fill(program, Operand.of(allocate(16, "float32").reshape(1, 16)), 0.0)
    program.end_opening()
    with pytest.raises(ValueError, match="opened once"):
        program.end_opening()
    program.begin_closing()
    with pytest.raises(ValueError, match="closed once"):
        program.begin_closing()


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


def test_a_bad_row_is_reported_whichever_task_sees_it_first(rng):
    """A network that is cut by itself; the update is two tasks, each of which may end the run."""
    x, y = rng.standard_normal((200, 64)).astype("float32"), rng.integers(0, 10, 200)
    net = fastbp.Sequential([fastbp.Affine(64, 100), fastbp.ReLU(), fastbp.Affine(100, 10)])
    trainer = fastbp.Trainer(net, check_finite=True)
    fastbp.set_num_threads(2, oversubscribe=True)
    try:
        for _ in range(100):
            assert np.isfinite(trainer.train_step(x, y))
            x[13, 2] = np.nan
            assert np.isnan(trainer.train_step(x, y))
            x[13, 2] = 0.0
    finally:
        fastbp.set_num_threads(None)


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
