"""The two-layer network of assignment 1 until 2020, which trains itself."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastbp.compat.cs231n._edition import penalty_is_halved
from fastbp.compat.cs231n.classifiers._parameters import affine_params
from fastbp.compat.cs231n.classifiers._two_layers import two_layer_loss

__all__ = ["TwoLayerNet", "np"]


class TwoLayerNet:
    """affine - relu - affine - softmax with the penalty reg * sum(W*W) (2016: half of it).

    Arguments:
        input_size, hidden_size, output_size: D, H and C. std: standard deviation of the weights,
        drawn by np.random.randn, W1 first.
    Attributes:
        params: W1 (D, H), b1 (H,), W2 (H, C), b2 (C,), float64.
    """

    def __init__(self, input_size: int, hidden_size: int, output_size: int, std: float = 1e-4
                 ) -> None:
        self.params = affine_params([input_size, hidden_size, output_size], std)

    def loss(self, X: Any, y: Any = None, reg: float = 0.0) -> Any:  # noqa: N803 - its name
        """Scores (N, C) where y is None, else (loss, gradients by the names of params)."""
        return two_layer_loss(self.params, X, y, reg if penalty_is_halved() else 2 * reg)

    def train(self, X: Any, y: Any, X_val: Any, y_val: Any,  # noqa: N803 - their names
              learning_rate: float = 1e-3, learning_rate_decay: float = 0.95, reg: float = 5e-6,
              num_iters: int = 100, batch_size: int = 200, verbose: bool = False
              ) -> dict[str, list[Any]]:
        """Gradient descent on batches that np.random.choice draws with replacement.

        Arguments:
            X (N, D), y (N,), X_val, y_val: data. learning_rate: multiplied by learning_rate_decay
            after each epoch, whenever the step is a multiple of max(N/batch_size, 1). verbose:
            print every 100 steps.
        Returns:
            loss_history, one number a step; train_acc_history (of the batch) and val_acc_history,
            one an epoch.
        """
        num_train = X.shape[0]
        per_epoch = max(num_train / batch_size, 1)
        history: dict[str, list[Any]] = {"loss_history": [], "train_acc_history": [],
                                         "val_acc_history": []}
        for step in range(num_iters):
            batch = np.random.choice(num_train, batch_size)  # noqa: NPY002
            x_batch, y_batch = X[batch], y[batch]
            loss, grads = self.loss(x_batch, y=y_batch, reg=reg)
            history["loss_history"].append(loss)
            for name, grad in grads.items():
                self.params[name] -= learning_rate * grad
            if verbose and step % 100 == 0:
                print(f"iteration {step} / {num_iters}: loss {loss:f}")  # noqa: T201 - verbose
            if step % per_epoch == 0:
                history["train_acc_history"].append((self.predict(x_batch) == y_batch).mean())
                history["val_acc_history"].append((self.predict(X_val) == y_val).mean())
                learning_rate *= learning_rate_decay
        return history

    def predict(self, X: Any) -> np.ndarray:  # noqa: N803 - its name
        """The label (N,) with the highest score for each row of X (N, D)."""
        return np.argmax(self.loss(X), axis=1)
