"""Check 32: whole trainings against a slow twin in NumPy float64, step by step."""

from __future__ import annotations

import numpy as np
import pytest
import reference

import fastbp
from fastbp._jit import DISABLED
from fastbp.datasets import load_digits

pytestmark = pytest.mark.skipif(DISABLED, reason="hundreds of steps")
BATCH = 50
MOMENTS = {"adam": 2, "momentum": 1, "sgd": 0}


class Twin:
    """Affine - BatchNorm - ReLU - Affine - softmax cross-entropy, and an optimizer."""

    def __init__(self, net: fastbp.Sequential, optimizer: str) -> None:
        self.values = {k: v.astype(np.float64) for k, v in net.parameters.items()}
        self.slots = {k: [np.zeros_like(v)] * MOMENTS[optimizer] for k, v in self.values.items()}
        self.optimizer, self.step_count = optimizer, 0
        self.running = [v.astype(np.float64) for v in (net.buffers["1.running_mean"],
                                                       net.buffers["1.running_var"])]

    def scores(self, x, *, training: bool):
        p = self.values
        z = x @ p["0.w"] + p["0.b"]
        mean, var = (z.mean(axis=0), z.var(axis=0)) if training else self.running
        rstd = 1 / np.sqrt(var + 1e-5)
        xhat = (z - mean) * rstd
        h = np.maximum(p["1.gamma"] * xhat + p["1.beta"], 0)
        return h @ p["3.w"] + p["3.b"], (mean, var, rstd, xhat, h)

    def step(self, x, y) -> float:
        p = self.values
        s, (mean, var, rstd, xhat, h) = self.scores(x, training=True)
        self.running = [0.9 * r + 0.1 * new for r, new in zip(self.running, (mean, var),
                                                              strict=True)]
        loss, ds = reference.softmax_cross_entropy(s.astype(np.float64), y)
        ds = np.asarray(ds, np.float64)
        dh = ds @ p["3.w"].T * (h > 0)
        dxhat = dh * p["1.gamma"]
        dz = rstd * (dxhat - dxhat.mean(axis=0) - xhat * (dxhat * xhat).mean(axis=0))
        gradients = {"3.w": h.T @ ds, "3.b": ds.sum(axis=0), "1.gamma": (dh * xhat).sum(axis=0),
                     "1.beta": dh.sum(axis=0), "0.w": x.T @ dz, "0.b": dz.sum(axis=0)}
        self.step_count += 1
        for name, g in gradients.items():
            self.update(name, g)
        return float(loss)

    def update(self, name: str, g) -> None:
        w, slots, t = self.values[name], self.slots[name], self.step_count
        if self.optimizer == "adam":
            m, v = 0.9 * slots[0] + 0.1 * g, 0.999 * slots[1] + 0.001 * g * g
            self.slots[name] = [m, v]
            w = w - 1e-3 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        elif self.optimizer == "momentum":
            self.slots[name] = [0.9 * slots[0] + g]
            w = w - 0.05 * self.slots[name][0]
        else:
            w = w - 0.05 * g
        self.values[name] = w


def pair(optimizer: str, dtype: str, seed: int) -> tuple[fastbp.Trainer, Twin]:
    net = fastbp.Sequential([fastbp.Affine(64, 48), fastbp.BatchNorm(48), fastbp.ReLU(),
                             fastbp.Affine(48, 10)], seed=seed, dtype=dtype)
    given = {"adam": fastbp.Adam(1e-3), "momentum": fastbp.SGD(0.05, momentum=0.9),
             "sgd": fastbp.SGD(0.05)}[optimizer]
    return fastbp.Trainer(net, optimizer=given), Twin(net, optimizer)


def losses(optimizer: str, dtype: str, steps: int, seed: int = 0):
    """(losses of each step, of the twin's, trainer, twin) on one order of batches."""
    x, y = load_digits()
    x = x.astype(dtype)
    trainer, twin = pair(optimizer, dtype, seed)
    rng, found = np.random.Generator(np.random.PCG64(seed)), []
    for _ in range(steps):
        rows = rng.integers(0, 1500, BATCH)
        found.append((trainer.train_step(x[rows], y[rows]), twin.step(x[rows].astype(np.float64),
                                                                      y[rows])))
    return *np.array(found).T, trainer, twin


@pytest.mark.parametrize("optimizer", MOMENTS)
def test_a_thousand_steps_of_float64(optimizer):
    """Relative to the twin's loss: 1e-9 for 100 steps; then rounding has grown, 1e-6."""
    mine, twins, trainer, twin = losses(optimizer, "float64", 1000)
    error = np.abs(mine - twins) / twins
    assert error[:100].max() <= 1e-9
    assert error.max() <= 1e-6
    assert mine[-100:].mean() < 0.5 * mine[0], "MISTRUSTED: nothing was learnt"
    for name, value in trainer.network.parameters.items():
        scale = np.abs(twin.values[name]).max()
        if name != "0.b":  # BatchNorm takes it away again: its gradient is rounding
            assert np.abs(value - twin.values[name]).max() <= 1e-6 * scale, name


@pytest.mark.parametrize("optimizer", MOMENTS)
def test_the_first_steps_of_float32(optimizer):
    mine, twins, _, _ = losses(optimizer, "float32", 10)
    assert (np.abs(mine - twins) / twins).max() <= 1e-5


def test_float32_learns_as_well_as_the_twin():
    """Accuracy on what was not trained on, over five seeds: the means differ by 0.3 points."""
    x, y = load_digits()
    x, y = x[1500:], y[1500:]
    scores = []
    for seed in range(5):
        _, _, trainer, twin = losses("adam", "float32", 600, seed)
        own = (trainer.predict(x).argmax(axis=1) == y).mean()
        other = (twin.scores(x.astype(np.float64), training=False)[0].argmax(axis=1) == y).mean()
        scores.append((own, other))
    own, other = np.array(scores).mean(axis=0)
    assert own > 0.9
    assert abs(own - other) <= 0.003


@pytest.mark.parametrize("optimizer", MOMENTS)
def test_a_thousand_steps_of_float64_beside_pytorch(optimizer):
    """Where it is installed; the bounds are those of the twin."""
    torch = pytest.importorskip("torch")
    x, y = load_digits()
    trainer, _ = pair(optimizer, "float64", 0)
    net = torch.nn.Sequential(torch.nn.Linear(64, 48), torch.nn.BatchNorm1d(48), torch.nn.ReLU(),
                              torch.nn.Linear(48, 10)).double()
    state = {name: torch.tensor(value) for name, value in trainer.network.parameters.items()}
    net.load_state_dict({"0.weight": state["0.w"].T, "0.bias": state["0.b"],
                         "1.weight": state["1.gamma"], "1.bias": state["1.beta"],
                         "3.weight": state["3.w"].T, "3.bias": state["3.b"]}, strict=False)
    theirs = {"adam": lambda p: torch.optim.Adam(p, 1e-3),
              "momentum": lambda p: torch.optim.SGD(p, 0.05, momentum=0.9),
              "sgd": lambda p: torch.optim.SGD(p, 0.05)}[optimizer](net.parameters())
    rng, errors = np.random.Generator(np.random.PCG64(0)), []
    for _ in range(1000):
        rows = rng.integers(0, 1500, BATCH)
        theirs.zero_grad()
        loss = torch.nn.functional.cross_entropy(net(torch.tensor(x[rows], dtype=torch.float64)),
                                                 torch.tensor(y[rows]))
        loss.backward()
        theirs.step()
        mine = trainer.train_step(x[rows].astype("float64"), y[rows])
        errors.append(abs(mine - loss.item()) / loss.item())
    assert max(errors[:100]) <= 1e-9
    assert max(errors) <= 1e-6
