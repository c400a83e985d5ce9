"""A random network, trained between guard pages and on ordinary memory: the same bits.

Half of them begin with layers for images; some are graphs with values that are used twice, some
have a layer in Python, some read sparse rows or weigh their samples. All memory of the network, its
plans and programs lies between guard pages; what is not zeroed on purpose is NaN, the padding of
its matrices too.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable
from typing import Any
from unittest import mock

import numpy as np
from cases import main
from fuzz_operations import forget
from guard_pages import fenced
from image_stacks import image_layers, image_shape
from scipy import sparse

import fastbp
from fastbp import _pool, fitting, optim, planner, training_plan
from fastbp._arena import padded
from fastbp._errors import NonFiniteError
from fastbp.sections import affine_chain

LOSSES = ("softmax_cross_entropy", "mean_squared_error", "hinge", "sigmoid_cross_entropy", "huber",
          "mean_absolute_error", "poisson_deviance", "pinball")
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
    return [*found, fastbp.Affine(size, outputs, bias=rng.random() < 0.8)]


def optimizer(rng: np.random.Generator) -> optim.Optimizer:
    return (fastbp.SGD(0.01), fastbp.SGD(0.01, momentum=0.9), fastbp.Adam(1e-3),
            fastbp.AdamW(1e-3), fastbp.RMSprop(1e-3), fastbp.AdaGrad(0.01))[rng.integers(6)]


class Halved:
    """A user's layer: the program of a step is cut in two by it."""

    def forward(self, x: np.ndarray) -> np.ndarray:
        return x / 2

    def backward(self, dy: np.ndarray) -> np.ndarray:
        return dy / 2


def residual(rng: np.random.Generator, found: list, shape: tuple[int, ...], scale: float,
             seed: int, dtype: str) -> fastbp.Graph:
    """The layers one after the other; a value is often added to an earlier one of its shape."""
    graph = fastbp.Graph(seed=seed, dtype=dtype)
    made = [graph.input(shape, scale=scale)]
    for layer in found:
        made.append(layer(made[-1]))
        others = [node for node in made[:-1] if node.shape == made[-1].shape]
        if others and rng.random() < 0.7:
            made.append(made[-1] + others[rng.integers(len(others))])
    graph.output(made[-1])
    return graph


def plain(rng: np.random.Generator, seed: int, dtype: str) -> fastbp.Sequential:
    """What is cut into sections: affine layers in a row, the hidden ones with several lines."""
    sizes = [width(rng), *rng.integers(17, 130, rng.integers(1, 4)).tolist(), width(rng)]
    found: list = []
    for before, size in itertools.pairwise(sizes):
        if found:
            found.append(ACTIVATIONS[rng.integers(len(ACTIVATIONS))]())
        found.append(fastbp.Affine(before, size, layout=str(rng.choice(["column", "row"])),
                                   bias=bool(rng.integers(2))))
    return fastbp.Sequential(found, seed=seed, dtype=dtype)


def network(rng: np.random.Generator, seed: int, dtype: str) -> fastbp.Sequential | fastbp.Graph:
    """A fifth is `plain`; half of the others take images, some of those bytes."""
    if rng.random() < 0.2:
        return plain(rng, seed, dtype)
    images = bool(rng.integers(2))
    shape: tuple[int, ...] = image_shape(rng) if images else (width(rng),)
    scale, found, inputs = 1.0, [], shape
    if images:
        found, inputs = image_layers(rng, shape)
        scale = 1 / 255 if rng.random() < 0.3 else 1.0
    if not images or rng.random() < 0.8:
        found += layers(rng, math.prod(inputs), width(rng))
    elif len(inputs) > 1:
        found.append(fastbp.Flatten())
    if rng.random() < 0.1:
        found.insert(int(rng.integers(1, len(found) + 1)), fastbp.PythonLayer(Halved()))
    if rng.random() < 0.25:
        return residual(rng, found, shape, scale, seed, dtype)
    return fastbp.Sequential(found, input_shape=shape, input_scale=scale, seed=seed, dtype=dtype)


def samples(rng: np.random.Generator, net: fastbp.Sequential | fastbp.Graph, loss: str
            ) -> tuple[Any, np.ndarray]:
    """x and y, at most a hundred and a few."""
    inputs, outputs = net.steps[0].shape, net.steps[-1].size
    rows = int(rng.integers(1, 120 if len(inputs) == 1 else 30))
    x: Any = rng.standard_normal((rows, *inputs)).astype(net.dtype)
    if net.steps[0].scale != 1:
        x = rng.integers(0, 256, x.shape, np.uint8)
    first = [step.layer for step in net.steps if 0 in step.inputs]
    if all(isinstance(layer, fastbp.Affine) for layer in first) and rng.random() < 0.2:
        x = sparse.csr_matrix(x * (rng.random(x.shape) < 0.3))
    if loss in ("softmax_cross_entropy", "hinge"):
        return x, rng.integers(0, outputs, rows)
    return x, rng.random((rows, outputs)).astype(net.dtype)


def divided(rng: np.random.Generator) -> Callable[[planner.Plan], int]:
    """Into how many strands a batch goes where it can be divided: often more than one."""
    wanted = int(rng.choice([1, 2, 3, 7]))

    def count(plan: planner.Plan) -> int:
        steps = plan.network.steps
        if (any(plan.sparse) or not plan.network.layout.size
                or not all(s.layer is None or s.layer.row_local for s in steps)):
            return 1
        return -(-plan.rows // -(-plan.rows // wanted))

    return count


def cut(rng: np.random.Generator) -> Callable[[planner.Plan], int]:
    """Into how many sections a step goes where it can be cut: often more than one."""
    wanted = int(rng.integers(1, 5))

    def count(plan: planner.Plan) -> int:
        hidden = affine_chain(plan)[:-1]
        if not hidden or plan.update is None or not plan.updates_weights():
            return 1
        line = padded(1, plan.dtype)
        return min(wanted, *(padded(plan.network.steps[node].size, plan.dtype) // line
                             for node in hidden))

    return count


def trained(seed: int, threads: int) -> tuple[bytes, int]:
    """(every bit of the network after two epochs and of its predictions, how many numbers)."""
    rng = np.random.Generator(np.random.PCG64(seed))
    net = network(rng, seed, str(rng.choice(["float32", "float64"])))
    loss = str(rng.choice(LOSSES))
    x, y = samples(rng, net, loss)
    clip = float(rng.uniform(0.1, 3)) if rng.random() < 0.3 else None
    weight = rng.random(len(y)) if rng.random() < 0.15 else None
    chosen = mock.patch.object(training_plan, "strand_count", divided(rng))
    cuts = mock.patch.object(training_plan, "section_count", cut(rng))
    runs = mock.patch.object(fitting, "is_long_run", return_value=True)
    shared = mock.patch.object(_pool, "PAUSE_SECONDS", math.inf)
    with chosen, cuts, runs, shared, fastbp.threads(threads, oversubscribe=True):
        trainer = fastbp.Trainer(net, loss=loss, optimizer=optimizer(rng), clip_norm=clip,
                                 seed=seed)
        with contextlib.suppress(NonFiniteError):  # some diverge: they stop at the same step
            trainer.fit(x, y, epochs=2, batch_size=int(rng.integers(1, 50)), sample_weight=weight)
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
    main(case)
