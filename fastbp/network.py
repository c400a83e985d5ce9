"""What all networks share: steps in order, one arena of parameters, plans, and files."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp import layers
from fastbp._arena import Layout, allocate
from fastbp._errors import ArgumentError, CheckpointError, DTypeError, ShapeError
from fastbp._program import Operand
from fastbp._turn import Turn
from fastbp.emit.sparse import SparseRows
from fastbp.layers.base import Layer, Shape

if TYPE_CHECKING:
    from fastbp.planner import Plan

# Rows that prediction computes at once: enough for matmul's speed, small enough for L2.
PREDICT_ROWS = 1024


@dataclass(frozen=True)
class Step:
    """One value: the layer that makes it (None: an input), from which values, and its shape.

    scale: what an input is multiplied by when it is read.
    """

    layer: Layer | None
    inputs: tuple[int, ...]
    shape: Shape
    scale: float = 1.0

    @property
    def size(self) -> int:
        """Numbers in a sample."""
        return math.prod(self.shape)


class Network:
    """Layers, their arrays in one arena, and the programs that run them."""

    def __init__(self, *, dtype: Any = "float32", seed: int = 0) -> None:
        self.dtype = np.dtype(dtype)
        if self.dtype not in (np.float32, np.float64):
            raise DTypeError(f"dtype {dtype!r}", "float32 or float64")
        self.seed = int(seed)
        self.metadata: dict[str, str] = {}
        self.steps: list[Step] = []
        self.input_steps: list[int] = []
        self.output_steps: list[int] = []
        self.built = False
        self.turn = Turn()
        self._predictions: dict[tuple[int, ...], Plan] = {}

    # ---- construction ---------------------------------------------------------------------

    def _append(self, layer: Layer, inputs: tuple[int, ...]) -> Shape:
        """Add a layer; its output's shape."""
        if any(step.layer is layer for step in self.steps):
            raise ArgumentError(f"{layer!r} appears twice in the network", "another layer",
                                "sharing weights between layers is not supported")
        layer.dtype = self.dtype
        shape = layer.output_shape(*(self.steps[i].shape for i in inputs))
        self.steps.append(Step(layer, inputs, shape))
        return shape

    def _refuse_if_built(self, what: str) -> None:
        if self.built:
            raise ArgumentError(f"{what} on a network that is already in use",
                                "all layers before the first use of its arrays")

    def build(self) -> None:
        """Lay out the arena and draw initial values; done by the first use."""
        if self.built:
            return
        if not self.output_steps:
            raise ArgumentError("a graph without outputs", "graph.output(node)")
        entries = [(name, step.layer, p) for name, step in self._named()
                   for p in step.layer.parameter_list()]  # type: ignore[union-attr]
        layout, buffers = Layout(self.dtype), Layout(self.dtype)
        for name, _, p in entries:
            if p.decays:
                layout.add(f"{name}.{p.name}", p.shape)
        # Weights come first: decay applies to values[:decay_size].
        self.decay_size = layout.size
        for name, _, p in entries:
            if not p.decays:
                layout.add(f"{name}.{p.name}", p.shape)
        for name, step in self._named():
            for key, (shape, _) in step.layer.buffer_list().items():  # type: ignore[union-attr]
                buffers.add(f"{name}.{key}", shape)
        self.layout = layout
        self.values = allocate(layout.size, self.dtype)
        self.gradient_values = allocate(layout.size, self.dtype)
        self._parameters = layout.views(self.values)
        self._gradients = layout.views(self.gradient_values)
        self._buffers = buffers.views(allocate(buffers.size, self.dtype))
        self._fill(entries)
        self.built = True

    def _fill(self, entries: list[Any]) -> None:
        """Initial values (a layer that has values keeps them), and views for the layers."""
        rng = np.random.Generator(np.random.PCG64(self.seed))
        for name, layer, p in entries:
            kept = layer.parameters[p.name] if layer.is_initialized else None
            drawn = p.draw(rng, self.dtype)
            self._parameters[f"{name}.{p.name}"][...] = drawn if kept is None else kept
        for name, step in self._named():
            layer, prefix = step.layer, f"{name}."
            assert layer is not None
            for key, (_, value) in layer.buffer_list().items():
                self._buffers[prefix + key][...] = value
            layer.adopt(_below(self._parameters, prefix), _below(self._gradients, prefix),
                        _below(self._buffers, prefix), self.dtype, name)

    def _named(self) -> list[tuple[str, Step]]:
        """(name, step) of every layer: the number of the layer in the network."""
        found = [step for step in self.steps if step.layer is not None]
        return [(str(number), step) for number, step in enumerate(found)]

    # ---- arrays ----------------------------------------------------------------------------

    @property
    def parameters(self) -> dict[str, np.ndarray]:
        """Views of all trained arrays by name ("0.w", "0.b", "2.gamma", ...)."""
        self.build()
        return self._parameters

    @property
    def gradients(self) -> dict[str, np.ndarray]:
        """Views of the gradients that `Trainer.gradients` left, by the parameters' names."""
        self.build()
        return self._gradients

    @property
    def buffers(self) -> dict[str, np.ndarray]:
        """Views of running statistics by name."""
        self.build()
        return self._buffers

    def operand(self, array: np.ndarray) -> Operand:
        """A view of the arena as an operand: rows may be read to the end of a register."""
        x = Operand.of(array)
        return Operand(x.address, x.rows, x.cols, x.row_step, x.col_step, readable=True)

    def state_dict(self) -> dict[str, np.ndarray]:
        """Copies of parameters and buffers by name."""
        return {name: view.copy() for name, view in {**self.parameters, **self.buffers}.items()}

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        """Set all parameters and buffers; names and shapes must be those of `state_dict`."""
        views = {**self.parameters, **self.buffers}
        missing, unknown = sorted(set(views) - set(state)), sorted(set(state) - set(views))
        if missing or unknown:
            raise ArgumentError(f"state with missing {missing}, unknown {unknown}",
                                "the names of state_dict()")
        for name, view in views.items():
            if np.shape(state[name]) != view.shape:
                raise ShapeError(f"{name} with shape {np.shape(state[name])}", f"{view.shape}")
        for name, view in views.items():
            view[...] = state[name]

    # ---- use --------------------------------------------------------------------------------

    def predict(self, x: Any, *, pause: Callable[[], None] | None = None) -> Any:
        """Outputs in test mode for samples x (N, ...): an array, or a tuple for several outputs.

        pause: called before each chunk of PREDICT_ROWS samples; what it raises ends the prediction.
        """
        from fastbp.batches import as_batch
        from fastbp.planner import Plan

        self.build()
        inputs = as_batch(self, x)
        count, sparse = len(inputs[0]), [isinstance(x, SparseRows) for x in inputs]
        outputs = tuple(np.empty((count, *self.steps[i].shape), self.dtype)
                        for i in self.output_steps)
        for begin in range(0, count, PREDICT_ROWS):
            rows = min(PREDICT_ROWS, count - begin)
            if pause is not None:
                pause()
            with self.turn:
                key = (rows, *sparse)
                plan = self._predictions.get(key)
                if plan is None:
                    if len(self._predictions) > 8:
                        self._predictions.clear()
                    plan = self._predictions[key] = Plan(self, rows, training=False, sparse=sparse)
                    plan.emit_inputs()
                    plan.emit_forward()
                plan.set_inputs([a[begin : begin + rows] for a in inputs])
                plan.run(1)
                for out, step in zip(outputs, self.output_steps, strict=True):
                    out[begin : begin + rows] = plan.array_of(step)
        return outputs if len(outputs) > 1 else outputs[0]

    def summary(self) -> str:
        """A table of the layers: name, kind, output shape, number of parameters."""
        self.build()
        rows = [("name", "layer", "output", "parameters")]
        for name, step in self._named():
            layer = step.layer
            assert layer is not None
            count = sum(v.size for v in layer.parameters.values())
            rows.append((name, repr(layer), str(step.shape), f"{count:,}"))
        widths = [max(len(row[i]) for row in rows) for i in range(4)]
        lines = ["  ".join(text.ljust(w) for text, w in zip(row, widths, strict=True)).rstrip()
                 for row in rows]
        total = sum(v.size for v in self.parameters.values())
        return "\n".join([*lines, f"{total:,} parameters, {self.dtype}"])

    # ---- files ------------------------------------------------------------------------------

    def save(self, path: str | PathLike[str], metadata: dict[str, str] | None = None) -> None:
        """Write architecture, parameters and buffers to a safetensors file, whole or not at all."""
        import json

        from fastbp import checkpoint

        self.build()
        merged = {**self.metadata, **(metadata or {})}
        checkpoint.save(path, self.state_dict(), {**merged, "fastbp": json.dumps(self._describe())})

    def _describe(self) -> dict[str, Any]:
        steps = []
        for step in self.steps:
            if isinstance(step.layer, layers.PythonLayer):
                raise CheckpointError(f"{step.layer.layer!r} is a Python object",
                                      "layers of fastbp only", "save net.state_dict() instead")
            kind = type(step.layer).__name__ if step.layer else None
            steps.append({"layer": kind, "inputs": step.inputs, "shape": step.shape,
                          "scale": step.scale,
                          "config": step.layer.config() if step.layer else {}})
        return {"format": 1, "dtype": str(self.dtype), "seed": self.seed, "steps": steps,
                "outputs": self.output_steps}


def _below(views: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): v for name, v in views.items() if name.startswith(prefix)}


def load(path: str | PathLike[str]) -> Network:
    """The network that `save` wrote. Its own text metadata is in `metadata`."""
    import json

    from fastbp import checkpoint

    arrays, metadata = checkpoint.load(path)
    try:
        description = json.loads(metadata.pop("fastbp"))
        metadata.pop(checkpoint.RECORD, None)
        network = Network(dtype=description["dtype"], seed=description["seed"])
        for step in description["steps"]:
            if step["layer"] is None:
                network.input_steps.append(len(network.steps))
                network.steps.append(Step(None, (), tuple(step["shape"]), step.get("scale", 1.0)))
            elif step["layer"] not in layers.__all__:
                raise KeyError(step["layer"])
            else:
                layer = getattr(layers, step["layer"])(**step["config"])
                network._append(layer, tuple(step["inputs"]))
        network.output_steps.extend(description["outputs"])
        network.metadata = metadata
        # A training's checkpoint holds more than the model.
        network.load_state_dict({name: array for name, array in arrays.items()
                                 if not name.startswith(checkpoint.EXTRA)})
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise CheckpointError(f"{path}: not a fastbp model ({type(error).__name__}: {error})",
                              "a file written by net.save") from error
    return network
