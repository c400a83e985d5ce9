"""Training: the same bits however it is run, against a slow twin, and well-behaved."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import tracemalloc

import conditions
import numpy as np
import pytest
import reference

import fastbp
from fastbp import callbacks, schedules
from fastbp._jit import DISABLED
from fastbp.fitting import shuffled
from fastbp.kernels.program import work

OPTIMIZERS = [
    fastbp.SGD(0.05),
    fastbp.SGD(0.05, momentum=0.9, weight_decay=1e-3),
    fastbp.SGD(0.05, momentum=0.9, nesterov=True),
    fastbp.AdaGrad(0.02),
    fastbp.RMSprop(1e-3),
    fastbp.Adam(1e-3, weight_decay=1e-3),
    fastbp.AdamW(1e-3),
]


def make_data(rng, rows=200, features=30, classes=5, dtype=np.float32):
    x = rng.normal(size=(rows, features)).astype(dtype)
    return x, (x[:, :classes] + 0.3 * rng.normal(size=(rows, classes))).argmax(axis=1)


def make_network(dtype="float32", hidden=50, layout="column"):
    return fastbp.Sequential(
        [fastbp.Affine(30, hidden, layout=layout), fastbp.BatchNorm(hidden), fastbp.ReLU(),
         fastbp.Dropout(0.2), fastbp.Affine(hidden, 40, layout=layout), fastbp.Tanh(),
         fastbp.Affine(40, 5, layout=layout)], dtype=dtype, seed=3)


def bits(network) -> bytes:
    return b"".join(v.tobytes() for v in network.state_dict().values())


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda o: f"{o.name}-{o.kind}")
def test_200_steps_are_the_same_bits_for_1_2_and_4_threads(optimizer, rng):
    x, y = make_data(rng, rows=640, features=30)
    found = set()
    for count in (1, 2, 4):
        net = make_network(hidden=300)
        trainer = fastbp.Trainer(net, optimizer=optimizer)
        with fastbp.threads(count, oversubscribe=True):
            trainer.fit(x, y, epochs=40, batch_size=128)
        assert trainer.step_count == 200
        found.add(bits(net))
    assert len(found) == 1


@pytest.mark.parametrize("layout", conditions.LAYOUTS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda o: f"{o.name}-{o.kind}")
def test_fused_update_equals_the_unfused_one(optimizer, layout, rng):
    """Clipping that never clips needs all gradients in memory, and must change nothing."""
    x, y = make_data(rng)
    results = []
    for clip in (None, 1e30):
        net = make_network(layout=layout)
        trainer = fastbp.Trainer(net, optimizer=optimizer, clip_norm=clip)
        losses = [trainer.train_step(x[:64], y[:64]) for _ in range(10)]
        results.append((bits(net), losses))
    assert results[0] == results[1]


@pytest.mark.parametrize("layout", conditions.LAYOUTS)
def test_steps_follow_a_float64_twin(layout, rng):
    x, y = make_data(rng, dtype=np.float64)
    net = fastbp.Sequential([fastbp.Affine(30, 20, layout=layout, activation="relu"),
                             fastbp.Affine(20, 5, layout=layout)], dtype="float64", seed=1)
    p = {name: np.array(v) for name, v in net.parameters.items()}
    trainer = fastbp.Trainer(net, optimizer=fastbp.SGD(0.1))
    for _ in range(20):
        h = reference.affine_forward(x, p["0.w"], p["0.b"], layout=layout, activation="relu")
        logits = reference.affine_forward(h, p["1.w"], p["1.b"], layout=layout)
        loss, dlogits = reference.softmax_cross_entropy(logits, y)
        dh, dw1, db1 = reference.affine_backward(dlogits, h, p["1.w"], p["1.b"], layout=layout)
        _, dw0, db0 = reference.affine_backward(dh, x, p["0.w"], p["0.b"], layout=layout,
                                                activation="relu")
        for name, g in (("0.w", dw0), ("0.b", db0), ("1.w", dw1), ("1.b", db1)):
            p[name] = p[name] - 0.1 * g
        assert abs(trainer.train_step(x, y) - loss) <= 1e-12 * abs(loss)
    for name, value in p.items():  # 20 steps of products over at most 200 terms
        error = np.abs(net.parameters[name] - value).max()
        assert error <= 20 * 200 * 2.0**-53 * np.abs(value).max(), name


def test_fit_is_train_step_over_the_shuffled_batches(rng):
    x, y = make_data(rng, rows=70)
    one, two = make_network(), make_network()
    fastbp.Trainer(one, seed=9).fit(x, y, epochs=2, batch_size=32)
    trainer, generator = fastbp.Trainer(two, seed=9), np.random.PCG64(9)
    for _ in range(2):
        index = shuffled(generator, 70)
        for begin in (0, 32, 64):
            batch = index[begin : begin + 32]
            trainer.train_step(x[batch], y[batch])
    assert bits(one) == bits(two)


@pytest.mark.parametrize("kind", conditions.KINDS, ids=str)
def test_data_in_any_layout_give_the_same_bits(kind, rng):
    x, y = make_data(rng, rows=40)
    expected, actual = make_network(), make_network()
    fastbp.Trainer(expected).fit(x, y, epochs=1, batch_size=16)
    laid_out = conditions.make(x, kind)
    fastbp.Trainer(actual).fit(laid_out, y, epochs=1, batch_size=16)
    assert bits(actual) == bits(expected)
    assert np.array_equal(laid_out, x)


def test_nothing_is_allocated_or_compiled_after_the_first_step(rng):
    x, y = make_data(rng, rows=256)
    trainer = fastbp.Trainer(make_network(hidden=500), optimizer=fastbp.Adam(1e-3))
    for _ in range(3):
        trainer.train_step(x, y)
    compiled = len(work.signatures) if hasattr(work, "signatures") else 0
    tracemalloc.start()
    try:
        for _ in range(20):
            trainer.train_step(x, y)
        base, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        for _ in range(20):
            trainer.train_step(x, y)
        now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # Small Python objects come and go (1.9 KB of them on Python 3.13). An array kept by each step
    # would show 20 times; one that lives for a moment shows in the peak (a batch has 30 KB).
    assert peak - base < 8 * 1024
    assert now - base < 2560
    assert (len(work.signatures) if hasattr(work, "signatures") else 0) == compiled


def test_training_threads_do_not_disturb_each_other(rng):
    """Networks trained at the same time in Python threads get the bits of one after the other."""
    x, y = make_data(rng, rows=300)

    def train(seed: int, results: dict) -> None:
        net = fastbp.Sequential([fastbp.Affine(30, 200, activation="relu"), fastbp.Affine(200, 5)],
                                seed=seed)
        fastbp.Trainer(net, seed=seed).fit(x, y, epochs=5, batch_size=100)
        results[seed] = bits(net)

    alone: dict = {}
    together: dict = {}
    for seed in range(4):
        train(seed, alone)
    threads = [threading.Thread(target=train, args=(seed, together)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == alone


def test_a_forked_child_trains(rng):
    script = textwrap.dedent("""
        import os, numpy as np, fastbp
        fastbp.set_num_threads(2, oversubscribe=True)
        a = np.ones((600, 600), np.float32)
        fastbp.ops.matmul(a, a)
        child = os.fork()
        if child == 0:
            grandchild = os.fork()
            ok = bool((fastbp.ops.matmul(a, a) == 600).all())
            if grandchild:
                _, status = os.waitpid(grandchild, 0)
                ok = ok and status == 0
            os._exit(0 if ok else 1)
        _, status = os.waitpid(child, 0)
        assert status == 0 and (fastbp.ops.matmul(a, a) == 600).all()
        print("done")
    """)
    result = subprocess.run([sys.executable, "-W", "ignore", "-c", script], capture_output=True,
                            text=True, timeout=120, check=False)
    assert result.stdout.strip() == "done", result.stderr[-2000:]


def test_ctrl_c_ends_a_fit_at_the_edge_of_a_step(rng):
    x, y = make_data(rng, rows=4000)
    net = make_network(hidden=400)
    trainer = fastbp.Trainer(net)
    trainer.train_step(x[:100], y[:100])
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    begin = time.perf_counter()
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(x, y, epochs=10_000, batch_size=100)
    assert time.perf_counter() - begin < 1.3
    steps = trainer.step_count
    again = make_network(hidden=400)
    twin = fastbp.Trainer(again)
    twin.train_step(x[:100], y[:100])
    generator = np.random.PCG64(0)
    while twin.step_count < steps:
        index = shuffled(generator, 4000)
        for begin_row in range(0, 4000, 100):
            if twin.step_count < steps:
                batch = index[begin_row : begin_row + 100]
                twin.train_step(x[batch], y[batch])
    assert bits(net) == bits(again)
    trainer.fit(x, y, epochs=1, batch_size=100)


def test_early_stopping_restores_the_best_weights(rng):
    x, y = make_data(rng)
    net = make_network()
    trainer = fastbp.Trainer(net, optimizer=fastbp.SGD(0.5, momentum=0.9))
    stop = callbacks.EarlyStopping(monitor="val_loss", patience=3)
    history = trainer.fit(x[:100], y[:100], epochs=200, batch_size=20,
                          validation_data=(x[100:], y[100:]), callbacks=[stop])
    values = history["val_loss"]
    assert len(values) < 200
    best = min(values)
    assert trainer.evaluate(x[100:], y[100:])["loss"] == best
    assert values[-1] > best


def test_schedules_reach_the_update(rng):
    x, y = make_data(rng)
    trainer = fastbp.Trainer(make_network(), optimizer=fastbp.SGD(0.1),
                             schedule=schedules.Step(every_epochs=1, factor=0.5))
    assert trainer.fit(x, y, epochs=3, batch_size=50)["lr"] == [0.1, 0.05, 0.025]
    frozen = make_network()
    before = frozen.state_dict()["0.w"]
    trainer = fastbp.Trainer(frozen, optimizer=fastbp.SGD(0.1), schedule=schedules.Cosine())
    trainer.fit(x, y, epochs=1, batch_size=200)
    assert not np.array_equal(frozen.parameters["0.w"], before)


def test_clipping_limits_the_norm_of_the_whole_gradient(rng):
    x, y = make_data(rng, dtype=np.float64)
    net = fastbp.Sequential([fastbp.Affine(30, 5)], dtype="float64", seed=0)
    trainer = fastbp.Trainer(net, optimizer=fastbp.SGD(1.0), clip_norm=0.01)
    _, gradients = trainer.gradients(x, y)
    flat = np.concatenate([gradients[n].ravel() for n in ("0.w", "0.b")])
    before = np.concatenate([net.parameters[n].ravel() for n in ("0.w", "0.b")])
    trainer.train_step(x, y)
    after = np.concatenate([net.parameters[n].ravel() for n in ("0.w", "0.b")])
    expected = 0.01 * flat / (np.linalg.norm(flat) + 1e-6)
    assert np.abs((before - after) - expected).max() <= 1e-12


def test_regression_and_evaluate(rng):
    x = rng.normal(size=(300, 4)).astype(np.float32)
    y = x @ np.array([1, -2, 3, 0.5], np.float32) + 0.1
    net = fastbp.Sequential([fastbp.Affine(4, 1)], seed=0)
    trainer = fastbp.Trainer(net, loss="mean_squared_error", optimizer=fastbp.SGD(0.1))
    history = trainer.fit(x, y, epochs=30, batch_size=50)
    assert history.loss[-1] < 1e-3 < history.loss[0]
    scores = trainer.evaluate(x, y)
    expected = np.mean((net.predict(x)[:, 0] - y) ** 2)
    assert abs(scores["loss"] - expected) <= 1e-5 * expected
    assert set(scores) == {"loss"}


def test_wrong_data_are_refused_with_the_reason(rng):
    x, y = make_data(rng)
    trainer = fastbp.Trainer(make_network())
    with pytest.raises(fastbp.ShapeError, match=r"x with shape \(200, 29\): 29 features"):
        trainer.fit(x[:, 1:], y)
    with pytest.raises(fastbp.DataError, match=r"label 5 at sample 0; wanted 0 to 4"):
        trainer.fit(x, np.full(200, 5))
    with pytest.raises(fastbp.ShapeError, match="200 samples with 199 targets"):
        trainer.fit(x, y[1:])
    with pytest.raises(fastbp.DataError, match="no samples"):
        trainer.fit(x[:0], y[:0])
    with pytest.raises(fastbp.ArgumentError, match="epochs=0"):
        trainer.fit(x, y, epochs=0)
    with pytest.raises(fastbp.ArgumentError, match=r"batch_size=2.5; wanted an integer"):
        trainer.fit(x, y, batch_size=2.5)
    assert trainer.step_count == 0


def test_repeated_steps_are_the_steps_of_a_new_trainer():
    """The short way through `train_step` (same shapes again) against the long one, bit by bit."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((6, 8, 5)).astype(np.float32)
    y = rng.integers(0, 3, (6, 8))

    def weights(change) -> np.ndarray:
        layers = [fastbp.Affine(5, 4, activation="relu"), fastbp.Affine(4, 3)]
        net = fastbp.Sequential(layers, seed=1)
        trainer = fastbp.Trainer(net, optimizer=fastbp.Adam(0.01))
        for a, b in zip(x, y, strict=True):
            trainer.train_step(change(a), b)
        return net.values.copy()

    plain = weights(lambda a: a)
    assert np.array_equal(plain, weights(list))  # a list is always converted
    assert np.array_equal(plain, weights(lambda a: np.asfortranarray(a)))


def test_repeated_steps_check_labels_and_survive_a_fit():
    net = fastbp.Sequential([fastbp.Affine(5, 3)], seed=1)
    trainer = fastbp.Trainer(net, optimizer="momentum")
    x, y = np.ones((4, 5), np.float32), np.array([0, 1, 2, 0])
    trainer.train_step(x, y)
    trainer.train_step(x, y)
    before, count = net.values.copy(), trainer.step_count
    for bad in (3, -1, 2**40):
        wrong = y.copy()
        wrong[2] = bad
        with pytest.raises(fastbp.DataError, match=f"label {bad} at sample 2"):
            trainer.train_step(x, wrong)
    assert np.array_equal(net.values, before)
    assert trainer.step_count == count
    trainer.fit(x, y, epochs=2, batch_size=4)
    loss = trainer.gradients(x, y)[0]
    assert trainer.train_step(x, y) == pytest.approx(loss, rel=1e-6)


@pytest.mark.skipif(DISABLED, reason="plain Python has no say in how the processor rounds")
@pytest.mark.parametrize("threads", [1, 2])
def test_training_takes_subnormal_numbers_as_zero(threads):
    """Decayed velocities would slow a step down by half; and Python's own numbers stay whole."""
    net = fastbp.Sequential([fastbp.Affine(64, 512), fastbp.Affine(512, 3)], seed=0)
    trainer = fastbp.Trainer(net, optimizer=fastbp.SGD(0.1, momentum=0.9))
    trainer.slots[0][...] = 1e-40
    net.values[...] = 0.0
    with fastbp.threads(threads, oversubscribe=True):
        trainer.train_step(np.zeros((300, 64), np.float32), np.zeros(300, np.int64))
    velocity = net.layout.views(trainer.slots[0])
    assert np.all(velocity["0.w"] == 0.0)
    assert np.all(velocity["1.w"] == 0.0)
    assert np.float32(1e-40) * np.float32(0.5) != 0.0
