"""`fastbp train`: data in, run folder out."""

from __future__ import annotations

import sys
import time
from argparse import Namespace
from pathlib import Path
from typing import Any

from fastbp._errors import ArgumentError
from fastbp._runtime import set_num_threads, thread_count
from fastbp.callbacks import EarlyStopping
from fastbp.cli import _files
from fastbp.cli._config import resolved
from fastbp.cli._kernels import make_ready
from fastbp.cli._network import build_network, build_trainer
from fastbp.cli._options import Commands
from fastbp.cli._progress import Recorder
from fastbp.cli._scores import Score, describe, score
from fastbp.cli._signals import Interrupts
from fastbp.cli._sources import Arrays, Sources, gather
from fastbp.cli._train_options import (
    add_data_options,
    add_network_options,
    add_output_options,
    add_training_options,
    resolve,
)
from fastbp.losses import smooth_labels
from fastbp.plots import draw_curves, matplotlib_is_installed

_WORTH_TELLING = 1.0
"""Seconds; loading kernels from the cache takes less, compiling them more."""

_NO_PICTURE = 'matplotlib is not installed; pip install "fastbp[plot]"'


def add_command(commands: Commands) -> None:
    """Declare the command and its options."""
    parser = commands.add_parser(
        "train", help="train a network and leave it in a run folder",
        description="Train a classifier or a regression. Without DATA: the bundled digits.")
    for add in (add_data_options, add_network_options, add_training_options, add_output_options):
        add(parser)
    parser.set_defaults(run=run)


def run(options: Namespace) -> int:
    """Train; 0, or 1 if the training diverged, or 128 + the signal that ended it.

    Raises:
        FastbpError: data or options cannot be used; nothing has been written by then.
    """
    start = time.perf_counter()
    resolve(options)
    if options.threads:
        set_num_threads(options.threads)
    sources = gather(options)
    _check(options, sources)
    network = build_network(options, sources.preparation)
    trainer = build_trainer(options, network)
    folder = _files.make_run_folder(options.out, sources.name)
    _files.write_json(folder / _files.CONFIG, resolved(options, sources, trainer))
    print(f"data     {sources.describe()}")
    print(f"network  {_shape(options, sources)}, {options.dtype}, {thread_count()} threads",
          flush=True)
    seconds = make_ready(options.dtype)
    if seconds > _WORTH_TELLING:
        print(f"kernels  compiled in {seconds:.1f} s", flush=True)
    recorder = Recorder(folder / _files.METRICS, sources.preparation, sources.validation,
                        epochs=options.epochs, quiet=options.quiet)
    with Interrupts() as interrupts:
        _fit(options, trainer, sources, recorder, interrupts)
    if recorder.diverged is not None:
        return _complain(f"training diverged: the loss of epoch {recorder.diverged} is not "
                         f"finite; try a smaller --lr or --clip-norm 1; no model was saved", 1)
    _finish(options, folder, network, sources, recorder, start)
    if interrupts.signal:
        return _complain(f"interrupted after {len(recorder.rows)} of {options.epochs} epochs; "
                         "the model so far is saved", 128 + interrupts.signal)
    return 0


def _check(options: Namespace, sources: Sources) -> None:
    """Refuse what would only fail after the first epoch."""
    wants = [f"--early-stopping {options.early_stopping}"] if options.early_stopping else []
    wants += ["--schedule plateau"] if options.schedule == "plateau" else []
    if wants and sources.validation is None:
        raise ArgumentError(f"{wants[0]} without validation data", "a validation loss to watch",
                            "pass --validation FILE or a fraction")


def _fit(options: Namespace, trainer: Any, sources: Sources, recorder: Recorder,
         interrupts: Interrupts) -> None:
    """Run the epochs; a signal ends them early with a consistent model."""
    callbacks: list[Any] = [recorder]
    if options.early_stopping:
        callbacks.append(EarlyStopping(patience=options.early_stopping))
    x, y = sources.train
    if options.label_smoothing:
        classes = sources.preparation.outputs
        y = smooth_labels(y, classes, options.label_smoothing, options.dtype)
    with interrupts.absorbed():
        trainer.fit(x, y, epochs=options.epochs, batch_size=min(options.batch_size, len(x)),
                    validation_data=sources.validation, callbacks=callbacks, progress=False)


def _finish(options: Namespace, folder: Path, network: Any, sources: Sources, recorder: Recorder,
            start: float) -> None:
    """Score the network and write model, result and picture."""
    result: dict[str, Any] = {"epochs": len(recorder.rows)}
    if sources.validation:
        result["validation"] = _score(sources, network, sources.validation)
    if sources.test:
        result["test"] = _score(sources, network, sources.test)
    result["training_seconds"] = round(sum(row["seconds"] for row in recorder.rows), 4)
    metadata = sources.preparation.to_metadata()
    _files.write_whole(folder / _files.MODEL,
                       lambda part: network.save(part, metadata=metadata))
    _files.write_json(folder / _files.RESULT, result)
    note = "test " + describe(result["test"]) if sources.test else ""
    picture = _curves(folder, recorder, sources, note)
    print(note or ("validation " + describe(result["validation"]) if sources.validation else
                   "no test data: pass --test FILE or a fraction to score the network"))
    print(f"time     {result['training_seconds']:.2f} s of training, "
          f"{time.perf_counter() - start:.2f} s in all")
    print(f"wrote    {folder}{'' if picture else ' (no picture: ' + _NO_PICTURE + ')'}")


def _score(sources: Sources, network: Any, pair: Arrays) -> Score:
    x, y = pair
    return score(sources.preparation, network.predict(x), y)


def _curves(folder: Path, recorder: Recorder, sources: Sources, note: str) -> bool:
    """Draw the curves; False where matplotlib is not installed."""
    if not recorder.rows or not matplotlib_is_installed():
        return not recorder.rows
    _files.write_whole(folder / _files.CURVES, lambda part: draw_curves(
        recorder.rows, part, title=sources.name, note=note))
    return True


def _shape(options: Namespace, sources: Sources) -> str:
    widths = (sources.preparation.width, *options.hidden, sources.preparation.outputs)
    extras = [options.activation] if options.hidden else []
    extras += ["batchnorm"] * options.batchnorm
    extras += [f"dropout {options.dropout:g}"] * bool(options.dropout)
    return ", ".join(["-".join(map(str, widths)), *extras, options.loss])


def _complain(message: str, status: int) -> int:
    print(f"fastbp: error: {message}", file=sys.stderr)
    return status
