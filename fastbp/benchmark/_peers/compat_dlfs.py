"""Rows of `compat`: the classes and functions of the book at the sizes of its chapters.

Chapter 5: a batch of 100 digits (784) and 50 hidden units; chapter 7: 30 filters of 5x5 on 28x28
points, windows of 2x2. Weights are float64, images float32, as in the book.
"""

# ruff: noqa: NPY002

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastbp.benchmark._peers import _numpy_dlfs as plain
from fastbp.benchmark._peers import _numpy_dlfs_training as plain_training
from fastbp.benchmark._peers._compat import Twins
from fastbp.compat.dlfs import functions, layers, multi_layer_net_extend, optimizer, util

_BATCH, _PIXELS, _HIDDEN, _CLASSES = 100, 784, 50, 10

Work = Callable[..., Any]


def _normal(*shape: int) -> np.ndarray:
    return np.random.randn(*shape)


def _images() -> np.ndarray:
    return np.random.rand(_BATCH, _PIXELS).astype(np.float32)


def _labels() -> np.ndarray:
    return np.random.randint(0, _CLASSES, _BATCH)


def _both(name: str, make_inputs: Work, work: Callable[[Any], Work], mine: Any, theirs: Any
          ) -> Twins:
    """A row of one piece of code over two implementations."""
    return Twins(name, make_inputs, work(theirs), work(mine))


def _affine(module: Any) -> Work:
    def run(x: Any, w: Any, b: Any, dout: Any) -> Any:
        layer = module.Affine(w, b)
        return layer.forward(x), layer.backward(dout), layer.dW, layer.db

    return run


def _affine_inputs(x: Work, fan_in: int, fan_out: int) -> Work:
    return lambda: (x(), _normal(fan_in, fan_out), _normal(fan_out), _normal(_BATCH, fan_out))


def _layer(name: str, *arguments: Any) -> Callable[[Any], Work]:
    """Forward and backward; backward gets a fresh gradient, which Relu writes into."""

    def of(module: Any) -> Work:
        def run(x: Any, dout: Any) -> Any:
            layer = getattr(module, name)(*arguments)
            return layer.forward(x), layer.backward(dout.copy())

        return run

    return of


def _batchnorm(module: Any) -> Work:
    def run(x: Any, dout: Any, gamma: Any, beta: Any) -> Any:
        layer = module.BatchNormalization(gamma, beta)
        return (layer.forward(x), layer.backward(dout), layer.dgamma, layer.dbeta,
                layer.running_mean, layer.running_var)  # fmt: skip

    return run


def _loss(module: Any) -> Work:
    def run(x: Any, t: Any) -> Any:
        layer = module.SoftmaxWithLoss()
        return layer.forward(x, t), layer.backward()

    return run


def _function(name: str) -> Callable[[Any], Work]:
    return lambda module: getattr(module, name)


def _pairs(rows: int, columns: int) -> Work:
    return lambda: (_normal(rows, columns), _normal(rows, columns))


_LAYERS = [
    _both(name, make, work, layers, plain)
    for name, make, work in (
        ("Affine 100x784x50 of float32 images", _affine_inputs(_images, _PIXELS, _HIDDEN), _affine),
        ("Affine 100x50x10", _affine_inputs(lambda: _normal(_BATCH, _HIDDEN), _HIDDEN, _CLASSES),
         _affine),
        ("Affine 100x100x100", _affine_inputs(lambda: _normal(_BATCH, 100), 100, 100), _affine),
        ("Relu 100x50", _pairs(_BATCH, _HIDDEN), _layer("Relu")),
        ("Sigmoid 100x50", _pairs(_BATCH, _HIDDEN), _layer("Sigmoid")),
        ("Dropout 100x100", _pairs(_BATCH, 100), _layer("Dropout", 0.2)),
        ("BatchNormalization 100x100",
         lambda: (_normal(_BATCH, 100), _normal(_BATCH, 100), _normal(100), _normal(100)),
         _batchnorm),
        ("SoftmaxWithLoss 100x10 labels", lambda: (_normal(_BATCH, _CLASSES), _labels()), _loss),
        ("SoftmaxWithLoss 100x10 one-hot",
         lambda: (_normal(_BATCH, _CLASSES), np.eye(_CLASSES)[_labels()]), _loss),
    )
]  # fmt: skip



def _convolution(module: Any) -> Work:
    def run(x: Any, w: Any, b: Any, dout: Any) -> Any:
        layer = module.Convolution(w, b)
        return layer.forward(x), layer.backward(dout), layer.dW, layer.db

    return run


def _digits() -> np.ndarray:
    return _images().reshape(_BATCH, 1, 28, 28)


def _maps() -> np.ndarray:
    return _normal(_BATCH, 30, 24, 24)


def _columns(name: str, module: Any) -> Work:
    function: Work = getattr(module, name.partition(" ")[0])
    return function


_SPATIAL = [
    _both(name, make, work, layers, plain)
    for name, make, work in (
        ("Convolution 100x1x28x28, 30 of 5x5",
         lambda: (_digits(), _normal(30, 1, 5, 5), _normal(30), _maps()), _convolution),
        ("Convolution 100x16x14x14, 32 of 3x3",
         lambda: (_normal(_BATCH, 16, 14, 14), _normal(32, 16, 3, 3), _normal(32),
                  _normal(_BATCH, 32, 12, 12)), _convolution),
        ("Relu 100x30x24x24", lambda: (_maps(), _maps()), _layer("Relu")),
        ("Pooling 2x2 100x30x24x24", lambda: (_maps(), _normal(_BATCH, 30, 12, 12)),
         _layer("Pooling", 2, 2)),
    )
]  # fmt: skip
_COLUMNS = [
    Twins(name, make, *(_columns(name, module) for module in (plain, util)))
    for name, make in (
        ("im2col 100x1x28x28, 5x5", lambda: (_digits(), 5, 5)),
        ("im2col 100x16x14x14, 3x3 pad 1", lambda: (_normal(_BATCH, 16, 14, 14), 3, 3, 1, 1)),
        ("col2im 100x1x28x28, 5x5",
         lambda: (_normal(_BATCH * 576, 25), (_BATCH, 1, 28, 28), 5, 5)),
    )
]  # fmt: skip

_FUNCTIONS = [
    _both(f"{name} {shape}", make, _function(name), functions, plain)
    for name, shape, make in (
        ("sigmoid", "100x50", lambda: (_normal(_BATCH, _HIDDEN),)),
        ("sigmoid_grad", "100x50", lambda: (_normal(_BATCH, _HIDDEN),)),
        ("relu", "100x50", lambda: (_normal(_BATCH, _HIDDEN),)),
        ("relu_grad", "100x50", lambda: (_normal(_BATCH, _HIDDEN),)),
        ("softmax", "100x10", lambda: (_normal(_BATCH, _CLASSES),)),
        ("cross_entropy_error", "100x10",
         lambda: (np.full((_BATCH, _CLASSES), 0.1), _labels())),
    )
]  # fmt: skip


def _parameters() -> tuple[dict[str, Any], dict[str, Any]]:
    """Parameters and gradients of the network of chapter 5."""
    shapes = {"W1": (_PIXELS, _HIDDEN), "b1": (_HIDDEN,), "W2": (_HIDDEN, _CLASSES),
              "b2": (_CLASSES,)}  # fmt: skip
    return ({name: _normal(*shape) for name, shape in shapes.items()},
            {name: 0.01 * _normal(*shape) for name, shape in shapes.items()})


def _updates(name: str) -> Callable[[Any], Work]:
    """Steps of one optimizer object, so that slots are made once."""

    def of(module: Any) -> Work:
        kept: dict[int, Any] = {}

        def run(params: Any, grads: Any) -> None:
            if id(params) not in kept:
                kept.clear()
                kept[id(params)] = getattr(module, name)(), params
            kept[id(params)][0].update(params, grads)

        return run

    return of


_OPTIMIZERS = [
    _both(f"{name} 784-50-10", _parameters, _updates(name), optimizer, plain_training)
    for name in ("SGD", "Momentum", "Nesterov", "AdaGrad", "RMSprop", "Adam")
]


def _network(hidden: list[int], **settings: Any) -> Callable[[Any], Work]:
    """Gradient, update and loss: what the book's Trainer does for a batch."""

    def of(modules: Any) -> Work:
        nets, optimizers = modules
        kept: dict[int, Any] = {}

        def run(x: Any, t: Any) -> Any:
            if id(x) not in kept:
                kept.clear()
                np.random.seed(1)
                kept[id(x)] = (nets.MultiLayerNetExtend(_PIXELS, hidden, _CLASSES, **settings),
                               optimizers.SGD(), x)  # fmt: skip
            net, rule, _ = kept[id(x)]
            rule.update(net.params, net.gradient(x, t))
            return net.loss(x, t)

        return run

    return of


_NETWORKS = [
    _both(name, lambda: (_images(), _labels()), _network(hidden, **settings),
          (multi_layer_net_extend, optimizer), (plain_training, plain_training))
    for name, hidden, settings in (
        ("step 784-50-10", [50], {}),
        ("step 784-100x5-10 BatchNorm", [100] * 5, {"use_batchnorm": True}),
        ("step 784-100x5-10 BatchNorm Dropout decay", [100] * 5,
         {"use_batchnorm": True, "use_dropout": True, "dropout_ration": 0.2,
          "weight_decay_lambda": 0.01}),
    )
]  # fmt: skip



def _simple_conv_net(module: Any) -> Work:
    """A step of chapter 7's network: forward, backward, and the update by hand."""
    kept: dict[int, Any] = {}

    def make() -> tuple[list[Any], Any]:
        np.random.seed(1)
        made = [module.Convolution(0.01 * _normal(30, 1, 5, 5), np.zeros(30)), module.Relu(),
                module.Pooling(2, 2, stride=2),
                module.Affine(0.01 * _normal(4320, 100), np.zeros(100)), module.Relu(),
                module.Affine(0.01 * _normal(100, _CLASSES), np.zeros(_CLASSES))]
        return made, module.SoftmaxWithLoss()

    def run(x: Any, t: Any) -> Any:
        if id(x) not in kept:
            kept.clear()
            kept[id(x)] = *make(), x
        stack, last, _ = kept[id(x)]
        y = x
        for layer in stack:
            y = layer.forward(y)
        loss = last.forward(y, t)
        dout = last.backward()
        for layer in reversed(stack):
            dout = layer.backward(dout)
        for layer in (stack[0], stack[3], stack[5]):
            layer.W -= 0.01 * layer.dW
            layer.b -= 0.01 * layer.db
        return loss, stack[0].dW, stack[3].dW

    return run


_CONVOLUTIONAL = [_both("step SimpleConvNet", lambda: (_digits(), _labels()), _simple_conv_net,
                        layers, plain)]  # fmt: skip

ROWS = [*_LAYERS, *_SPATIAL, *_FUNCTIONS, *_COLUMNS, *_OPTIMIZERS, *_NETWORKS, *_CONVOLUTIONAL]
