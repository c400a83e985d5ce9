"""Training: plans for each batch size, epochs in chunks of steps, history and callbacks."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from fastbp import callbacks as hooks
from fastbp import losses as loss_table
from fastbp import ops, optim, schedules
from fastbp._arena import address_of, allocate, flat_view
from fastbp._errors import ArgumentError, DataError
from fastbp._interrupts import deferred_interrupts
from fastbp.batches import as_batch
from fastbp.history import History
from fastbp.network import Network
from fastbp.planner import Plan, Update
from fastbp.targets import Target, accuracy, check_lengths
from fastbp.training_plan import TrainingPlan

# Steps of one call into compiled code: at most so many, and about so many seconds, so that Ctrl-C,
# callbacks and progress are never far away.
CHUNK_STEPS = 1024
CHUNK_SECONDS = 0.05


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

    Attributes: network, optimizer, step_count (steps made so far), stop (set it to end a fit after
    the epoch).
    """

    def __init__(self, network: Network, loss: Any = "softmax_cross_entropy",
                 optimizer: optim.Optimizer | str = "adam", *,
                 schedule: schedules.Schedule | None = None, clip_norm: float | None = None,
                 seed: int = 0) -> None:
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
        self.seed = seed
        self.step_count = 0
        self.stop = False
        self._rng = np.random.Generator(np.random.PCG64(seed))
        size = network.layout.size
        self.slots = tuple(allocate(size, network.dtype) for _ in range(optimizer.slots))
        hyper, plain = optimizer.hyper(), optimizer.hyper()
        plain[0] = 0.0  # update.HYPER begins with weight_decay
        self._update = Update(optimizer.kind, hyper, plain, np.ones((CHUNK_STEPS, 4)), self.slots,
                              clip_norm)
        self._base_rate = np.full(1, optimizer.lr)
        self._step_cell = np.zeros(1, np.int64)
        self._step_losses = np.zeros((len(self.losses), CHUNK_STEPS))
        self._plans: dict[Any, TrainingPlan] = {}
        self._rate_words = flat_view(self._update.rates)
        self._step_word = flat_view(self._step_cell)
        self._loss_words = flat_view(self._step_losses)
        self._repeat: _Repeat | None = None

    # ---- single steps ---------------------------------------------------------------------

    def train_step(self, x: Any, y: Any) -> float:
        """One step on one batch; the loss before the step.

        x: samples (N, ...); y: labels (N,) or a matrix (N, C), by the loss. Tuples for
        several inputs or outputs. The learning rate is the optimizer's own, without schedule.
        """
        known = self._repeat
        if known is not None and type(x) is np.ndarray and type(y) is np.ndarray \
                and known.signature == _signature(x, y):
            loss = self._again(known, address_of(x), address_of(y))
            if loss is not None:
                return loss
        inputs, targets = self._batch(x, y)
        plan = self._plan(len(inputs[0]), targets, self._update)
        loss = float(self._run(plan, inputs, targets, np.full(1, self.optimizer.lr))[0])
        # Only what was used as it lies can be used again by its address alone.
        as_it_lies = (isinstance(x, np.ndarray) and isinstance(y, np.ndarray)
                      and address_of(inputs[0]) == address_of(x)
                      and address_of(targets[0].array) == address_of(y))
        rebind = plan.rebinder(inputs, targets) if as_it_lies else None
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
        self.step_count += 1
        return self._loss_words[0]

    def gradients(self, x: Any, y: Any) -> tuple[float, dict[str, np.ndarray]]:
        """(loss, gradients by the parameters' names) of one batch; nothing is changed.

        The arrays are the network's own views (`network.gradients`), overwritten by the next call.
        """
        inputs, targets = self._batch(x, y)
        plan = self._plan(len(inputs[0]), targets, None)
        plan.set_batch(inputs, targets)
        self._step_cell[0] = self.step_count
        saved = {name: view.copy() for name, view in self.network.buffers.items()}
        plan.plan.run(1)
        for name, view in self.network.buffers.items():
            view[...] = saved[name]
        return float(self._step_losses[:, 0].sum()), self.network.gradients

    def _batch(self, x: Any, y: Any) -> tuple[list[np.ndarray], list[Target]]:
        inputs = as_batch(self.network, x)
        given = y if isinstance(y, (tuple, list)) and len(self.losses) > 1 else (y,)
        if len(given) != len(self.losses):
            raise ArgumentError(f"{len(given)} targets", f"{len(self.losses)}, as a tuple")
        targets = [Target.of(value, loss, self.network.steps[step].size, self.network.dtype)
                   for value, loss, step in zip(given, self.losses, self.network.output_steps,
                                                strict=True)]
        check_lengths(inputs, targets)
        return inputs, targets

    def _plan(self, rows: int, targets: list[Target], update: Update | None) -> TrainingPlan:
        key = (rows, tuple(t.is_labels for t in targets), update is not None)
        found = self._plans.get(key)
        if found is None:
            if len(self._plans) > 8:
                self._plans.clear()
            plan = Plan(self.network, rows, training=True, update=update,
                        step_cell=self._step_cell)
            found = self._plans[key] = TrainingPlan(plan, self.losses, targets, self._step_losses)
        return found

    def _run(self, plan: TrainingPlan, inputs: list[np.ndarray], targets: list[Target],
             lrs: np.ndarray, index: int = 0) -> np.ndarray:
        """len(lrs) steps from the index at an address; their losses (valid until the next run)."""
        count = len(lrs)
        self._repeat = None
        self._update.rates[:count] = self.optimizer.rates(self.step_count, count, lrs)
        self._step_cell[0] = self.step_count
        plan.set_batch(inputs, targets, index)
        plan.plan.run(count)
        self.step_count += count
        return self._step_losses[:, :count].sum(axis=0)

    # ---- epochs -------------------------------------------------------------------------------

    def fit(self, x: Any, y: Any, *, epochs: int = 10, batch_size: int = 32,
            validation_data: tuple[Any, Any] | None = None,
            callbacks: Sequence[hooks.Callback] = (), progress: bool = False,
            shuffle: bool = True) -> History:
        """Train for some epochs.

        Arguments:
            x, y: samples and targets as for `train_step`, all of them.
            epochs, batch_size: the last batch of an epoch may be smaller.
            validation_data: (x, y), evaluated after each epoch.
            callbacks: hooks (fastbp.callbacks). progress: show a bar (nothing where stderr is no
            terminal).
            shuffle: a new order in each epoch.
        Returns:
            The history: rows with epoch, loss, lr, seconds, samples_per_second and, with
            validation data, val_loss and val_accuracy.
        Ctrl-C raises KeyboardInterrupt at the edge of a step, within a fraction of a second.
        """
        inputs, targets = self._batch(x, y)
        rows = len(inputs[0])
        for name, value in (("epochs", epochs), ("batch_size", batch_size)):
            if not isinstance(value, (int, np.integer)) or value < 1:
                raise ArgumentError(f"{name}={value!r}", "an integer of 1 or more")
        if rows == 0:
            raise DataError("x has no samples", "at least one")
        batch_size = min(int(batch_size), rows)
        active = [*callbacks, *([hooks.Progress(epochs)] if progress else [])]
        history, self.stop = History(), False
        first_step = self.step_count
        for hook in active:
            hook.on_fit_begin(self)
        try:
            for epoch in range(1, epochs + 1):
                for hook in active:
                    hook.on_epoch_begin(self, epoch)
                with deferred_interrupts() as at_step_edge:
                    row = self._epoch(inputs, targets, batch_size, shuffle, first_step, epochs,
                                      at_step_edge)
                row = {"epoch": epoch, **row}
                if validation_data is not None:
                    scores = self.evaluate(*validation_data)
                    row.update({f"val_{name}": value for name, value in scores.items()})
                self.schedule.epoch_end(row)
                history.append(row)
                for hook in active:
                    hook.on_epoch_end(self, row)
                if self.stop:
                    break
        finally:
            for hook in active:
                hook.on_fit_end(self)
        return history

    def _epoch(self, inputs: list[np.ndarray], targets: list[Target], batch_size: int,
               shuffle: bool, first_step: int, epochs: int,
               at_step_edge: Callable[[], None]) -> dict[str, float]:
        """One pass over the samples: a row of the history."""
        rows = len(inputs[0])
        full, rest = divmod(rows, batch_size)
        begin = time.perf_counter()
        order = self._rng.permutation(rows) if shuffle else np.arange(rows)
        order = np.ascontiguousarray(order, np.int64)
        steps = full + (rest > 0)
        factors = self.schedule.factors(self.step_count - first_step, steps, steps, epochs)
        lrs = self.optimizer.lr * factors
        plan = self._plan(batch_size, targets, self._update)
        total, done, chunk = 0.0, 0, 1
        while done < full:
            chunk = min(chunk, full - done, CHUNK_STEPS) if plan.plan.is_compiled else 1
            start = time.perf_counter()
            values = self._run(plan, inputs, targets, lrs[done : done + chunk],
                               address_of(order) + 8 * done * batch_size)
            total += float(values.sum()) * batch_size
            done += chunk
            per_step = (time.perf_counter() - start) / chunk
            chunk = max(1, min(2 * chunk, int(CHUNK_SECONDS / max(per_step, 1e-9))))
            at_step_edge()
        if rest:
            values = self._run(self._plan(rest, targets, self._update), inputs, targets,
                               lrs[full:], address_of(order) + 8 * full * batch_size)
            total += float(values[0]) * rest
        seconds = time.perf_counter() - begin
        return {"loss": total / rows, "lr": float(lrs[-1]), "seconds": seconds,
                "samples_per_second": rows / seconds}

    # ---- results ------------------------------------------------------------------------------

    def evaluate(self, x: Any, y: Any) -> dict[str, float]:
        """Loss in test mode, and accuracy for classification."""
        inputs, targets = self._batch(x, y)
        if not len(inputs[0]):
            raise DataError("x has no samples", "at least one")
        outputs = self.network.predict(tuple(inputs) if len(inputs) > 1 else inputs[0])
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        scores = {"loss": 0.0}
        for output, target, loss in zip(outputs, targets, self.losses, strict=True):
            flat = output.reshape(len(output), -1)
            value, _ = getattr(ops, loss.name)(flat, target.array, **loss.settings)
            scores["loss"] += float(value)
            if loss.classification and "accuracy" not in scores:
                scores["accuracy"] = accuracy(flat, target)
        return scores

    def predict(self, x: Any) -> Any:
        """`network.predict`."""
        return self.network.predict(x)
