"""Linear classifiers trained by stochastic gradient descent."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastbp.compat.cs231n._affine import scores_of
from fastbp.compat.cs231n._arrays import named
from fastbp.compat.cs231n.classifiers import _saving
from fastbp.compat.cs231n.classifiers.linear_svm import svm_loss_naive, svm_loss_vectorized
from fastbp.compat.cs231n.classifiers.softmax import softmax_loss_naive, softmax_loss_vectorized

__all__ = [
    "LinearClassifier",
    "LinearSVM",
    "Softmax",
    "np",
    "softmax_loss_naive",
    "softmax_loss_vectorized",
    "svm_loss_naive",
    "svm_loss_vectorized",
]


class LinearClassifier:
    """Scores X W; a subclass gives the loss. `W` (D, C) is None until `train`."""

    def __init__(self) -> None:
        self.W: Any = None

    def train(self, X: Any, y: Any, learning_rate: float = 1e-3,  # noqa: N803 - its name
              reg: float = 1e-5, num_iters: int = 100, batch_size: int = 200,
              verbose: bool = False) -> list[Any]:
        """Gradient descent on batches that np.random.choice draws with replacement.

        Arguments:
            X: (N, D). y: (N,) labels; the highest one says how many classes there are.
            learning_rate, reg: step size, weight of the penalty. verbose: print every 100 steps.
        Returns:
            The loss of every step. W starts from 0.001*np.random.randn(D, C) unless it is there.
        """
        num_train, dim = X.shape
        if self.W is None:
            self.W = 0.001 * np.random.randn(dim, np.max(y) + 1)  # noqa: NPY002
        history = []
        for step in range(num_iters):
            batch = np.random.choice(num_train, batch_size)  # noqa: NPY002
            loss, grad = self.loss(X[batch], y[batch], reg)
            history.append(loss)
            self.W -= learning_rate * grad
            if verbose and step % 100 == 0:
                print(f"iteration {step} / {num_iters}: loss {loss:f}")  # noqa: T201 - verbose
        return history

    @named()
    def predict(self, X: Any) -> np.ndarray:  # noqa: N803 - its name
        """The label (N,) with the highest score for each row of X (N, D)."""
        return np.argmax(scores_of(X, self.W), axis=1)

    def loss(self, X_batch: Any, y_batch: Any, reg: float  # noqa: N803 - its name
             ) -> tuple[Any, np.ndarray]:
        """(loss, gradient by W) of X_batch (N, D) with labels y_batch (N,)."""
        raise NotImplementedError(f"{type(self).__name__}.loss: a subclass says which loss")

    def save(self, fname: str) -> None:
        """Write W to cs231n/saved/FNAME, or saved/FNAME where that package is not loaded."""
        _saving.save(fname, {"W": self.W})

    def load(self, fname: str) -> bool:
        """Read what `save` wrote; False if there is no such file. It is unpickled: trust it."""
        params = _saving.load(fname)
        if params is not None:
            self.W = params["W"]
        return params is not None


class LinearSVM(LinearClassifier):
    """With the hinge loss of `svm_loss_vectorized`."""

    def loss(self, X_batch: Any, y_batch: Any, reg: float  # noqa: N803
             ) -> tuple[Any, np.ndarray]:
        """(loss, gradient by W)."""
        return svm_loss_vectorized(self.W, X_batch, y_batch, reg)


class Softmax(LinearClassifier):
    """With the cross-entropy of `softmax_loss_vectorized`."""

    def loss(self, X_batch: Any, y_batch: Any, reg: float  # noqa: N803
             ) -> tuple[Any, np.ndarray]:
        """(loss, gradient by W)."""
        return softmax_loss_vectorized(self.W, X_batch, y_batch, reg)
