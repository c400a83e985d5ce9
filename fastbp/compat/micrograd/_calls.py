"""Calls of networks: recorded when they are made, computed and differentiated many at a time.

An output holds its call, a call its batch, a batch its network's parameters; nothing refers
back, so that dropping the outputs frees all of it. Where somebody looks inside a call (`_prev`), or
needs more than one pass of gradients through it, it is written out as the scalars that the
original would have made.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from fastbp.compat.micrograd import _programs
from fastbp.compat.micrograd._changes import compute_pending, lock, pending, slot, versions
from fastbp.compat.micrograd._programs import Shape
from fastbp.compat.micrograd._rules import CALL
from fastbp.compat.micrograd._scalars import written_out
from fastbp.compat.micrograd.engine import Value

# Calls that wait at most: some MB where nobody ever reads a result.
MOST_CALLS = 4096
# What may be an input, as a number or as a value's data; all else goes the way of scalars.
REAL = frozenset({bool, int, float, np.bool_, np.float16, np.float32, np.float64, np.int8, np.int16,
                  np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64})
# Batches that wait for one another, one after the other, at most.
MOST_LEVELS = 64

_read, _write = slot.__get__, slot.__set__
_backward_property: Any = vars(Value)["_backward"]
_new = object.__new__


class Output(Value):
    """What a network returns: its `data` is computed when it is asked for."""

    __slots__ = ("_call", "_place")

    _call: Call
    _place: int

    @property
    def data(self) -> Any:
        """The number."""
        try:
            return _read(self)
        except AttributeError:
            call = self._call
            _write(self, call.computed().outputs[call.row][self._place])
            return _read(self)

    @data.setter
    def data(self, data: Any) -> None:
        compute_pending()  # calls may wait for what it was
        self._write_out()
        _write(self, data)

    def _write_out(self) -> None:
        if self._rule == CALL:
            self._call.write_out()

    @property
    def _prev(self) -> set[Value]:
        self._write_out()
        return set(self._args)

    @property
    def _backward(self) -> Callable[[], None]:
        self._write_out()
        return _backward_property.fget(self)

    @_backward.setter
    def _backward(self, function: Callable[[], None]) -> None:
        self._write_out()
        _backward_property.fset(self, function)

    def __reduce_ex__(self, protocol: Any) -> Any:
        self._write_out()  # copies have no part in the batch
        return super().__reduce_ex__(protocol)


# What a row of inputs consists of until it is computed.
RECORDED = REAL | {Output}


class Call:
    """One call of a network: row `row` of `batch`.

    values: what it was called with, values and numbers. passed_on: a gradient went through it, with
    the outputs' gradients `gradients` and the parameters `parameters`.
    """

    __slots__ = ("__weakref__", "batch", "gradients", "outputs", "parameters", "passed_on", "row",
                 "values")

    def __init__(self, batch: Batch, row: int, values: tuple[Any, ...]) -> None:
        self.batch = batch
        self.row = row
        self.values = values
        self.passed_on = False
        self.gradients: list[Any] = []
        self.parameters: np.ndarray | None = None
        self.outputs: list[weakref.ref[Output]] = []

    def output(self, place: int, op: str) -> Output:
        """A new value for output number `place`."""
        out = _new(Output)
        out.grad = 0
        out._args = ()
        out._op = op
        out._rule = CALL
        out._call = self
        out._place = place
        self.outputs.append(weakref.ref(out))
        return out

    def inputs(self) -> list[tuple[int, Value]]:
        """The values it was called with, each after its place; numbers are left out."""
        return [(place, v) for place, v in enumerate(self.values) if isinstance(v, Value)]

    def computed(self) -> Batch:
        """The batch, computed."""
        if self.batch.waits:
            self.batch.compute()
        return self.batch

    def write_out(self) -> None:
        """Make the outputs ordinary values, made from all the scalars in between."""
        batch = self.computed()
        alive = [out for out in (ref() for ref in self.outputs) if out is not None]
        results = written_out(
            batch.net.shape, batch.net.parameters, batch.parameters.tolist(), self.values,
            batch.rows[self.row], self.gradients,
            [] if self.parameters is None else self.parameters.tolist())
        for out in alive:
            _ = out.data  # read while the batch is known
            out._args, out._rule = results[out._place]
            del out._call


class Net:
    """What calls of one network have in common, until its structure changes."""

    def __init__(self, shape: Shape, parameters: list[Value]) -> None:
        self.shape = shape
        self.parameters = parameters
        self.op = "ReLU" if shape.relu[-1] else "+"
        self._batch: Callable[[], Batch | None] = lambda: None
        self._buffer, self._version = np.empty(0), -1

    def call(self, x: list[Any] | tuple[Any, ...] | np.ndarray) -> list[Output] | None:
        """Outputs for one row of inputs, or None where x cannot be computed in a batch."""
        level = min(_level(x), MOST_LEVELS)
        if level < MOST_LEVELS:
            row = [v if _waits(v) else v.data if isinstance(v, Value) else v for v in x]
        else:
            row, level = [v.data if isinstance(v, Value) else v for v in x], 0
        if len(row) != self.shape.widths[0] or not RECORDED.issuperset(map(type, row)):
            return None
        with lock:
            batch = self._batch()
            if batch is not None and batch.level != level:
                batch.compute()  # it may be what x waits for
            if batch is None or not batch.waits:
                batch = Batch(self, level)
                self._batch = weakref.ref(batch)
            call = Call(batch, len(batch.rows), tuple(x))
            batch.add(row)
        return [call.output(place, self.op) for place in range(self.shape.widths[-1])]

    def buffer(self) -> np.ndarray:
        """The parameters as they are; a new array after each change."""
        version = versions.data
        if self._version != version:
            self._buffer = _programs.parameter_buffer(self.shape, [p.data for p in self.parameters])
            self._version = version
        return self._buffer

    def add_gradient(self, gradient: np.ndarray) -> None:
        """Add to the parameters' `grad`."""
        for parameter, g in zip(self.parameters, gradient.tolist(), strict=True):
            parameter.grad += g


def _waits(value: Any) -> bool:
    """True for the output of a call that has not been computed."""
    return type(value) is Output and value._rule == CALL and value._call.batch.waits


def _level(x: Iterable[Any]) -> int:
    """0 where all of x is known, else above the levels of the batches that it waits for."""
    return 1 + max((v._call.batch.level for v in x if _waits(v)), default=-1)


class Batch:
    """Calls of a network that are computed together: `rows` of inputs and of `outputs`.

    Inputs may wait for other batches, all of lower levels: so batches never wait for each other.
    """

    __slots__ = ("__weakref__", "_values", "level", "net", "outputs", "parameters", "rows",
                 "waits")

    def __init__(self, net: Net, level: int) -> None:
        self.net = net
        self.level = level
        self.rows: list[list[Any]] = []
        self.waits = True
        pending.add(weakref.ref(self, pending.discard))

    def add(self, row: list[Any]) -> None:
        """Append a call's inputs."""
        self.rows.append(row)
        if len(self.rows) == MOST_CALLS:
            self.compute()

    def compute(self) -> None:
        """All outputs."""
        with lock:
            if not self.waits:
                return
            if self.level:
                self.rows = [[v.data if type(v) is Output else v for v in row]
                             for row in self.rows]
            pending.discard(weakref.ref(self))
            shape, n = self.net.shape, len(self.rows)
            self.parameters = self.net.buffer()
            self._values = _programs.buffer(shape, n)
            views = _programs.matrices(self._values, shape, n)
            views[0][...] = self.rows
            _programs.forward(shape, n, self._values, self.parameters)
            self.outputs = views[-1].tolist()
            self.waits = False

    def pass_on(self, calls: dict[Call, list[Output]], sums: dict[Net, np.ndarray]) -> list[Value]:
        """Gradients of the calls' outputs: to their inputs' `grad`, and into `sums`.

        Returns the input values, each as often as it is an input.
        """
        calls = dict(sorted(calls.items(), key=lambda item: item[0].row))
        shape, n, parameters = self.net.shape, len(calls), self.net.buffer()
        values = self._values_of(calls)
        gradients = _programs.buffer(shape, n)
        views = _programs.matrices(gradients, shape, n)
        for row, (call, outputs) in zip(views[-1], calls.items(), strict=True):
            call.gradients = [0] * shape.widths[-1]
            for out in outputs:
                call.gradients[out._place] = out.grad
            row[:] = call.gradients
            call.passed_on, call.parameters = True, parameters
        inputs = [(row, *given) for row, call in enumerate(calls) for given in call.inputs()]
        gradient = _programs.backward(shape, n, values, parameters, gradients, need_dx=bool(inputs))
        sums[self.net] = sums[self.net] + gradient if self.net in sums else gradient
        if inputs:
            dx = views[0].tolist()
            for row, column, value in inputs:
                value.grad += dx[row][column]
        return [value for _, _, value in inputs]

    def _values_of(self, calls: dict[Call, list[Output]]) -> np.ndarray:
        """Inputs and layers' outputs of some calls, the inputs as they are now."""
        now = [[v.data if isinstance(v, Value) else v for v in call.values] for call in calls]
        if now == self.rows:
            return self._values
        shape = self.net.shape
        values = _programs.buffer(shape, len(calls))
        every = _programs.matrices(self._values, shape, len(self.rows))
        some = _programs.matrices(values, shape, len(calls))
        for target, source in zip(some, every, strict=True):
            target[...] = source[[call.row for call in calls]]
        some[0][...] = now
        return values
