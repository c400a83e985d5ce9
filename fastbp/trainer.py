"""Training: plans for each batch size, single steps, and fits (`fastbp.fitting`)."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from fastbp import _chunks, ops, optim, schedules
from fastbp import callbacks as hooks
from fastbp import losses as loss_table
from fastbp._arena import address_of, allocate, flat_view
from fastbp._errors import ArgumentError, DataError
from fastbp.feeds import ArrayFeed, feed_of
from fastbp.fitting import Fit
from fastbp.history import History
from fastbp.network import PREDICT_ROWS, Network
from fastbp.planner import Plan, Update
from fastbp.samples import Samples
from fastbp.targets import accuracy
from fastbp.training_plan import TrainingPlan


class _Repeat(NamedTuple):
    """What the last `train_step` knows for the next of the same kind."""

    signature: tuple[Any, ...]
    plan: Plan
    rebind: Callable[[int, int], None]


def _signature(x: np.ndarray, y: np.ndarray) -> tuple[Any, ...]:
    """All that a training program depends on in a batch, but for its addresses."""
    return x.shape, x.strides, x.dtype, y.shape, y.strides, y.dtype


class Trainer:
    """Trains a network.

    Arguments:
        network: a Sequential or Graph.
        loss: name of a loss (losses.LOSSES) or a losses.Loss; a list, one for each output, is
        summed.
        optimizer: optim.SGD, Adam, ...
        schedule: schedules.Schedule that multiplies the learning rate; None leaves it.
        clip_norm: largest norm of the whole gradient; None: no clipping.
        seed: of the order of samples.
        check_finite: `fit` raises NonFiniteError, before the step that cannot be made, where a loss
        or parameters are NaN or infinite; False: it goes on.

    Attributes: network, optimizer, step_count (steps made so far); for callbacks: stop (set it to
    end a fit after the epoch), stop_now (after the step), checkpoint_wanted (set it to have
    `callbacks.Checkpoint` save), history and epochs (of the fit under way), resumed (whether
    it continues a checkpoint); finished (whether the last fit made all its epochs, or `stop`
    ended it).
    """

    def __init__(self, network: Network, loss: Any = "softmax_cross_entropy",
                 optimizer: optim.Optimizer | str = "adam", *,
                 schedule: schedules.Schedule | None = None, clip_norm: float | None = None,
                 seed: int = 0, check_finite: bool = True) -> None:
        if not isinstance(network, Network):
            raise ArgumentError(f"Trainer of a {type(network).__name__}", "a Sequential or Graph")
        network.build()
        self.network = network
        names = loss if isinstance(loss, (list, tuple)) else [loss]
        self.losses = [loss_table.get(name) for name in names]
        if len(self.losses) != len(network.output_steps):
            outputs = len(network.output_steps)
            raise ArgumentError(f"{len(self.losses)} losses for {outputs} outputs", f"{outputs}")
        if isinstance(optimizer, str):
            optimizer = optim.from_name(optimizer)
        self.optimizer = optimizer
        self.schedule = schedule or schedules.Constant()
        if clip_norm is not None and not clip_norm > 0:
            raise ArgumentError(f"clip_norm={clip_norm!r}", "a number above 0, or None")
        self.clip_norm = clip_norm
        self.seed, self.check_finite = seed, check_finite
        self.step_count = 0
        self.stop = self.stop_now = self.checkpoint_wanted = self.finished = False
        self.current: Fit | None = None
        self.bits = np.random.PCG64(seed)
        size = network.layout.size
        self.slots = tuple(allocate(size, network.dtype) for _ in range(optimizer.slots))
        hyper, plain = optimizer.hyper(), optimizer.hyper()
        plain[0] = 0.0  # update.HYPER begins with weight_decay
        self._update = Update(optimizer.kind, hyper, plain, np.ones((_chunks.STEPS, 4)), self.slots,
                              clip_norm)
        self._base_rate = np.full(1, optimizer.lr)
        self._step_cell = np.zeros(1, np.int64)
        self._step_losses = np.zeros((len(self.losses), _chunks.STEPS))
        self._plans: dict[Any, TrainingPlan] = {}
        self._rate_words = flat_view(self._update.rates)
        self._step_word = flat_view(self._step_cell)
        self._loss_words = flat_view(self._step_losses)
        self._repeat: _Repeat | None = None

    # ---- single steps ---------------------------------------------------------------------

    def train_step(self, x: Any, y: Any, sample_weight: Any = None) -> float:
        """One step on one batch; the loss before the step.

        x: samples (N, ...); y: labels (N,) or a matrix (N, C), by the loss. Tuples for
        several inputs or outputs. sample_weight: (N,), of at least 0; the loss is then the
        weighted mean. The learning rate is the optimizer's own, without schedule.
        With `check_finite` a loss that is not finite is returned, and no step is made.
        """
        known = self._repeat
        if known is not None and sample_weight is None and type(x) is np.ndarray \
                and type(y) is np.ndarray and known.signature == _signature(x, y):
            loss = self._again(known, address_of(x), address_of(y))
            if loss is not None:
                return loss
        samples = self._samples(x, y, sample_weight)
        plan = self.plan_of(samples, len(samples))
        loss = float(self.run_steps(plan, samples, np.full(1, self.optimizer.lr))[0])
        if self.check_finite and not math.isfinite(loss):
            self.step_count -= 1
        # Only what was used as it lies can be used again by its address alone.
        as_it_lies = (isinstance(x, np.ndarray) and isinstance(y, np.ndarray)
                      and sample_weight is None and address_of(samples.inputs[0]) == address_of(x)
                      and address_of(samples.targets[0].array) == address_of(y))
        rebind = plan.rebinder(samples.inputs, samples.targets) if as_it_lies else None
        self._repeat = rebind and _Repeat(_signature(x, y), plan.plan, rebind)
        return loss

    def _again(self, known: _Repeat, x: int, y: int) -> float | None:
        """A step that differs from the last in the batch's addresses only; its loss.

        None, and nothing has happened, where a label is no class or an address is not aligned.
        """
        if (x | y) & 7 and (x % known.signature[2].itemsize or y % known.signature[5].itemsize):
            return None
        self._rate_words[0] = self.optimizer.lr
        self._rate_words[1], self._rate_words[2] = self.optimizer.corrections(self.step_count + 1)
        self._step_word[0] = self.step_count
        known.rebind(x, y)
        if not known.plan.run(1):
            return None
        loss: float = self._loss_words[0]
        if loss - loss == 0.0 or not self.check_finite:
            self.step_count += 1
        return loss

    def gradients(self, x: Any, y: Any, sample_weight: Any = None
                  ) -> tuple[float, dict[str, np.ndarray]]:
        """(loss, gradients by the parameters' names) of one batch; nothing is changed.

        The arrays are the network's own views (`network.gradients`), overwritten by the next call.
        """
        samples = self._samples(x, y, sample_weight)
        self.run_gradients(samples, len(samples))
        return float(self._step_losses[:, 0].sum()), self.network.gradients

    def run_gradients(self, samples: Samples, rows: int, index: int = 0) -> TrainingPlan:
        """The plan after a forward and a backward pass over a batch; nothing else is changed.

        rows: the batch's size; index: address of the samples' numbers, 0: in order.
        """
        plan = self._plan(samples, rows, None)
        plan.set_batch(samples.inputs, samples.targets, index, samples.weights)
        self._step_cell[0] = self.step_count
        plan.plan.run(1)
        return plan

    def _samples(self, x: Any, y: Any, sample_weight: Any) -> Samples:
        return Samples.of(self.network, self.losses, x, y, sample_weight)

    def _plan(self, samples: Samples, rows: int, update: Update | None, long_runs: bool = False,
              beside: TrainingPlan | None = None) -> TrainingPlan:
        is_labels = tuple(target.is_labels for target in samples.targets)
        weighted = samples.weights is not None
        homes = beside and beside.plan.homes
        key = (rows, is_labels, samples.is_sparse, weighted, update is not None, long_runs, homes)
        found = self._plans.get(key)
        if found is None:
            if len(self._plans) > 8:
                self._plans.clear()
            plan = Plan(self.network, rows, training=True, update=update,
                        step_cell=self._step_cell, sparse=samples.is_sparse,
                        halts=self.check_finite and update is not None)
            found = self._plans[key] = TrainingPlan(plan, self.losses, samples.targets,
                                                    self._step_losses, weighted=weighted,
                                                    long_runs=long_runs, beside=beside)
        return found

    def plan_of(self, samples: Samples, rows: int, *, long_runs: bool = False,
                beside: TrainingPlan | None = None) -> TrainingPlan:
        """The program of a training step on so many rows of these samples.

        long_runs, beside: see `TrainingPlan`.
        """
        return self._plan(samples, rows, self._update, long_runs, beside)

    def run_steps(self, plan: TrainingPlan, samples: Samples, lrs: np.ndarray,
                  index: int = 0, *, stays: bool = False) -> np.ndarray:
        """len(lrs) steps from the index at an address; their losses, float64 (len(lrs),).

        stays: parameters may be anywhere afterwards (`Plan.run_and_stay`).

        With `check_finite` the first loss that is not finite is the last that means something:
        neither its step nor a later one is made.
        """
        count = len(lrs)
        self._repeat = None
        self._update.rates[:count] = self.optimizer.rates(self.step_count, count, lrs)
        self._step_cell[0] = self.step_count
        plan.set_batch(samples.inputs, samples.targets, index, samples.weights)
        if stays:
            plan.plan.run_and_stay(count)
        else:
            plan.plan.run(count)
        self.step_count += count
        losses = self._step_losses[0, :count].copy()
        for more in self._step_losses[1:, :count]:
            losses += more
        return losses

    # ---- epochs -------------------------------------------------------------------------------

    def fit(self, x: Any, y: Any = None, *, epochs: int = 10, batch_size: int = 32,
            sample_weight: Any = None, validation_data: Any = None,
            callbacks: Sequence[hooks.Callback] = (), progress: bool = False,
            shuffle: bool = True, resume: str | os.PathLike[str] | None = None) -> History:
        """Train for some epochs.

        Arguments:
            x, y: samples and targets as for `train_step`, all of them; `np.memmap` and what else
            is mapped is read in blocks. Without y: a folder of files (data.Shards), an object with
            the methods of data.Blocks, or batches: an iterable of (x, y[, sample_weight]), or a
            function that returns one for each epoch. x may be a data frame, y a column's name.
            epochs, batch_size: the last batch of an epoch may be smaller. Batches keep their sizes.
            sample_weight: (N,), of at least 0: losses and gradients are weighted means.
            validation_data: (x, y) or (x, y, sample_weight), or what fit takes without y;
            evaluated after each epoch.
            callbacks: hooks (fastbp.callbacks). progress: show a bar (nothing where stderr is no
            terminal).
            shuffle: a new order in each epoch (batches come in their own).
            resume: a file of `callbacks.Checkpoint`, or its folder: the newest whole file there,
            and a fresh start if it has none. Network, trainer, data and the other arguments
            must be those of the checkpoint's fit, which then goes on bit by bit as if it had
            never stopped, for any number of threads.
        Returns:
            The history: rows with epoch, loss, lr, seconds, samples_per_second and, with
            validation data, val_loss and val_accuracy; of a resumed fit from its beginning.
        Raises:
            NonFiniteError: a loss or parameters are not finite (`check_finite`). Parameters are
            those before that step, and so are running statistics.
            CheckpointError: `resume` cannot be read or belongs to another training.
        Ctrl-C raises KeyboardInterrupt at the edge of a step, within a fraction of a second.
        """
        for name, value in (("epochs", epochs), ("batch_size", batch_size)):
            if not isinstance(value, (int, np.integer)) or value < 1:
                raise ArgumentError(f"{name}={value!r}", "an integer of 1 or more")
        feed = feed_of(self.network, self.losses, x, y, sample_weight)
        if feed.rows == 0:
            raise DataError("x has no samples", "at least one")
        if validation_data is not None and not isinstance(validation_data, tuple):
            validation_data = (validation_data,)
        size = int(batch_size) if feed.rows < 0 else min(int(batch_size), feed.rows)
        active = [*callbacks, *([hooks.Progress(epochs)] if progress else [])]
        fit = Fit(self, feed, epochs=int(epochs), batch_size=size,
                  shuffle=shuffle, validation=validation_data, hooks=active)
        self.stop = self.stop_now = self.checkpoint_wanted = self.finished = False
        if resume is not None:
            fit.resume(resume)
        self.current = fit
        try:
            return fit.run()
        finally:
            self.current, self.finished = None, fit.finished

    @property
    def history(self) -> History:
        """Of the fit under way."""
        return self._current.history

    @property
    def epochs(self) -> int:
        """How many the fit under way is to make."""
        return self._current.epochs

    @property
    def resumed(self) -> bool:
        """Whether the fit under way continues a checkpoint."""
        return self._current.resumed

    @property
    def _current(self) -> Fit:
        if self.current is None:
            raise ArgumentError("no fit is under way", "use within a callback")
        return self.current

    # ---- results ------------------------------------------------------------------------------

    def evaluate(self, x: Any, y: Any = None, sample_weight: Any = None) -> dict[str, float]:
        """Loss in test mode, and accuracy for classification; weighted means with weights (N,).

        x, y: as for `fit`.
        """
        return self.run_evaluation(None, x, y, sample_weight)[0]

    def run_evaluation(self, pause: Callable[[], None] | None, x: Any, y: Any = None,
                       sample_weight: Any = None
                       ) -> tuple[dict[str, float], tuple[np.ndarray, ...]]:
        """`evaluate`, and the outputs where all samples are in memory at once, else ().

        pause: as for `network.predict`.
        """
        feed = feed_of(self.network, self.losses, x, y, sample_weight)
        if feed.rows == 0:
            raise DataError("x has no samples", "at least one")
        if isinstance(feed, ArrayFeed):
            return self._scores(feed.samples, pause)
        sums: dict[str, float] = {}
        total, position = 0.0, 0
        try:
            feed.begin(np.arange(max(feed.rows, 0)), 0, PREDICT_ROWS)
            while (window := feed.window(position)) is not None:
                weights, position = window.samples.weights, window.end
                part = len(window.index) if weights is None else float(weights.sum())
                for name, value in self._scores(window.samples, pause)[0].items():
                    sums[name] = sums.get(name, 0.0) + part * value
                total += part
        finally:
            feed.close()
        if not total:
            raise DataError("no samples, or weights that are all 0", "at least one sample")
        return {name: value / total for name, value in sums.items()}, ()

    def _scores(self, samples: Samples, pause: Callable[[], None] | None
                ) -> tuple[dict[str, float], tuple[np.ndarray, ...]]:
        inputs = samples.inputs
        outputs = self.network.predict(tuple(inputs) if len(inputs) > 1 else inputs[0], pause=pause)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        scores = {"loss": 0.0}
        for output, target, loss in zip(outputs, samples.targets, self.losses, strict=True):
            flat = output.reshape(len(output), -1)
            value, _ = getattr(ops, loss.name)(flat, target.array, sample_weight=samples.weights,
                                               **loss.settings)
            scores["loss"] += float(value)
            if loss.classification and "accuracy" not in scores:
                scores["accuracy"] = accuracy(flat, target, samples.weights)
        return scores, outputs

    def predict(self, x: Any) -> Any:
        """`network.predict`."""
        return self.network.predict(x)
