"""Check 16: many Python threads at once give the bits of one after the other; one network belongs
to one thread at a time."""

from __future__ import annotations

import copy
import pickle
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from operations import OPERATIONS, bits, copies, tile_sizes

import fastbp
from fastbp import callbacks, planner
from fastbp._jit import DISABLED
from fastbp._turn import Turn

pytestmark = pytest.mark.skipif(DISABLED, reason="thousands of calls; nothing is native")
THREADS, CALLS = 8, 500


def network(seed: int, dtype: str = "float32") -> fastbp.Sequential:
    return fastbp.Sequential([fastbp.Affine(12, 90), fastbp.BatchNorm(90), fastbp.ReLU(),
                              fastbp.Affine(90, 4)], seed=seed, dtype=dtype)


def mixed_calls(number: int) -> bytes:
    """Operations of all kinds and steps of a network of its own; everything that came out."""
    rng = np.random.Generator(np.random.PCG64(number))
    net = network(number, ("float32", "float64")[number % 2])
    trainer = fastbp.Trainer(net, optimizer=("adam", "sgd")[number % 2])
    x, y = rng.standard_normal((256, 12)).astype(net.dtype), rng.integers(0, 4, 256)
    found = []
    for call in range(CALLS):
        if call % 5 == 4:
            found.append(np.float64(trainer.train_step(x, y)).tobytes())
        else:
            op = OPERATIONS[rng.integers(len(OPERATIONS))]
            size = tile_sizes()[rng.integers(8)] if call % 7 else (130, 200, 60)
            dtype = (np.float32, np.float64)[rng.integers(2)]
            found.append(bits(op.run(**copies(op.make(rng, size, dtype)))))
    return b"".join([*found, net.predict(x).tobytes()])


def at_once(work, count: int = THREADS) -> list:
    """Results of work(0) ... work(count - 1) in as many threads that begin together."""
    gate = threading.Barrier(count)

    def begin(number: int):
        gate.wait()
        return work(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(begin, range(count)))


def test_own_networks_and_operations_give_the_bits_of_one_after_the_other():
    fastbp.set_num_threads(2, oversubscribe=True)
    assert at_once(mixed_calls) == [mixed_calls(number) for number in range(THREADS)]


def test_one_network_cannot_be_trained_by_two_threads(monkeypatch):
    """The second is refused while the first is inside a step; the first is not disturbed."""
    inside, go_on = threading.Event(), threading.Event()
    run = planner.Program.run

    def slow_run(self, steps: int = 1) -> bool:
        if threading.current_thread().name == "slow":
            inside.set()
            assert go_on.wait(20)
        return run(self, steps)

    x, y = np.ones((8, 12), np.float32), np.zeros(8, int)
    net = network(0)
    trainers = [fastbp.Trainer(net, seed=0) for _ in "ab"]
    for trainer in trainers:
        trainer.train_step(x, y)
    monkeypatch.setattr(planner.Program, "run", slow_run)
    losses: list[float] = []
    thread = threading.Thread(target=lambda: losses.append(trainers[0].train_step(x, y)),
                              name="slow")
    thread.start()
    assert inside.wait(20)
    for trainer in trainers:
        for call in (lambda t=trainer: t.train_step(x, y), lambda t=trainer: t.gradients(x, y),
                     lambda t=trainer: t.fit(x, y, epochs=1)):
            with pytest.raises(fastbp.ConcurrencyError,
                               match="network that another thread is training; wanted one thread"):
                call()
    go_on.set()
    thread.join()
    assert len(losses) == 1
    trainers[1].train_step(x, y)
    assert trainers[0].step_count == 2


def test_predictions_wait_for_steps_and_steps_for_predictions():
    """Four threads predict while one trains: nobody is refused, training keeps its bits."""
    rng = np.random.Generator(np.random.PCG64(1))
    x, y = rng.standard_normal((400, 12)).astype(np.float32), rng.integers(0, 4, 400)
    net, alone = network(3), network(3)
    fastbp.Trainer(alone, seed=1).fit(x, y, epochs=6, batch_size=20)
    trainer, done = fastbp.Trainer(net, seed=1), threading.Event()

    def work(number: int) -> int:
        count = 0
        if number == 0:
            trainer.fit(x, y, epochs=6, batch_size=20)
            done.set()
        while not done.is_set() or count == 0:
            assert np.isfinite(net.predict(x)).all()
            count += 1
        return count

    assert min(at_once(work, 5)) >= 1
    for name, value in net.state_dict().items():
        assert np.array_equal(value, alone.state_dict()[name])


def test_predictions_of_one_network_by_many_threads():
    net = network(2)
    x = [np.random.default_rng(i).standard_normal((50, 12)).astype(np.float32) for i in range(8)]
    expected = [net.predict(a) for a in x]
    found = at_once(lambda i: [net.predict(x[i]) for _ in range(100)])
    for many, one in zip(found, expected, strict=True):
        assert all(np.array_equal(f, one) for f in many)


def test_a_callback_may_use_the_network_that_is_being_trained():
    net, seen = network(0), []
    x, y = np.ones((40, 12), np.float32), np.zeros(40, int)

    class Predicts(callbacks.Callback):
        def on_epoch_end(self, trainer, row):
            seen.append(trainer.network.predict(x).shape)

    fastbp.Trainer(net).fit(x, y, epochs=3, batch_size=10, callbacks=[Predicts()])
    assert seen == [(40, 4)] * 3


def test_what_breaks_a_step_does_not_keep_the_turn():
    net = network(0)
    trainer = fastbp.Trainer(net)
    x, y = np.ones((8, 12), np.float32), np.zeros(8, int)
    trainer.train_step(x, y)
    with pytest.raises(fastbp.FastbpError):
        trainer.train_step(x, y + 9)
    assert at_once(lambda _: net.turn.take(False) and not net.turn.release(), 1) == [True]
    net.turn.take(False)  # as if Ctrl-C came between a step's beginning and its run
    trainer.train_step(x, y)
    assert not net.turn.is_mine()


def test_copies_have_turns_of_their_own():
    turn = Turn()
    turn.take()
    for other in (copy.deepcopy(turn), pickle.loads(pickle.dumps(turn))):
        assert not other.is_mine()
    turn.release()


def test_taking_turns_costs_next_to_nothing():
    """Beside a step of 15 us; the median of many, on a busy machine too."""
    turn, spent = Turn(), []
    for _ in range(200):
        begin = time.perf_counter()
        for _ in range(100):
            if not (turn.is_mine() or turn.take(False)):
                turn.ask()
            turn.release()
        spent.append((time.perf_counter() - begin) / 100)
    assert np.median(spent) < 1e-6
