"""The short way through an operation that is called again.

Checking the arguments of a call, describing its arrays and finding its plan takes 10 to 30 us,
several times what a small operation does. All of it follows from the settings and from the arrays'
shapes, strides and dtypes, so a call that has them all from one before differs in addresses only:

    key = key_of((name, *settings), inputs, out)        # at the top of an operation
    done = again(key, inputs, out)
    if done is not None:
        return done[0]
    ...                                                 # the long way: checks, plan.run
    remember(key, inputs, plan, [y], out=out)

A call is remembered where its plan has worked on the very arrays of the call, without a copy of
any. A repeated one is refused, and takes the long way with its errors, where memory that is written
is read-only or overlaps what is read, where an address is not aligned, where a label is no class,
and where a plan's workspace has moved.

A thread's calls that are repeated often are made by built-in functions, which ask the same in a
tenth of the time (`_short.py`, docs/design/012-calls.md):

    done = _short.call(...)                             # before all else, with all arguments
    if done is not None:
        return done
    ...
    done = again(key, inputs, out, short=_short, arguments=(...))
"""

from __future__ import annotations

import contextlib
import operator
import threading
import time
from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp._arena import address_of, addresses_of
from fastbp.ops._plans import Plan
from fastbp.ops._short import Short

if TYPE_CHECKING:
    from fastbp.ops._lessons import Entries

# Calls of one thread that are remembered; beyond that it starts afresh.
_MOST = 128
# A built-in function holds the interpreter's lock while shorter programs run; of those whose tasks
# threads can share, it runs those on one thread that take half of it so.
_HOLD_SECONDS = 20e-6
# Repeated calls of a thread from which on it has them: loading them takes 10 ms, and a call without
# them 3 us more.
_FROM = 500
# Built-in functions tell settings by the very objects: 0.1 that is computed anew is another one.
_MOST_LESSONS = 4

Inputs = tuple[np.ndarray, ...]
Link = tuple[int, int]
"""Number of an array among results and inputs, and an offset from its address in bytes."""

_kind: Callable[[Any], tuple[Any, ...]] = operator.attrgetter(
    "__class__", "shape", "strides", "dtype")
_empty = np.empty


class Known:
    """A call that was made in place: its plan, and what is left to do for another like it."""

    __slots__ = ("alone", "cells", "elementwise", "labels", "lessons", "made", "plan", "unaligned",
                 "written")

    def __init__(self, plan: Plan, arrays: Inputs, links: Sequence[Link], made: slice,
                 written: Sequence[int], elementwise: bool) -> None:
        self.plan, self.elementwise = plan, elementwise
        # To be run on one thread; how often it has been a lesson.
        self.alone, self.lessons = False, 0
        self.made = [(array.shape, array.dtype) for array in arrays[made]]
        self.unaligned = arrays[0].itemsize - 1
        # (word of the program, number of the array, offset from its address)
        self.cells = [(cell, links[place][0], links[place][1] + offset)
                      for cell, place, offset in plan.cells]
        self.labels = None if plan.labels is None else links[plan.labels][0]
        read = [(n, *_span(array)) for n, array in enumerate(arrays) if n not in written]
        self.written = [(n, *_span(arrays[n]), read) for n in written]

    def run(self, inputs: Inputs, out: np.ndarray | None) -> list[np.ndarray] | None:
        """The results, or None where the call must take the long way."""
        plan = self.plan
        if plan.stale:
            return None
        results = [] if out is None else [out]
        for shape, dtype in self.made:
            results.append(_empty(shape, dtype))
        addresses = addresses_of((*results, *inputs))
        if self.written and not self._may_write((*results, *inputs), addresses):
            return None
        words, bits = plan.words, 0
        for cell, number, offset in self.cells:
            words[cell] = word = addresses[number] + offset
            bits |= word
        if bits & self.unaligned:
            return None
        if self.labels is None:
            plan.go(alone=self.alone)
        elif addresses[self.labels] & 7 or not plan.go(addresses[self.labels], alone=self.alone):
            return None
        return results

    def _may_write(self, arrays: Inputs, addresses: list[int]) -> bool:
        """True where what the caller has changed is writeable, and apart from what is read.

        In elementwise work a result may lie exactly over an input.
        """
        for number, low, high, others in self.written:
            if not arrays[number].flags.writeable:
                return False
            begin, end = addresses[number] + low, addresses[number] + high
            for other, other_low, other_high in others:
                other_begin, other_end = addresses[other] + other_low, addresses[other] + other_high
                if other_begin < end and begin < other_end and not (
                        self.elementwise and (other_begin, other_end) == (begin, end)):
                    return False
        return True


class _Calls(threading.local):
    def __init__(self) -> None:
        self.known: dict[Hashable, Known] = {}
        # Those that built-in functions make.
        self.entries: Entries | None = None
        self.repeated = 0

    def clear(self) -> None:
        self.known.clear()
        if self.entries is not None:
            self.entries.clear()


_local = _Calls()


def key_of(settings: tuple[Any, ...], inputs: Inputs, out: np.ndarray | None = None) -> Hashable:
    """What a call has in common with those like it; None where an argument is no array.

    settings: the operation and all that its plan and its checks depend on besides the arrays.
    inputs: the arrays as they were passed; what is left out must show in the settings.
    """
    try:
        return settings, out is None or _kind(out), *map(_kind, inputs)
    except AttributeError:
        return None


def recall(key: Hashable) -> Known | None:
    """The call of that key that was remembered, if any; `run` it."""
    try:
        return _local.known.get(key)
    except TypeError:  # a setting without a hash
        return None


def again(key: Hashable, inputs: Inputs, out: np.ndarray | None = None, *,
          short: Short | None = None, arguments: tuple[Any, ...] = ()) -> list[np.ndarray] | None:
    """The results of a call, `out` or new arrays, where one like it was remembered; else None.

    short: what did not know `short.call(*arguments)`, and learns it. Of `arguments` those that are
    arrays are `inputs`, in their order, and last `out`; all others are settings.
    """
    known = recall(key)
    if known is None or short is None or known.lessons == _MOST_LESSONS:
        return None if known is None else known.run(inputs, out)
    _local.repeated += 1
    if _local.repeated < _FROM:
        return known.run(inputs, out)
    start = time.perf_counter()
    done = known.run(inputs, out)
    if done is not None:
        _teach(known, time.perf_counter() - start, short, arguments, inputs, out)
    return done


def _teach(known: Known, seconds: float, short: Short, arguments: tuple[Any, ...], inputs: Inputs,
           out: np.ndarray | None) -> None:
    """Let `short` learn a call that has taken so long; first let it be made on one thread."""
    known.lessons += 1
    shares, is_last = known.plan.is_parallel, known.lessons == _MOST_LESSONS
    is_short = seconds < (_HOLD_SECONDS / 2 if known.alone else _HOLD_SECONDS)
    if is_short and shares and not known.alone and not is_last:
        known.alone = True
        return
    if not is_short and known.lessons < _MOST_LESSONS - 1:
        return  # something may have disturbed it
    holds = is_short and known.alone == shares
    known.alone = known.alone and holds
    from fastbp.ops import _lessons  # few processes call operations again and again

    if _local.entries is None:
        _local.entries = _lessons.Entries()
    if len(_local.entries) >= _MOST:
        _local.clear()
    _lessons.learn(short, arguments, known, _local.entries, inputs, out, holds=holds)


def remember(key: Hashable, inputs: Inputs, plan: Plan, results: Sequence[np.ndarray], *,
             out: np.ndarray | None = None, links: Sequence[Link] | None = None,
             changed: Sequence[int] = (), elementwise: bool = False) -> None:
    """Keep a call that has just been made for `again`, where its plan read and wrote its arrays.

    results: what the operation returns, in C order where it is not `out`, which comes first.
    links: where the plan's places lie; None: place number i is array number i of (*results,
    *inputs). changed: numbers of inputs that it changes in place. elementwise: a result may be
    the input itself.
    """
    arrays = (*results, *inputs)
    where = [(number, 0) for number in range(len(arrays))] if links is None else links
    if key is None or not all(type(array) is np.ndarray and array.size for array in arrays):
        return
    if plan.on_lines or any(address_of(arrays[where[place][0]]) + where[place][1] != plan.at[place]
                            for place in plan.places):
        return
    count = len(results)
    made = slice(0 if out is None else 1, count)
    written = [*range(made.start), *(count + number for number in changed)]
    if len(_local.known) >= _MOST:
        _local.clear()
    with contextlib.suppress(TypeError):  # a setting without a hash
        _local.known[key] = Known(plan, arrays, where, made, written, elementwise)


def forget() -> None:
    """Let all calls of this thread take the long way again, once."""
    _local.clear()


def _span(array: np.ndarray) -> tuple[int, int]:
    """First byte of an array and the one after its last, from its address."""
    low, high = np.lib.array_utils.byte_bounds(array)
    return low - address_of(array), high - address_of(array)
