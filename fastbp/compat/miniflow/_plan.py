"""A compiled pass over a graph for inputs of given shapes, run over whatever arrays they are.

Only addresses differ from run to run, so the arrays' content is read anew each time. A run leaves
all results in the plan's memory and itself, as their keeper, in the nodes (`Pending`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from fastbp._arena import address_of, flat_view
from fastbp._program import Operand, Program
from fastbp.compat.miniflow._emission import Emission
from fastbp.compat.miniflow._nodes import MSE, Input, Linear, Node, Pending
from fastbp.compat.miniflow._shapes import Shapes, find_shapes
from fastbp.emit.reduce import emit_gather_rows
from fastbp.emit.update import emit_update, hyper_row, rates_row
from fastbp.kernels.reduce import FLOAT32, FLOAT64
from fastbp.kernels.update import SGD
from fastbp.ops._plans import place, placed_cells

_KINDS = {np.dtype(np.float32): FLOAT32, np.dtype(np.float64): FLOAT64}


class Addresses:
    """The words of a program that hold addresses of users' arrays."""

    def __init__(self, program: Program) -> None:
        self._words = program.words()
        self._cells: dict[int, list[tuple[int, int]]] = {}
        for cell, number, offset in placed_cells(program):
            self._cells.setdefault(number, []).append((cell, offset))

    def set(self, number: int, address: int) -> None:
        """Array `number` (see `place`) is now at this address."""
        for cell, offset in self._cells.get(number, ()):
            self._words[cell] = address + offset


class Slot:
    """An input's place in a program: which array is there, and which others would fit.

    copy: memory for the values of an input of another dtype or layout than the program reads.
    """

    def __init__(self, node: Node, number: int, array: np.ndarray, copy: np.ndarray | None) -> None:
        self.node, self.number, self.copy = node, number, copy
        self.array = array
        self.shape, self.strides, self.dtype = array.shape, array.strides, array.dtype
        self.can_be_updated = copy is None and array.flags.c_contiguous

    def takes(self, value: Any) -> bool:
        """True where the program can read this value; it is the slot's array then."""
        if (type(value) is not np.ndarray or value.shape != self.shape
                or value.strides != self.strides or value.dtype != self.dtype
                or not value.flags.aligned):
            return False
        self.array = value
        return True


class Source:
    """Data that a training run draws its batches from: rows of `array` go to one input.

    array: (N,) or (N, n). index: address of the int64 rows of all batches of a run.
    """

    def __init__(self, array: np.ndarray, rows: int, index: int) -> None:
        self.array, self.rows, self.index = array, rows, index
        self.number = -1

    @property
    def example(self) -> np.ndarray:
        """An array like a batch of the data."""
        return np.empty((self.rows, *self.array.shape[1:]), self.array.dtype)


class Plan(Pending):
    """A forward pass, or a forward and backward pass; `find_plan` makes them.

    sources: data for inputs that gather their values instead of having them (`train`); steps: how
    many a run may have then.
    """

    def __init__(self, nodes: Sequence[Node], arrays: Mapping[Node, np.ndarray], shapes: Shapes, *,
                 backward: bool, sources: Mapping[Node, Source] | None = None,
                 steps: int = 1) -> None:
        self.nodes, self.backward, self.dtype = list(nodes), backward, shapes.dtype
        self.sources = dict(sources or {})
        self.program = Program(shapes.dtype, flush=True)
        costs = [node for node in nodes if type(node) is MSE]
        self.losses: dict[Node, np.ndarray] = {node: np.zeros(steps) for node in costs}
        addresses = {node: address_of(cell) for node, cell in self.losses.items()}
        emission = self._emission = Emission(self.program, nodes, shapes, {}, addresses)
        self.slots: dict[Node, Slot] = {}
        for number, (node, array) in enumerate(arrays.items()):
            if node in self.sources:
                self._emit_source(node, number)
            else:
                emission.values[node] = self._add_slot(node, number, array)
        emission.emit_forward()
        if backward:
            emission.emit_backward()
        self._computed = [node for node in nodes if node not in self.slots]
        self._costs = [(node, shapes.of[node.inbound_nodes[1]][0]) for node in costs]
        self._updates: Updates | None = None
        # The step of the last run, whose costs are the nodes' values.
        self.last_step = 0

    def _emit_source(self, node: Node, number: int) -> None:
        source = self.sources[node]
        source.number = number
        emission, given = self._emission, Operand.of(source.array.reshape(len(source.array), -1))
        value = emission.values[node] = emission.new(source.example.shape)
        rows = Operand(value.address, source.rows, given.cols, given.cols)
        emit_gather_rows(self.program, rows, Operand(
            place(number), given.rows, given.cols, given.row_step, given.col_step),
            _KINDS[source.array.dtype], index=source.index)

    def _add_slot(self, node: Node, number: int, array: np.ndarray) -> Operand:
        """Where the program finds an input: in the user's memory, or in a copy."""
        in_place = array.dtype == self.dtype and (
            array.flags.c_contiguous or all(type(user) is Linear and node is not user.bias
                                            for user in node.outbound_nodes))
        if in_place:
            self.slots[node] = Slot(node, number, array, None)
            it = Operand.of(array)
            return Operand(place(number), it.rows, it.cols, it.row_step, it.col_step)
        operand = self._emission.new(array.shape)
        self.slots[node] = Slot(node, number, array, self._emission.array(operand))
        return operand

    # ---- running ---------------------------------------------------------------------------------

    def finish(self) -> None:
        """All instructions have been emitted: find the words to set."""
        self._addresses = Addresses(self.program)
        for slot in self.slots.values():
            self._addresses.set(slot.number, address_of(slot.array))

    def bind(self) -> bool:
        """Take the inputs' values of now; False where one needs another plan."""
        for slot in self.slots.values():
            if slot.node._value is slot.array:
                if slot.array.shape != slot.shape:  # set in place
                    return False
            elif not slot.takes(slot.node.value):
                return False
            else:
                self._addresses.set(slot.number, address_of(slot.array))
            if slot.copy is not None:
                slot.copy[...] = slot.array
        return True

    def set_sources(self, arrays: Mapping[Node, np.ndarray]) -> None:
        """Gather from these arrays, which are like those that the plan was made for."""
        for node, array in arrays.items():
            self.sources[node].array = array
            self._addresses.set(self.sources[node].number, address_of(array))

    def run(self) -> None:
        """One pass over the bound inputs."""
        self.program.run()
        self.mark()

    def mark(self) -> None:
        """Tell the nodes where their results are."""
        for node in self._computed:
            node._value = self
        if self.backward:
            for node in self.nodes:
                node._gradients = self
        for cost, rows in self._costs:
            cost._diff, cost.m = self, rows

    def update(self, trainables: list[Node], learning_rate: float) -> bool:
        """value -= learning_rate * gradient of the last run; False, undone, where it cannot."""
        updates = self._updates
        if updates is None or updates.nodes != trainables:
            if not all(node in self.slots and self.slots[node].can_be_updated
                       for node in trainables):
                return False
            updates = self._updates = Updates(self, trainables)
        return updates.run(learning_rate)

    def gradient_address(self, node: Node) -> int:
        """Where the gradient of the cost by an input is."""
        return self._emission.totals[node].address

    # ---- results ---------------------------------------------------------------------------------

    def value_of(self, node: Node) -> Any:
        """A copy of what the last run computed (or gathered, as the data has it)."""
        if type(node) is MSE:
            return self.dtype.type(self.losses[node][self.last_step])
        value = self._emission.array(self._emission.values[node])
        return value.astype(self.sources[node].array.dtype if node in self.sources else self.dtype)

    def gradients_of(self, node: Node) -> dict[Node, Any]:
        """Copies of the gradients of the last run."""
        emission = self._emission
        if type(node) is Input:
            return {node: self._gradient(emission.totals[node], node, node.outbound_nodes)}
        return {source: self._gradient(emission.parts[node, source], source, [node])
                for source in node.inbound_nodes}

    def _gradient(self, operand: Operand, node: Node, users: Iterable[Node]) -> np.ndarray:
        """The gradient in the dtype that NumPy would have given it: its value's, but the MSE's."""
        dtype = self.dtype
        if node in self.slots and all(type(user) is not MSE for user in users):
            dtype = self.slots[node].dtype
        elif node in self.sources and all(type(user) is not MSE for user in users):
            dtype = self.sources[node].array.dtype
        return self._emission.array(operand).astype(dtype)

    def difference_of(self, node: Node) -> np.ndarray:
        """y - a: the gradient by a is -2/m of it."""
        da = self._emission.array(self._emission.parts[node, node.inbound_nodes[1]])
        return da * (-0.5 * len(da))


class Updates:
    """The step of gradient descent on some inputs of a plan."""

    def __init__(self, plan: Plan, nodes: list[Node]) -> None:
        self.plan, self.nodes = plan, list(nodes)
        self._slots = [plan.slots[node] for node in nodes]
        self.rates, self._hyper = rates_row(0.0), hyper_row()
        self._rate = flat_view(self.rates)
        self._program = Program(plan.dtype, plan.program.memory, flush=True)
        emit_updates(self._program, plan, nodes, self._hyper, self.rates)
        self._addresses = Addresses(self._program)
        self._seen: list[Any] = [None] * len(nodes)

    def run(self, learning_rate: float) -> bool:
        """False, and nothing has changed, where values are not those of the last run."""
        for slot in self._slots:
            node, array = slot.node, slot.array
            if (node._value is not array or node._gradients is not self.plan
                    or not array.flags.writeable or array.shape != slot.shape):
                return False
        for number, slot in enumerate(self._slots):
            if self._seen[number] is not slot.array:
                self._seen[number] = slot.array
                self._addresses.set(slot.number, address_of(slot.array))
        self._rate[0] = learning_rate
        return self._program.run()


def emit_updates(program: Program, plan: Plan, nodes: Sequence[Node], hyper: np.ndarray,
                 rates: np.ndarray) -> None:
    """w -= rate * gradient for each of the nodes, in order."""
    for node in nodes:
        slot = plan.slots[node]
        emit_update(program, SGD, place(slot.number), plan.gradient_address(node), slot.array.size,
                    hyper=address_of(hyper), rates=address_of(rates))


def find_plan(nodes: Sequence[Node], *, backward: bool) -> Plan | None:
    """A plan for the inputs' values of now, or None where a program cannot express the pass."""
    arrays: dict[Node, Any] = {node: node.value for node in nodes if type(node) is Input}
    shapes = find_shapes(nodes, arrays, backward=backward)
    if shapes is None:
        return None
    plan = Plan(nodes, arrays, shapes, backward=backward)
    plan.finish()
    return plan if plan.bind() else None
