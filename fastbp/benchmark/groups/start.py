"""From the start of a process to its first training step, and what each later step asks of the
system: memory and pages.
"""

from __future__ import annotations

import tempfile

from fastbp.benchmark.groups import GroupOptions
from fastbp.benchmark.rows import SUBJECT, Measurement, Row
from fastbp.benchmark.session import Session
from fastbp.benchmark.starts import measure_starts, process_seconds
from fastbp.benchmark.workloads import NETWORKS

FIRST_STEP = {
    SUBJECT: """
import numpy as np, fastbp
x, y = np.ones((32, 64), np.float32), np.zeros(32, np.int64)
net = fastbp.Sequential([fastbp.Affine(64, 32), fastbp.ReLU(), fastbp.Affine(32, 10)], seed=0)
trainer = fastbp.Trainer(net, loss="softmax_cross_entropy", optimizer=fastbp.Adam(1e-3))
trainer.train_step(x, y)
""",
    "numpy": """
import numpy as np
x, y = np.ones((32, 64), np.float32), np.zeros(32, np.int64)
rng = np.random.default_rng(0)
w, v = (rng.standard_normal(s, np.float32) * np.float32(.1) for s in ((64, 32), (32, 10)))
h = np.maximum(x @ w, 0)
z = h @ v
p = np.exp(z - z.max(1, keepdims=True))
p /= p.sum(1, keepdims=True)
p[np.arange(32), y] -= 1
dh = (p @ v.T) * (h > 0)
v -= 1e-3 * (h.T @ p)
w -= 1e-3 * (x.T @ dh)
""",
    "torch": """
import torch
x, y = torch.ones(32, 64), torch.zeros(32, dtype=torch.int64)
net = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10))
rule = torch.optim.Adam(net.parameters(), lr=1e-3, fused=True)
loss = torch.nn.CrossEntropyLoss()(net(x), y)
loss.backward()
rule.step()
""",
    "jax": """
import jax, jax.numpy as jnp
x, y = jnp.ones((32, 64)), jnp.zeros((32, 1), int)
keys = jax.random.split(jax.random.key(0))
ws = [.1 * jax.random.normal(k, s) for k, s in zip(keys, ((64, 32), (32, 10)))]
def loss(ws):
    z = jax.nn.log_softmax(jax.nn.relu(x @ ws[0]) @ ws[1])
    return -jnp.take_along_axis(z, y, 1).mean()
step = jax.jit(lambda ws: [w - 1e-3 * g for w, g in zip(ws, jax.grad(loss)(ws))])
jax.block_until_ready(step(ws))
""",
    "sklearn": """
import numpy as np
from sklearn.neural_network import MLPClassifier
x, y = np.ones((32, 64), np.float32), np.arange(32) % 10
MLPClassifier((32,), batch_size=32).partial_fit(x, y, classes=np.arange(10))
""",
}
"""What a process runs: its imports, a network of 64-32-10, and one step on 32 samples."""

DEMANDS = (
    ("memory kept by a step", "kept", "B"),
    ("memory peak in a step", "peak", "B"),
    ("page faults a step", "faults", "faults"),
)
"""Of 1000 steps of the tiny network after 1000 others: bytes of Python objects and arrays that
stay, the most that live for a moment, and pages that the system had to provide."""

COLD_ROUNDS = 3


def rows(options: GroupOptions) -> list[Row]:
    """Warm and cold start; memory and page faults of a step."""
    widths, batch = NETWORKS["tiny"]
    spec = {"widths": widths, "batch": batch, "optimizer": "adam"}
    return [
        Row("start", "first step", "start", {}, peers=tuple(FIRST_STEP), measured_by=_warm),
        Row("start", "first step ever", "start", {}, peers=(), measured_by=_cold),
        *(Row("start", name, "demands", {**spec, "demand": demand}, peers=(), unit=unit)
          for name, demand, unit in DEMANDS),
    ]  # fmt: skip


def _warm(session: Session, row: Row) -> Measurement:
    return measure_starts(session, row, _first_step)


def _cold(session: Session, row: Row) -> Measurement:
    """fastbp with an empty cache."""
    found = Measurement(row)
    for _ in range(min(session.rounds, COLD_ROUNDS)):
        with tempfile.TemporaryDirectory() as folder:
            seconds = _first_step(SUBJECT, session.threads, FASTBP_CACHE_DIR=folder)
        found.values.setdefault(SUBJECT, []).append(seconds)
    return found


def _first_step(name: str, threads: int, **environment: str) -> float:
    """How long a process takes that runs the contestant's first step."""
    return process_seconds(FIRST_STEP[name], name, threads, **environment)
