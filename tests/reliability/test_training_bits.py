"""Checks 4 and 28: training gives the same bits for every number of threads, and leaves the
processor's way of rounding as it was."""

from __future__ import annotations

import hashlib
import threading

import numpy as np
import pytest

import fastbp
from fastbp import ops
from fastbp._jit import DISABLED, entry
from fastbp._simd import flush_subnormals, restore_subnormals
from fastbp.emit import reduce

pytestmark = pytest.mark.skipif(DISABLED, reason="200 steps take too long in plain Python")
OPTIMIZERS = {
    "sgd": fastbp.SGD(0.05), "momentum": fastbp.SGD(0.05, momentum=0.9),
    "nesterov": fastbp.SGD(0.05, momentum=0.9, nesterov=True), "adagrad": fastbp.AdaGrad(0.02),
    "rmsprop": fastbp.RMSprop(1e-3), "adam": fastbp.Adam(1e-3), "adamw": fastbp.AdamW(1e-3),
}
BATCH = 96


def trained(optimizer, threads: int, dtype: str = "float32", steps: int = 200) -> str:
    """Hash of all parameters, statistics and losses of a network with every kind of layer."""
    rng = np.random.Generator(np.random.PCG64(5))
    x = rng.standard_normal((steps // 2 * BATCH, 40)).astype(dtype)
    y = rng.integers(0, 10, len(x))
    net = fastbp.Sequential([
        fastbp.Affine(40, 130), fastbp.BatchNorm(130), fastbp.ReLU(), fastbp.Dropout(0.1),
        fastbp.Affine(130, 70), fastbp.LayerNorm(70), fastbp.GELU(), fastbp.Affine(70, 10)],
        seed=3, dtype=dtype)
    with fastbp.threads(threads, oversubscribe=True):
        trainer = fastbp.Trainer(net, optimizer=optimizer, seed=4)
        history = trainer.fit(x, y, epochs=2, batch_size=BATCH)
    assert trainer.step_count == steps
    digest = hashlib.sha256(repr(history.loss).encode())
    for value in net.state_dict().values():
        digest.update(value.tobytes())
    return digest.hexdigest()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_two_hundred_steps_have_the_same_bits_for_every_number_of_threads(name):
    dtype = "float64" if name == "nesterov" else "float32"
    found = {trained(OPTIMIZERS[name], count, dtype) for count in (1, 2, 3, 8)}
    assert len(found) == 1


def test_blocks_that_depend_on_the_number_of_threads_are_seen(monkeypatch):
    """The control: sums down the columns are cut by the number of threads."""
    monkeypatch.setattr(reduce, "LEAST_ROWS", 4)
    found = set()
    for count in (1, 2):
        monkeypatch.setattr(reduce, "BLOCK", 4096 // count)
        found.add(trained(OPTIMIZERS["sgd"], count, steps=20))
    assert len(found) == 2


def has_subnormals() -> bool:
    """True where this thread's processor does not take subnormal numbers as zero."""
    tiny = np.full(64, np.finfo(np.float32).smallest_normal)
    return bool((tiny * np.float32(0.5) > 0).all() and (tiny * np.float32(0.25) * 4 == tiny).all())


def rounds_to_nearest() -> bool:
    one = np.ones(64)
    return bool((one + 2.0**-53 == 1).all() and (one + 1.5 * 2.0**-53 > 1).all()
                and (-one - 2.0**-53 == -1).all())


def test_training_leaves_the_callers_rounding_and_subnormals():
    """Programs of networks take subnormals as zero while they run, on every thread they run on."""
    assert has_subnormals()
    before = np.geterr()
    seen: list[bool] = []

    def work() -> None:
        trained(OPTIMIZERS["adam"], 2, steps=10)
        seen.append(has_subnormals() and rounds_to_nearest())

    work()
    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [True] * 4
    assert np.geterr() == before


@entry
def flush() -> int:
    return flush_subnormals()


@entry
def restore(before: int) -> None:
    restore_subnormals(before)


def test_a_library_that_flushes_subnormals_is_told():
    """The control of these tests, too: what they look at does change."""
    assert "subnormal numbers  kept" in fastbp.show_versions()
    before = flush()
    try:
        assert not has_subnormals()
        assert "a library in this process has changed" in fastbp.show_versions()
        trained(OPTIMIZERS["sgd"], 2, steps=2)
        assert not has_subnormals()  # the caller's, whatever it is
    finally:
        restore(before)
    assert has_subnormals()


def test_operations_keep_subnormals_on_every_thread_after_training():
    """Workers that have helped with training help with an operation: nothing is flushed."""
    trained(OPTIMIZERS["adam"], 3, steps=10)
    x = np.full((600, 500), np.finfo(np.float32).smallest_normal) / np.float32(4)
    for count in (1, 2, 3):
        with fastbp.threads(count, oversubscribe=True):
            assert np.array_equal(ops.relu_forward(x), x)
            assert (ops.affine_forward(x, np.eye(500, dtype=np.float32)) == x).all()
