"""One call of `Trainer.fit`: where it stands, and the loop that takes it on.

Steps run in chunks of about 50 ms. Between two chunks, at an edge, everything is consistent: Ctrl-C
takes effect there, callbacks look and save. Where the edges fall depends on time, so nothing
that is computed may depend on them: losses are summed step by step, in order.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp._arena import address_of
from fastbp._chunks import next_chunk
from fastbp._errors import ArgumentError, NonFiniteError
from fastbp._interrupts import Deferral, deferred_interrupts
from fastbp.callbacks import Callback
from fastbp.callbacks._base import Steps
from fastbp.diagnosis import bad_data, bad_parameter, bad_value
from fastbp.feeds import Feed, Window
from fastbp.history import History
from fastbp.schedules import Constant
from fastbp.sections import is_long_run

if TYPE_CHECKING:
    from fastbp import training_state
    from fastbp.trainer import Trainer
    from fastbp.training_plan import TrainingPlan

_TINY = 1e-300  # for the mean loss of samples whose weights are all 0


class _PausedError(Exception):
    """Ends a validation that a callback does not want any more of."""


def shuffled(bits: np.random.PCG64, count: int) -> np.ndarray:
    """The numbers 0 .. count-1 in random order, int64 (count,).

    Sorts random 64-bit words whose low bits are the number itself, so that all differ. Unlike
    `Generator.permutation`, raw words are the same in every version of NumPy. Numbers whose high
    bits are equal stay in order: for 2^20 samples one pair in 2^44.
    """
    low = np.uint64(count.bit_length())
    words = bits.random_raw(count) >> low << low | np.arange(count, dtype=np.uint64)
    words.sort()
    return (words & ((np.uint64(1) << low) - np.uint64(1))).view(np.int64)


class Fit:
    """The progress of a fit.

    Attributes: epoch (under way, from 1), position (its samples that are done), loss_sum and
    seconds (of the epoch so far), order_state (of the generator before it drew the epoch's order),
    first_step (the trainer's steps before this fit), history, hooks (by priority), resumed (whether
    a checkpoint is continued), resumed_from (its file), outputs (of the epoch's validation data
    where they are all in memory, for `on_epoch_end`).
    """

    def __init__(self, trainer: Trainer, feed: Feed, *, epochs: int, batch_size: int,
                 shuffle: bool, validation: tuple[Any, ...] | None,
                 hooks: Sequence[Callback]) -> None:
        for number, hook in enumerate(hooks):
            if not isinstance(hook, Callback):
                raise ArgumentError(f"callbacks[{number}] is a {type(hook).__name__}",
                                    "objects of subclasses of fastbp.callbacks.Callback")
        self.trainer, self.feed, self.rows = trainer, feed, feed.rows
        self.epochs, self.batch_size, self.shuffle = epochs, batch_size, shuffle
        self.validation = validation
        self.hooks = sorted(hooks, key=lambda hook: hook.priority)
        self.history = History()
        self.first_step = trainer.step_count
        self.epoch, self.position, self.loss_sum, self.seconds = 1, 0, 0.0, 0.0
        self.order_state: Any = trainer.bits.state
        self.resumed = False
        self.resumed_from: Path | None = None
        self.outputs: tuple[np.ndarray, ...] = ()
        self._saved: training_state.Saved | None = None
        self._chunk = 1
        self._plan: TrainingPlan | None = None  # of the last steps
        self._at_edge = False
        self._edge = Deferral(None)

    @cached_property
    def digest(self) -> str:
        """Tells these data from others (`training_state.digest`)."""
        from fastbp import training_state

        return training_state.digest(self.feed.arrays())

    @property
    def finished(self) -> bool:
        """Whether all epochs are done, or a callback has ended the training."""
        return self.epoch > self.epochs or self.trainer.stop

    def resume(self, path: str | os.PathLike[str]) -> None:
        """Take over the checkpoint in a file, or the newest one of a folder if it has any."""
        from fastbp import training_state

        self._saved = training_state.find(path)
        if self._saved is not None:
            training_state.restore(self._saved, self)
            self.resumed, self.resumed_from = True, self._saved.path

    # ---- the loop -------------------------------------------------------------------------

    def run(self) -> History:
        """Make the epochs that are left."""
        trainer = self.trainer
        with deferred_interrupts() as self._edge:
            self._call("on_fit_begin")
            if self._saved is not None:
                from fastbp import training_state

                training_state.restore_callbacks(self._saved, self.hooks)
                self._saved = None  # its arrays
            try:
                self._run_epochs()
            except KeyboardInterrupt:
                if self._at_edge:
                    self._call("on_pause")
                raise
            except NonFiniteError as error:
                answers = [hook.on_non_finite(trainer, error) for hook in self.hooks]
                if not any(answers):
                    raise
            finally:
                if self._plan is not None:
                    self._plan.plan.settle()
                self.feed.close()
                self._call("on_fit_end")
        return self.history

    def _call(self, name: str, *arguments: Any) -> None:
        for hook in self.hooks:
            getattr(hook, name)(self.trainer, *arguments)

    def _run_epochs(self) -> None:
        while not self.finished:
            if self._is_paused():
                return
            self._begin_epoch()
            while (window := self.feed.window(self.position)) is not None:
                self._call("on_steps", self._make_steps(window))
                self._let_signals_through()
                if self._is_paused():
                    return
            self._check_parameters()
            scores = self._validate()
            if self._is_paused():
                return
            self._end_epoch(scores)
            self._let_signals_through()

    def _is_paused(self) -> bool:
        """Whether a callback wants no further step; the others hear of it."""
        if self.trainer.stop_now:
            self._call("on_pause")
        return self.trainer.stop_now

    def _let_signals_through(self) -> None:
        self._at_edge = True
        self._edge()
        self._at_edge = False

    def _begin_epoch(self) -> None:
        self._call("on_epoch_begin", self.epoch)
        trainer, begin = self.trainer, time.perf_counter()
        trainer.bits.state = self.order_state
        self._order = (self.feed.order(lambda count: shuffled(trainer.bits, count))
                       if self.shuffle else np.arange(max(self.rows, 0)))
        self._sizes = self.feed.begin(self._order, self.position, self.batch_size)
        steps = self.feed.steps(self.batch_size)
        self._done = len(self._sizes) if self.rows < 0 else self.position // self.batch_size
        # Always of the whole epoch: a resumed one sees the bits of an undisturbed one.
        factors = trainer.schedule.factors((self.epoch - 1) * steps, steps, steps, self.epochs)
        self._rates = trainer.optimizer.lr * factors
        self.seconds += time.perf_counter() - begin

    def _make_steps(self, window: Window) -> Steps:
        """Run one chunk of steps within a window."""
        trainer, begin, done = self.trainer, time.perf_counter(), self._done
        rest = window.end - self.position
        size = rest if self.rows < 0 else min(self.batch_size, rest)
        plan = self._plan = self._plan_of(window, size)
        left = rest // size
        count = self._count_until_edge(left) if plan.plan.is_compiled else 1
        first, rates = trainer.step_count, self._rates_of(done, count)
        # The shorter last batch goes on in the same homes, unless somebody looks before.
        stays = count == left and rest > left * size and not self.hooks
        losses = trainer.run_steps(plan, window.samples, rates, self._address(window), stays=stays)
        # One after the other: NumPy's own sums depend on how many there are.
        parts = losses * np.asarray(self._sizes[done : done + count])
        loss_sum = np.add.accumulate(np.concatenate(([self.loss_sum], parts)))[-1]
        if trainer.check_finite and not math.isfinite(loss_sum):
            plan.plan.settle()
            raise self._non_finite(window, first, losses, size)
        self.loss_sum = float(loss_sum)
        self.position += count * size
        self._done += count
        seconds = time.perf_counter() - begin
        self.seconds += seconds
        self._chunk = next_chunk(self._chunk, count, seconds)
        return Steps(first + 1, self.epoch, losses, rates)

    def _plan_of(self, window: Window, size: int) -> TrainingPlan:
        """The program for the window's batches of this size."""
        trainer, whole = self.trainer, self.batch_size
        long_runs = is_long_run(self.rows - self.rows % whole)
        if size == whole or not long_runs:
            return trainer.plan_of(window.samples, size, long_runs=long_runs)
        beside = trainer.plan_of(window.samples, whole, long_runs=True)
        return trainer.plan_of(window.samples, size, beside=beside)

    def _address(self, window: Window, offset: int = 0) -> int:
        """Where the numbers of the window's samples from the position on are."""
        return address_of(window.index) + 8 * (self.position + offset - window.begin)

    def _rates_of(self, done: int, count: int) -> np.ndarray:
        """Learning rates of some steps of the epoch."""
        if len(self._rates) < done + count:  # batches that do not tell how many there are
            schedule = self.trainer.schedule
            if not isinstance(schedule, Constant):
                raise ArgumentError(f"schedule {schedule.name!r} with batches of unknown number",
                                    "batches with a length, such as a list",
                                    "or leave the schedule out")
            self._rates = np.full(2 * (done + count), self.trainer.optimizer.lr)
        return self._rates[done : done + count]

    def _count_until_edge(self, left: int) -> int:
        """Steps that may run in one go: by time, and up to where a callback wants an edge."""
        count = min(self._chunk, left)
        for hook in self.hooks:
            if hook.next_step is not None and hook.next_step > self.trainer.step_count:
                count = min(count, hook.next_step - self.trainer.step_count)
        return count

    def _check_parameters(self) -> None:
        """Parameters that the epoch's last step has spoilt: no loss tells of them."""
        trainer = self.trainer
        if trainer.check_finite:
            error = bad_parameter(trainer.network, trainer.step_count, self.epoch)
            if error is not None:
                raise error

    def _validate(self) -> dict[str, float]:
        """Scores of the validation data; none where a callback ended it by `stop_now`.

        Nothing changes meanwhile, so that it may end anywhere: the fit is then where it was after
        the epoch's last step, and one that goes on from there validates anew.
        """
        if self.validation is None:
            return {}
        self._at_edge = True
        try:
            with self._edge.lifted():
                scores, self.outputs = self.trainer.run_evaluation(self._look_up,
                                                                   *self.validation)
        except _PausedError:
            scores = {}
        self._at_edge = False
        return scores

    def _look_up(self) -> None:
        """Callbacks look around between two chunks of the validation data."""
        with self._edge.lowered():
            self._call("on_validation")
        if self.trainer.stop_now:
            raise _PausedError

    def _end_epoch(self, scores: dict[str, float]) -> None:
        trainer = self.trainer
        row = {"epoch": self.epoch, "loss": self.loss_sum / max(float(np.sum(self._sizes)), _TINY),
               "lr": float(self._rates[-1]), "seconds": self.seconds,
               "samples_per_second": self.position / self.seconds}
        row |= {f"val_{name}": value for name, value in scores.items()}
        trainer.schedule.epoch_end(row)
        self.history.append(row)
        self.epoch, self.position, self.loss_sum, self.seconds = self.epoch + 1, 0, 0.0, 0.0
        self.order_state = trainer.bits.state
        self._call("on_epoch_end", self.history.rows[-1])
        self.outputs = ()

    def _non_finite(self, window: Window, first: int, losses: np.ndarray, size: int
                    ) -> NonFiniteError:
        """The error for the first of these losses that is not finite; counts go back to its step.

        The program stopped there: parameters are those before the step.
        """
        trainer = self.trainer
        good = int(np.argmin(np.isfinite(losses)))
        trainer.step_count = first + good
        step, begin = trainer.step_count + 1, self.position + good * size
        index = window.index[begin - window.begin : begin - window.begin + size]
        numbers = np.arange(begin, begin + size) if self.rows < 0 else self._order[begin:]
        found = (bad_parameter(trainer.network, step, self.epoch)
                 or bad_data(window.samples, index, numbers, step, self.epoch))
        if found is not None:
            return found
        plan = trainer.run_gradients(window.samples, size, self._address(window, good * size))
        return bad_value(plan.plan, step, self.epoch)
