"""From options to a network and its trainer."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from typing import Any

import fastbp
from fastbp import optim, schedules
from fastbp.data import Preparation

ACTIVATIONS = {
    "relu": "ReLU", "leaky_relu": "LeakyReLU", "sigmoid": "Sigmoid", "tanh": "Tanh",
    "gelu": "GELU", "softplus": "Softplus", "silu": "SiLU", "identity": "",
}
"""Name on the command line to the layer's class in `fastbp`; "": no layer at all."""

OPTIMIZERS = ("adam", "adamw", "sgd", "momentum", "nesterov", "rmsprop", "adagrad")
SCHEDULES = ("onecycle", "constant", "step", "cosine", "plateau")
LOSSES = ("mean_squared_error", "mean_absolute_error", "huber")

WITH_BETAS = ("adam", "adamw")
PEAK_RATE = 2e-3
"""Of Adam under the one-cycle schedule: more than a rate that stays could be."""

ONE_CYCLE_WARMUP = 0.2
"""The part of the training in which the one-cycle schedule rises (docs/design/005)."""

_SATURATING = ("sigmoid", "tanh", "identity")


def build_network(options: Namespace, preparation: Preparation) -> Any:
    """The `Sequential` that the options describe: hidden blocks, then an affine output layer."""
    init = "glorot_uniform" if options.activation in _SATURATING else "he_normal"
    layers: list[Any] = []
    width = preparation.width
    for hidden in options.hidden:
        layers += _block(options, width, hidden, init)
        width = hidden
    layers.append(fastbp.Affine(width, preparation.outputs, layout=options.layout,
                                init="glorot_uniform"))
    return fastbp.Sequential(layers, dtype=options.dtype, seed=options.seed)


def _block(options: Namespace, width: int, hidden: int, init: str) -> Sequence[Any]:
    layers: list[Any] = [fastbp.Affine(width, hidden, layout=options.layout, init=init)]
    if options.batchnorm:
        layers.append(fastbp.BatchNorm(hidden))
    if ACTIVATIONS[options.activation]:
        layers.append(getattr(fastbp, ACTIVATIONS[options.activation])())
    if options.dropout:
        layers.append(fastbp.Dropout(options.dropout))
    return layers


def build_trainer(options: Namespace, network: Any) -> Any:
    """The `Trainer` that the options describe."""
    return fastbp.Trainer(network, loss=options.loss, optimizer=_optimizer(options),
                          schedule=_schedule(options), clip_norm=options.clip_norm,
                          seed=options.seed)


def _optimizer(options: Namespace) -> Any:
    settings = {}
    if options.weight_decay is not None:
        settings["weight_decay"] = options.weight_decay
    if options.betas is not None:
        settings["beta1"], settings["beta2"] = options.betas
    return optim.from_name(options.optimizer, options.lr, **settings)


def _schedule(options: Namespace) -> Any:
    settings = {
        "onecycle": {"warmup": _one_cycle_warmup(options)},
        "constant": {},
        "step": {"every_epochs": options.step_every, "factor": options.factor},
        "cosine": {"warmup_epochs": options.warmup_epochs or 0.0},
        "plateau": {"patience": options.patience, "factor": options.factor},
    }[options.schedule]
    return schedules.from_name(options.schedule, **settings)


def _one_cycle_warmup(options: Namespace) -> float:
    if options.warmup_epochs is None:
        return ONE_CYCLE_WARMUP
    return float(options.warmup_epochs / options.epochs)
