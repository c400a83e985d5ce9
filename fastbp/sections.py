"""A small network's step cut by neurons: each section keeps some of every hidden layer's.

A short step is over before two cores have exchanged the weights that both of them update. So a
section owns neurons of the hidden layers: it takes all samples, and it alone reads and updates the
weights into its neurons of the first layer and out of its neurons of all others, in memory of its
own (`_home.py`), into which a run copies them before its first step and out of which behind its
last. With one hidden layer all that passes between sections is what each adds to the outputs, with
a wait there and one between steps:

    h[:, own] = f(x W1[:, own] + b1[own]);  adds = h[:, own] W2[own]        | wait
    z = sum of all adds;  dz = dloss/dz;  dh = dz W2[own]^T f'(h[:, own]);  updates

Each further hidden layer has two waits more. On the way forward a section sums what all add to its
neurons, on the way back it gives their gradient to all:

    h2[:, own] = f(sum of all h1[:, own] W2[own] + b2);  adds = h2[:, own] W3[own]      | wait
    dh2 = all sections' columns;  dh1[:, own] = dh2 W2[own]^T f'(h1[:, own]);  updates  | wait

Numbers: docs/design/013-sections.md.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import numpy as np

from fastbp._arena import Room, address_of, allocate, padded
from fastbp._home import Home, Homes
from fastbp._program import Operand
from fastbp._simd import machine
from fastbp._tuning import SECTIONS
from fastbp.emit.activations import emit_activation_forward
from fastbp.emit.affine import (
    emit_affine_db,
    emit_affine_dw,
    emit_affine_dx,
    emit_affine_forward,
    needs_input,
)
from fastbp.emit.losses import Penalty, emit_norm, norm_tasks
from fastbp.emit.reduce import emit_add, emit_copy
from fastbp.kernels.activations import IDENTITY
from fastbp.layers import Affine
from fastbp.planner import Plan
from fastbp.strands import strand_count


def affine_chain(plan: Plan) -> list[int]:
    """The steps of the network's layers where these are affine ones in a row, the last without an
    activation; else no steps.
    """
    network, wiring = plan.network, plan.wiring
    nodes = [node for node, step in enumerate(network.steps)
             if step.layer is not None and node not in wiring.alias]
    if any(plan.sparse) or len(network.input_steps) != 1 or len(nodes) < 2:
        return []
    if not all(isinstance(network.steps[node].layer, Affine) for node in nodes):
        return []
    for before, after in itertools.pairwise(nodes):
        value = wiring.fused.get(before, before)
        if list(network.steps[after].inputs) != [value] or wiring.uses[value] != 1:
            return []
    last = nodes[-1]
    if list(network.output_steps) != [last] or wiring.uses[last] != 1:
        return []
    return nodes if plan.activation_of(last)[0] == IDENTITY else []


def is_long_run(rows: int) -> bool:
    """True where a run over so many samples is worth the copying before and behind it."""
    return rows >= SECTIONS.least_run_rows


def section_count(plan: Plan) -> int:
    """Into how many sections a training batch's step is cut, by its size alone; 1: none."""
    nodes = affine_chain(plan)
    if not nodes or plan.update is None or not plan.updates_weights():
        return 1
    layers = [_affine(plan, node) for node in nodes]
    hidden = [layer.out_features for layer in layers[:-1]]
    weights = sum(layer.in_features * layer.out_features for layer in layers)
    flops, is_deep = 6 * plan.rows * weights, len(hidden) > 1
    least = SECTIONS.least_weights_deep if is_deep else SECTIONS.least_weights
    if max(hidden) < SECTIONS.least_neurons or weights < least or flops < SECTIONS.least_flops:
        return 1
    count = 4 if max(hidden) >= SECTIONS.many_neurons and not is_deep else 2
    most = SECTIONS.most_flops
    if strand_count(plan) > 1:
        most = 0 if is_deep else SECTIONS.most_flops_in_strands
    return count if flops <= most * count and min(hidden) >= SECTIONS.least_own * count else 1


def _affine(plan: Plan, node: int) -> Affine:
    layer = plan.network.steps[node].layer
    assert isinstance(layer, Affine)
    return layer


def owned(neurons: int, count: int, number: int, line: int) -> slice:
    """Which neurons section `number` of `count` has: whole cache lines of them."""
    lines = -(-neurons // line)
    first, end = (min(neurons, -(-lines * i // count) * line) for i in (number, number + 1))
    return slice(first, end)


def width_of(own: slice) -> int:
    """How many neurons."""
    width: int = own.stop - own.start
    return width


def weights_of(layer: Affine, own: slice, *, out: bool) -> np.ndarray:
    """The weights out of some of a layer's inputs, or into some of its outputs (`out`)."""
    w = layer.parameters["w"]
    return w[:, own] if out == (layer.layout == "column") else w[own]


def owned_of(hidden: Affine, count: int, number: int) -> slice:
    """The same of a layer."""
    return owned(hidden.out_features, count, number, padded(1, hidden.parameters["w"].dtype))


def make_homes(plan: Plan, count: int) -> Homes:
    """Homes for what `count` sections of a plan's network own; they serve plans of any size."""
    layers = [_affine(plan, node) for node in affine_chain(plan)]
    assert plan.update is not None
    homes = []
    for number in range(count):
        owns = [owned_of(layer, count, number) for layer in layers[:-1]]
        weights = {w_of(0): weights_of(layers[0], owns[0], out=True)}
        for place, layer in enumerate(layers[1:], 1):
            weights[w_of(place)] = weights_of(layer, owns[place - 1], out=False)
        if layout_at_home(layers[-1]) != layers[-1].layout:
            weights[w_of(len(owns))] = weights[w_of(len(owns))].T
        biases = {b_of(place): layer.parameters["b"][own]
                  for place, (layer, own) in enumerate(zip(layers, owns, strict=False))
                  if layer.bias}
        if layers[-1].bias and number == count - 1:
            biases[b_of(len(owns))] = layers[-1].parameters["b"]
        homes.append(Home(plan.network, plan.update.slots, weights, biases))
    return Homes(homes)


def w_of(place: int) -> str:
    """What a home calls its part of the weights of a layer in the chain."""
    return f"w{place}"


def b_of(place: int) -> str:
    """The same of a bias."""
    return f"b{place}"


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
        self.plan, self.count, self.nodes = plan, len(homes), affine_chain(plan)
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

        outputs = len(self.nodes) - 1
        for place in range(1, outputs):
            self._each(partial(Section.emit_hidden, place=place))

        def emit_middle(part: Section) -> None:
            dz = emit_loss(part, part.emit_sum(outputs), batches[part.number])
            part.emit_gradients(outputs, dz)

        self._each(emit_middle)
        for place in reversed(range(1, outputs)):
            self._each(partial(Section.emit_gathered_gradients, place=place))
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
        self._layers = [_affine(plan, node) for node in sections.nodes]
        self._layouts = [layer.layout for layer in self._layers[:-1]]
        self._layouts.append(layout_at_home(self._layers[-1]))
        self.home = home
        plan.program.keep(home.memory)
        # Which neurons of each layer each section sums up; all outputs are everyone's.
        self._owned = [[owned_of(layer, sections.count, each) for each in range(sections.count)]
                       for layer in self._layers[:-1]]
        self._owned.append([slice(0, self._layers[-1].out_features)])
        # By a layer's place: what this section adds to its neurons, and the gradient of this
        # section's that it gives to all.
        self._adds = {place: [self._compact(width_of(own)) for own in owns]
                      for place, owns in enumerate(self._owned) if place > 0}
        self._given = {place: self._compact(width_of(owns[number]))
                       for place, owns in enumerate(self._owned[:-1]) if place > 0}

    def _compact(self, cols: int) -> Operand:
        """A matrix without gaps, of which fewer lines travel."""
        block = self.room.take((self.rows + self.rows_apart) * cols, self.dtype)
        self._arrays[address_of(block)] = block[: self.rows * cols].reshape(-1, cols)
        return Operand(address_of(block), self.rows, cols, cols, readable=True)

    def new_value(self, node: int) -> Operand:
        """As in `Plan.new_value`; of hidden neurons, this section's, of outputs no gaps."""
        if node not in self._sections.nodes:
            return super().new_value(node)
        place = self._sections.nodes.index(node)
        if place == len(self._layers) - 1:
            value = self._compact(self._layers[place].out_features)
        else:
            value = self.new(width_of(self._owned[place][self.number]))
            self.values[self.wiring.fused.get(node, node)] = value
        self.values[node] = value
        return value

    def array_of(self, node: int) -> np.ndarray:
        """As in `Plan.array_of`; hidden neurons are in all sections."""
        if self.wiring.alias.get(node, node) not in self._sections.nodes[:-1]:
            return super().array_of(node)
        parts = self._sections.parts
        return np.concatenate([part.array(part.values[node], (part.values[node].cols,))
                               for part in parts], 1)

    def emit_first(self, emit_batch: Callable[[Plan], Any]) -> Any:
        """From the batch to what this section adds to the second layer; what `emit_batch` gives."""
        program, home, node = self.program, self.home, self._sections.nodes[0]
        batch = emit_batch(self)
        if self.norms:
            emit_norm(program, self.norms, home.address, home.decay_size)
        kind, slope = self.activation_of(node)
        y = self.new_value(node)
        z = self.new(y.cols) if needs_input(kind) else None
        self.saved[node] = z or y
        emit_affine_forward(program, y, self.input_of(node), home[w_of(0)],
                            home.address_of(b_of(0)), layout=self._layouts[0], kind=kind,
                            slope=slope, z=z)
        self._emit_adds(1)
        return batch

    def _emit_adds(self, place: int) -> None:
        """What this section's neurons add to those of the next layer, which is at `place`."""
        home, layout = self.home, self._layouts[place]
        x, w = self.values[self._sections.nodes[place - 1]], home[w_of(place)]
        owns, whole = self._owned[place], slice(0, x.cols)
        # Its own come last: until then the others' are on their way out of this core.
        for number in sorted(range(len(owns)), key=lambda number: number == self.number):
            own, adds = owns[number], self._adds[place][number]
            # A home has the bias of what its section sums up; that of the outputs is in one only.
            is_mine = number == self.number or len(owns) == 1
            part = w.part(self.dtype, *((whole, own) if layout == "column" else (own, whole)))
            emit_affine_forward(self.program, adds, x, part,
                                home.address_of(b_of(place)) if is_mine else 0, layout=layout)

    def emit_sum(self, place: int) -> Operand:
        """This section's neurons of a layer, or the outputs, summed in the same order by each."""
        value = self.new_value(self._sections.nodes[place])
        owns = self._owned[place]
        number = self.number if len(owns) > 1 else 0
        parts = [part._adds[place][number] for part in self._sections.parts]
        if value.row_step == value.cols:
            target, total, *others = (x.as_row() for x in (value, *parts))
        else:
            target, total, *others = value, *parts
        for other in others:
            emit_add(self.program, target, total, other)
            total = target
        return value

    def emit_hidden(self, place: int) -> None:
        """A hidden layer behind the first: its values, and what they add to the next one."""
        node = self._sections.nodes[place]
        kind, slope = self.activation_of(node)
        z = self.emit_sum(place)
        y = self.new_value(node) if needs_input(kind) else z
        self.saved[node] = z
        if kind != IDENTITY:
            emit_activation_forward(self.program, y, z, kind, slope)
        self._emit_adds(place + 1)

    def emit_gathered_gradients(self, place: int) -> None:
        """`emit_gradients` of a hidden layer, whose sections each have given theirs."""
        whole, rows = self.new(self._layers[place].out_features), slice(0, self.rows)
        for own, part in zip(self._owned[place], self._sections.parts, strict=True):
            emit_copy(self.program, whole.part(self.dtype, rows, own), part._given[place])
        self.emit_gradients(place, whole)

    def emit_gradients(self, place: int, dz: Operand) -> None:
        """From the gradient of a layer's neurons to that of this section's before them, and the
        updates; at the second layer, of all that is left.
        """
        program, home, update = self.program, self.home, self.update
        assert update is not None
        node, layout, w = self._sections.nodes[place - 1], self._layouts[place], w_of(place)
        dh = self._given[place - 1] if place > 1 else self.new(self.values[node].cols)
        sums = emit_affine_dx(program, dh, dz, home[w], layout=layout,
                              through=self.producer_of(node))
        emit_affine_dw(program, home[w], dz, self.values[node], layout=layout,
                       finish=home.finish(w, update))
        if place == 1:
            emit_affine_dw(program, home[w_of(0)], dh, self.input_of(node),
                           layout=self._layouts[0], finish=home.finish(w_of(0), update))
        if b_of(place - 1) in home:
            emit_affine_db(program, home.gradient_address(b_of(place - 1)), dh, sums)
        if place == len(self._layers) - 1 and b_of(place) in home:
            emit_affine_db(program, home.gradient_address(b_of(place)), dz, None)
        if place == 1:
            home.emit_update(program, update)
