"""The options of `fastbp train` and their defaults.

On the bundled digits the defaults get 352 to 355 of 359 test images right (seeds 0 to 11, mean
353.8); a cosine from 0.001 instead of one cycle the same (353.4), 128,64 with neither dropout nor
schedule 350 to 355 (seeds 0 to 5, 352.3). Other data: docs/design/005-mnist-recipe.md.
"""

from __future__ import annotations

from argparse import ArgumentParser, BooleanOptionalAction, Namespace

from fastbp._errors import ArgumentError
from fastbp.cli import _options as kind
from fastbp.cli._network import (
    ACTIVATIONS,
    LOSSES,
    OPTIMIZERS,
    PEAK_RATE,
    SCHEDULES,
    WITH_BETAS,
)
from fastbp.data import SCALINGS

_DROPOUT = {"classification": 0.2, "regression": 0.0}
_SCHEDULE = {"classification": "onecycle", "regression": "cosine"}
_LOSS = {"classification": "softmax_cross_entropy", "regression": "mean_squared_error"}


def resolve(options: Namespace) -> None:
    """Fill in the defaults that depend on other options.

    Raises:
        ArgumentError: options that do not go together.
    """
    if options.task == "classification" and options.loss:
        raise ArgumentError(f"--loss {options.loss} for a classification", "--task regression",
                            f"classification always uses {_LOSS['classification']}")
    if options.task == "regression" and options.label_smoothing:
        raise ArgumentError(f"--label-smoothing {options.label_smoothing:g} for a regression",
                            "--task classification")
    options.loss = options.loss or _LOSS[options.task]
    options.schedule = options.schedule or _SCHEDULE[options.task]
    adam = options.optimizer in WITH_BETAS
    if options.betas and not adam:
        raise ArgumentError(f"--betas with --optimizer {options.optimizer}",
                            f"--optimizer {' or '.join(WITH_BETAS)}")
    if options.schedule == "onecycle":
        if options.warmup_epochs is not None and options.warmup_epochs >= options.epochs:
            raise ArgumentError(
                f"--warmup-epochs {options.warmup_epochs:g} with --epochs {options.epochs}",
                "fewer epochs of rise than there are in all")
        if options.lr is None and adam:
            options.lr = PEAK_RATE
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
                       help="learning rate, of onecycle the peak (default: the optimizer's own; "
                       f"adam and adamw with onecycle: {PEAK_RATE:g})")
    group.add_argument("--betas", type=kind.betas, metavar="B1,B2",
                       help="memory of adam's and adamw's running means (default: 0.9,0.999)")
    group.add_argument("--weight-decay", type=kind.non_negative, metavar="X",
                       help="L2 penalty; decoupled in adamw")
    group.add_argument("--loss", choices=LOSSES,
                       help="of a regression (default: mean_squared_error)")
    group.add_argument("--label-smoothing", type=kind.fraction, default=0.0, metavar="X",
                       help="share of a target that goes to all classes alike (default: 0)")
    group.add_argument("--schedule", choices=SCHEDULES,
                       help="of the learning rate (default: onecycle; regression: cosine)")
    group.add_argument("--step-every", type=kind.count, default=10, metavar="EPOCHS",
                       help="step: epochs between falls (default: %(default)s)")
    group.add_argument("--factor", type=kind.fraction, default=0.1,
                       help="step, plateau: the fall (default: %(default)s)")
    group.add_argument("--warmup-epochs", type=kind.non_negative, metavar="EPOCHS",
                       help="onecycle, cosine: rise at the start (default: a fifth of the epochs, "
                       "0)")
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


def add_checkpoint_options(parser: ArgumentParser) -> None:
    """How to stop and go on."""
    group = parser.add_argument_group("stopping and going on")
    group.add_argument("--resume", action="store_true",
                       help="go on with the training in --out DIR, bit by bit as if it had never "
                       "stopped; begin it if there is none")
    group.add_argument("--max-time", type=kind.duration, metavar="TIME",
                       help="stop after so many seconds, or 90s, 10m, 2h, 1d; exit status 3")
    group.add_argument("--checkpoint-every", type=kind.interval, metavar="WHEN", default="10m",
                       help="save so often: 90s, 10m, 2h, 1000steps, 5epochs "
                       "(default: %(default)s)")
    group.add_argument("--keep", type=kind.count, default=2, metavar="N",
                       help="checkpoints that stay (default: %(default)s)")
    group.add_argument("--keep-best", action="store_true",
                       help="keep the checkpoint with the best validation loss, too")


def add_output_options(parser: ArgumentParser) -> None:
    """What to leave."""
    group = parser.add_argument_group("output")
    group.add_argument("--out", metavar="DIR",
                       help="run folder (default: runs/NAME-TIMESTAMP); a finished run's files "
                       "in it are replaced")
    group.add_argument("--csv", action="store_true", help="write metrics.csv, too")
    group.add_argument("--tensorboard", action="store_true",
                       help="write event files for TensorBoard, too")
    loud = group.add_mutually_exclusive_group()
    loud.add_argument("--quiet", action="store_true", help="no line per epoch")
    loud.add_argument("--verbose", action="store_true",
                      help="a table of the layers, and a line per checkpoint")
