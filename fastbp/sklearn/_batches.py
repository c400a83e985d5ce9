"""An epoch as calls of the compiled program: all full batches, then the shorter last one."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fastbp import _chunks
from fastbp.planner import Plan, Update
from fastbp.sections import is_long_run
from fastbp.sklearn._data import Samples
from fastbp.sklearn._losses import Criterion
from fastbp.sklearn._network import Model
from fastbp.sklearn._solver import Solver
from fastbp.sklearn._threads import share_of_cores
from fastbp.training_plan import TrainingPlan


@dataclass(frozen=True)
class Settings:
    """What training programs are made for.

    criterion: the loss. batch_size: from 1 to the number of samples. clip_norm: see
    `fastbp.Trainer`.
    """

    criterion: Criterion
    batch_size: int
    clip_norm: float | None


class Batches:
    """The training programs of a fit.

    Arguments:
        model, solver: their arrays are changed by `run`.
        samples: all of them. rows: which of them, in their order before shuffling (int64, or
        None for all). n_threads: see `share_of_cores`.
    """

    def __init__(self, model: Model, solver: Solver, settings: Settings, samples: Samples,
                 rows: np.ndarray | None, *, n_threads: int | None) -> None:
        self.model, self.solver, self.samples = model, solver, samples
        self.rows, self.n_threads, self._settings = rows, n_threads, settings
        batch_size = self.batch_size = settings.batch_size
        self.count = len(samples) if rows is None else len(rows)
        self.full, self.rest = divmod(self.count, batch_size)
        self.lengths = np.full(self.full + (self.rest > 0), batch_size)
        if self.rest:
            self.lengths[-1] = self.rest
        self._order = None if rows is None else np.array(rows, np.int64)
        self._first_step = np.zeros(1, np.int64)
        self._losses = np.zeros((1, _chunks.STEPS))
        self._chunk = 1
        self._programs: dict[int, tuple[TrainingPlan, Update]] = {}
        self._bound: dict[int, int] = {}

    @property
    def steps(self) -> int:
        """Steps of an epoch."""
        return len(self.lengths)

    def renew(self, samples: Samples, n_threads: int | None) -> None:
        """Go on with as many other samples."""
        self.samples, self.n_threads = samples, n_threads
        self._bound.clear()

    def begin(self, solver: Solver, samples: Samples, rows: np.ndarray | None,
              n_threads: int | None) -> None:
        """Serve another fit of the same kind; the model has its weights already."""
        _, update = next(iter(self._programs.values()))
        solver.attach(self.model.network.layout.size, self.model.network.dtype, update.slots)
        self.solver, self.rows = solver, rows
        self._order = None if rows is None else np.array(rows, np.int64)
        self.renew(samples, n_threads)

    def leave(self) -> bool:
        """End a fit so that another one may `begin`; False where there is nothing to go on with."""
        self.solver.slots = tuple(slot.copy() for slot in self.solver.slots)
        self.model.plans.clear()
        self.forget_samples()
        return bool(self._programs)

    def forget_samples(self) -> None:
        """Keep programs only."""
        self.samples = Samples(np.empty((0, self.samples.x.shape[1])), np.empty(0), None)
        self._bound.clear()

    def set_order(self, order: np.ndarray) -> None:
        """The order of the next epochs: a permutation of the rows' numbers."""
        if self._order is None:
            self._order = np.empty(self.count, np.int64)
        self._order[...] = order if self.rows is None else self.rows[order]

    def run(self, rates: np.ndarray, at_step_edge: Callable[[], None]) -> np.ndarray:
        """One epoch; the loss of each step before it, penalties included.

        The model's weights and the solver's slots may be anywhere afterwards, until `settle`.

        rates: float64 (steps, 4), with the weight decay of full batches of weight 1. at_step_edge:
        called where nothing is half done.

        Raises:
            ZeroDivisionError: the weights of a batch sum to 0.
        """
        if self.solver.decays:
            rates[:, 3] = 1.0 / self._totals()
        self.samples.order = self._order
        losses = np.empty(self.steps)
        with share_of_cores(self.n_threads):
            self._run_all(rates, losses, at_step_edge)
        return losses

    def _run_all(self, rates: np.ndarray, losses: np.ndarray, at_step_edge: Callable[[], None]
                 ) -> None:
        """The full batches in chunks, then the rest."""
        done = 0
        while done < self.full:
            chunk = min(self._chunk, self.full - done,
                        max(1, self.samples.most_rows() // self.batch_size))
            start = time.perf_counter()
            self._run(self.batch_size, done * self.batch_size, rates[done : done + chunk],
                      losses[done : done + chunk])
            self._chunk = _chunks.next_chunk(self._chunk, chunk, time.perf_counter() - start)
            done += chunk
            at_step_edge()
        if self.rest:
            self._run(self.rest, done * self.batch_size, rates[done:], losses[done:])
            at_step_edge()

    def _totals(self) -> np.ndarray:
        """The number of samples, or the sum of their weights, of each batch."""
        weights = self.samples.weights
        if weights is None:
            return self.lengths
        ordered = weights if self._order is None else weights[self._order]
        begins = np.arange(self.steps) * self.batch_size
        totals = np.add.reduceat(ordered, begins, dtype=np.float64)
        if not totals.all():
            raise ZeroDivisionError("Weights sum to zero, can't be normalized")
        return totals

    def _run(self, rows: int, begin: int, rates: np.ndarray, losses: np.ndarray) -> None:
        """len(rates) steps on batches of `rows` samples from number `begin` on."""
        count = len(rates)
        plan, update = self._program(rows)
        if self._bound.get(rows) != begin or not self.samples.stay:
            source = self.samples.source(begin, count * rows)
            plan.set_batch([source.x], [source.target], source.index, source.weights)
            self._bound[rows] = begin
        update.rates[:count] = rates
        self._first_step[0] = self.solver.steps
        plan.plan.run_and_stay(count)
        losses[...] = self._losses[0, :count]
        self.solver.steps += count

    def settle(self) -> None:
        """Weights and slots are in the model's and the solver's arrays again."""
        for plan, _ in self._programs.values():
            plan.plan.settle()

    def _program(self, rows: int) -> tuple[TrainingPlan, Update]:
        """The program for batches of this size."""
        if rows not in self._programs:
            update = self.solver.update(_chunks.STEPS if rows == self.batch_size else 1,
                                        self._settings.clip_norm)
            plan = Plan(self.model.network, rows, training=True, update=update,
                        step_cell=self._first_step)
            alpha = self.solver.hyper["weight_decay"] if self.solver.decays else 0.0
            target = self.samples.source(0, 0).target
            is_whole = rows == self.batch_size
            beside = None if is_whole else self._program(self.batch_size)[0]
            self._programs[rows] = TrainingPlan(
                plan, [self._settings.criterion.loss], [target], self._losses,
                weighted=self.samples.weights is not None,
                reduction=self._settings.criterion.reduction(), penalty=0.5 * alpha,
                long_runs=is_whole and is_long_run(self.full * rows), beside=beside), update
        return self._programs[rows]
