"""From the data options to training, validation and test arrays; every check comes first."""

from __future__ import annotations

import os
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp import datasets
from fastbp._errors import DataError
from fastbp.data import (
    Columns,
    Preparation,
    Table,
    fit_preparation,
    has_part,
    hold_out,
    read,
    strata,
)

DIGITS_TEST = 0.2
"""Part of the bundled digits that is the test set."""

_DIGITS_SEED = 0
_DEFAULT_VALIDATION = 0.1
_LEAST_ROWS_TO_DIVIDE = 20
"""Smaller tables are not divided unless the user says so."""

Arrays = tuple[NDArray[Any], NDArray[Any]]


@dataclass(frozen=True)
class Sources:
    """Data ready for training.

    Attributes:
        name: short name for the run folder and the picture.
        preparation: what turned tables into arrays.
        train, validation, test: (inputs, targets); the last two may be missing.
    """

    name: str
    preparation: Preparation
    train: Arrays
    validation: Arrays | None
    test: Arrays | None

    def describe(self) -> str:
        """Sizes in one line."""
        parts = [f"{len(pair[0])} {word}" for word, pair in (
            ("training", self.train), ("validation", self.validation), ("test", self.test)) if pair]
        outputs = self.preparation.outputs
        noun = "classes" if self.preparation.classes else "target" + "s" * (outputs > 1)
        return (f"{self.name}: {', '.join(parts)} rows; {self.preparation.width} features, "
                f"{outputs} {noun}")


def gather(options: Namespace) -> Sources:
    """Read, check, divide and standardise everything that the options name.

    Raises:
        DataError: naming file and place; nothing has been written by then.
    """
    train, test = _digits(options) if options.data is None else _files(options)
    train, validation = _validation(options, train)
    preparation = fit_preparation(train, options.task, options.standardize)
    more = [_read_like(options, source, labels, preparation) if isinstance(source, str) else source
            for source, labels in ((validation, options.validation_labels),
                                   (test, options.test_labels))]
    pairs = [_arrays(table, preparation, options.dtype) for table in (train, *more)]
    assert pairs[0] is not None
    return Sources(_name(options), preparation, pairs[0], pairs[1], pairs[2])


def _name(options: Namespace) -> str:
    if options.data is None:
        return "digits"
    return Path(options.data).name.removesuffix(".gz").rsplit(".", 1)[0] or "data"


def _digits(options: Namespace) -> tuple[Table, Table | str | None]:
    """Training and test part of the bundled digits, always the same."""
    for option in ("labels", "target", "header"):
        if getattr(options, option) is not None:
            raise DataError(f"--{option} without a data file", "fastbp train DATA ...")
    x, y = datasets.load_digits()
    table = Table(x, y, "bundled digits", np.arange(len(y)), arrays=("pixels", "labels"),
                  pixels=True)
    kept, held = hold_out(y, DIGITS_TEST, _DIGITS_SEED)
    test = options.test
    if isinstance(test, float):
        raise DataError(f"--test {test:g} with the bundled digits", "a file",
                        f"their test part is fixed ({len(held)} rows)")
    return table.take(kept), test or table.take(held)


def _files(options: Namespace) -> tuple[Table, Table | str | None]:
    """The training table and the test data, which may still be the name of a file."""
    columns = Columns() if options.target is None else Columns(options.target)
    table = read(options.data, labels=options.labels, columns=columns, header=options.header,
                 part="train")
    if table.y is None:
        raise DataError(f"{options.data}: holds no targets", "targets beside the features",
                        "pass their file with --labels")
    classes = strata(table, options.task)
    if options.test is None:
        found = not options.labels and has_part(options.data, "test")
        return table, read(options.data, part="test") if found else None
    if isinstance(options.test, str):
        return table, options.test
    kept, held = hold_out(classes, options.test, options.seed)
    return (table.take(kept), table.take(held)) if len(held) else (table, None)


def _validation(options: Namespace, train: Table) -> tuple[Table, Table | str | None]:
    """What remains for training, and the validation data."""
    if isinstance(options.validation, str):
        return train, options.validation
    if options.validation is None and options.data and not options.labels \
            and has_part(options.data, "validation"):
        return train, read(options.data, part="validation")
    share = options.validation
    if share is None:
        share = _DEFAULT_VALIDATION if train.rows >= _LEAST_ROWS_TO_DIVIDE else 0.0
    kept, held = hold_out(strata(train, options.task), share, options.seed)
    return (train.take(kept), train.take(held)) if len(held) else (train, None)


def _read_like(options: Namespace, path: str, labels: str | None,
               preparation: Preparation) -> Table:
    """A file with the columns of the training data."""
    return read(os.fspath(path), labels=labels, header=options.header,
                columns=preparation.columns(target_required=True), part="test")


def _arrays(table: Table | None, preparation: Preparation, dtype: str) -> Arrays | None:
    if table is None:
        return None
    if table.y is None:
        raise DataError(f"{table.source}: holds no targets", "targets beside the features")
    return preparation.inputs(table, dtype), preparation.targets(table, dtype)
