"""Single operations, called from Python on arrays: `fastbp.ops`."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from fastbp import ops

from .common import labels, reals, seconds_per_call


class Matmul:
    """c = a @ b, square."""

    params: ClassVar[list[Any]] = [[16, 64, 256, 1024], ["float32", "float64"]]
    param_names: ClassVar[list[str]] = ["n", "dtype"]
    unit = "s"

    def setup(self, n: int, dtype: str) -> None:
        self.a, self.b = reals(n, n, dtype=dtype), reals(n, n, dtype=dtype, seed=1)
        self.c = np.empty((n, n), dtype)

    def track_matmul(self, n: int, dtype: str) -> float:
        return seconds_per_call(lambda: ops.matmul(self.a, self.b, out=self.c))

    def track_matmul_transposed(self, n: int, dtype: str) -> float:
        return seconds_per_call(lambda: ops.matmul(self.a.T, self.b, out=self.c))


class Affine:
    """y = relu(x @ w + b) of a layer of the medium network, and its gradients."""

    params: ClassVar[list[Any]] = [["column", "row"]]
    param_names: ClassVar[list[str]] = ["layout"]
    unit = "s"

    def setup(self, layout: str) -> None:
        self.x, self.b, self.dy = reals(256, 784), reals(512), reals(256, 512)
        self.w = reals(784, 512) if layout == "column" else reals(512, 784)
        self.y = self.forward(layout)

    def forward(self, layout: str) -> Any:
        return ops.affine_forward(self.x, self.w, self.b, layout=layout, activation="relu")

    def track_forward(self, layout: str) -> float:
        return seconds_per_call(lambda: self.forward(layout))

    def track_backward(self, layout: str) -> float:
        return seconds_per_call(
            lambda: ops.affine_backward(
                self.dy, self.x, self.w, layout=layout, activation="relu", y=self.y
            )
        )


class BatchNorm:
    """Training mode, forward and backward."""

    params: ClassVar[list[Any]] = [[(256, 512), (16384, 1024)]]
    param_names: ClassVar[list[str]] = ["shape"]
    unit = "s"

    def setup(self, shape: tuple[int, int]) -> None:
        self.x, self.dy = reals(*shape), reals(*shape, seed=1)
        self.gamma, self.beta = np.ones(shape[1], np.float32), np.zeros(shape[1], np.float32)

    def both(self) -> None:
        _, saved = ops.batchnorm_forward(self.x, self.gamma, self.beta)
        ops.batchnorm_backward(self.dy, saved)

    def track_forward_backward(self, shape: tuple[int, int]) -> float:
        return seconds_per_call(self.both)


class SoftmaxCrossEntropy:
    """The loss and its gradient."""

    params: ClassVar[list[Any]] = [[(256, 10), (8192, 1000)]]
    param_names: ClassVar[list[str]] = ["shape"]
    unit = "s"

    def setup(self, shape: tuple[int, int]) -> None:
        self.logits, self.target = reals(*shape), labels(*shape)

    def track_loss_and_gradient(self, shape: tuple[int, int]) -> float:
        return seconds_per_call(lambda: ops.softmax_cross_entropy(self.logits, self.target))


class Update:
    """An optimizer step alone: on the parameters of a medium network, and on more than caches
    hold.
    """

    params: ClassVar[list[Any]] = [[670_000, 16_000_000]]
    param_names: ClassVar[list[str]] = ["parameters"]
    unit = "s"

    def setup(self, parameters: int) -> None:
        self.w, self.g, self.m, self.v = np.full((4, parameters), 1e-3, np.float32)

    def track_sgd(self, parameters: int) -> float:
        return seconds_per_call(lambda: ops.sgd_step(self.w, self.g, lr=1e-6))

    def track_momentum(self, parameters: int) -> float:
        return seconds_per_call(lambda: ops.momentum_step(self.w, self.g, self.m, lr=1e-6))

    def track_adam(self, parameters: int) -> float:
        return seconds_per_call(
            lambda: ops.adam_step(self.w, self.g, self.m, self.v, step=1, lr=1e-6)
        )
