"""Check 4, without luck: instructions that may run together give the same bits in any order."""

from __future__ import annotations

import fuzz_networks
import numpy as np
import pytest
from conditions import DTYPES
from fuzz_operations import forget
from operations import OPERATIONS, bits, copies, tile_sizes
from other_order import opposite, overlaps_reversed

import fastbp
from fastbp import planner
from fastbp._jit import DISABLED

pytestmark = pytest.mark.skipif(DISABLED, reason="hundreds of trainings")


@pytest.fixture(autouse=True)
def _new_plans():
    forget()
    yield
    forget()


def test_what_waits_for_the_same_goes_backwards():
    assert opposite([0, 0, 0, 5, 9, 9]) == [2, 1, 0, 3, 5, 4]


@pytest.mark.parametrize("dtype", DTYPES)
def test_operations(dtype, rng):
    total = 0
    for op in OPERATIONS:
        for size in (tile_sizes()[-1], (70, 90, 50)):
            args = op.make(rng, size, dtype)
            forget()
            expected = bits(op.run(**copies(args)))
            forget()
            with overlaps_reversed() as moved:
                assert bits(op.run(**copies(args))) == expected, f"{op} {size}"
            total += sum(moved)
    assert total >= 10, "MISTRUSTED: nothing has moved"


@pytest.mark.parametrize("count", [150, pytest.param(3000, marks=pytest.mark.nightly)])
def test_trainings(count):
    total = 0
    for seed in range(count):
        expected, _ = fuzz_networks.trained(seed, 1)
        with overlaps_reversed() as moved:
            found, _ = fuzz_networks.trained(seed, 1)
        assert found == expected, f"fuzz_networks.trained({seed})"
        total += sum(moved)
    assert total > 4 * count, "MISTRUSTED: hardly anything has moved"


def test_an_update_that_does_not_wait_is_seen(monkeypatch):
    """The control: the first update runs beside the last gradient."""
    def trained() -> bytes:
        net = fastbp.Sequential([fastbp.Conv2D(2, 3, 2)], input_shape=(2, 4, 4), seed=0)
        x = np.random.default_rng(0).standard_normal((6, 2, 4, 4)).astype(np.float32)
        fastbp.Trainer(net).fit(x, np.arange(6), epochs=2, batch_size=3)
        return net.values.tobytes()

    expected = trained()
    emit = planner.emit_update
    monkeypatch.setattr(planner, "emit_update",
                        lambda *args, **named: emit(*args, **{**named, "overlap": True}))
    with overlaps_reversed():
        assert trained() != expected
