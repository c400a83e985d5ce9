"""What every layer is: a description, its arrays, and two ways to run it.

Alone, `forward(x)` and `backward(dy)` compute on NumPy arrays through `fastbp.ops`. In a network a
layer emits instructions instead; its arrays are then views of the network's arena.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from fastbp import initializers
from fastbp._errors import ShapeError

if TYPE_CHECKING:
    from fastbp._program import Operand
    from fastbp.graph import Node
    from fastbp.planner import Plan

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Parameter:
    """Name, shape and initialiser of one trained array; `decays`: weight decay applies to it."""

    name: str
    shape: Shape
    initializer: str | initializers.Initializer
    fan_in: int
    fan_out: int
    decays: bool = False

    def draw(self, rng: np.random.Generator, dtype: Any) -> np.ndarray:
        """Values to start from."""
        function = initializers.get(self.initializer)
        return function(rng, self.shape, self.fan_in, self.fan_out, dtype)


class Layer:
    """Base of all layers. Shapes are those of one sample, without the batch axis."""

    inputs: ClassVar[int] = 1
    # True where a sample is (C, H, W): the size alone does not tell the shape.
    takes_images: ClassVar[bool] = False
    # Python layers run between segments of the compiled program.
    compiled: ClassVar[bool] = True
    # True where a sample's output, and its part of all gradients, depend on that sample alone.
    row_local: ClassVar[bool] = False
    # True where an activation that follows can be the layer's own.
    fuses_activation: ClassVar[bool] = False

    def __init__(self, *, dtype: Any = None, seed: int = 0) -> None:
        self.dtype = np.dtype(dtype or np.float32)
        self.seed = seed
        self.name = ""
        self._parameters: dict[str, np.ndarray] | None = None
        self._buffers: dict[str, np.ndarray] | None = None
        self.gradients: dict[str, np.ndarray] = {}
        self.training = True

    # ---- description ---------------------------------------------------------------------

    def parameter_list(self) -> list[Parameter]:
        """The trained arrays, in the order in which they are drawn."""
        return []

    def buffer_list(self) -> dict[str, tuple[Shape, float]]:
        """Arrays that training updates but no gradient reaches: shape and first value by name."""
        return {}

    def output_shape(self, *shapes: Shape) -> Shape:
        """Shape of a sample's output; ShapeError where the inputs do not fit."""
        return shapes[0]

    def config(self) -> dict[str, Any]:
        """Arguments that build the layer again, as JSON values."""
        return {}

    # ---- arrays ----------------------------------------------------------------------------

    @property
    def parameters(self) -> dict[str, np.ndarray]:
        """The trained arrays by name: live, in a network views of its arena."""
        if self._parameters is None:
            rng = np.random.Generator(np.random.PCG64(self.seed))
            self._parameters = {p.name: p.draw(rng, self.dtype) for p in self.parameter_list()}
        return self._parameters

    @property
    def buffers(self) -> dict[str, np.ndarray]:
        """Running statistics and the like, by name."""
        if self._buffers is None:
            self._buffers = {name: np.full(shape, value, self.dtype)
                             for name, (shape, value) in self.buffer_list().items()}
        return self._buffers

    @property
    def is_initialized(self) -> bool:
        """True once the layer has arrays of its own (a network then keeps their values)."""
        return self._parameters is not None

    def adopt(self, parameters: dict[str, np.ndarray], gradients: dict[str, np.ndarray],
              buffers: dict[str, np.ndarray], dtype: np.dtype, name: str) -> None:
        """Become part of a network: arrays are from now on these views."""
        self._parameters, self.gradients, self._buffers = parameters, gradients, buffers
        self.dtype, self.name = dtype, name

    # ---- two ways to run --------------------------------------------------------------------

    def forward(self, x: np.ndarray) -> np.ndarray:
        """The layer on an array (N, *shape); what backward needs is kept."""
        raise NotImplementedError(type(self).__name__)

    def backward(self, dy: np.ndarray) -> np.ndarray:
        """dx for the last `forward`; parameters' gradients are left in `gradients`."""
        raise NotImplementedError(type(self).__name__)

    def emit_forward(self, plan: Plan, node: int) -> None:
        """Append the instructions that fill `plan.values[node]`."""
        raise NotImplementedError(type(self).__name__)

    def emit_backward(self, plan: Plan, node: int, dy: Operand) -> None:
        """Append what turns dy into the gradients of parameters and of the node's inputs."""
        raise NotImplementedError(type(self).__name__)

    def __call__(self, *nodes: Node) -> Node:
        """The node of a `Graph` that applies this layer to these nodes."""
        if not nodes:
            raise ShapeError(f"{type(self).__name__} called without nodes",
                             "nodes of a Graph, as in layer(node)",
                             "for arrays use layer.forward(x)")
        return nodes[0].graph.apply(self, nodes)

    def __repr__(self) -> str:
        settings = ", ".join(f"{k}={v!r}" for k, v in self.config().items())
        return f"{type(self).__name__}({settings})"


def set_gradients(layer: Layer, **values: np.ndarray) -> None:
    """Leave gradients in the layer: into its network's views, or as its own arrays."""
    for name, value in values.items():
        view = layer.gradients.get(name)
        if view is not None and view.shape == value.shape:
            view[...] = value
        else:
            layer.gradients[name] = value
