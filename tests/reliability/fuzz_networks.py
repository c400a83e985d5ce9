"""A random network, trained between guard pages and on ordinary memory: the same bits.

All memory of the network, its plans and programs lies between guard pages; what is not zeroed on
purpose is NaN, the padding of its matrices too.
"""

from __future__ import annotations

import contextlib

import numpy as np
from cases import main
from fuzz_operations import forget
from guard_pages import fenced

import fastbp
from fastbp import _pool, optim, planner, training_plan
from fastbp._arena import undefined
from fastbp._errors import NonFiniteError

LOSSES = ("softmax_cross_entropy", "mean_squared_error", "hinge", "sigmoid_cross_entropy", "huber",
          "mean_absolute_error")
ACTIVATIONS = (fastbp.ReLU, fastbp.Tanh, fastbp.GELU, fastbp.Sigmoid, fastbp.SiLU,
               fastbp.LeakyReLU, fastbp.Softplus)


def width(rng: np.random.Generator) -> int:
    return int(rng.integers(1, rng.choice([5, 40, 130])))


def layers(rng: np.random.Generator, inputs: int, outputs: int) -> list:
    """One to three affine layers in either layout with others between them."""
    found, size = [], inputs
    for _ in range(rng.integers(0, 3)):
        more = width(rng)
        found.append(fastbp.Affine(size, more, layout=str(rng.choice(["column", "row"])),
                                   bias=bool(rng.integers(2))))
        size = more
        extra = [lambda n: fastbp.BatchNorm(n), lambda n: fastbp.LayerNorm(n),
                 lambda n: fastbp.Dropout(0.3), lambda n: fastbp.Identity()]
        for make in rng.permutation(np.array(extra, object))[: rng.integers(0, 3)]:
            found.append(make(size))
        found.append(ACTIVATIONS[rng.integers(len(ACTIVATIONS))]())
    return [*found, fastbp.Affine(size, outputs)]


def optimizer(rng: np.random.Generator) -> optim.Optimizer:
    return (fastbp.SGD(0.01), fastbp.SGD(0.01, momentum=0.9), fastbp.Adam(1e-3),
            fastbp.AdamW(1e-3), fastbp.RMSprop(1e-3), fastbp.AdaGrad(0.01))[rng.integers(6)]


def trained(seed: int, threads: int) -> tuple[bytes, int]:
    """(every bit of the network after two epochs and of its predictions, how many numbers)."""
    rng = np.random.Generator(np.random.PCG64(seed))
    dtype = ("float32", "float64")[rng.integers(2)]
    inputs, outputs, rows = width(rng), width(rng), int(rng.integers(1, 120))
    loss = str(rng.choice(LOSSES))
    x = rng.standard_normal((rows, inputs)).astype(dtype)
    y = (rng.integers(0, outputs, rows) if loss in ("softmax_cross_entropy", "hinge")
         else rng.random((rows, outputs)).astype(dtype))
    net = fastbp.Sequential(layers(rng, inputs, outputs), seed=seed, dtype=dtype)
    clip = float(rng.uniform(0.1, 3)) if rng.random() < 0.3 else None
    with fastbp.threads(threads, oversubscribe=True):
        trainer = fastbp.Trainer(net, loss=loss, optimizer=optimizer(rng), clip_norm=clip,
                                 seed=seed)
        with contextlib.suppress(NonFiniteError):  # some diverge: they stop at the same step
            trainer.fit(x, y, epochs=2, batch_size=int(rng.integers(1, 50)))
        predictions = net.predict(x)
    values = b"".join(v.tobytes() for v in net.state_dict().values())
    return values + predictions.tobytes(), predictions.size


def case(seed: int) -> int:
    """One network; how many numbers it predicted."""
    expected, count = trained(seed, 1)
    rng = np.random.Generator(np.random.PCG64(seed + 2**40))
    forget()
    with fenced(right=bool(rng.integers(2))):
        found, _ = trained(seed, int(rng.integers(1, 4)))
    assert found == expected
    forget()
    return count


if __name__ == "__main__":
    _pool.MOST_THREADS = 3  # each has 640 KB of scratch memory, which is poisoned for each case
    planner.allocate = training_plan.allocate = undefined  # plans must not rely on zeros
    main(case)
