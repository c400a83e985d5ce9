"""What follows from a network's graph alone, whatever the batch: who uses which value.

Worked out once for all plans of a batch that is divided (strands.py).
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from fastbp.layers.activations import Activation
from fastbp.network import Network


class Wiring:
    """Facts about a network's values, each by the number of the step that makes it.

    Attributes: uses (how often a value is read; an output counts as read), fused (affine or
    convolution step: the activation step that alone reads it), alias (the same the other way
    round), trains (whether a parameter lies before a value).
    """

    def __init__(self, network: Network) -> None:
        self.uses = Counter([i for step in network.steps for i in step.inputs]
                            + network.output_steps)
        self.fused = self._fused(network)
        self.alias = {activation: affine for affine, activation in self.fused.items()}
        self.trains: list[bool] = []
        for step in network.steps:
            own = step.layer is not None and bool(step.layer.parameter_list())
            self.trains.append(own or any(self.trains[i] for i in step.inputs))

    def _fused(self, network: Network) -> dict[int, int]:
        found = {}
        for node, step in enumerate(network.steps):
            if isinstance(step.layer, Activation):
                source = step.inputs[0]
                layer: Any = network.steps[source].layer
                if (layer is not None and layer.fuses_activation and layer.activation == "identity"
                        and self.uses[source] == 1):
                    found[source] = node
        return found
