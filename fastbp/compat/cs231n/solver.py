"""Training of a model by the course's protocol, with its random numbers, prints and attributes."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from fastbp.compat.cs231n import optim

__all__ = ["Solver", "np", "optim", "pickle"]

_DEFAULTS: dict[str, Any] = {
    "update_rule": "sgd",
    "optim_config": {},
    "lr_decay": 1.0,
    "batch_size": 100,
    "num_epochs": 10,
    "num_train_samples": 1000,
    "num_val_samples": None,
    "checkpoint_name": None,
    "print_every": 10,
    "verbose": True,
}
_IN_CHECKPOINT = (
    "model",
    "update_rule",
    "lr_decay",
    "optim_config",
    "batch_size",
    "num_train_samples",
    "num_val_samples",
    "epoch",
    "loss_history",
    "train_acc_history",
    "val_acc_history",
)


class Solver:
    """Trains `model` on random batches and keeps the parameters that did best on validation data.

    The model has a dict `params` of arrays and a method `loss`: loss(X) gives scores (N, C),
    loss(X, y) gives (loss, gradients by the names of params). Batches are drawn by
    np.random.choice with replacement, so an epoch does not see every sample.

    Arguments:
        data: dict with X_train, y_train, X_val, y_val; the first axis counts samples.
        update_rule: name of a function of `optim`. optim_config: its settings, learning_rate at
            least. lr_decay: factor on the learning rates after each epoch.
        batch_size, num_epochs: samples a step; epochs, of N // batch_size steps.
        num_train_samples, num_val_samples: accuracy is measured on as many, None for all.
        checkpoint_name: where to pickle the state, at each measurement, as NAME_epoch_E.pkl.
        print_every, verbose: print the loss every so many steps; print at all.
    Attributes:
        loss_history: one number a step. train_acc_history, val_acc_history: one a measurement.
        best_params, best_val_acc, optim_configs, epoch.
    Raises:
        ValueError: another argument, or an unknown update rule.
    """

    model: Any
    update_rule: Any
    optim_config: dict[str, Any]
    lr_decay: float
    batch_size: int
    num_epochs: int
    num_train_samples: int | None
    num_val_samples: int | None
    checkpoint_name: str | None
    print_every: int
    verbose: bool

    def __init__(self, model: Any, data: dict[str, Any], **kwargs: Any) -> None:
        extra = ", ".join(f'"{name}"' for name in kwargs if name not in _DEFAULTS)
        if extra:
            raise ValueError(f"Unrecognized arguments {extra}")
        self.model = model
        self.X_train, self.y_train = data["X_train"], data["y_train"]
        self.X_val, self.y_val = data["X_val"], data["y_val"]
        for name, default in _DEFAULTS.items():
            setattr(self, name, kwargs.get(name, default))
        if not hasattr(optim, self.update_rule):
            raise ValueError(f'Invalid update_rule "{self.update_rule}"')
        self.update_rule = getattr(optim, self.update_rule)
        self._reset()

    def _reset(self) -> None:
        """Forget what was learned about the training; the parameters stay."""
        self.epoch = 0
        self.best_val_acc: Any = 0
        self.best_params: dict[str, Any] = {}
        self.loss_history: list[Any] = []
        self.train_acc_history: list[Any] = []
        self.val_acc_history: list[Any] = []
        self.optim_configs = {name: dict(self.optim_config) for name in self.model.params}

    def _step(self) -> None:
        """One update of every parameter, by the gradients of one batch."""
        batch = np.random.choice(self.X_train.shape[0], self.batch_size)  # noqa: NPY002
        loss, grads = self.model.loss(self.X_train[batch], self.y_train[batch])
        self.loss_history.append(loss)
        for name, w in self.model.params.items():
            # Values of existing keys only: the dict may be changed so while it is walked.
            self.model.params[name], self.optim_configs[name] = self.update_rule(
                w, grads[name], self.optim_configs[name])

    def _save_checkpoint(self) -> None:
        """Pickle the state of the training, the model with it."""
        if self.checkpoint_name is None:
            return
        filename = f"{self.checkpoint_name}_epoch_{self.epoch}.pkl"
        if self.verbose:
            print(f'Saving checkpoint to "{filename}"')  # noqa: T201 - as the course's
        state = {name: getattr(self, name) for name in _IN_CHECKPOINT}
        with Path(filename).open("wb") as file:
            pickle.dump(state, file)

    def check_accuracy(self, X: Any, y: Any, num_samples: int | None = None,  # noqa: N803
                       batch_size: int = 100) -> Any:
        """The share of samples whose highest score is that of their label.

        Measured on num_samples of them, drawn with replacement, where that is fewer than all;
        batch_size samples at a time.
        """
        if num_samples is not None and len(X) > num_samples:
            chosen = np.random.choice(len(X), num_samples)  # noqa: NPY002
            X, y = X[chosen], y[chosen]  # noqa: N806 - its name
        found = [np.argmax(self.model.loss(X[begin : begin + batch_size]), axis=1)
                 for begin in range(0, len(X), batch_size)]
        return np.mean(np.hstack(found) == y)

    def train(self) -> None:
        """Train for num_epochs; model.params are then those that did best on validation data."""
        per_epoch = max(self.X_train.shape[0] // self.batch_size, 1)
        steps = self.num_epochs * per_epoch
        for t in range(steps):
            self._step()
            if self.verbose and t % self.print_every == 0:
                print(f"(Iteration {t + 1} / {steps}) "  # noqa: T201 - verbose
                      f"loss: {self.loss_history[-1]:f}")
            epoch_is_over = (t + 1) % per_epoch == 0
            if epoch_is_over:
                self.epoch += 1
                for config in self.optim_configs.values():
                    config["learning_rate"] *= self.lr_decay
            if t == 0 or t == steps - 1 or epoch_is_over:
                self._measure()
        self.model.params = self.best_params

    def _measure(self) -> None:
        """Accuracies, a checkpoint, and the best parameters so far."""
        train_acc = self.check_accuracy(self.X_train, self.y_train,
                                        num_samples=self.num_train_samples)
        val_acc = self.check_accuracy(self.X_val, self.y_val, num_samples=self.num_val_samples)
        self.train_acc_history.append(train_acc)
        self.val_acc_history.append(val_acc)
        self._save_checkpoint()
        if self.verbose:
            print(f"(Epoch {self.epoch} / {self.num_epochs}) "  # noqa: T201 - verbose
                  f"train acc: {train_acc:f}; val_acc: {val_acc:f}")
        if val_acc > self.best_val_acc:
            self.best_val_acc = val_acc
            self.best_params = {name: w.copy() for name, w in self.model.params.items()}
