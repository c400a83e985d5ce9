"""Check 12: what is not data may be NaN; NaN in data goes exactly where the twin has it."""

from __future__ import annotations

import numpy as np
import pytest
import reference
from conditions import DTYPES
from operations import LARGE, OPERATIONS, copies, tile_sizes

import fastbp
from fastbp import network, trainer
from fastbp._arena import Room, allocate

# Infinities have limits of their own elsewhere: see the operations' own tests.
CASES = [(op, np.nan) for op in OPERATIONS] + [
    (op, np.inf) for op in OPERATIONS if op.exact or op.name == "softmax"]
# NaN in the saved y of ReLU, or where dropout drops, is no positive number and gives 0; the twins
# say so too. A label's score NaN makes all margins NaN.


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("op", "value"), CASES, ids=str)
def test_what_is_not_finite_goes_where_the_twin_has_it(op, value, dtype, rng):
    """One element of each argument, in full tiles and at edges; the rest stays within bounds.

    Of images both ends too: what lies next to a border is multiplied by what is no data.
    """
    met = 0
    for size in (*tile_sizes()[2:6], LARGE):
        clean = op.make(rng, size, dtype)
        for name, array in clean.items():
            if array.dtype.kind != "f" or (op.name, name) == ("adamw_step", "w"):
                continue  # labels; and AdamW's twin adds 0*w to the gradient
            for place in (rng.integers(array.size), 0, -1)[: 3 if array.ndim == 4 else 1]:
                args, tame = copies(clean), copies(clean)
                args[name].reshape(-1)[place] = value
                tame[name].reshape(-1)[place] = 1  # in y it opens ReLU as infinity does
                bounds = op.bounds(tame)
                with np.errstate(all="ignore"):
                    expected = [np.asarray(e) for e in op.twin(**args)]
                results = [np.asarray(r) for r in op.run(**copies(args))]
                what = f"{op} by {name} {size} at {place}"
                for got, want, bound in zip(results, expected, bounds, strict=True):
                    assert np.array_equal(np.isnan(got), np.isnan(want)), what
                    met += np.count_nonzero(~np.isfinite(want))
                    if op.elementwise or op.exact:
                        reference.assert_within(got, want, bound, what)
    assert met, "MISTRUSTED: nothing was not finite"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_padding_and_workspaces_of_networks_may_hold_anything(dtype, optimizer, monkeypatch, rng):
    """NaN in every byte that no one has written yet: the trained bits are the same."""
    x = rng.standard_normal((45, 13)).astype(dtype)
    y = rng.integers(0, 5, 45)
    poisoned = []

    def poison(room: Room, count: int, kind: object) -> np.ndarray:
        array = allocate(count, kind)
        array.view(np.uint8).fill(0xFF)
        poisoned.append(array)
        return array

    found = []
    for poisons in (False, True):
        if poisons:
            monkeypatch.setattr(Room, "take", poison)
        net = fastbp.Sequential([
            fastbp.Affine(13, 21), fastbp.BatchNorm(21), fastbp.ReLU(), fastbp.Dropout(0.2),
            fastbp.Affine(21, 17), fastbp.LayerNorm(17), fastbp.Tanh(), fastbp.Affine(17, 5)],
            seed=1, dtype=dtype)
        model = trainer.Trainer(net, optimizer=optimizer)
        for begin in (0, 15, 30):
            model.train_step(x[begin : begin + 15], y[begin : begin + 15])
        found.append(b"".join(v.tobytes() for v in net.state_dict().values())
                     + net.predict(x).tobytes())
    assert len(poisoned) > 10
    assert found[0] == found[1]
    assert network.allocate is allocate
