"""A small network's step cut by neurons: each section keeps some of the hidden ones.

A short step is over before two cores have exchanged the weights that both of them update. So a
section owns neurons of the hidden layer: it takes all samples, and it alone reads and updates the
weights into and out of its neurons, in memory of its own (`_home.py`), into which a run copies them
before its first step and out of which behind its last. All that passes between sections is
what each adds to the outputs, with a wait there and one between steps:

    h[:, own] = f(x W1[:, own] + b1[own]);  adds = h[:, own] W2[own]        | wait
    z = sum of all adds;  dz = dloss/dz;  dh = dz W2[own]^T f'(h[:, own]);  updates

For networks of two affine layers: with more of them values would pass between all layers, in both
directions. Numbers: docs/design/013-sections.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from fastbp._arena import Room, address_of, allocate, padded
from fastbp._home import Home, Homes
from fastbp._program import Operand
from fastbp._simd import machine
from fastbp._tuning import SECTIONS
from fastbp.emit.affine import (
    emit_affine_db,
    emit_affine_dw,
    emit_affine_dx,
    emit_affine_forward,
    needs_input,
)
from fastbp.emit.losses import Penalty, emit_norm, norm_tasks
from fastbp.emit.reduce import emit_add
from fastbp.kernels.activations import IDENTITY
from fastbp.layers import Affine
from fastbp.planner import Plan
from fastbp.strands import strand_count


def affine_pair(plan: Plan) -> tuple[int, int] | None:
    """The steps of the network's layers where these are an affine one with an activation and an
    affine one.
    """
    network, wiring = plan.network, plan.wiring
    nodes = [node for node, step in enumerate(network.steps)
             if step.layer is not None and node not in wiring.alias]
    if any(plan.sparse) or len(network.input_steps) != 1 or len(nodes) != 2:
        return None
    if not all(isinstance(network.steps[node].layer, Affine) for node in nodes):
        return None
    hidden, outputs = nodes
    value = wiring.fused.get(hidden, hidden)
    is_chain = list(network.steps[outputs].inputs) == [value] and wiring.uses[value] == 1
    if not is_chain or list(network.output_steps) != [outputs] or wiring.uses[outputs] != 1:
        return None
    return (hidden, outputs) if plan.activation_of(outputs)[0] == IDENTITY else None


def is_long_run(rows: int) -> bool:
    """True where a run over so many samples is worth the copying before and behind it."""
    return rows >= SECTIONS.least_run_rows


def section_count(plan: Plan) -> int:
    """Into how many sections a training batch's step is cut, by its size alone; 1: none."""
    nodes = affine_pair(plan)
    if nodes is None or plan.update is None or not plan.updates_weights():
        return 1
    hidden, outputs = (_affine(plan, node) for node in nodes)
    neurons = hidden.out_features
    weights = neurons * (hidden.in_features + outputs.out_features)
    flops = 6 * plan.rows * weights
    if (neurons < SECTIONS.least_neurons or weights < SECTIONS.least_weights
            or flops < SECTIONS.least_flops):
        return 1
    count = 4 if neurons >= SECTIONS.many_neurons else 2
    by_rows = strand_count(plan) > 1
    most = SECTIONS.most_flops_in_strands if by_rows else SECTIONS.most_flops
    return count if flops <= most * count else 1


def _affine(plan: Plan, node: int) -> Affine:
    layer = plan.network.steps[node].layer
    assert isinstance(layer, Affine)
    return layer


def owned(neurons: int, count: int, number: int, line: int) -> slice:
    """Which neurons section `number` of `count` has: whole cache lines of them."""
    lines = -(-neurons // line)
    first, end = (min(neurons, -(-lines * i // count) * line) for i in (number, number + 1))
    return slice(first, end)


def weights_of(layer: Affine, own: slice, *, out: bool) -> np.ndarray:
    """The weights out of some of a layer's inputs, or into some of its outputs (`out`)."""
    w = layer.parameters["w"]
    return w[:, own] if out == (layer.layout == "column") else w[own]


def owned_of(hidden: Affine, count: int, number: int) -> slice:
    """The same of a layer."""
    return owned(hidden.out_features, count, number, padded(1, hidden.parameters["w"].dtype))


def make_homes(plan: Plan, count: int) -> Homes:
    """Homes for what `count` sections of a plan's network own; they serve plans of any size."""
    nodes = affine_pair(plan)
    assert nodes is not None
    assert plan.update is not None
    hidden, outputs = (_affine(plan, node) for node in nodes)
    homes = []
    for number in range(count):
        own, biases = owned_of(hidden, count, number), {}
        if hidden.bias:
            biases["hidden.b"] = hidden.parameters["b"][own]
        if outputs.bias and number == count - 1:
            biases["outputs.b"] = outputs.parameters["b"]
        weights = {"hidden.w": weights_of(hidden, own, out=True),
                   "outputs.w": weights_of(outputs, own, out=False)}
        if layout_at_home(outputs) != outputs.layout:
            weights["outputs.w"] = weights["outputs.w"].T
        homes.append(Home(plan.network, plan.update.slots, weights, biases))
    return Homes(homes)


def layout_at_home(outputs: Affine) -> str:
    """How the weights of the outputs lie at home: a row for each, where these would not fill a
    register. Their gradient is then computed along the neurons.
    """
    is_narrow = 1 < outputs.out_features <= machine().lanes(outputs.parameters["w"].itemsize)
    return "row" if is_narrow else outputs.layout


class Sections:
    """All sections of a training plan, and what passes between them."""

    def __init__(self, plan: Plan, homes: Homes) -> None:
        """Emits what opens each run, so nothing may have been emitted before."""
        nodes = affine_pair(plan)
        assert nodes is not None
        self.plan, self.count, self.nodes = plan, len(homes), nodes
        plan.homes = homes
        self.parts = [Section(self, number, homes[number]) for number in range(self.count)]
        self._each(lambda part: part.home.emit_copies(plan.program, into=True))
        plan.program.end_opening()

    def _each(self, emit: Callable[[Section], None], *, overlap: bool = False) -> None:
        with self.plan.program.strands(self.count, overlap=overlap) as numbers:
            for number in numbers:
                emit(self.parts[number])

    def penalty(self, factor: float) -> Penalty | None:
        """The penalty factor * decay * |w|^2; each section takes the norm of its weights."""
        update = self.plan.update
        if not factor or update is None:
            return None
        # Each writes to lines of its own; the zeros between them do not change the sum.
        apart = -(-norm_tasks(max(part.home.decay_size for part in self.parts)) // 16) * 16
        partials = self.plan.program.keep(allocate(self.count * apart, "float64"))
        for part in self.parts:
            part.norms = address_of(partials[part.number * apart :])
        return Penalty(address_of(partials), len(partials), address_of(update.rates), factor)

    def emit(self, emit_batch: Callable[[Plan], Any],
             emit_loss: Callable[[Plan, Operand, Any], Operand], *, overlap: bool) -> None:
        """The step, and what closes a run.

        emit_batch: takes a batch's inputs and targets into a plan's memory. emit_loss: returns the
        gradient of outputs; it may halt the run, as each section finds out for itself.
        """
        plan, batches = self.plan, []
        self._each(lambda part: batches.append(part.emit_first(emit_batch)), overlap=overlap)

        def emit_rest(part: Section) -> None:
            part.emit_rest(emit_loss(part, part.emit_sum(), batches[part.number]))

        self._each(emit_rest)
        plan.program.begin_closing()
        self._each(lambda part: part.home.emit_copies(plan.program, into=False))
        plan.parts = self.parts[:1]
        for part in self.parts:
            plan.read_by([source for sources in part.sources for source in sources])


class Section(Plan):
    """A plan for some of the hidden neurons, in another plan's program."""

    # What is fetched ahead of a matrix's end must not be what another core is writing.
    rows_apart: ClassVar[int] = 16

    def __init__(self, sections: Sections, number: int, home: Home) -> None:
        plan = sections.plan
        super().__init__(plan.network, plan.rows, training=True, update=plan.update,
                         program=plan.program, wiring=plan.wiring, room=Room())
        self.number, self.norms, self._sections = number, 0, sections
        self._hidden, self._outputs = (_affine(plan, node) for node in sections.nodes)
        self._layout = layout_at_home(self._outputs)
        self.home = home
        plan.program.keep(home.memory)
        own = owned_of(self._hidden, sections.count, number)
        # What this section adds to the outputs.
        self._width, self._adds = own.stop - own.start, self._compact(self._outputs.out_features)

    def _compact(self, cols: int) -> Operand:
        """A matrix without gaps, of which fewer lines travel."""
        block = self.room.take((self.rows + self.rows_apart) * cols, self.dtype)
        self._arrays[address_of(block)] = block[: self.rows * cols].reshape(-1, cols)
        return Operand(address_of(block), self.rows, cols, cols, readable=True)

    def new_value(self, node: int) -> Operand:
        """As in `Plan.new_value`; of the hidden neurons, this section's, of outputs no gaps."""
        hidden, outputs = self._sections.nodes
        if node not in (hidden, outputs):
            return super().new_value(node)
        if node == outputs:
            value = self._compact(self._outputs.out_features)
        else:
            value = self.values[self.wiring.fused.get(node, node)] = self.new(self._width)
        self.values[node] = value
        return value

    def array_of(self, node: int) -> np.ndarray:
        """As in `Plan.array_of`; hidden neurons are in all sections."""
        if self.wiring.alias.get(node, node) != self._sections.nodes[0]:
            return super().array_of(node)
        parts = self._sections.parts
        return np.concatenate([part.array(part.values[node], (part._width,)) for part in parts], 1)

    def emit_first(self, emit_batch: Callable[[Plan], Any]) -> Any:
        """From the batch to what this section adds to the outputs; what `emit_batch` gives."""
        program, home, node = self.program, self.home, self._sections.nodes[0]
        batch = emit_batch(self)
        if self.norms:
            emit_norm(program, self.norms, home.address, home.decay_size)
        kind, slope = self.activation_of(node)
        y = self.new_value(node)
        z = self.new(self._width) if needs_input(kind) else None
        self.saved[node] = z or y
        emit_affine_forward(program, y, self.input_of(node), home["hidden.w"],
                            home.address_of("hidden.b"), layout=self._hidden.layout, kind=kind,
                            slope=slope, z=z)
        emit_affine_forward(program, self._adds, y, home["outputs.w"],
                            home.address_of("outputs.b"), layout=self._layout)
        return batch

    def emit_sum(self) -> Operand:
        """The outputs, summed by each section for itself, in the same order."""
        outputs = self.new_value(self._sections.nodes[1])
        target, total, *others = (
            x.as_row() for x in (outputs, *(part._adds for part in self._sections.parts)))
        for other in others:
            emit_add(self.program, target, total, other)
            total = target
        return outputs

    def emit_rest(self, dz: Operand) -> None:
        """From the gradient of the outputs to the updates."""
        program, home, update = self.program, self.home, self.update
        assert update is not None
        node, outputs, hidden = self._sections.nodes[0], self._layout, self._hidden.layout
        dh = self.new(self._width)
        sums = emit_affine_dx(program, dh, dz, home["outputs.w"], layout=outputs,
                              through=self.producer_of(node))
        emit_affine_dw(program, home["outputs.w"], dz, self.values[node], layout=outputs,
                       finish=home.finish("outputs.w", update))
        emit_affine_dw(program, home["hidden.w"], dh, self.input_of(node), layout=hidden,
                       finish=home.finish("hidden.w", update))
        for name, gradient, parts in (("hidden.b", dh, sums), ("outputs.b", dz, None)):
            if name in home:
                emit_affine_db(program, home.gradient_address(name), gradient, parts)
        home.emit_update(program, update)
