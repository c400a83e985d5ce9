"""A saved model and the data to use it on."""

from __future__ import annotations

from argparse import ArgumentParser, BooleanOptionalAction, Namespace
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import fastbp
from fastbp.cli import _options as kind
from fastbp.cli._files import MODEL
from fastbp.data import Preparation, Table, preparation_of, read


def add_model_options(parser: ArgumentParser) -> None:
    """MODEL, DATA and how to read DATA."""
    parser.add_argument("model", metavar="MODEL",
                        help="model.safetensors of a run folder, or the folder itself")
    parser.add_argument("data", metavar="DATA", help="CSV, .npy, .npz or IDX file (.gz too)")
    parser.add_argument("--header", action=BooleanOptionalAction, default=None,
                        help="whether the first line of CSV names the columns (default: look)")
    parser.add_argument("--threads", type=kind.count, metavar="N", help="at most so many threads")


@dataclass(frozen=True)
class Model:
    """A network with the record of how its inputs were prepared."""

    network: Any
    preparation: Preparation

    @property
    def dtype(self) -> np.dtype[Any]:
        """The network's dtype."""
        dtype: np.dtype[Any] = np.dtype(self.network.dtype)
        return dtype

    def read(self, options: Namespace, *, labels: str | None, target_required: bool) -> Table:
        """The table DATA with the columns that the model knows."""
        columns = self.preparation.columns(target_required=target_required)
        return read(options.data, labels=labels, columns=columns, header=options.header,
                    part="test")

    def outputs(self, table: Table) -> NDArray[Any]:
        """Raw outputs (N, C) for the rows of a table."""
        found: NDArray[Any] = self.network.predict(self.preparation.inputs(table, self.dtype))
        return found


def open_model(options: Namespace) -> Model:
    """Load MODEL and set the number of threads.

    Raises:
        CheckpointError: it cannot be read or has no record of its preparation.
    """
    if options.threads:
        fastbp.set_num_threads(options.threads)
    path = Path(options.model)
    path = path / MODEL if path.is_dir() else path
    network = fastbp.load(path)
    return Model(network, preparation_of(network.metadata, str(path)))
