"""Descriptions of optimizers: what they tell the kernels, and what they refuse."""

import json
import math

import numpy as np
import pytest

from fastbp import optim
from fastbp._errors import ArgumentError
from fastbp.emit.update import bias_correction, bias_corrections
from fastbp.kernels import update

EVERY = [
    (optim.SGD(0.1), update.SGD, 0),
    (optim.SGD(0.1, momentum=0.9), update.MOMENTUM, 1),
    (optim.SGD(0.1, momentum=0.9, nesterov=True), update.NESTEROV, 1),
    (optim.AdaGrad(), update.ADAGRAD, 1),
    (optim.RMSprop(), update.RMSPROP, 1),
    (optim.Adam(), update.ADAM, 2),
    (optim.AdamW(), update.ADAMW, 2),
]


@pytest.mark.parametrize(("optimizer", "kind", "slots"), EVERY)
def test_kind_and_slots(optimizer, kind, slots):
    assert optimizer.kind == kind
    assert optimizer.slots == slots


def test_hyper_follows_the_kernels_order():
    hyper = dict(zip(update.HYPER, optim.Adam(beta1=0.8, weight_decay=0.5).hyper(), strict=True))
    assert hyper["beta1"] == 0.8
    assert hyper["beta2"] == 0.999
    assert hyper["weight_decay"] == 0.5
    assert hyper["momentum"] == 0.0
    assert optim.Adam().hyper().dtype == np.float64


def test_every_number_but_the_rate_reaches_the_kernel():
    for optimizer, _, _ in EVERY:
        for name, value in optimizer.as_dict().items():
            if name not in ("name", "lr", "nesterov"):
                place = update.HYPER.index(name)
                assert optimizer.hyper()[place] == value, (optimizer, name)


def test_rates_of_adam_undo_the_start_at_zero():
    lrs = np.array([0.1, 0.2, 0.3])
    rates = optim.Adam(beta1=0.9, beta2=0.99).rates(4, 3, lrs)
    assert rates.shape == (3, update.RATES)
    assert rates.dtype == np.float64
    for row, step in enumerate((5, 6, 7)):  # steps are counted from 1
        assert rates[row, 0] == lrs[row]
        assert math.isclose(rates[row, 1], 1 / (1 - 0.9**step), rel_tol=1e-14)
        assert math.isclose(rates[row, 2], 1 / (1 - 0.99**step), rel_tol=1e-14)
        assert rates[row, 3] == 1


def test_rates_in_pieces_are_the_rates_at_once():
    adam, lrs = optim.AdamW(), np.linspace(0.1, 1, 10)
    pieces = [adam.rates(0, 3, lrs[:3]), adam.rates(3, 7, lrs[3:])]
    assert np.array_equal(np.concatenate(pieces), adam.rates(0, 10, lrs))
    assert [tuple(row) for row in adam.rates(0, 10, lrs)[:, 1:3]] == [
        adam.corrections(step) for step in range(1, 11)]


@pytest.mark.parametrize("beta", [0.0, 0.5, 0.9, 0.999])
def test_corrections_of_many_steps_are_those_of_each(beta):
    """Around the step too from which on they are 1."""
    last = math.ceil(-40 / math.log(beta)) if beta else 3
    for first in {1, max(1, last - 2), last, last + 1}:
        steps = range(first, first + 4)
        assert bias_corrections(beta, steps) == [bias_correction(beta, step) for step in steps]


def test_rates_of_the_others_have_no_correction():
    assert np.array_equal(optim.SGD(1.0).rates(7, 2, np.array([0.5, 0.25])),
                          [[0.5, 1, 1, 1], [0.25, 1, 1, 1]])  # fmt: skip


def test_adam_without_memory_and_after_very_many_steps():
    rates = optim.Adam(beta1=0.0, beta2=0.0).rates(0, 1, np.ones(1))
    assert rates.tolist() == [[1, 1, 1, 1]]
    late = optim.Adam().rates(10**9, 1, np.ones(1))
    assert late.tolist() == [[1, 1, 1, 1]]


@pytest.mark.parametrize(("optimizer", "kind", "slots"), EVERY)
def test_description_survives_json(optimizer, kind, slots):
    assert optim.from_dict(json.loads(json.dumps(optimizer.as_dict()))) == optimizer


@pytest.mark.parametrize("name", optim.NAMES)
def test_from_name(name):
    optimizer = optim.from_name(name, lr=0.25)
    assert optimizer.lr == 0.25
    assert optimizer.kind == update.NAMES[name]
    assert optim.from_name(name).lr > 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: optim.SGD(0.0), r"SGD: lr=0.0; wanted a number above 0; 0.1 is usual"),
        (lambda: optim.SGD(-1), r"lr=-1; wanted a number above 0"),
        (lambda: optim.SGD(math.nan), r"lr=nan"),
        (lambda: optim.SGD("0.1"), r"lr='0.1'; wanted a number.*plain Python float"),
        (lambda: optim.SGD(True), r"lr=True"),
        (lambda: optim.SGD(0.1, momentum=1.0), r"momentum=1.0; wanted a number from 0 and below 1"),
        (lambda: optim.SGD(0.1, nesterov=True), r"nesterov=True with momentum=0.*momentum=0.9"),
        (lambda: optim.SGD(0.1, momentum=0.9, nesterov="yes"), r"nesterov='yes'"),
        (lambda: optim.Adam(beta2=1.5), r"Adam: beta2=1.5.*0.999 is usual"),
        (lambda: optim.Adam(eps=0.0), r"eps=0.0; wanted a number above 0"),
        (lambda: optim.AdamW(weight_decay=-0.1), r"weight_decay=-0.1.*0 switches it off"),
        (lambda: optim.RMSprop(rho=-0.1), r"rho=-0.1"),
        (lambda: optim.from_name("adma"), r"optimizer 'adma'; wanted one of sgd, momentum"),
        (lambda: optim.from_name("adam", rho=1), r"unknown rho; wanted settings among lr, beta1"),
        (lambda: optim.from_dict({"lr": 1}), r"without a name"),
    ],
)
def test_refusals(make, message):
    with pytest.raises(ArgumentError, match=message):
        make()


def test_numpy_numbers_become_plain_ones():
    optimizer = optim.Adam(lr=np.float64(0.5), weight_decay=np.int64(0))
    assert type(optimizer.lr) is float
    assert type(optimizer.weight_decay) is float
