# ruff: noqa: B905, NPY002, UP034 - as it is written there
"""Trains a network of scalars on two half moons, as the notebook that comes with micrograd.

    python micrograd_moons.py [steps [samples]]
"""

import random
import sys

import numpy as np
from micrograd.engine import Value
from micrograd.nn import MLP

steps = int(sys.argv[1]) if len(sys.argv) > 1 else 100
samples = int(sys.argv[2]) if len(sys.argv) > 2 else 100
np.random.seed(1337)
random.seed(1337)

angle = np.linspace(0, np.pi, samples // 2)
upper = np.stack([np.cos(angle), np.sin(angle)], axis=1)
lower = np.stack([1 - np.cos(angle), 0.5 - np.sin(angle)], axis=1)
X = np.concatenate([upper, lower]) + 0.1 * np.random.randn(2 * len(angle), 2)
y = np.repeat([0, 1], len(angle)) * 2 - 1

model = MLP(2, [16, 16, 1])
print(len(model.parameters()), "parameters")


def loss(batch_size=None):
    if batch_size is None:
        Xb, yb = X, y
    else:
        ri = np.random.permutation(X.shape[0])[:batch_size]
        Xb, yb = X[ri], y[ri]
    inputs = [list(map(Value, xrow)) for xrow in Xb]
    scores = list(map(model, inputs))

    losses = [(1 + -yi * scorei).relu() for yi, scorei in zip(yb, scores)]
    data_loss = sum(losses) * (1.0 / len(losses))
    alpha = 1e-4
    reg_loss = alpha * sum((p * p for p in model.parameters()))
    total_loss = data_loss + reg_loss

    accuracy = [(yi > 0) == (scorei.data > 0) for yi, scorei in zip(yb, scores)]
    return total_loss, sum(accuracy) / len(accuracy)


for k in range(steps):
    total_loss, acc = loss()

    model.zero_grad()
    total_loss.backward()

    learning_rate = 1.0 - 0.9 * k / 100
    for p in model.parameters():
        p.data -= learning_rate * p.grad

    print(f"step {k} loss {float(total_loss.data)!r}, accuracy {acc * 100}%")
