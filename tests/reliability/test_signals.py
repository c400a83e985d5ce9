"""Signals at random moments of a fit: it ends soon, in a state of an undisturbed fit."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from trainings import data, outcome, trainer

import fastbp
from fastbp import _chunks, _interrupts, callbacks, network, training_state
from fastbp._interrupts import deferred_interrupts
from fastbp.callbacks import Checkpoint, Signals
from fastbp.data import ArrayBlocks

EPOCHS = 100
DEADLINE = 1.0


def run(one: fastbp.Trainer, *hooks: callbacks.Callback, **settings: Any) -> fastbp.History:
    x, y = data()
    return one.fit(x, y, epochs=EPOCHS, batch_size=32, callbacks=hooks, validation_data=(x, y),
                   **settings)


class EveryStep(callbacks.Callback):
    """Parameters after each step."""

    def __init__(self) -> None:
        self.after: dict[int, bytes] = {}

    def on_fit_begin(self, trainer: Any) -> None:
        self.after[trainer.step_count] = trainer.network.values.tobytes()

    def on_steps(self, trainer: Any, steps: Any) -> None:
        self.after[trainer.step_count] = trainer.network.values.tobytes()


@pytest.fixture(scope="module")
def undisturbed():
    """Parameters after each step, the outcome, and how long a fit takes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_chunks, "SECONDS", 0.0)  # an edge after each step
        one, seen = trainer(), EveryStep()
        expected = outcome(one, run(one, seen))
    begin = time.perf_counter()
    run(trainer())
    return seen.after, expected, time.perf_counter() - begin


# The exception may fall into a destructor of the timer.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("count", [15, pytest.param(200, marks=pytest.mark.nightly)])
def test_ctrl_c_at_any_moment(tmp_path, undisturbed, count):
    after, expected, seconds = undisturbed
    rng, interrupted = random.Random(2), 0
    for number in range(count):
        one, folder = trainer(), tmp_path / str(number)
        sent: list[float] = []

        def send(sent: list[float] = sent) -> None:
            sent.append(time.monotonic())
            os.kill(os.getpid(), signal.SIGINT)

        timer = threading.Timer(seconds * rng.random() * 0.9, send)
        try:
            timer.start()  # may wait for the thread longer than the timer does
            run(one, Checkpoint(folder, every_epochs=None))
            timer.cancel()
            timer.join()
        except KeyboardInterrupt:
            assert time.monotonic() - sent[0] < DEADLINE
            interrupted += 1
            timer.join()
        assert after[one.step_count] == one.network.values.tobytes()
        if one.finished:
            continue
        two = trainer()
        assert outcome(two, run(two, resume=folder)) == expected
    assert interrupted > count // 2


@pytest.mark.parametrize("count", [10, pytest.param(100, marks=pytest.mark.nightly)])
def test_sigterm_at_any_moment(tmp_path, undisturbed, count):
    after, expected, seconds = undisturbed
    rng, terminated = random.Random(3), 0
    for number in range(count):
        one, folder = trainer(), tmp_path / str(number)
        with Signals() as signals:
            timer = threading.Timer(seconds * rng.random() * 0.9, os.kill,
                                    (os.getpid(), signal.SIGTERM))
            timer.start()
            run(one, signals, Checkpoint(folder, every_epochs=None))
            timer.join()
        assert after[one.step_count] == one.network.values.tobytes()
        assert signals.terminated
        assert signals.status == 143
        if one.finished:
            continue
        terminated += 1
        (file,) = training_state.files(folder)
        assert training_state.number_of(file) == one.step_count
        two = trainer()
        assert outcome(two, run(two, resume=folder)) == expected
    assert terminated > count // 2


def test_sigusr1_saves_and_goes_on(tmp_path, undisturbed):
    _, expected, _ = undisturbed

    class Ask(callbacks.Callback):
        def on_steps(self, trainer: Any, steps: Any) -> None:
            if not asked and trainer.step_count > 50:
                asked.append(trainer.step_count)
                os.kill(os.getpid(), signal.SIGUSR1)

    asked: list[int] = []
    before = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)]
    one, checkpoint = trainer(), Checkpoint(tmp_path, every_epochs=None)
    with Signals() as signals:
        result = outcome(one, run(one, Ask(), signals, checkpoint))
    assert result == expected
    assert signals.status == 0
    assert asked
    (file,) = training_state.files(tmp_path)
    assert training_state.number_of(file) >= asked[0]
    assert before == [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)]


def test_signals_in_another_thread_change_nothing():
    before, found = signal.getsignal(signal.SIGTERM), []

    def work() -> None:
        with Signals() as signals:
            found.append((signal.getsignal(signal.SIGTERM), signals.status))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [(before, 0)]


def test_ctrl_c_during_validation_ends_it_and_loses_nothing(tmp_path, undisturbed):
    _, expected, _ = undisturbed
    one = trainer()
    evaluate, calls = one.run_evaluation, []

    def slow(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(5)
        return evaluate(*arguments)

    one.run_evaluation = slow  # type: ignore[method-assign]
    begin = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run(one, Checkpoint(tmp_path, every_epochs=None))
    assert time.monotonic() - begin < 4
    assert len(training_state.files(tmp_path)) == 1
    two = trainer()
    assert outcome(two, run(two, resume=tmp_path)) == expected


class InValidation(callbacks.Callback):
    """Does something before a chunk of the second epoch's validation; counts the chunks."""

    priority = -1

    def __init__(self, chunk: int, action: Any) -> None:
        self.chunk, self.action, self.chunks, self.seen = chunk, action, 0, 0

    def on_epoch_begin(self, trainer: Any, epoch: int) -> None:
        self.seen = 0

    def on_validation(self, trainer: Any) -> None:
        self.chunks += 1
        self.seen += 1
        if len(trainer.history) == 1 and self.seen == self.chunk:
            self.action()


@pytest.mark.parametrize("source", ["arrays", "blocks"])
@pytest.mark.parametrize("chunk", [1, 2, 4])
@pytest.mark.parametrize("way", ["SIGTERM", "SIGINT", "SIGUSR1", "time"])
def test_validation_ends_at_a_chunk_and_is_made_anew(tmp_path, monkeypatch, way, chunk, source):
    """All ways to stop, before the first of 4 chunks, in the middle and before the last."""
    monkeypatch.setattr(network, "PREDICT_ROWS", 100)
    monkeypatch.setattr(fastbp.trainer, "PREDICT_ROWS", 100)
    monkeypatch.setattr(_chunks, "SECONDS", 10.0)  # a chunk of steps: an epoch
    x, y = data()
    held = (ArrayBlocks(x[:400], y[:400]),) if source == "blocks" else (x[:400], y[:400])

    def run(one: fastbp.Trainer, *hooks: callbacks.Callback, **settings: Any) -> list[Any]:
        with contextlib.suppress(KeyboardInterrupt):
            one.fit(x[:200], y[:200], epochs=3, batch_size=20, callbacks=[keep := Keep(), *hooks],
                    validation_data=held, **settings)
        return outcome(one, keep.history)

    class Keep(callbacks.Callback):
        def on_fit_begin(self, trainer: Any) -> None:
            self.history = trainer.history

    whole = InValidation(0, None)
    expected = run(trainer(), whole)
    assert whole.chunks == 12
    limit = callbacks.TimeLimit(1000, at_step_edge=True)
    action = (lambda: setattr(limit, "seconds", 0.0)) if way == "time" else (
        lambda: os.kill(os.getpid(), getattr(signal, way)))
    one, cut = trainer(), InValidation(chunk, action)
    saved = Checkpoint(tmp_path, every_epochs=None)
    with Signals() as signals:
        found = run(one, cut, signals, limit, saved)
    (file,) = training_state.files(tmp_path)
    assert training_state.number_of(file) == 20
    if way == "SIGUSR1":
        assert found == expected
    else:
        assert cut.chunks == 4 + chunk  # and none after it
        assert len(found[1]) == 1  # the second epoch has no row
        assert not one.finished
    again = InValidation(0, None)
    assert run(trainer(), again, resume=tmp_path) == expected
    assert again.chunks == 8


def test_a_second_ctrl_c_ends_a_callback_that_hangs(tmp_path, monkeypatch):
    """And then no checkpoint is made of what is half done."""
    monkeypatch.setattr(_interrupts, "PATIENCE", 0.1)

    class Hang(callbacks.Callback):
        def on_epoch_end(self, trainer: Any, row: Any) -> None:
            time.sleep(20)

    timers = [threading.Timer(delay, os.kill, (os.getpid(), signal.SIGINT)) for delay in (0.5, 0.9)]
    for timer in timers:
        timer.start()
    begin = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run(trainer(), Hang(), Checkpoint(tmp_path))
    assert time.monotonic() - begin < 10
    assert training_state.files(tmp_path) == []


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("pauses", [False, True])
def test_a_signal_in_a_destructor_is_not_lost(pauses):
    """Python drops exceptions of destructors, also those of a signal's handler."""
    class Doomed:
        def __del__(self) -> None:
            os.kill(os.getpid(), signal.SIGINT)
            for _ in range(1000):  # where the handler runs
                pass

    reached = []

    def interrupted() -> None:
        with deferred_interrupts() as edge:
            with contextlib.suppress(ValueError), edge.lifted():
                one = Doomed()
                del one
                reached.append("lifted")
                if pauses:
                    raise ValueError("the block's own")
            edge()
            reached.append("edge")

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert reached == ["lifted"]


def test_a_signal_held_back_arrives_at_the_end_of_the_block():
    reached = []

    def interrupted() -> None:
        with deferred_interrupts():
            os.kill(os.getpid(), signal.SIGINT)
            reached.append(True)

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert reached


def resident() -> int:
    """Bytes of memory in use."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="Linux tells what is in use")
def test_memory_is_flat_over_100000_steps(tmp_path):
    """Nothing is kept for a step, nor for a checkpoint."""
    x, y = data()
    one = fastbp.Trainer(fastbp.Sequential([fastbp.Affine(20, 8, activation="relu"),
                                            fastbp.Affine(8, 4)], seed=0), optimizer="adam")

    class Watch(callbacks.Callback):
        """What is in use after 20 000 steps."""

        next_step = 20_000
        before: tuple[int, int] | None = None

        def on_steps(self, trainer: Any, steps: Any) -> None:
            if trainer.step_count == self.next_step:
                self.before = resident(), open_files()

    watch = Watch()
    one.fit(x[:320], y[:320], epochs=2500, batch_size=8,
            callbacks=[watch, Checkpoint(tmp_path, every_epochs=None, every_steps=10_000)])
    assert one.step_count == 100_000
    assert watch.before is not None
    assert open_files() <= watch.before[1]
    # The history's 2500 rows, and their text in the last checkpoint, are part of it.
    assert resident() - watch.before[0] <= 4 << 20
