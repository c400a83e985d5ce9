"""Operations that `fastbp bench` has no row for: layers' products, updates other than Adam."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from fastbp import ops
from fastbp.benchmark.workloads import reals

from .common import seconds


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
        return seconds(lambda: self.forward(layout))

    def track_backward(self, layout: str) -> float:
        return seconds(
            lambda: ops.affine_backward(
                self.dy, self.x, self.w, layout=layout, activation="relu", y=self.y
            )
        )


class Update:
    """An optimizer step alone: on the parameters of a medium network, and on more than caches
    hold.
    """

    params: ClassVar[list[Any]] = [[670_000, 16_000_000]]
    param_names: ClassVar[list[str]] = ["parameters"]
    unit = "s"

    def setup(self, parameters: int) -> None:
        self.w, self.g, self.m = np.full((3, parameters), 1e-3, np.float32)

    def track_sgd(self, parameters: int) -> float:
        return seconds(lambda: ops.sgd_step(self.w, self.g, lr=1e-6))

    def track_momentum(self, parameters: int) -> float:
        return seconds(lambda: ops.momentum_step(self.w, self.g, self.m, lr=1e-6))
