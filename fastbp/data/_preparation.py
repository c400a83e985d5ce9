"""How rows become network inputs and outputs become answers; travels inside the saved model."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastbp._errors import CheckpointError, DataError
from fastbp.data import _labels
from fastbp.data._columns import Columns
from fastbp.data._scaler import Scaler, fit_scaler, identity_scaler
from fastbp.data._table import Table

METADATA_KEY = "preparation"
"""Where a saved model's metadata keeps the record, as JSON."""

SCALINGS = ("auto", "column", "all", "none")
"""Standardise per column, all columns alike, or not at all; auto: all for pixels, else column."""


@dataclass(frozen=True)
class Preparation:
    """Everything that was learnt from the training table besides the weights.

    Attributes:
        task: "classification" or "regression".
        inputs_scaler: standardises the D features.
        width: D.
        classes: the C class names; () for regression.
        targets_scaler: standardises the K regression targets.
        feature_names, target, position: how to find the columns in another file: by name, or
            the target by its index.
    """

    task: str
    inputs_scaler: Scaler
    width: int
    classes: tuple[str, ...]
    targets_scaler: Scaler
    feature_names: tuple[str, ...]
    target: str
    position: int

    @property
    def outputs(self) -> int:
        """How many outputs the network needs: C or K."""
        return len(self.classes) or self.targets_scaler.mean.size

    def columns(self, *, target_required: bool) -> Columns:
        """The rule to read another file with."""
        return Columns(self.target or self.position, self.feature_names, self.width,
                       self.position, target_required)

    def inputs(self, table: Table, dtype: DTypeLike) -> NDArray[Any]:
        """Standardised features (N, D) in `dtype`.

        Raises:
            DataError: another number of features, or a value that overflows `dtype`.
        """
        if table.features != self.width:
            raise DataError(f"{table.source}: {table.features} features",
                            f"{self.width}, as in the training data")
        z = self.inputs_scaler.apply(table.x, dtype)
        if not np.isfinite(z).all():
            row, feature = (int(i) for i in np.argwhere(~np.isfinite(z))[0])
            raise DataError(f"{table.place(row, feature)}: {table.x[row, feature]} is beyond "
                            f"{np.dtype(dtype)} after standardisation", "smaller numbers")
        return z

    def targets(self, table: Table, dtype: DTypeLike) -> NDArray[Any]:
        """Class indices int64 (N,), or standardised targets (N, K) in `dtype`."""
        if self.classes:
            return _labels.encode(table, self.classes)
        return self.targets_scaler.apply(self.quantities(table), dtype)

    def quantities(self, table: Table) -> NDArray[np.float64]:
        """Regression targets in their own units, (N, K).

        Raises:
            DataError: as `targets` of regression, or another number of columns.
        """
        values = _labels.targets(table)
        if values.shape[1] != self.outputs:
            raise DataError(f"{table.source}: {values.shape[1]} targets a row",
                            f"{self.outputs}, as in the training data")
        return values

    def answers(self, outputs: NDArray[Any]) -> NDArray[Any]:
        """Class names (N,) from logits (N, C), or quantities (N, K) in their own units."""
        if self.classes:
            return np.asarray(np.array(self.classes)[outputs.argmax(axis=1)])
        return self.targets_scaler.invert(outputs)

    def to_metadata(self) -> dict[str, str]:
        """The record as a model's metadata; floats keep every bit."""
        record = {
            "task": self.task, "width": self.width, "classes": self.classes,
            "feature_names": self.feature_names, "target": self.target, "position": self.position,
            "inputs": _scaler_record(self.inputs_scaler),
            "targets": _scaler_record(self.targets_scaler),
        }
        return {METADATA_KEY: json.dumps(record)}


def fit_preparation(table: Table, task: str, scaling: str = "auto") -> Preparation:
    """Learn classes, means and deviations from the training table.

    Arguments:
        task: "classification" or "regression".
        scaling: one of `SCALINGS`.

    Raises:
        DataError: the labels or targets cannot be learnt from (`fastbp.data._labels`), or
            features vary so widely that their deviation is not finite.
    """
    classes: tuple[str, ...] = ()
    targets_scaler = identity_scaler()
    if task == "classification":
        classes = _labels.class_names(table)
    else:
        values = _labels.targets(table)
        if (values == values[0]).all():
            raise DataError(f"{table.source}: every target is {values[0, 0]:g}",
                            "targets that differ", "is this the column to predict?")
        targets_scaler = fit_scaler(values)
    position = table.target_column - 1 if table.target_column else -1
    return Preparation(task, _inputs_scaler(table, scaling), table.features, classes,
                       targets_scaler, table.feature_names,
                       table.target_name if table.feature_names else "", position)


def _inputs_scaler(table: Table, scaling: str) -> Scaler:
    if scaling == "none":
        return identity_scaler()
    with np.errstate(over="ignore", invalid="ignore"):
        scaler = fit_scaler(table.x, shared=scaling == "all" or (scaling == "auto"
                                                                and table.pixels))
    bad = ~(np.isfinite(scaler.mean) & np.isfinite(scaler.scale))
    if bad.any():
        column = int(np.abs(table.x).max(axis=0).argmax())
        row = int(np.abs(table.x[:, column]).argmax())
        raise DataError(f"{table.place(row, column)}: {table.x[row, column]} is too large to "
                        "standardise", "smaller numbers")
    return scaler


def preparation_of(metadata: dict[str, str], source: str) -> Preparation:
    """The record in a saved model's metadata.

    Raises:
        CheckpointError: there is none, or it is damaged.
    """
    if METADATA_KEY not in metadata:
        raise CheckpointError(f"{source}: does not say how its inputs were prepared",
                              "a model written by `fastbp train`",
                              "use other models from Python: fastbp.load(path).predict(x)")
    try:
        record = json.loads(metadata[METADATA_KEY])
        return Preparation(
            task=record["task"], inputs_scaler=_scaler_from(record["inputs"]),
            width=int(record["width"]), classes=tuple(record["classes"]),
            targets_scaler=_scaler_from(record["targets"]),
            feature_names=tuple(record["feature_names"]), target=str(record["target"]),
            position=int(record["position"]))
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{source}: damaged record of how its inputs were prepared "
                              f"({type(error).__name__}: {error})") from None


def _scaler_record(scaler: Scaler) -> dict[str, list[float]]:
    return {"mean": scaler.mean.tolist(), "scale": scaler.scale.tolist()}


def _scaler_from(record: dict[str, list[float]]) -> Scaler:
    return Scaler(np.array(record["mean"], np.float64), np.array(record["scale"], np.float64))
