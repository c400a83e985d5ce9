"""The program of a step with sample weights, sums over outputs and a penalty."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import reference

import fastbp
from fastbp._arena import address_of
from fastbp.emit.losses import Reduction
from fastbp.kernels import update
from fastbp.kernels._instruction import FIRST, OP, WAIT
from fastbp.losses import get
from fastbp.planner import Plan, Update
from fastbp.targets import Target
from fastbp.training_plan import TrainingPlan

DECAY, RATE = 0.3, 0.1


def test_weights_and_penalty_of_gathered_batches(rng):
    """Two steps of plain SGD against NumPy, on rows in an order of their own."""
    x, y, weight = rng.standard_normal((10, 3)), rng.standard_normal((10, 2)), rng.random(10) + 0.5
    order = rng.permutation(10)
    net = fastbp.Sequential([fastbp.Affine(3, 2)], dtype="float64", seed=0)
    net.build()
    w, b = net.parameters["0.w"].copy(), net.parameters["0.b"].copy()
    hyper, plain, rates = np.zeros(6), np.zeros(6), np.ones((2, 4))
    hyper[0], rates[:, 0], rates[:, 3] = DECAY, RATE, (0.5, 0.25)
    losses = np.full((1, 2), np.nan)
    plan = Plan(net, 5, training=True, update=Update(0, hyper, plain, rates, ()))
    loss = get("mean_squared_error")
    targets = [Target.of(y, loss, 2, net.dtype)]
    training = TrainingPlan(plan, [loss], targets, losses, weighted=True,
                            reduction=Reduction(gradient=1.0, value=0.5), penalty=0.5 * DECAY)
    training.set_batch([x], targets, address_of(order), weight)
    plan.run(2)
    for step in range(2):
        rows = order[5 * step : 5 * step + 5]
        share = (weight[rows] / weight[rows].sum())[:, None]
        error = x[rows] @ w + b - y[rows]
        decay = DECAY * rates[step, 3]
        expected = 0.5 * (share * error**2).mean(axis=1).sum() + 0.5 * decay * (w**2).sum()
        np.testing.assert_allclose(losses[0, step], expected, rtol=1e-13)
        w, b = w - RATE * (x[rows].T @ (share * error) + decay * w), b - RATE * (
            share * error).sum(axis=0)
    np.testing.assert_allclose(net.parameters["0.w"], w, rtol=1e-13)
    np.testing.assert_allclose(net.parameters["0.b"], b, rtol=1e-13)


@pytest.mark.parametrize("clip_norm", [None, 1.0])
@pytest.mark.parametrize("bias", [False, True])
def test_an_update_waits_for_the_gradient(bias, clip_norm):
    """A network of weights alone has no range without decay for the others to run beside."""
    net = fastbp.Sequential([fastbp.Conv2D(2, 3, 2, bias=bias)], input_shape=(2, 4, 4))
    rates, loss = np.ones((1, 4)), get("mean_squared_error")
    plan = Plan(net, 5, training=True,
                update=Update(0, np.zeros(6), np.zeros(6), rates, (), clip_norm))
    target = Target.of(np.zeros((5, 3 * 3 * 3), net.dtype), loss, 27, net.dtype)
    TrainingPlan(plan, [loss], [target], np.zeros((1, 1)))
    code, _ = plan.program.tables()
    updates = code[code[:, OP] == update.UPDATE.number]
    assert len(updates) == 1 + bias
    assert (updates[:, WAIT] == updates[0, FIRST]).all()


@pytest.mark.parametrize(("widths", "rows", "is_parallel"), [
    ((64, 64, 64, 10), 32, False), ((64, 100, 10), 32, False), ((64, 100, 10), 200, True),
    ((784, 256, 128, 10), 128, True)])
def test_small_steps_stay_on_one_thread(widths, rows, is_parallel, rng):
    """Handing a task from core to core takes longer than a small step (docs/design/011)."""
    layers = [fastbp.Affine(*pair, activation="relu") for pair in itertools.pairwise(widths)]
    trainer = fastbp.Trainer(fastbp.Sequential(layers), optimizer="adam")
    trainer.train_step(reference.reals(rng, (rows, widths[0]), np.float32),
                       rng.integers(0, widths[-1], rows))
    (training,) = trainer._plans.values()
    assert training.plan.program.is_parallel == is_parallel
