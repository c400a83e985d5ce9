"""What `fastbp.compat.cs231n` is timed against: each function beside plain NumPy, at usual sizes.

ROWS: (name, make_inputs, numpy_function, fastbp_function); both functions take what make_inputs()
returns. Arrays are float64, as in the course's notebooks, unless the name says otherwise. Caches
are the business of each side: functions return what is comparable.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from fastbp.benchmark._peers import _compat_cs231n as theirs
from fastbp.benchmark._peers import _compat_cs231n_training as their_training
from fastbp.compat.cs231n import fast_layers, layer_utils, layers, optim
from fastbp.compat.cs231n.classifiers.cnn import ThreeLayerConvNet
from fastbp.compat.cs231n.classifiers.fc_net import FullyConnectedNet
from fastbp.compat.cs231n.classifiers.softmax import softmax_loss_vectorized
from fastbp.compat.cs231n.solver import Solver

Array = np.ndarray
Inputs = Callable[[], tuple[Any, ...]]
Row = tuple[str, Inputs, Callable[..., Any], Callable[..., Any]]

CONV = {"stride": 1, "pad": 3}
POOL = {"pool_height": 2, "pool_width": 2, "stride": 2}


def _draw(*shape: int, dtype: Any = np.float64) -> Array:
    values: Array = np.random.default_rng(0).standard_normal(shape)
    return values.astype(dtype)


def _both_ways(name: str, arrays: Callable[[], tuple[Any, ...]], numpy_pair: tuple[Any, Any],
               fastbp_pair: tuple[Any, Any]) -> Iterator[Row]:
    """A row for the forward function, one for the backward function with its own caches."""
    def caches() -> tuple[Any, ...]:
        found = []
        for forward, _ in (numpy_pair, fastbp_pair):
            np.random.seed(0)  # noqa: NPY002 - the same masks for both
            found.append(forward(*arrays()))
        out = found[0][0]
        # Other numbers than x: the gradient of a norm by a multiple of its input is 0.
        dout = np.random.default_rng(1).standard_normal(out.shape).astype(out.dtype)
        return dout, found[0][1], found[1][1]

    yield _first(f"{name} forward", arrays, numpy_pair[0], fastbp_pair[0])
    yield (f"{name} backward", caches, lambda dout, cache, _: numpy_pair[1](dout, cache),
           lambda dout, _, cache: fastbp_pair[1](dout, cache))


def _first(name: str, inputs: Inputs, numpy_function: Callable[..., Any],
           fastbp_function: Callable[..., Any]) -> Row:
    """A row of which only the first part of the results is compared."""
    return (name, inputs, lambda *arguments: numpy_function(*arguments)[0],
            lambda *arguments: fastbp_function(*arguments)[0])


def _pair(module: Any, name: str) -> tuple[Any, Any]:
    return getattr(module, f"{name}_forward"), getattr(module, f"{name}_backward")


def _same(name: str, label: str, arrays: Callable[[], tuple[Any, ...]], module: Any = layers
          ) -> Iterator[Row]:
    return _both_ways(label, arrays, _pair(theirs, name), _pair(module, name))


def _affine_rows() -> Iterator[Row]:
    for n, d, m in ((2, 15, 20), (100, 500, 100), (100, 3072, 100)):
        for dtype in (np.float64, np.float32):
            def arrays(n: int = n, d: int = d, m: int = m, dtype: Any = dtype) -> tuple[Any, ...]:
                return tuple(_draw(*shape, dtype=dtype) for shape in ((n, d), (d, m), (m,)))

            size = f"{n}x{d}x{m}{' float32' if dtype is np.float32 else ''}"
            yield from _same("affine", f"affine {size}", arrays)
            yield from _same("affine_relu", f"affine_relu {size}", arrays, layer_utils)


def _vector_rows() -> Iterator[Row]:
    for n, d in ((4, 5), (100, 100), (256, 512)):
        size = f"{n}x{d}"
        x, gamma, beta = _draw(n, d), np.ones(d), np.zeros(d)
        train, keep_half = {"mode": "train"}, {"mode": "train", "p": 0.5}
        test = {"mode": "test", "running_mean": beta, "running_var": gamma}
        yield from _same("batchnorm", f"batchnorm {size}", _always(x, gamma, beta, train))
        yield _first(f"batchnorm {size} in test mode", _always(x, gamma, beta, test),
                     theirs.batchnorm_forward, layers.batchnorm_forward)
        yield from _same("layernorm", f"layernorm {size}", _always(x, gamma, beta, {}))
        yield from _same("relu", f"relu {size}", _always(x))
        yield from _same("dropout", f"dropout {size}", _always(x, keep_half))
    for n, c in ((3, 4), (100, 10), (200, 100)):
        for name in ("softmax_loss", "svm_loss"):
            yield (f"{name} {n}x{c}", _always(_draw(n, c), np.arange(n) % c),
                   getattr(theirs, name), getattr(layers, name))


def _always(*arguments: Any) -> Inputs:
    return lambda: arguments


def _image_rows() -> Iterator[Row]:
    for dtype in (np.float64, np.float32):
        kind = " float32" if dtype is np.float32 else ""

        def filtered(dtype: Any = dtype) -> tuple[Any, ...]:
            return (_draw(50, 3, 32, 32, dtype=dtype), _draw(32, 3, 7, 7, dtype=dtype),
                    np.zeros(32, dtype), CONV)

        def images(dtype: Any = dtype) -> tuple[Any, ...]:
            return _draw(50, 32, 32, 32, dtype=dtype), POOL

        def normed(dtype: Any = dtype) -> tuple[Any, ...]:
            return (_draw(50, 32, 16, 16, dtype=dtype), np.ones(32, dtype), np.zeros(32, dtype),
                    {"mode": "train"})

        def grouped(dtype: Any = dtype) -> tuple[Any, ...]:
            gamma = np.ones((1, 32, 1, 1), dtype)
            return _draw(50, 32, 16, 16, dtype=dtype), gamma, 0 * gamma, 4, {}

        for way in ("fast", "strides", "im2col"):
            pair = tuple(getattr(fast_layers, f"conv_{side}_{way}")
                         for side in ("forward", "backward"))
            yield from _both_ways(f"conv {way} 50x3x32x32, 32 filters 7x7{kind}", filtered,
                                  _pair(theirs, "conv"), (pair[0], pair[1]))
        for name in ("fast", "im2col"):
            pair = tuple(getattr(fast_layers, f"max_pool_{side}_{name}")
                         for side in ("forward", "backward"))
            yield from _both_ways(f"max_pool {name} 50x32x32x32{kind}", images,
                                  _pair(theirs, "max_pool"), (pair[0], pair[1]))
        yield from _same("spatial_batchnorm", f"spatial_batchnorm 50x32x16x16{kind}", normed)
        yield from _same("spatial_groupnorm", f"spatial_groupnorm 50x32x16x16{kind}", grouped)


def _rule_rows() -> Iterator[Row]:
    for size in (20, 10_000, 307_200):
        for name in their_training.RULES:
            yield _rule_row(name, size)


def _rule_row(name: str, size: int) -> Row:
    numpy_rule, fastbp_rule = their_training.RULES[name], getattr(optim, name)

    def state() -> tuple[Any, ...]:
        # A step so small that w stays what it was.
        return _draw(size), _draw(size), {"learning_rate": 1e-9}, {"learning_rate": 1e-9}

    return _first(f"{name} {size}", state, lambda w, dw, config, _: numpy_rule(w, dw, config),
                  lambda w, dw, _, config: fastbp_rule(w, dw, config))


def _linear_row() -> Row:
    x, w, y = _draw(200, 3073), 0.001 * _draw(3073, 10), np.arange(200) % 10

    def plain(w: Array, x: Array, y: Array, reg: float) -> tuple[Any, Array]:
        loss, dscores = theirs.softmax_loss(x.dot(w), y)
        return loss + reg * np.sum(w * w), x.T.dot(dscores) + 2 * reg * w

    return ("softmax_loss_vectorized 200x3073x10", _always(w, x, y, 0.1), plain,
            softmax_loss_vectorized)


def _step_rows() -> Iterator[Row]:
    """A step of Solver: a batch of 100 (images: 50), a model, an update of every parameter."""
    def solvers(numpy_net: Any, fastbp_net: Any, batch: int, kind: Any, *args: Any,
                **settings: Any) -> Inputs:
        def make() -> tuple[Any, ...]:
            data = {"X_train": _draw(500, 3, 32, 32, dtype=kind), "y_train": np.arange(500) % 10,
                    "X_val": _draw(10, 3, 32, 32, dtype=kind), "y_val": np.arange(10)}
            found = []
            for solver, net in ((their_training.Solver, numpy_net), (Solver, fastbp_net)):
                np.random.seed(0)  # noqa: NPY002 - the same weights for both
                found.append(solver(net(*args, **settings), data, update_rule="adam",
                                    optim_config={"learning_rate": 1e-4}, batch_size=batch,
                                    verbose=False))
            return tuple(found)

        return make

    def flat(**settings: Any) -> Inputs:
        return solvers(their_training.FullyConnectedNet, FullyConnectedNet, 100, np.float64,
                       [100, 100], **settings)

    def images(dtype: Any) -> Inputs:
        return solvers(their_training.ThreeLayerConvNet, ThreeLayerConvNet, 50, dtype, dtype=dtype)

    for name, make in (
        ("FullyConnectedNet [100, 100] float32", flat()),
        ("FullyConnectedNet [100, 100]", flat(dtype=np.float64)),
        ("FullyConnectedNet [100, 100] float32 with batchnorm and dropout",
         flat(normalization="batchnorm", dropout_keep_ratio=0.5)),
        ("ThreeLayerConvNet float32", images(np.float32)),
        ("ThreeLayerConvNet", images(np.float64)),
    ):
        yield (f"Solver step, {name}", make, lambda numpy_solver, _: _stepped(numpy_solver),
               lambda _, solver: _stepped(solver))


def _stepped(solver: Any) -> list[Any]:
    """The loss and the weights after one more step.

    Without the biases: in front of a norm their gradient is noise, whose sign is Adam's first step.
    """
    solver._step()
    params = solver.model.params
    return [solver.loss_history[-1], *(params[name] for name in sorted(params) if name[0] == "W")]


ROWS: list[Row] = [*_affine_rows(), *_vector_rows(), _linear_row(), *_image_rows(), *_rule_rows(),
                   *_step_rows()]
