"""Memory of its own for some of a network's parameters and what the optimizer keeps of them.

A core that reads rows of which another core has every second half fetches those halves too, ahead
of time, again and again. Where parts of weights belong to one thread for a whole run they are
copied together before its first step, and back behind its last, or behind that of a later run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from fastbp._arena import Layout, address_of, allocate
from fastbp._program import Operand, Program
from fastbp.emit.gemm import Finish
from fastbp.emit.reduce import emit_copy
from fastbp.emit.update import emit_update
from fastbp.kernels.gemm import UPDATE
from fastbp.network import Network

if TYPE_CHECKING:
    from fastbp.planner import Update

# Between two homes lies more than a core fetches ahead.
_APART_BYTES = 4096


class Home:
    """Copies of parameters, with copies of the optimizer's slots and room for gradients.

    One block: values, slots and gradients, each of all parameters in the same order, weights
    (which decay) before the others.
    """

    def __init__(self, network: Network, slots: Sequence[np.ndarray],
                 weights: dict[str, np.ndarray], others: dict[str, np.ndarray]) -> None:
        """slots: the optimizer's; weights, others: views of the network's parameters, by a name."""
        self._originals = {**weights, **others}
        layout = Layout(network.dtype)
        for name, view in weights.items():
            layout.add(name, view.shape)
        self.decay_size = layout.size
        for name, view in others.items():
            layout.add(name, view.shape)
        self._size, self._item = layout.size, network.dtype.itemsize
        count = (2 + len(slots)) * layout.size + _APART_BYTES // self._item
        self.memory = allocate(count, network.dtype)
        self.address = address_of(self.memory)
        self._copies = {name: network.operand(view)
                        for name, view in layout.views(self.memory).items()}
        # From a parameter to each slot of it.
        self._slots = [address_of(slot) - address_of(network.values) for slot in slots]

    def __contains__(self, name: str) -> bool:
        return name in self._copies

    def __getitem__(self, name: str) -> Operand:
        return self._copies[name]

    def address_of(self, name: str) -> int:
        """Address of a parameter's copy, or 0 where it has none."""
        return self._copies[name].address if name in self._copies else 0

    def emit_copies(self, program: Program, *, into: bool) -> None:
        """Values and slots: from the network into the home, or back."""
        for number, shift in enumerate([0, *self._slots]):
            for name, view in self._originals.items():
                original = Operand.of(view).shifted(shift)
                copy = self._copies[name].shifted(self._block(number))
                out, x = (copy, original) if into else (original, copy)
                if original.col_step == 1 or original.cols == 1:
                    emit_copy(program, out, x)
                    continue
                for row in range(x.rows):  # what lies the other way round at home
                    emit_copy(program, _row_on_end(out, row, self._item),
                              _row_on_end(x, row, self._item))

    def _block(self, number: int) -> int:
        """From a value to its slot 1, 2, ..., in bytes; to its gradient behind the last."""
        return number * self._size * self._item

    def _slots_of(self, address: int) -> tuple[int, ...]:
        return tuple(address + self._block(1 + i) for i in range(len(self._slots)))

    def finish(self, name: str, update: Update) -> Finish:
        """The update of a weight, as the epilogue of the product that makes its gradient."""
        w = self._copies[name].address
        first, second = (*self._slots_of(w), w, w)[:2]
        return Finish(UPDATE, update.kind, slots=(first, second), hyper=address_of(update.hyper),
                      rates=address_of(update.rates))

    def gradient_address(self, name: str) -> int:
        """Where the gradient of what is no weight belongs."""
        return self._copies[name].address + self._block(1 + len(self._slots))

    def emit_update(self, program: Program, update: Update) -> None:
        """The update of all but the weights."""
        w = self.address + self.decay_size * self._item
        emit_update(program, update.kind, w, w + self._block(1 + len(self._slots)),
                    self._size - self.decay_size, hyper=address_of(update.hyper_plain),
                    rates=address_of(update.rates), slots=self._slots_of(w))


def _row_on_end(x: Operand, row: int, item: int) -> Operand:
    """A row of a matrix as a column, whose elements may be apart."""
    return Operand(x.address + row * x.row_step * item, x.cols, 1, x.col_step)


class Homes:
    """The homes of all sections of a network.

    filled: they hold the parameters, which a run has not copied back; the network's own arrays
    are out of date.
    """

    def __init__(self, homes: Sequence[Home]) -> None:
        self.filled, self._homes = False, homes

    def __len__(self) -> int:
        return len(self._homes)

    def __getitem__(self, number: int) -> Home:
        return self._homes[number]

    def run(self, program: Program, steps: int, *, stays: bool) -> bool:
        """Run a program that is opened and closed by `emit_copies`, each only where needed.

        stays: leave the parameters here, for the next run of a program with these homes.
        """
        program.choose_ends(opens=not self.filled, closes=not stays)
        done = program.run(steps)
        if done:
            self.filled = stays
        return done
