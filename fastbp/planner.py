"""From a network to programs: memory for one batch size, and the instructions of a training step.

A plan holds a matrix for each value and each gradient (rows padded to cache lines), walks the
steps forwards and backwards letting each layer emit itself, and knows two things that single
layers do not:

* An activation that alone uses an affine layer's or a convolution's output is fused into it; the
  two are one value.
* The gradient of a value with a single use, made by an affine layer, is stored as it is *before*
  that layer's activation: the matmul that makes it applies the mask and sums the columns while
  tiles are in L1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from fastbp._arena import Room, address_of, extent, padded, row_width
from fastbp._errors import ArgumentError
from fastbp._home import Homes
from fastbp._program import Operand, Program
from fastbp.emit.affine import Producer
from fastbp.emit.gemm import Finish, can_update_in_place
from fastbp.emit.reduce import Source, emit_add, emit_clip_scale, emit_gather_rows, emit_scale
from fastbp.emit.sparse import KINDS, SparseInput, SparseRows
from fastbp.emit.update import emit_update
from fastbp.kernels._instruction import Instruction
from fastbp.kernels.gemm import UPDATE
from fastbp.kernels.reduce import GATHER_ROWS
from fastbp.layers import Affine, Layer
from fastbp.layers.base import Shape
from fastbp.network import Network
from fastbp.wiring import Wiring


@dataclass(frozen=True)
class Update:
    """An optimizer at work on a network: what the update instructions need.

    hyper: constants for weights and, without decay, for all else; rates: see kernels/update.py, a
    row for each step of a run; cell: the clipping factor.
    """

    kind: int
    hyper: np.ndarray
    hyper_plain: np.ndarray
    rates: np.ndarray
    slots: tuple[np.ndarray, ...]
    clip_norm: float | None = None
    cell: np.ndarray = field(default_factory=lambda: np.ones(2))


class Plan:
    """Programs and memory of one network for one number of rows.

    first_row, batch: which rows of how large a batch they are (all, but for strands.Strand).
    """

    # Rows of memory behind each matrix.
    rows_apart: ClassVar[int] = 0

    def __init__(self, network: Network, rows: int, *, training: bool, update: Update | None = None,
                 step_cell: np.ndarray | None = None, halts: bool = False,
                 sparse: Sequence[bool] = (), program: Program | None = None,
                 wiring: Wiring | None = None, room: Room | None = None) -> None:
        """halts: a loss that is not finite ends a run before parameters change.

        sparse: for each input, whether it comes as `SparseRows`; default: none does. program: where
        to emit; default: a new one. wiring, room: the network's, and where to
        take memory, of a plan for all rows.
        """
        self.network, self.rows, self.training, self.update = network, rows, training, update
        self.first_row, self.batch = 0, rows
        # Plans of some of the rows each, where the batch is divided (strands.py).
        self.parts: Sequence[Plan] = ()
        # Where parameters may be instead of in the network's arrays (sections.py).
        self.homes: Homes | None = None
        self.dtype, self.seed = network.dtype, network.seed
        self._is_my_turn, self._end_turn = network.turn.is_mine, network.turn.release
        self._step_cell = np.zeros(1, np.int64) if step_cell is None else step_cell
        self._halts = halts
        self.program = program or Program(self.dtype, flush=True, halts=halts)
        self.segments: list[Program | Callable[[], None]] = [self.program]
        self.values: dict[int, Operand] = {}
        self.saved: dict[int, Any] = {}
        self.gradients: dict[int, Operand] = {}
        self.sums: dict[int, Operand] = {}
        self._arrays: dict[int, np.ndarray] = {}
        # What reads each dense input.
        self.sources: list[list[Source]] = []
        self.sparse = tuple(sparse)
        self._sparse = {step: SparseInput(rows, network.steps[step].size)
                        for step, is_sparse in zip(network.input_steps, sparse, strict=False)
                        if is_sparse}
        self._readers: dict[int, list[tuple[Program, int, Instruction]]] = {}
        self._updated: set[str] = set()
        self._after_losses: list[Callable[[bool], None]] = []
        self.wiring, self.room = wiring or Wiring(network), room or Room()
        self._fused, self._alias = self.wiring.fused, self.wiring.alias

    # ---- memory ----------------------------------------------------------------------------

    def new(self, cols: int) -> Operand:
        """A matrix of `rows` x `cols`, its rows as far apart as `row_width` says."""
        shape = (self.rows + self.rows_apart, cols)
        width = row_width(shape, self.dtype)
        block = self.room.take(extent(shape, self.dtype), self.dtype)
        self._arrays[address_of(block)] = block[: self.rows * width].reshape(-1, width)[:, :cols]
        return Operand(address_of(block), self.rows, cols, width, readable=True)

    def new_vector(self, size: int) -> int:
        """Address of `size` elements."""
        block = self.room.take(padded(size, self.dtype), self.dtype)
        self._arrays[address_of(block)] = block
        return address_of(block)

    def new_value(self, node: int) -> Operand:
        """The matrix of a step's output (and of the activation fused into it)."""
        value = self.values[node] = self.new(self.network.steps[node].size)
        if node in self._fused:
            self.values[self._fused[node]] = value
        return value

    def new_gradient(self, node: int) -> Operand:
        """A matrix for one contribution to the gradient of a value."""
        return self.new(self.network.steps[node].size)

    def array(self, x: Operand, shape: Shape) -> np.ndarray:
        """The memory of a matrix of this plan as an array (rows, *shape)."""
        view = self._arrays[x.address]
        if len(shape) == 1:
            return view
        item = view.itemsize
        inner = np.cumprod((1, *reversed(shape[1:])))[::-1] * item
        return np.lib.stride_tricks.as_strided(view, (self.rows, *shape), (view.strides[0], *inner))

    def has_value(self, node: int) -> bool:
        """True where a step's output is in the plan's memory."""
        return any(node in part.values for part in self.parts or (self,))

    def array_of(self, node: int) -> np.ndarray:
        """The value of a step as an array (rows, *shape); a copy where the plan has parts."""
        if self.parts:
            return np.concatenate([part.array_of(node) for part in self.parts])
        return self.array(self.values[node], self.network.steps[node].shape)

    # ---- what layers ask ---------------------------------------------------------------------

    def source_of(self, node: int, place: int = 0) -> int:
        """Which value a step's input is (a fused activation's is its affine layer's)."""
        source = self.network.steps[node].inputs[place]
        return self._alias.get(source, source)

    def sparse_input_of(self, node: int) -> SparseInput | None:
        """A step's input where it is sparse."""
        return self._sparse.get(self.network.steps[node].inputs[0])

    def reads_sparse(self, node: int, row: int, instruction: Instruction) -> None:
        """The instruction at `row` of the current program reads the step's sparse input."""
        source = self.network.steps[node].inputs[0]
        self._readers.setdefault(source, []).append((self.program, row, instruction))

    def input_of(self, node: int, place: int = 0) -> Operand:
        """The matrix of a step's input."""
        return self.values[self.source_of(node, place)]

    def shape_of(self, node: int) -> Shape:
        """Shape of a sample of the value."""
        return self.network.steps[node].shape

    def activation_of(self, node: int) -> tuple[int, float]:
        """(kind, slope) of a layer's activation, its own or the one fused into it."""
        layer: Any = self.network.steps[self._fused.get(node, node)].layer
        return layer.kind, layer.slope

    def needs_gradient(self, node: int) -> bool:
        """True where parameters lie before the value."""
        return self.wiring.trains[node]

    def producer_of(self, node: int) -> Producer | None:
        """The affine layer's activation, where the gradient may pass through it at once."""
        last = self._fused.get(node, node)
        if not isinstance(self.network.steps[node].layer, Affine) or self.wiring.uses[last] != 1:
            return None
        kind, slope = self.activation_of(node)
        return Producer(kind, slope, self.saved[node])

    def address(self, layer: Layer, name: str) -> int:
        """Address of a layer's parameter or buffer."""
        arrays = layer.parameters if name in layer.parameters else layer.buffers
        return address_of(arrays[name])

    def operand(self, layer: Layer, name: str) -> Operand:
        """A parameter as a matrix."""
        return self.network.operand(layer.parameters[name])

    def gradient_address(self, layer: Layer, name: str) -> int:
        """Where a parameter's gradient belongs."""
        return address_of(layer.gradients[name])

    @property
    def step_cell(self) -> int:
        """Address of the number of the run's first step, for random masks."""
        return address_of(self._step_cell)

    def after_losses(self, emit: Callable[[bool], None]) -> None:
        """Emits what a forward pass changes for good, but not where a loss halts the run.

        It is told whether that may overlap with the instruction before.
        """
        self._after_losses.append(emit)

    # ---- gradients and updates -----------------------------------------------------------------

    def add_gradient(self, node: int, dx: Operand, sums: Operand | None = None) -> None:
        """dx is (a part of) the gradient of the value; parts are summed."""
        if node in self.gradients:
            emit_add(self.program, self.gradients[node], self.gradients[node], dx)
        else:
            self.gradients[node] = dx
            if sums is not None:
                self.sums[node] = sums

    def add_copy(self, node: int, dy: Operand) -> None:
        """As `add_gradient` for a matrix that stays someone else's."""
        if node in self.gradients:
            emit_add(self.program, self.gradients[node], self.gradients[node], dy)
        else:
            self.gradients[node] = self.new(dy.cols)
            emit_scale(self.program, self.gradients[node], dy, 1.0)

    def updates_weights(self) -> bool:
        """True where the matmul that makes a weight's gradient may update the weight at once."""
        return (self.update is not None and self.update.clip_norm is None
                and can_update_in_place(self.rows, self.dtype.itemsize))

    def weight_target(self, layer: Layer, name: str) -> Operand:
        """Where the gradient matmul of a weight writes: the weight itself where it is fused."""
        arrays = layer.parameters if self.updates_weights() else layer.gradients
        return self.network.operand(arrays[name])

    def weight_finish(self, layer: Layer, name: str) -> Finish | None:
        """The update as the matmul's epilogue, or None."""
        if not self.updates_weights():
            return None
        update = self.update
        assert update is not None
        self._updated.add(f"{layer.name}.{name}")
        offset = self.network.layout.places[f"{layer.name}.{name}"][0] * self.dtype.itemsize
        slots = [address_of(s) + offset for s in update.slots]
        slots += [address_of(layer.parameters[name])] * (2 - len(slots))
        return Finish(UPDATE, update.kind, slots=(slots[0], slots[1]),
                      hyper=address_of(update.hyper), rates=address_of(update.rates))

    def emit_update(self) -> None:
        """The optimizer's step on all that no matmul has updated."""
        update, network = self.update, self.network
        if update is not None and update.clip_norm is not None:
            emit_clip_scale(self.program, address_of(update.cell),
                            address_of(network.gradient_values), network.layout.size,
                            update.clip_norm)
        self.emit_update_of(0, network.layout.size)

    def emit_update_of(self, first: int, last: int) -> None:
        """`emit_update` of the numbers first .. last-1 of the parameters' arena, without clipping
        (whose factor is known).
        """
        update, network, item = self.update, self.network, self.dtype.itemsize
        if update is None:
            return
        w, g = address_of(network.values), address_of(network.gradient_values)
        size = network.layout.size
        scale = 0 if update.clip_norm is None else address_of(update.cell)
        ranges = [(network.decay_size, size, update.hyper_plain)]
        if not self._updated:
            ranges.append((0, network.decay_size, update.hyper))
        else:
            ranges += [(place, place + extent(shape, self.dtype), update.hyper)
                       for name, (place, shape) in network.layout.places.items()
                       if place < network.decay_size and name not in self._updated]
        # Only what follows another update may overlap: an empty range emits none.
        inside = [(max(begin, first), min(end, last), hyper) for begin, end, hyper in ranges]
        for number, (begin, end, hyper) in enumerate(r for r in inside if r[0] < r[1]):
            slots = tuple(address_of(s) + begin * item for s in update.slots)
            emit_update(self.program, update.kind, w + begin * item, g + begin * item, end - begin,
                        hyper=address_of(hyper), rates=address_of(update.rates), slots=slots,
                        scale=scale, overlap=number > 0)

    # ---- emission --------------------------------------------------------------------------------

    def call(self, function: Callable[[], None]) -> None:
        """Run Python code here: the program is split around it."""
        self.program = Program(self.dtype, flush=True, halts=self._halts)
        self.segments += [function, self.program]

    @property
    def is_compiled(self) -> bool:
        """True where no Python code interrupts the program, so that it can run many steps."""
        return len(self.segments) == 1

    def emit_inputs(self, index: int = 0) -> None:
        """Gather each input's rows, by the int64 index at an address or consecutive ones."""
        dense = []
        for step in self.network.input_steps:
            if step in self._sparse:
                continue
            value = self.new_value(step)
            emit_gather_rows(self.program, value, value, KINDS[self.dtype], index=index,
                             scale=self.network.steps[step].scale, batch=self.batch, overlap=True)
            dense.append(Source(self.program, self.program.size - 1, self.first_row))
        self.read_by(dense)

    def read_by(self, sources: list[Source]) -> None:
        """These take the dense inputs, one each."""
        self.sources = self.sources or [[] for _ in sources]
        for known, source in zip(self.sources, sources, strict=True):
            known.append(source)

    def emit_forward(self) -> None:
        """All layers in order."""
        for node, step in enumerate(self.network.steps):
            if step.layer is not None and node not in self._alias:
                if not isinstance(step.layer, Affine) and self._sparse.keys() & set(step.inputs):
                    raise ArgumentError(f"{step.layer!r} on a sparse input",
                                        "an Affine layer first", "pass x.toarray()")
                step.layer.emit_forward(self, node)

    def emit_backward(self, output_gradients: dict[int, Operand]) -> None:
        """All layers in reverse order, from the gradients of output steps."""
        for number, emit in enumerate(self._after_losses):
            emit(number > 0)
        self._after_losses.clear()  # they hold this plan
        for node, dy in output_gradients.items():
            self.add_gradient(self._alias.get(node, node), dy)
        for node in reversed(range(len(self.network.steps))):
            layer = self.network.steps[node].layer
            if layer is not None and node in self.gradients and self.wiring.trains[node]:
                layer.emit_backward(self, node, self.gradients[node])

    # ---- running ---------------------------------------------------------------------------------

    def set_inputs(self, arrays: Sequence[np.ndarray | SparseRows], index: int = 0) -> None:
        """Where a run finds its inputs: matrices (n, size) of float32, float64 or uint8, or CSR."""
        dense = []
        for step, x in zip(self.network.input_steps, arrays, strict=True):
            if isinstance(x, SparseRows):
                for program, row, instruction in self._readers[step]:
                    program.set(row, instruction, **x.words(index))
            else:
                dense.append(x)
        for sources, x in zip(self.sources, dense, strict=True):
            rows, cols = x.strides
            for source in sources:
                source.set(GATHER_ROWS, address_of(x), rows, index, row_step=rows // x.itemsize,
                           col_step=cols // x.itemsize, kind=KINDS[x.dtype])

    def run(self, steps: int) -> bool:
        """Run all segments; more than one step only where `is_compiled`.

        False where the first refused (`Program.require_labels`): nothing has run. Ends the turn
        that telling the program its batch began (training only).
        """
        try:
            if self.homes is not None:
                return self.homes.run(self.program, steps, stays=False)
            if len(self.segments) == 1:  # the usual case, in the shortest time
                return self.program.run(steps)
            for segment in self.segments:
                if isinstance(segment, Program):
                    if not segment.run(steps):
                        return False
                    if segment.halted:
                        break
                else:
                    segment()
            return True
        finally:
            if self.training and self._is_my_turn():
                self._end_turn()

    def run_and_stay(self, steps: int) -> None:
        """`run`, but parameters in homes stay there, and the turn goes on, until `settle`."""
        if self.homes is None:
            self.run(steps)
        else:
            self.homes.run(self.program, steps, stays=True)

    def settle(self) -> None:
        """The network's arrays hold the parameters again, and the turn ends."""
        if self.homes is not None and self.homes.filled:
            self.run(0)
