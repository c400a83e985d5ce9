"""All that a training is at the edge of a step, as arrays and one text; and back again.

The file is also a model: parameters and running statistics have their own names and the network's
description is there, so `fastbp.load` and any reader of safetensors understand it. What only
a training needs has names that begin with `checkpoint.EXTRA`, and one JSON text:

    step, first_step        steps made in the trainer's life, and before this fit
    epoch, position         the epoch under way (from 1), and samples of it that are done
    loss_sum, seconds       of that epoch so far
    order                   state of the generator (PCG64) before it drew the epoch's order
    history, stop           rows of finished epochs; whether a callback has ended the training
    schedule, callbacks     their own states
    configuration           of trainer and fit, which must be the same when the training goes on
    versions                of fastbp, NumPy and Python

The order is drawn from the generator's raw words (`fitting.shuffled`), which no version of NumPy
changes; dropout's masks follow the number of the step.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp import checkpoint
from fastbp._errors import CheckpointError
from fastbp._version import __version__
from fastbp.history import plain

if TYPE_CHECKING:
    from fastbp.callbacks import Callback
    from fastbp.fitting import Fit

FORMAT = 1
SUFFIX = ".safetensors"

# Rows of the data that are compared, evenly spaced: enough to notice other data or another order
# of them, few enough for a file on a slow disk.
_DIGEST_ROWS = 256

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Saved:
    """A checkpoint that was read and whose record makes sense; see above for the fields."""

    path: Path
    arrays: Arrays
    step: int
    first_step: int
    epoch: int
    position: int
    loss_sum: float
    seconds: float
    order: dict[str, int]
    history: list[dict[str, Any]]
    stop: bool
    schedule: dict[str, float]
    callbacks: list[dict[str, Any]]
    configuration: dict[str, dict[str, Any]]


# ---- writing -----------------------------------------------------------------------------------


def capture(fit: Fit) -> tuple[Arrays, dict[str, str]]:
    """Arrays and metadata of a fit at the edge of a step, for `checkpoint.save`.

    Raises:
        CheckpointError: a callback's state, or what one put into the history, is not for JSON.
    """
    trainer = fit.trainer
    network = trainer.network
    arrays = dict(network.state_dict())
    for number, slot in enumerate(trainer.slots):
        for name, view in network.layout.views(slot).items():
            arrays[_slot(number, name)] = view
    record = {
        "format": FORMAT, "step": trainer.step_count, "first_step": fit.first_step,
        "epoch": fit.epoch, "position": fit.position, "loss_sum": fit.loss_sum,
        "seconds": fit.seconds, "order": _order_text(fit.order_state),
        "history": [plain(row) for row in fit.history], "stop": trainer.stop,
        "schedule": trainer.schedule.state(), "callbacks": _capture_callbacks(fit.hooks, arrays),
        "configuration": _configuration(fit),
        "versions": {"fastbp": __version__, "numpy": np.__version__,
                     "python": sys.version.split()[0]},
    }
    try:
        text = json.dumps(record)
    except TypeError as error:
        raise CheckpointError(f"the history or the state of a callback cannot be saved ({error})",
                              "numbers, texts, lists and dicts; arrays at the top of a state"
                              ) from error
    return arrays, {**network.metadata, **_description(fit), checkpoint.RECORD: text}


def _slot(number: int, name: str) -> str:
    return f"{checkpoint.EXTRA}slot{number}/{name}"


def _capture_callbacks(hooks: Sequence[Callback], arrays: Arrays) -> list[dict[str, Any]]:
    """Each callback's class and state; its arrays go into `arrays`."""
    entries: list[dict[str, Any]] = []
    for number, hook in enumerate(hooks):
        state, names = {}, []
        for name, value in hook.state().items():
            if isinstance(value, np.ndarray):
                arrays[f"{checkpoint.EXTRA}callback{number}/{name}"] = value
                names.append(name)
            else:
                state[name] = value
        entries.append({"class": type(hook).__name__, "decides": hook.decides,
                        "state": plain(state), "arrays": names})
    return entries


def _description(fit: Fit) -> dict[str, str]:
    """The network's own metadata; none where a layer is a Python object."""
    try:
        return {"fastbp": json.dumps(fit.trainer.network._describe())}
    except CheckpointError:
        return {}


def _configuration(fit: Fit) -> dict[str, Any]:
    """What must be equal for the training to go on as if it had never stopped."""
    trainer = fit.trainer
    schedule = trainer.schedule
    settings = schedule.as_dict() if dataclasses.is_dataclass(schedule) else {"name": schedule.name}
    return {
        "trainer": {
            "network": _description(fit).get("fastbp", ""), "dtype": str(trainer.network.dtype),
            "losses": [[loss.name, loss.settings] for loss in trainer.losses],
            "optimizer": trainer.optimizer.as_dict(), "schedule": settings,
            "clip_norm": trainer.clip_norm,
        },
        "fit": {
            "batch_size": fit.batch_size, "shuffle": fit.shuffle, "samples": fit.rows,
            "validation": fit.validation is not None, "epochs": fit.epochs,
            "data": fit.digest,
        },
    }


def digest(arrays: Sequence[np.ndarray]) -> str:
    """SHA-256 of shapes, dtypes and some rows of data, in hexadecimal."""
    state = hashlib.sha256()
    for array in arrays:
        rows = np.linspace(0, max(len(array) - 1, 0), _DIGEST_ROWS).astype(np.int64)
        rows = np.unique(rows)[: len(array)]
        state.update(f"{array.shape} {array.dtype.str};".encode())
        state.update(np.ascontiguousarray(array[rows]).tobytes())
    return state.hexdigest()


def _order_text(state: dict[str, Any]) -> dict[str, str]:
    return {name: hex(value) for name, value in state["state"].items()}


# ---- reading -----------------------------------------------------------------------------------


def read(path: str | os.PathLike[str]) -> Saved:
    """The checkpoint in a file.

    Raises:
        CheckpointError: it is damaged, or holds a model but no training.
    """
    arrays, metadata = checkpoint.load(path)
    if checkpoint.RECORD not in metadata:
        raise CheckpointError(f"{path}: a model without the state of a training",
                              "a file written by callbacks.Checkpoint")
    try:
        record = json.loads(metadata[checkpoint.RECORD])
        if record["format"] != FORMAT:
            raise CheckpointError(f"{path}: format {record['format']!r} of another version of "
                                  f"fastbp", f"format {FORMAT}")
        return _checked(Path(path), arrays, record)
    except CheckpointError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{path}: damaged record of the training "
                              f"({type(error).__name__}: {error})") from error


def _checked(path: Path, arrays: Arrays, record: dict[str, Any]) -> Saved:
    """The record with the types that it must have; any other error is damage."""
    numbers = {name: int(record[name]) for name in ("step", "first_step", "epoch", "position")}
    if min(numbers.values()) < 0 or numbers["epoch"] < 1:
        raise ValueError(f"negative numbers among {numbers}")
    callbacks = [{"class": str(entry["class"]), "decides": bool(entry["decides"]),
                  "state": dict(entry["state"]),
                  "arrays": {name: arrays[f"{checkpoint.EXTRA}callback{number}/{name}"]
                             for name in entry["arrays"]}}
                 for number, entry in enumerate(record["callbacks"])]
    return Saved(
        path, arrays, **numbers, loss_sum=float(record["loss_sum"]),
        seconds=float(record["seconds"]), stop=bool(record["stop"]),
        order={name: int(record["order"][name], 16) for name in ("state", "inc")},
        history=[dict(row) for row in record["history"]], schedule=dict(record["schedule"]),
        callbacks=callbacks,
        configuration={part: dict(record["configuration"][part]) for part in ("trainer", "fit")})


def numbered(folder: Path, step: int) -> Path:
    """The file for the state after so many steps."""
    return folder / f"step-{step:010d}{SUFFIX}"


def number_of(file: Path) -> int:
    """The steps that `numbered` put into a name; -1 for other names."""
    digits = file.name.removeprefix("step-").removesuffix(SUFFIX)
    return int(digits) if digits.isdigit() and file == numbered(file.parent, int(digits)) else -1


def files(folder: str | os.PathLike[str]) -> list[Path]:
    """The numbered checkpoints of a folder, the newest first."""
    found = [file for file in Path(folder).glob(f"step-*{SUFFIX}") if number_of(file) >= 0]
    return sorted(found, key=number_of, reverse=True)


def find(path: str | os.PathLike[str]) -> Saved | None:
    """The checkpoint in a file, or the newest whole one of a folder; None: an empty folder.

    Raises:
        CheckpointError: the file, or every file of the folder, is damaged.
    Warns:
        RuntimeWarning: a damaged file was passed over for an older one.
    """
    place = Path(path)
    if place.is_file() or (not place.exists() and place.suffix == SUFFIX):
        return read(place)
    refusals = []
    for file in files(path):
        try:
            saved = read(file)
        except CheckpointError as error:
            refusals.append(error)
            continue
        for refusal in refusals:
            warnings.warn(f"{refusal}; went back to {file.name}", RuntimeWarning, stacklevel=4)
        return saved
    if refusals:
        raise refusals[0]
    return None


def restore(saved: Saved, fit: Fit) -> None:
    """Put trainer, network and fit into the state that was saved; all checks come first.

    The callbacks' states follow by `restore_callbacks`, after their `on_fit_begin`.

    Raises:
        CheckpointError: settings, data or callbacks are not those of the checkpoint.
    """
    trainer = fit.trainer
    _compare(saved, fit)
    _partners(saved, fit.hooks)
    views = {**trainer.network.parameters, **trainer.network.buffers}
    for number, slot in enumerate(trainer.slots):
        views |= {_slot(number, name): view
                  for name, view in trainer.network.layout.views(slot).items()}
    for name, view in views.items():
        array = saved.arrays.get(name)
        if array is None or array.shape != view.shape or array.dtype != view.dtype:
            found = "no array" if array is None else f"{array.dtype} {array.shape} as"
            raise CheckpointError(f"{saved.path}: {found} {name}", f"{view.dtype} {view.shape}",
                                  "is this another network's checkpoint?")
    for name, view in views.items():
        view[...] = saved.arrays[name]
    trainer.schedule.load_state(saved.schedule)
    trainer.step_count, trainer.stop = saved.step, saved.stop
    fit.first_step, fit.epoch, fit.position = saved.first_step, saved.epoch, saved.position
    fit.loss_sum, fit.seconds = saved.loss_sum, saved.seconds
    fit.order_state = {**fit.order_state, "state": saved.order}
    fit.history.rows[:] = saved.history


def _compare(saved: Saved, fit: Fit) -> None:
    """Refuse a checkpoint of another configuration, by the first difference."""
    here = json.loads(json.dumps(_configuration(fit)))
    for part in ("trainer", "fit"):
        there = saved.configuration[part]
        for name, value in here[part].items():
            other = there.get(name)
            if other == value or (name == "epochs" and _same_rates_so_far(saved, fit, other)):
                continue
            if name in ("data", "network"):
                given, wanted = f"another {name} than the checkpoint's", f"the same {name}"
            else:
                given, wanted = f"{name}={value!r}", f"the checkpoint's {name}={other!r}"
            raise CheckpointError(f"{saved.path}: this fit has {given}", wanted,
                                  "leave resume out to begin afresh")


def _same_rates_so_far(saved: Saved, fit: Fit, epochs: Any) -> bool:
    """Whether another number of epochs leaves the steps that were made as they are."""
    steps, done = fit.feed.steps(fit.batch_size), saved.step - saved.first_step
    if not isinstance(epochs, int) or epochs < 1:
        return False
    if steps == 0:  # only a constant rate goes with batches of unknown number
        return True
    factors = fit.trainer.schedule.factors
    return np.array_equal(factors(0, done, steps, epochs), factors(0, done, steps, fit.epochs))


def _partners(saved: Saved, hooks: Sequence[Callback]) -> list[tuple[Callback, dict[str, Any]]]:
    """Each callback with the state that was saved for it; those of one class in their order."""
    left = list(hooks)
    pairs = []
    for entry in saved.callbacks:
        state = {**entry["state"], **entry["arrays"]}
        if not state:
            continue
        hook = next((hook for hook in left if type(hook).__name__ == entry["class"]), None)
        if hook is None and not entry["decides"]:
            continue
        if hook is None:
            raise CheckpointError(f"{saved.path}: holds the state of a callback {entry['class']}",
                                  "the callbacks of the checkpoint's fit",
                                  f"pass a {entry['class']} to fit, or leave resume out")
        left.remove(hook)
        pairs.append((hook, state))
    return pairs


def restore_callbacks(saved: Saved, hooks: Sequence[Callback]) -> None:
    """Give the callbacks their states."""
    for hook, state in _partners(saved, hooks):
        hook.load_state(state)
