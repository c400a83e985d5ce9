"""What a training step is given: inputs, targets and weights, checked once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastbp._errors import ArgumentError, ShapeError
from fastbp.batches import as_batch
from fastbp.emit.sparse import SparseRows
from fastbp.losses import Loss
from fastbp.network import Network
from fastbp.targets import Target, check_lengths


@dataclass(frozen=True)
class Samples:
    """inputs: one matrix (N, size) or CSR rows for each input; targets: one for each output.

    weights: (N,) in the network's dtype, or None for equal ones.
    """

    inputs: list[Any]
    targets: list[Target]
    weights: np.ndarray | None = None

    @classmethod
    def of(cls, network: Network, losses: Sequence[Loss], x: Any, y: Any,
           sample_weight: Any = None) -> Samples:
        """Samples as `Trainer.train_step` takes them."""
        inputs = as_batch(network, x)
        given = y if isinstance(y, (tuple, list)) and len(losses) > 1 else (y,)
        if len(given) != len(losses):
            raise ArgumentError(f"{len(given)} targets", f"{len(losses)}, as a tuple")
        targets = [Target.of(value, loss, network.steps[step].size, network.dtype)
                   for value, loss, step in zip(given, losses, network.output_steps, strict=True)]
        check_lengths(inputs, targets)
        weights = weights_of(sample_weight, len(inputs[0]), network.dtype)
        return cls(inputs, targets, weights)

    def __len__(self) -> int:
        return len(self.inputs[0])

    @property
    def is_sparse(self) -> tuple[bool, ...]:
        """For each input, whether it is CSR rows."""
        return tuple(isinstance(x, SparseRows) for x in self.inputs)

    def arrays(self) -> list[np.ndarray]:
        """All arrays: those of sparse inputs are their values, columns and row starts."""
        found: list[np.ndarray] = []
        for x in self.inputs:
            found += [x.values, x.indices, x.indptr] if isinstance(x, SparseRows) else [x]
        found += [target.array for target in self.targets]
        return found if self.weights is None else [*found, self.weights]

    def not_finite(self, index: np.ndarray) -> tuple[int, str] | None:
        """The first i of samples[index[i]] with a NaN or infinity, and where ("x" or "y")."""
        for place, number in enumerate(index.tolist()):
            for x in self.inputs:
                row = x[number : number + 1]
                if isinstance(row, SparseRows):
                    row = row.values[row.indptr[0] : row.indptr[1]]
                if not is_finite(row):
                    return place, "x"
            if not all(is_finite(target.array[number]) for target in self.targets):
                return place, "y"
        return None


def is_finite(array: np.ndarray) -> bool:
    """Whether no element is NaN or infinite."""
    return array.dtype.kind != "f" or bool(np.isfinite(array).all())


def weights_of(given: Any, rows: int, dtype: np.dtype) -> np.ndarray | None:
    """Sample weights (N,) in a dtype, checked; None stays None."""
    if given is None:
        return None
    weights = np.ascontiguousarray(given, dtype)
    if weights.shape != (rows,):
        raise ShapeError(f"sample_weight with shape {weights.shape}", f"({rows},)")
    if not (np.all(weights >= 0) and weights.sum(dtype=np.float64) < np.inf):
        raise ArgumentError("sample_weight with negative or not finite numbers",
                            "finite weights of at least 0")
    return weights
