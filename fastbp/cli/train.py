"""`fastbp train`: data in, run folder out."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
import time
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fastbp._errors import ArgumentError, NonFiniteError
from fastbp._runtime import set_num_threads, thread_count
from fastbp.callbacks import (
    Callback,
    Checkpoint,
    CSVLogger,
    EarlyStopping,
    Signals,
    TensorBoard,
    TimeLimit,
)
from fastbp.cli import _files
from fastbp.cli._config import resolved
from fastbp.cli._kernels import make_ready
from fastbp.cli._network import build_network, build_trainer
from fastbp.cli._options import Commands
from fastbp.cli._progress import Recorder
from fastbp.cli._scores import Score, describe, score
from fastbp.cli._sources import Arrays, Sources, gather
from fastbp.cli._train_options import (
    add_checkpoint_options,
    add_data_options,
    add_network_options,
    add_output_options,
    add_training_options,
    resolve,
)
from fastbp.losses import smooth_labels
from fastbp.plots import draw_curves, matplotlib_is_installed

INTERRUPTED, OUT_OF_TIME = 128 + signal.SIGINT, 3
"""Exit status after Ctrl-C, and where --max-time ended the training; 143 after SIGTERM."""

_WORTH_TELLING = 1.0
"""Seconds; loading kernels from the cache takes less, compiling them more."""

_NO_PICTURE = 'matplotlib is not installed; pip install "fastbp[plot]"'


def add_command(commands: Commands) -> None:
    """Declare the command and its options."""
    parser = commands.add_parser(
        "train", help="train a network and leave it in a run folder",
        description="Train a classifier or a regression. Without DATA: the bundled digits.")
    for add in (add_data_options, add_network_options, add_training_options,
                add_checkpoint_options, add_output_options):
        add(parser)
    parser.set_defaults(run=run)


def run(options: Namespace) -> int:
    """Train; the exit status (docs/cli.md).

    Raises:
        FastbpError: data or options cannot be used; nothing has been written by then.
    """
    with _sigusr1_ignored():
        return _train(options)


@contextlib.contextmanager
def _sigusr1_ignored() -> Iterator[None]:
    """SIGUSR1 asks for a checkpoint: before and after training there is none to make.

    Without a handler it would end the process, while data are being read, say.
    """
    if not hasattr(signal, "SIGUSR1") or threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, previous)


def _train(options: Namespace) -> int:
    start = time.perf_counter()
    resolve(options)
    if options.resume and _is_finished_already(options):
        return 0
    if options.threads:
        set_num_threads(options.threads)
    sources = gather(options)
    _check(options, sources)
    network = build_network(options, sources.preparation)
    network.metadata = sources.preparation.to_metadata()
    trainer = build_trainer(options, network)
    with _files.run_folder(options.out, sources.name, resume=options.resume) as folder:
        return _train_in(folder, options, sources, trainer, start)


def _train_in(folder: Path, options: Namespace, sources: Sources, trainer: Any,
              start: float) -> int:
    print(f"data     {sources.describe()}")
    print(f"network  {_shape(options, sources)}, {options.dtype}, {thread_count()} threads",
          flush=True)
    if options.verbose:
        print(trainer.network.summary())
    seconds = make_ready(options.dtype)
    if seconds > _WORTH_TELLING:
        print(f"kernels  compiled in {seconds:.1f} s", flush=True)
    recorder = Recorder(folder / _files.METRICS, sources.preparation, sources.validation,
                        epochs=options.epochs, quiet=options.quiet)
    configuration = _Configuration(folder, resolved(options, sources, trainer))
    with Signals() as signals:
        callbacks = [recorder, configuration, signals]
        try:
            limit = _fit(options, trainer, sources, callbacks, folder, start)
        except NonFiniteError as error:
            return _complain(f"training diverged: {error.given}; try a smaller --lr or "
                             f"--clip-norm 1; no model was saved", 1)
        _finish(options, folder, trainer, sources, recorder, start,
                is_urgent=signals.terminated and not trainer.finished)
    return _status(options, folder, trainer, recorder, signals, limit)


class _Configuration(Callback):
    """Writes config.json as soon as a fit begins."""

    def __init__(self, folder: Path, record: dict[str, Any]) -> None:
        self._path, self._record = folder / _files.CONFIG, record

    def on_fit_begin(self, trainer: Any) -> None:
        """By now nothing can be refused any more."""
        _files.write_json(self._path, self._record)


def _is_finished_already(options: Namespace) -> bool:
    """Whether --resume finds a finished run, so that a job that is started again does nothing.

    Raises:
        ArgumentError: without --out, or the run was one of another number of epochs.
    """
    if options.out is None:
        raise ArgumentError("--resume without --out", "the folder of the run to go on with")
    folder = Path(options.out)
    if not _files.is_finished(folder):
        return False
    epochs = _files.read_json(folder / _files.CONFIG).get("epochs")
    if epochs != options.epochs:
        raise ArgumentError(f"--epochs {options.epochs} for a run that finished its {epochs}",
                            f"--epochs {epochs}", "leave --resume out to train anew")
    print(f"done     {folder}: the training had finished; nothing to do")
    return True


def _status(options: Namespace, folder: Path, trainer: Any, recorder: Recorder, signals: Signals,
            limit: TimeLimit | None) -> int:
    """Say why the training ended early, if it did, and how to go on."""
    if trainer.finished:
        return 0
    expired = limit is not None and limit.expired and not signals.terminated
    status = OUT_OF_TIME if expired else signals.status or INTERRUPTED
    return _complain(f"{'--max-time' if expired else 'interrupted'} after {len(recorder.rows)} of "
                     f"{options.epochs} epochs; the model so far is saved; the same command with "
                     f"--resume --out {folder} goes on", status)


def _check(options: Namespace, sources: Sources) -> None:
    """Refuse what would only fail after the first epoch."""
    wants = ["--keep-best"] if options.keep_best else []
    wants += [f"--early-stopping {options.early_stopping}"] if options.early_stopping else []
    wants += ["--schedule plateau"] if options.schedule == "plateau" else []
    if wants and sources.validation is None:
        raise ArgumentError(f"{wants[0]} without validation data", "a validation loss to watch",
                            "pass --validation FILE or a fraction")
    if options.tensorboard:
        TensorBoard("")  # refuses where the package is missing


def _fit(options: Namespace, trainer: Any, sources: Sources, callbacks: list[Callback],
         folder: Path, start: float) -> TimeLimit | None:
    """Run the epochs; Ctrl-C, signals and the time limit end them with a consistent model."""
    if options.early_stopping:
        callbacks.append(EarlyStopping(patience=options.early_stopping))
    if options.csv:
        callbacks.append(CSVLogger(folder / _files.METRICS_CSV))
    if options.tensorboard:
        callbacks.append(TensorBoard(folder / _files.EVENTS))
    limit = None
    if options.max_time is not None:
        left = max(options.max_time - (time.perf_counter() - start), 1e-3)
        limit = TimeLimit(left, at_step_edge=True)
        callbacks.append(limit)
    checkpoints = folder / _files.CHECKPOINTS
    announce = print if options.verbose else None
    callbacks.append(Checkpoint(
        checkpoints, keep=options.keep, best="val_loss" if options.keep_best else None,
        overwrite=True, announce=announce, **options.checkpoint_every))
    x, y = sources.train
    if options.label_smoothing:
        classes = sources.preparation.outputs
        y = smooth_labels(y, classes, options.label_smoothing, options.dtype)
    with contextlib.suppress(KeyboardInterrupt):  # `trainer.finished` tells
        trainer.fit(x, y, epochs=options.epochs, batch_size=min(options.batch_size, len(x)),
                    validation_data=sources.validation, callbacks=callbacks, progress=False,
                    resume=checkpoints if options.resume else None)
    return limit


def _finish(options: Namespace, folder: Path, trainer: Any, sources: Sources, recorder: Recorder,
            start: float, *, is_urgent: bool) -> None:
    """Write model, result and picture, and score the network unless somebody waits for the end."""
    network = trainer.network
    network.save(folder / _files.MODEL)
    result: dict[str, Any] = {"epochs": len(recorder.rows), "finished": trainer.finished}
    for name, pair in (("validation", sources.validation), ("test", sources.test)):
        if pair and not is_urgent:
            result[name] = _score(sources, network, pair)
    result["training_seconds"] = round(sum(row["seconds"] for row in recorder.rows), 4)
    _files.write_json(folder / _files.RESULT, result)
    note = "test " + describe(result["test"]) if "test" in result else ""
    picture = _curves(folder, recorder, sources, note)
    if is_urgent:
        print("not scored after SIGTERM: `fastbp evaluate` does")
    else:
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
