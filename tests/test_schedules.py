"""Learning-rate factors against their formulas, in pieces and as a whole."""

import json
import math

import numpy as np
import pytest

from fastbp import schedules
from fastbp._errors import ArgumentError

PER_EPOCH, EPOCHS = 7, 6
TOTAL = PER_EPOCH * EPOCHS
PURE = [
    schedules.Constant(),
    schedules.Step(2, 0.5),
    schedules.Cosine(),
    schedules.Cosine(warmup_epochs=1.5, final_factor=0.1),
    schedules.OneCycle(),
]


def whole(schedule):
    return schedule.factors(0, TOTAL, PER_EPOCH, EPOCHS)


@pytest.mark.parametrize("schedule", PURE)
def test_pieces_are_the_whole(schedule):
    pieces = [schedule.factors(first, 5, PER_EPOCH, EPOCHS) for first in range(0, TOTAL, 5)]
    assert np.array_equal(np.concatenate(pieces)[:TOTAL], whole(schedule))
    assert whole(schedule).dtype == np.float64


@pytest.mark.parametrize("schedule", PURE)
def test_factors_are_finite_within_zero_and_one_and_past_the_end(schedule):
    values = schedule.factors(0, 3 * TOTAL, PER_EPOCH, EPOCHS)
    assert np.all(np.isfinite(values))
    assert values.min() >= 0
    assert values.max() <= 1


def test_constant():
    assert whole(schedules.Constant()).tolist() == [1.0] * TOTAL


def test_step_falls_at_the_first_step_of_an_epoch():
    expected = [0.5 ** (step // PER_EPOCH // 2) for step in range(TOTAL)]
    assert whole(schedules.Step(2, 0.5)).tolist() == expected


def test_cosine_with_warm_up():
    schedule = schedules.Cosine(warmup_epochs=2, final_factor=0.1)
    values, warm = whole(schedule), 2 * PER_EPOCH
    for step in range(TOTAL):
        if step < warm:
            expected = (step + 1) / warm
        else:
            part = (step - warm) / (TOTAL - warm)
            expected = 0.1 + 0.9 * (1 + math.cos(math.pi * part)) / 2
        assert math.isclose(values[step], expected, rel_tol=1e-14)
    assert schedule.factors(TOTAL, 1, PER_EPOCH, EPOCHS)[0] == 0.1


def test_one_cycle_peaks_once_and_ends_low():
    values = whole(schedules.OneCycle(warmup=0.5, start_factor=0.1, final_factor=0.01))
    peak = int(values.argmax())
    assert peak == TOTAL // 2
    assert values[peak] == 1.0
    assert math.isclose(values[0], 0.1, rel_tol=1e-14)
    assert np.all(np.diff(values[: peak + 1]) > 0)
    assert np.all(np.diff(values[peak:]) < 0)


def test_plateau_waits_for_patience_and_then_lowers():
    plateau = schedules.Plateau(patience=2, factor=0.5, monitor="loss", min_factor=0.2)
    factors = []
    for loss in [1.0, 0.9, 0.9, 0.95, 0.91, 0.8, 1, 1, 1, 1, 1, 1]:
        plateau.epoch_end({"loss": loss})
        factors.append(plateau.factors(0, 2, PER_EPOCH, EPOCHS).tolist())
    current = [1, 1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.2]
    assert factors == [[value] * 2 for value in current]


def test_plateau_knows_that_accuracy_should_rise():
    plateau = schedules.Plateau(patience=0, factor=0.5, monitor="val_accuracy")
    for value in (0.5, 0.6, 0.7):
        plateau.epoch_end({"val_accuracy": value})
    assert plateau.current == 1.0
    plateau.epoch_end({"val_accuracy": math.nan})
    assert plateau.current == 0.5


def test_plateau_goes_on_from_its_state():
    first, second = schedules.Plateau(patience=1), schedules.Plateau(patience=1)
    first.epoch_end({"val_loss": 1.0})
    first.epoch_end({"val_loss": 2.0})
    second.load_state(json.loads(json.dumps(first.state())))
    for plateau in (first, second):
        plateau.epoch_end({"val_loss": 1.5})
    assert first == second
    assert second.current == 0.1
    fresh = schedules.Plateau(patience=1)
    fresh.load_state(schedules.Plateau(patience=1).state())
    assert fresh.best is None


def test_plateau_names_a_missing_column():
    with pytest.raises(ArgumentError, match=r"'val_loss'.*wanted one of epoch, loss; pass valid"):
        schedules.Plateau().epoch_end({"epoch": 1, "loss": 2.0})


@pytest.mark.parametrize("schedule", [*PURE, schedules.Plateau(patience=3, monitor="loss")])
def test_description_survives_json(schedule):
    assert schedules.from_dict(json.loads(json.dumps(schedule.as_dict()))) == schedule


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: schedules.Step(0), r"Step: every_epochs=0; wanted 1 or more"),
        (lambda: schedules.Step(1, 0.0), r"factor=0.0"),
        (lambda: schedules.Cosine(warmup_epochs=-1), r"Cosine: warmup_epochs=-1; wanted 0 or more"),
        (lambda: schedules.Cosine(final_factor=2), r"final_factor=2"),
        (lambda: schedules.OneCycle(warmup=1.0), r"OneCycle: warmup=1.0"),
        (lambda: schedules.OneCycle(start_factor=0), r"start_factor=0"),
        (lambda: schedules.Plateau(patience=-1), r"Plateau: patience=-1"),
        (lambda: schedules.Plateau(factor=1.0), r"Plateau: factor=1.0"),
        (lambda: schedules.Plateau(min_factor=1.0), r"min_factor=1.0"),
        (lambda: schedules.from_name("cosin"), r"schedule 'cosin'; wanted one of constant, step"),
        (lambda: schedules.from_name("cosine", warmup=1), r"unknown warmup; wanted settings among"),
        (lambda: schedules.from_dict({}), r"without a name"),
    ],
)
def test_refusals(make, message):
    with pytest.raises(ArgumentError, match=message):
        make()
