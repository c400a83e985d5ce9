"""Solver and FullyConnectedNet, with BatchNorm and dropout."""

# ruff: noqa: F403, F405, NPY002 - in the style of the course
import numpy as np
from cs231n.classifiers.fc_net import *
from cs231n.solver import Solver

np.random.seed(231)
centres = np.random.randn(4, 3, 4, 4)
labels = np.random.randint(4, size=260)
images = centres[labels] + np.random.randn(260, 3, 4, 4)
data = {"X_train": images[:200], "y_train": labels[:200],
        "X_val": images[200:], "y_val": labels[200:]}
losses, accuracies = [], []
for normalization, keep, rule in (("batchnorm", 0.75, "adam"), ("layernorm", 1, "rmsprop"),
                                  (None, 0.5, "sgd_momentum")):
    model = FullyConnectedNet([40, 30], input_dim=48, num_classes=4, dropout_keep_ratio=keep,
                              normalization=normalization, reg=1e-2, weight_scale=0.05,
                              dtype=np.float64)
    solver = Solver(model, data, update_rule=rule, optim_config={"learning_rate": 1e-3},
                    lr_decay=0.9, num_epochs=2, batch_size=30, num_train_samples=80,
                    verbose=False)
    solver.train()
    losses += solver.loss_history
    accuracies += solver.train_acc_history + solver.val_acc_history
    assert set(model.params) == set(solver.best_params)
