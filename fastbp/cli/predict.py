"""`fastbp predict`: answers of a saved model, as CSV."""

from __future__ import annotations

import csv
import sys
from argparse import Namespace
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TextIO

from fastbp._errors import ArgumentError
from fastbp.cli._files import write_whole
from fastbp.cli._model import Model, add_model_options, open_model
from fastbp.cli._options import Commands
from fastbp.cli._scores import probabilities
from fastbp.data import Table


def add_command(commands: Commands) -> None:
    """Declare the command and its options."""
    parser = commands.add_parser(
        "predict", help="apply a saved model to data",
        description="Write one line of CSV for each row of DATA. A target column is ignored.")
    add_model_options(parser)
    parser.add_argument("--out", metavar="FILE", help="write here instead of standard output")
    parser.add_argument("--probabilities", action="store_true",
                        help="add a column for each class with its probability")
    parser.set_defaults(run=run)


def run(options: Namespace) -> int:
    """Predict; 0.

    Raises:
        FastbpError: model, data or options cannot be used; nothing has been written by then.
    """
    model = open_model(options)
    if options.probabilities and not model.preparation.classes:
        raise ArgumentError("--probabilities with a regression model", "a classifier")
    table = model.read(options, labels=None, target_required=False)
    header, rows = _lines(model, table, options.probabilities)
    if options.out is None:
        _write(sys.stdout, header, rows)
    else:
        write_whole(Path(options.out), lambda part: _write_file(part, header, rows))
    return 0


def _lines(model: Model, table: Table, with_probabilities: bool
           ) -> tuple[list[str], Iterable[list[Any]]]:
    """Names of the output's columns and its rows."""
    outputs = model.outputs(table)
    answers = model.preparation.answers(outputs).tolist()
    if not model.preparation.classes:
        many = len(answers[0]) > 1
        names = [f"prediction{i}" for i in range(len(answers[0]))] if many else ["prediction"]
        return names, answers
    if not with_probabilities:
        return ["prediction"], ([answer] for answer in answers)
    chances = probabilities(outputs).tolist()
    return (["prediction", *model.preparation.classes],
            ([answer, *map("{:.6g}".format, row)]
             for answer, row in zip(answers, chances, strict=True)))


def _write_file(path: Path, header: list[str], rows: Iterable[list[Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        _write(stream, header, rows)


def _write(stream: TextIO, header: list[str], rows: Iterable[list[Any]]) -> None:
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
