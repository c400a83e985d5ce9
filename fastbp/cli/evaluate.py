"""`fastbp evaluate`: how good a saved model is on data with known answers."""

from __future__ import annotations

from argparse import Namespace

from fastbp._errors import DataError
from fastbp.cli._model import add_model_options, open_model
from fastbp.cli._options import Commands
from fastbp.cli._scores import describe, score


def add_command(commands: Commands) -> None:
    """Declare the command and its options."""
    parser = commands.add_parser(
        "evaluate", help="score a saved model on data with targets",
        description="Print accuracy, or R2, RMSE and MAE in the targets' own units.")
    add_model_options(parser)
    parser.add_argument("--labels", metavar="FILE", help="the targets, if in a file of their own")
    parser.set_defaults(run=run)


def run(options: Namespace) -> int:
    """Evaluate; 0.

    Raises:
        FastbpError: model or data cannot be used.
    """
    model = open_model(options)
    table = model.read(options, labels=options.labels, target_required=True)
    if table.y is None:
        raise DataError(f"{options.data}: holds no targets", "targets beside the features",
                        "pass their file with --labels")
    targets = model.preparation.targets(table, model.dtype)
    print(describe(score(model.preparation, model.outputs(table), targets)))
    return 0
