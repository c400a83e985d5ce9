"""`common.trainer`: a loop over mini-batches."""

from __future__ import annotations

import os  # noqa: F401
import sys  # noqa: F401
from typing import Any

import numpy as np

from fastbp._errors import ArgumentError as _ArgumentError
from fastbp.compat.dlfs.optimizer import SGD, AdaGrad, Adam, Momentum, Nesterov, RMSprop

_OPTIMIZERS = {"sgd": SGD, "momentum": Momentum, "nesterov": Nesterov, "adagrad": AdaGrad,
               "rmsprop": RMSprop, "adam": Adam}  # fmt: skip


class Trainer:
    """Trains `network` (params, gradient, loss, accuracy) on mini-batches drawn with replacement.

    Arguments:
        x_train, t_train, x_test, t_test: arrays. epochs, mini_batch_size: as they say.
        optimizer: its name; optimizer_param: what it is made with.
        evaluate_sample_num_per_epoch: accuracies are of so many samples; None: of all.
        verbose: print the loss of every step, and accuracies.
    Attributes:
        train_loss_list: the loss after each step; train_acc_list, test_acc_list: once an epoch,
        from the first step on.
    """

    def __init__(self, network: Any, x_train: np.ndarray, t_train: np.ndarray, x_test: np.ndarray,
                 t_test: np.ndarray, epochs: int = 20, mini_batch_size: int = 100,
                 optimizer: str = "SGD", optimizer_param: Any = {"lr": 0.01},  # noqa: B006
                 evaluate_sample_num_per_epoch: int | None = None, verbose: bool = True) -> None:
        if optimizer.lower() not in _OPTIMIZERS:
            raise _ArgumentError(f"Trainer: optimizer={optimizer!r}",
                                 f"one of {', '.join(_OPTIMIZERS)}")
        self.network = network
        self.verbose = verbose
        self.x_train = x_train
        self.t_train = t_train
        self.x_test = x_test
        self.t_test = t_test
        self.epochs = epochs
        self.batch_size = mini_batch_size
        self.evaluate_sample_num_per_epoch = evaluate_sample_num_per_epoch
        self.optimizer = _OPTIMIZERS[optimizer.lower()](**optimizer_param)
        self.train_size = x_train.shape[0]
        self.iter_per_epoch = max(self.train_size / mini_batch_size, 1)
        self.max_iter = int(epochs * self.iter_per_epoch)
        self.current_iter = 0
        self.current_epoch = 0
        self.train_loss_list: list[Any] = []
        self.train_acc_list: list[Any] = []
        self.test_acc_list: list[Any] = []

    def train_step(self) -> None:
        """One update, the loss behind it, and accuracies where a whole epoch begins."""
        chosen = np.random.choice(self.train_size, self.batch_size)
        x_batch, t_batch = self.x_train[chosen], self.t_train[chosen]
        grads = self.network.gradient(x_batch, t_batch)
        self.optimizer.update(self.network.params, grads)
        loss = self.network.loss(x_batch, t_batch)
        self.train_loss_list.append(loss)
        self._say(f"train loss:{loss!s}")
        if self.current_iter % self.iter_per_epoch == 0:
            self._evaluate()
        self.current_iter += 1

    def _evaluate(self) -> None:
        self.current_epoch += 1
        count = self.evaluate_sample_num_per_epoch
        train_acc = self.network.accuracy(self.x_train[:count], self.t_train[:count])
        test_acc = self.network.accuracy(self.x_test[:count], self.t_test[:count])
        self.train_acc_list.append(train_acc)
        self.test_acc_list.append(test_acc)
        self._say(f"=== epoch:{self.current_epoch}, train acc:{train_acc!s}, "
                  f"test acc:{test_acc!s} ===")

    def train(self) -> None:
        """All steps, and the accuracy on the test set at the end."""
        for _ in range(self.max_iter):
            self.train_step()
        test_acc = self.network.accuracy(self.x_test, self.t_test)
        self._say("=============== Final Test Accuracy ===============")
        self._say(f"test acc:{test_acc!s}")

    def _say(self, line: str) -> None:
        if self.verbose:
            print(line)
