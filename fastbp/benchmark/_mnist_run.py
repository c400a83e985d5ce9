"""One training on MNIST in a process of its own: `python -P _mnist_run.py` and a request as JSON.

The request on standard input: peer, folder, seed, threads, recipe (`mnist.RECIPE` as a dictionary).
The answer, the last line of standard output: {"seconds", "accuracy", "epochs"}.

Nothing but the standard library and NumPy is imported before the contestant's own package, and
nothing of fastbp in a peer's process, so a process takes the time that a user's script would.
The clock runs from the first shuffling to the last step. Off the clock: imports, files, initial
weights, what is compiled (a full and a last batch on weights that are thrown away), the final test.
"""

from __future__ import annotations

import gzip
import io
import itertools
import json
import math
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Data = tuple[Array, Array, Array, Array]
Recipe = dict[str, Any]

FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte",
         "t10k-labels-idx1-ubyte")  # fmt: skip
_IMAGES_BEGIN, _LABELS_BEGIN = 16, 8
"""Bytes of an IDX file before its numbers."""


def read_data(folder: Path) -> Data:
    """Training images (N, 784) in [0, 1] and labels, test images and labels."""
    found = []
    for name in FILES:
        plain, packed = folder / name, folder / f"{name}.gz"
        with plain.open("rb") if plain.is_file() else gzip.open(packed) as file:
            if "images" in name:
                found.append(_read_images(file))
            else:
                labels = np.frombuffer(file.read(), np.uint8, offset=_LABELS_BEGIN)
                found.append(labels.astype(np.int64))
    return found[0], found[1], found[2], found[3]


def _read_images(file: io.BufferedIOBase) -> Array:
    """Block by block, so that no time goes into memory for all bytes."""
    count = int.from_bytes(file.read(_IMAGES_BEGIN)[4:8], "big")
    images, block, end = np.empty((count, 784), np.float32), np.empty(1 << 18, np.uint8), 0
    while size := file.readinto(block.data):
        np.multiply(block[:size], np.float32(1 / 255), out=images.reshape(-1)[end : end + size])
        end += size
    return images


def learning_rates(recipe: Recipe, steps: int) -> Array:
    """The rate of each step: half a cosine up to the peak, another down (schedules.OneCycle)."""
    step, peak = np.arange(steps), round(recipe["warmup"] * steps)

    def fall(begin: int, end: int, high: float, low: float) -> Array:
        part = np.clip((step - begin) / max(end - begin, 1), 0.0, 1.0)
        return low + (high - low) * (1 + np.cos(math.pi * part)) / 2

    up = fall(0, peak, recipe["start_factor"], 1.0)
    factors = np.where(step < peak, up, fall(peak, steps, 1.0, recipe["final_factor"]))
    return np.asarray(recipe["lr"] * factors)


def initial_weights(recipe: Recipe, seed: int) -> list[Array]:
    """He's normal weights (in, out) of hidden layers, Glorot's uniform ones of the last."""
    rng, widths = np.random.default_rng(seed), recipe["widths"]
    found = []
    for number, (fan_in, fan_out) in enumerate(itertools.pairwise(widths)):
        if number == len(widths) - 2:
            limit = math.sqrt(6 / (fan_in + fan_out))
            w = rng.uniform(-limit, limit, (fan_in, fan_out))
        else:
            w = math.sqrt(2 / fan_in) * rng.standard_normal((fan_in, fan_out))
        found.append(w.astype(np.float32))
    return found


def _steps(count: int, recipe: Recipe) -> int:
    return int(recipe["epochs"] * math.ceil(count / recipe["batch_size"]))


def _accuracy(scores: Array, labels: Array) -> float:
    return float((np.asarray(scores).argmax(axis=1) == labels).mean())


def _with_fastbp(recipe: Recipe, data: Data, seed: int, threads: int) -> tuple[float, float, int]:
    import fastbp

    x, y, x_test, y_test = data
    classes = recipe["widths"][-1]

    def trainer() -> fastbp.Trainer:
        layers: list[Any] = []
        for w in (weights := initial_weights(recipe, seed)):
            layers += [fastbp.Affine(*w.shape), fastbp.ReLU()]
        network = fastbp.Sequential(layers[:-1], seed=seed)
        for number, w in enumerate(weights):
            network.parameters[f"{2 * number}.w"][...] = w
        rule = fastbp.Adam(recipe["lr"], beta1=recipe["beta1"], beta2=recipe["beta2"],
                           eps=recipe["eps"])  # fmt: skip
        cycle = fastbp.schedules.OneCycle(recipe["warmup"], recipe["start_factor"],
                                          recipe["final_factor"])  # fmt: skip
        return fastbp.Trainer(network, optimizer=rule, schedule=cycle, seed=seed)

    def fit(made: fastbp.Trainer, rows: int, epochs: int) -> None:
        targets = fastbp.losses.smooth_labels(y[:rows], classes, recipe["label_smoothing"])
        made.fit(x[:rows], targets, epochs=epochs, batch_size=recipe["batch_size"])

    fit(trainer(), recipe["batch_size"] + len(x) % recipe["batch_size"], 1)
    made = trainer()
    begin = time.perf_counter()
    fit(made, len(x), recipe["epochs"])
    seconds = time.perf_counter() - begin
    return seconds, made.evaluate(x_test, y_test)["accuracy"], recipe["epochs"]


def _with_torch(recipe: Recipe, data: Data, seed: int, threads: int) -> tuple[float, float, int]:
    import torch  # type: ignore[import-not-found,unused-ignore]

    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    x, y, x_test, y_test = map(torch.from_numpy, data)
    criterion = torch.nn.CrossEntropyLoss(label_smoothing=recipe["label_smoothing"])

    def model() -> Any:
        layers: list[Any] = []
        for w in initial_weights(recipe, seed):
            linear = torch.nn.Linear(*w.shape)
            with torch.no_grad():
                linear.weight.copy_(torch.from_numpy(w).T)
                linear.bias.zero_()
            layers += [linear, torch.nn.ReLU()]
        return torch.nn.Sequential(*layers[:-1])

    def fit(made: Any, rows: int, epochs: int) -> None:
        rule = torch.optim.Adam(made.parameters(), lr=recipe["lr"], eps=recipe["eps"],
                                betas=(recipe["beta1"], recipe["beta2"]), fused=True)  # fmt: skip
        rates = iter(learning_rates(recipe, _steps(rows, {**recipe, "epochs": epochs})))
        for _ in range(epochs):
            for index in torch.randperm(rows).split(recipe["batch_size"]):
                rule.param_groups[0]["lr"] = float(next(rates))
                rule.zero_grad(set_to_none=True)
                criterion(made(x[index]), y[index]).backward()
                rule.step()

    fit(model(), recipe["batch_size"] + len(x) % recipe["batch_size"], 1)
    made = model()
    begin = time.perf_counter()
    fit(made, len(x), recipe["epochs"])
    seconds = time.perf_counter() - begin
    with torch.no_grad():
        return seconds, _accuracy(made(x_test).numpy(), y_test.numpy()), recipe["epochs"]


def _with_jax(recipe: Recipe, data: Data, seed: int, threads: int) -> tuple[float, float, int]:
    import jax  # type: ignore[import-not-found,unused-ignore]
    import jax.numpy as jnp  # type: ignore[import-not-found,unused-ignore]

    x, y, x_test, y_test = map(jnp.asarray, data)
    classes, smoothing = recipe["widths"][-1], recipe["label_smoothing"]
    beta1, beta2 = recipe["beta1"], recipe["beta2"]

    def logits(parameters: Any, x: Any) -> Any:
        for w, b in parameters[:-1]:
            x = jax.nn.relu(x @ w + b)
        return x @ parameters[-1][0] + parameters[-1][1]

    def loss(parameters: Any, x: Any, y: Any) -> Any:
        target = jax.nn.one_hot(y, classes) * (1 - smoothing) + smoothing / classes
        return -(target * jax.nn.log_softmax(logits(parameters, x))).sum(axis=1).mean()

    def step(state: Any, x: Any, y: Any, index: Any, lr: Any) -> Any:
        parameters, m, v, count = state
        gradients, tree = jax.grad(loss)(parameters, x[index], y[index]), jax.tree.map
        count = count + 1
        m = tree(lambda m, g: beta1 * m + (1 - beta1) * g, m, gradients)
        v = tree(lambda v, g: beta2 * v + (1 - beta2) * g * g, v, gradients)
        rate, scale = lr / (1 - beta1**count), 1 / (1 - beta2**count)
        parameters = tree(lambda w, m, v: w - rate * m / (jnp.sqrt(scale * v) + recipe["eps"]),
                          parameters, m, v)  # fmt: skip
        return parameters, m, v, count

    compiled = jax.jit(step, donate_argnums=0)

    def fresh() -> Any:
        parameters = [(jnp.array(w), jnp.zeros(w.shape[1])) for w in initial_weights(recipe, seed)]
        slots = [jax.tree.map(jnp.zeros_like, parameters) for _ in range(2)]
        return jax.block_until_ready((parameters, *slots, jnp.zeros(())))

    def fit(state: Any, rows: int, epochs: int) -> Any:
        rng, size = np.random.default_rng(seed), recipe["batch_size"]
        rates = iter(learning_rates(recipe, _steps(rows, {**recipe, "epochs": epochs})))
        for _ in range(epochs):
            order = rng.permutation(rows).astype(np.int32)
            for begin in range(0, rows, size):
                index = order[begin : begin + size]
                state = compiled(state, x, y, index, np.float32(next(rates)))
        return jax.block_until_ready(state)

    fit(fresh(), recipe["batch_size"] + len(x) % recipe["batch_size"], 1)
    state = fresh()
    begin = time.perf_counter()
    state = fit(state, len(x), recipe["epochs"])
    seconds = time.perf_counter() - begin
    found = np.asarray(logits(state[0], x_test))
    return seconds, _accuracy(found, np.asarray(y_test)), recipe["epochs"]


def _with_sklearn(recipe: Recipe, data: Data, seed: int, threads: int) -> tuple[float, float, int]:
    """Adam, begun anew with a smaller rate in every epoch, until the accuracy is reached.

    `MLPClassifier` has neither smoothing nor a rate for each step. The tests between the epochs are
    off the clock.
    """
    import warnings

    from sklearn.neural_network import MLPClassifier  # type: ignore[import-not-found,unused-ignore]

    # That one epoch does not converge is no news.
    warnings.filterwarnings("ignore", category=UserWarning, module="sklearn")
    x, y, x_test, y_test = data
    settings = recipe["sklearn"]
    model = MLPClassifier(tuple(recipe["widths"][1:-1]), solver="adam", alpha=0.0, warm_start=True,
                          max_iter=1, batch_size=settings["batch_size"],
                          random_state=seed)  # fmt: skip
    seconds, accuracy, epoch = 0.0, 0.0, 0
    while accuracy < recipe["accuracy"] and epoch < len(settings["rates"]):
        model.set_params(learning_rate_init=settings["rates"][epoch])
        begin = time.perf_counter()
        model.fit(x, y)
        seconds += time.perf_counter() - begin
        accuracy, epoch = _accuracy(model.predict_proba(x_test), y_test), epoch + 1
    return seconds, accuracy, epoch


RUNNERS: dict[str, Callable[[Recipe, Data, int, int], tuple[float, float, int]]] = {
    "fastbp": _with_fastbp,
    "torch": _with_torch,
    "jax": _with_jax,
    "sklearn": _with_sklearn,
}


def main() -> None:
    """Train as the request says and answer."""
    request = json.load(sys.stdin)
    threads = request["threads"]
    if hasattr(os, "sched_setaffinity"):
        # XLA makes its threads by the number of CPUs it may use.
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    data = read_data(Path(request["folder"]))
    run = RUNNERS[request["peer"]]
    seconds, accuracy, epochs = run(request["recipe"], data, request["seed"], threads)
    answer = {"seconds": seconds, "accuracy": accuracy, "epochs": epochs}
    sys.stdout.write(f"\n{json.dumps(answer)}\n")


if __name__ == "__main__":
    main()
