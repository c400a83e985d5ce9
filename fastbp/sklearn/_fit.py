"""The epochs of a fit: order, steps, loss curve, stopping, in scikit-learn's sequence of events."""

from __future__ import annotations

import math
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from fastbp._interrupts import deferred_interrupts
from fastbp.schedules import Schedule
from fastbp.sklearn._batches import Batches
from fastbp.sklearn._callbacks import TaskTree, Trainer
from fastbp.sklearn._order import shuffler
from fastbp.sklearn._validation import Validation

# Rates are made for whole epochs, and about so many steps at once.
STEPS_AHEAD = 256


class Fit:
    """One call of fit or partial_fit with a stochastic solver.

    Arguments:
        estimator: its loss_, loss_curve_, n_iter_ and so on are set as epochs end; its weights
        are not (they are in the batches' model). rng: orders the samples: a RandomState, or a
        Generator for the parameter rng="fast". validation: or None. schedule: or None.
        incremental: a single epoch.
    """

    def __init__(self, estimator: Any, batches: Batches, rng: Any, *,
                 validation: Validation | None, schedule: Schedule | None, trainer: Trainer,
                 tasks: TaskTree, incremental: bool) -> None:
        self.estimator, self.batches, self.rng = estimator, batches, rng
        self.validation, self.schedule, self.incremental = validation, schedule, incremental
        self.trainer, self.tasks = trainer, tasks
        self._first_step = batches.solver.steps
        self._best: list[np.ndarray] | None = None
        # Whether somebody looks at weights or slots, or changes them, after each epoch.
        self._is_watched = (validation is not None or trainer.is_heard or tasks.is_heard
                            or batches.solver.changes_slots)
        self._permutation, self._reorder = np.arange(batches.count), shuffler(rng)
        # Rates of steps to come, and what they were made from.
        self._rates_ahead, self._known_rate = np.empty(0), math.nan

    def run(self) -> None:
        """All epochs; Ctrl-C ends them with a warning, as in scikit-learn."""
        est = self.estimator
        if est.early_stopping and not est.warm_start:
            self._best = self.batches.model.snapshot()
        self.trainer.fit_begins()
        try:
            with deferred_interrupts() as at_step_edge:
                self._epochs(at_step_edge)
        except KeyboardInterrupt:
            warnings.warn("Training interrupted by user.", stacklevel=2)
        finally:
            self.batches.settle()
            if est.early_stopping and self._best is not None:
                self.batches.model.restore(self._best)
            self.trainer.fit_ends()

    def _epochs(self, at_step_edge: Callable[[], None]) -> None:
        est = self.estimator
        est.n_iter_ = 0
        for _ in range(est.max_iter):
            self.tasks.epoch_begins()
            self.trainer.epoch_begins(est.n_iter_ + 1)
            self._epoch(at_step_edge)
            if self.tasks.epoch_ends(est._reconstruction(self.batches.model)) or self.trainer.stop:
                break
            self.batches.solver.epoch_ends(est.t_)
            if est._no_improvement_count > est.n_iter_no_change:
                if self._gives_up():
                    break
                est._no_improvement_count = 0
            if self.incremental:
                break
            if est.n_iter_ == est.max_iter:
                warnings.warn(
                    f"Stochastic Optimizer: Maximum iterations ({est.max_iter}) "
                    "reached and the optimization hasn't converged yet.",
                    ConvergenceWarning, stacklevel=2)  # fmt: skip

    def _epoch(self, at_step_edge: Callable[[], None]) -> None:
        """One pass over the samples, and what it achieved."""
        est, batches = self.estimator, self.batches
        start = time.perf_counter()
        if est.shuffle:
            self._shuffle()
        rates = self._rates()
        losses = batches.run(rates, at_step_edge)
        if self._is_watched:
            batches.settle()
        seconds = time.perf_counter() - start
        est.n_iter_ += 1
        est.loss_ = float(losses @ batches.lengths) / batches.count
        est.t_ += batches.count
        est.loss_curve_.append(est.loss_)
        if est.verbose:
            say(f"Iteration {est.n_iter_}, loss = {est.loss_:.8f}")
        row = {"epoch": est.n_iter_, "loss": est.loss_, "lr": float(rates[-1, 0]),
               "seconds": seconds, "samples_per_second": batches.count / max(seconds, 1e-9)}
        self._judge(row)
        if self.schedule is not None:
            self.schedule.epoch_end(row)
        self.trainer.step_count = batches.solver.steps
        self.trainer.epoch_ends(row)

    def _shuffle(self) -> None:
        """A permutation of the one before: the stream of `sklearn.utils.shuffle`."""
        self._reorder(self._permutation)
        self.batches.set_order(self._permutation)

    def _rates(self) -> np.ndarray:
        """The rates of the epoch's steps (`Solver.rates`)."""
        solver, steps = self.batches.solver, self.batches.steps
        if self.schedule is not None:
            made = solver.steps - self._first_step
            factors = self.schedule.factors(made, steps, steps, self.estimator.max_iter)
            return solver.rates(factors)
        if solver.learning_rate != self._known_rate or len(self._rates_ahead) < steps:
            self._known_rate = solver.learning_rate
            epochs = 1 if self.incremental else max(STEPS_AHEAD // steps, 1)
            self._rates_ahead = solver.rates(np.ones(epochs * steps))
        rates, self._rates_ahead = self._rates_ahead[:steps], self._rates_ahead[steps:]
        return rates

    def _judge(self, row: dict[str, Any]) -> None:
        """Count epochs without progress of the loss, or of what early stopping looks at."""
        est = self.estimator
        if self.validation is not None:
            score, loss = self.validation.measure(self.batches.model, self.batches.n_threads)
            row.update(val_loss=loss, val_score=score)
            est.validation_scores_.append(score)
            est.validation_loss_curve_.append(loss)
            if est.verbose:
                say(f"Validation score: {score:f}")
        if est.early_stopping == "loss":
            self._judge_validation(-loss, -est.best_validation_loss_)
            est.best_validation_loss_ = min(est.best_validation_loss_, loss)
        elif est.early_stopping:
            self._judge_validation(score, est.best_validation_score_)
        else:
            stalled = est.loss_ > est.best_loss_ - est.tol
            est._no_improvement_count = est._no_improvement_count + 1 if stalled else 0
            est.best_loss_ = min(est.best_loss_, est.loss_)
        if self.validation is not None and score > est.best_validation_score_:
            est.best_validation_score_ = score

    def _judge_validation(self, value: float, best: float) -> None:
        """Early stopping: the best weights are kept."""
        est = self.estimator
        stalled = value < best + est.tol
        est._no_improvement_count = est._no_improvement_count + 1 if stalled else 0
        if value > best:
            self._best = self.batches.model.snapshot()

    def _gives_up(self) -> bool:
        """Ask the solver whether no progress means to stop; say what it does."""
        est = self.estimator
        self.batches.settle()
        stops, what = self.batches.solver.gives_up()
        if est.verbose:
            subject = "Training loss"
            if est.early_stopping:
                subject = "Validation loss" if est.early_stopping == "loss" else "Validation score"
            say(f"{subject} did not improve more than tol={est.tol:f} for "
                f"{math.inf if math.isinf(est.n_iter_no_change) else est.n_iter_no_change:d} "
                f"consecutive epochs.{what}")
        return stops


def say(text: str) -> None:
    """Print a line, as `verbose` asks for."""
    sys.stdout.write(f"{text}\n")
