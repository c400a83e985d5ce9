"""Where numbers stop being finite: looked for once a loss is NaN or infinite."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastbp._errors import NonFiniteError
from fastbp.samples import Samples, is_finite

if TYPE_CHECKING:
    from fastbp.network import Network
    from fastbp.planner import Plan

_REMEDY = "try a smaller learning rate or clip_norm=1"


def bad_parameter(network: Network, step: int, epoch: int) -> NonFiniteError | None:
    """The error that names the first parameter with a NaN or infinity; None if all are finite."""
    if is_finite(network.values):
        return None
    for name, view in network.parameters.items():
        if not is_finite(view):
            layer = name.partition(".")[0]
            return NonFiniteError(
                f"step {step} of epoch {epoch}: {name}, a parameter of {_called(network, layer)}, "
                f"is not finite", "finite parameters", _REMEDY, step=step, epoch=epoch,
                layer=layer)
    return None


def bad_data(samples: Samples, index: np.ndarray, numbers: np.ndarray, step: int, epoch: int
             ) -> NonFiniteError | None:
    """The error that names the sample of a batch with a NaN or infinity; None if all are finite.

    The batch is samples[index]; numbers: what its samples are called.
    """
    found = samples.not_finite(index)
    if found is None:
        return None
    name, where = numbers[found[0]], found[1]
    return NonFiniteError(f"step {step} of epoch {epoch}: sample {name} of {where} is not "
                          "finite", "finite data", "look for it with np.isfinite(...).all(axis=1)",
                          step=step, epoch=epoch)


def bad_value(plan: Plan, step: int, epoch: int) -> NonFiniteError:
    """The error that names the first layer whose output is not finite in a plan that has run."""
    network, where, layer = plan.network, "the loss", ""
    for node, entry in enumerate(network.steps):
        if entry.layer is not None and plan.has_value(node) and not is_finite(plan.array_of(node)):
            layer = entry.layer.name
            where = f"the output of {_called(network, layer)}"
            break
    return NonFiniteError(f"step {step} of epoch {epoch}: {where} is not finite", "a finite loss",
                          _REMEDY, step=step, epoch=epoch, layer=layer)


def _called(network: Network, name: str) -> str:
    layers = {step.layer.name: step.layer for step in network.steps if step.layer is not None}
    return f"layer {name}, {layers[name]!r}" if name in layers else f"layer {name}"
