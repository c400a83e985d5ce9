"""A script in the style of the lesson's last one; runs on any module called `miniflow`."""
# ruff: noqa: NPY002 - the lesson draws from the global generator

import numpy as np
from miniflow import *  # noqa: F403

np.random.seed(0)
X_ = np.random.randn(120, 13) * np.arange(1, 14)
y_ = X_[:, 0] - 0.1 * X_[:, 5] + 20 + np.random.randn(120)
X_ = (X_ - np.mean(X_, axis=0)) / np.std(X_, axis=0)

n_features = X_.shape[1]
n_hidden = 10
W1_ = np.random.randn(n_features, n_hidden)
b1_ = np.zeros(n_hidden)
W2_ = np.random.randn(n_hidden, 1)
b2_ = np.zeros(1)

X, y = Input(), Input()  # noqa: F405
W1, b1 = Input(), Input()  # noqa: F405
W2, b2 = Input(), Input()  # noqa: F405

l1 = Linear(X, W1, b1)  # noqa: F405
s1 = Sigmoid(l1)  # noqa: F405
l2 = Linear(s1, W2, b2)  # noqa: F405
cost = MSE(y, l2)  # noqa: F405

feed_dict = {X: X_, y: y_, W1: W1_, b1: b1_, W2: W2_, b2: b2_}

epochs = 5
m = X_.shape[0]
batch_size = 11
steps_per_epoch = m // batch_size

graph = topological_sort(feed_dict)  # noqa: F405
trainables = [W1, b1, W2, b2]

print(f"Total number of examples = {m}")
losses = []
for i in range(epochs):
    loss = 0
    for _ in range(steps_per_epoch):
        rows = np.random.randint(0, m, batch_size)
        X.value = X_[rows]
        y.value = y_[rows]
        forward_and_backward(graph)  # noqa: F405
        sgd_update(trainables)  # noqa: F405
        loss += graph[-1].value
    losses.append(loss / steps_per_epoch)
    print(f"Epoch: {i + 1}, Loss: {loss / steps_per_epoch:.3f}")
