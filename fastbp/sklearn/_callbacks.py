"""What hears of a fit: fastbp's callbacks, and those of scikit-learn from 1.9 on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastbp import callbacks as hooks
from fastbp._errors import ArgumentError
from fastbp.history import Row


def hooks_of(estimator: Any) -> list[hooks.Callback]:
    """fastbp's callbacks of an estimator, with those that its parameters ask for.

    Raises:
        ArgumentError: one of them is no callback.
    """
    found = list(estimator.callbacks if estimator.callbacks is not None else [])
    for hook in found:
        if not isinstance(hook, hooks.Callback):
            raise ArgumentError(f"callbacks with {hook!r}", "objects of fastbp.callbacks",
                                "scikit-learn's go to set_callbacks()")
    if estimator.max_time is not None:
        found.append(hooks.TimeLimit(estimator.max_time))
    if estimator.progress:
        found.append(hooks.Progress(estimator.max_iter))
    return found


class TaskTree:
    """scikit-learn's callbacks: a task "fit" with a subtask for each epoch; silent without any.

    Arguments:
        estimator: may have `set_callbacks` (scikit-learn 1.9). x, y, sample_weight: as given to
        fit, after validation. epochs: the most there can be.
    """

    def __init__(self, estimator: Any, x: Any, y: Any, sample_weight: Any, epochs: int) -> None:
        self._estimator, self._data = estimator, {"X": x, "y": y}
        self._data["metadata"] = (
            None if sample_weight is None else {"sample_weight": sample_weight})
        self._root: Any = None
        self._epoch: Any = None
        if getattr(estimator, "_skl_callbacks", None):
            self._root = estimator._init_callback_context(max_subtasks=epochs)
            self._root.call_on_fit_task_begin(estimator=estimator, **self._data)

    @property
    def is_heard(self) -> bool:
        """Whether there are callbacks."""
        return self._root is not None

    def epoch_begins(self) -> None:
        """Before an epoch."""
        if self._root is not None:
            self._epoch = self._root.subcontext(task_name="epoch")
            self._epoch.call_on_fit_task_begin(estimator=self._estimator, **self._data)

    def epoch_ends(self, attributes: Callable[[], dict[str, Any]]) -> bool:
        """After an epoch; True where a callback asks to stop.

        attributes: gives what makes a copy of the estimator ready to predict.
        """
        if self._root is None:
            return False
        return bool(self._epoch.call_on_fit_task_end(
            estimator=self._estimator, reconstruction_attributes=attributes, **self._data))

    def fit_ends(self, attributes: Callable[[], dict[str, Any]]) -> None:
        """After the last epoch."""
        if self._root is not None:
            self._root.call_on_fit_task_end(
                estimator=self._estimator, reconstruction_attributes=attributes, **self._data)


class Trainer:
    """What fastbp's callbacks see as the trainer.

    Attributes: network; step_count; epochs (the most there can be); stop (set it to end the fit
    after the epoch).
    """

    def __init__(self, network: Any, epochs: int, active: list[hooks.Callback]) -> None:
        self.network, self.epochs, self.step_count, self.stop = network, epochs, 0, False
        self._active = active

    @property
    def is_heard(self) -> bool:
        """Whether there are any callbacks."""
        return bool(self._active)

    def fit_begins(self) -> None:
        """Before the first epoch."""
        for hook in self._active:
            hook.on_fit_begin(self)

    def epoch_begins(self, epoch: int) -> None:
        """Before an epoch, from 1."""
        for hook in self._active:
            hook.on_epoch_begin(self, epoch)

    def epoch_ends(self, row: Row) -> None:
        """After an epoch."""
        for hook in self._active:
            hook.on_epoch_end(self, row)

    def fit_ends(self) -> None:
        """After the last epoch, also of an interrupted fit."""
        for hook in self._active:
            hook.on_fit_end(self)
