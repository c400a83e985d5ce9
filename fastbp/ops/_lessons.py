"""How built-in functions learn calls: what `kernels.calls` finds in its table.

Entries are put at the heads of chains and taken out of them while other threads may look; so
that at any moment all chains are whole, one thread at a time changes them, word by word.
"""

from __future__ import annotations

import dataclasses
import os
import threading
import types
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp._arena import address_of, flat_view
from fastbp.kernels import calls
from fastbp.ops import _builtin
from fastbp.ops._short import Short

if TYPE_CHECKING:
    from fastbp.ops._again import Known

_SETTINGS = (str, int, float, bool, type(None), types.FunctionType)
_lock = threading.Lock()
# Entries by address, and those that are to be taken out of their chains: what ends a thread may do
# no more than add to the list, for it may come at any moment.
_entries: dict[int, _Entry] = {}
_dropped: list[_Entry] = []


class Entries:
    """The calls of one thread that have been learnt."""

    def __init__(self) -> None:
        self.known: list[_Entry] = []
        self._drop = _dropped.extend

    def __len__(self) -> int:
        return len(self.known)

    def clear(self) -> None:
        """Forget them."""
        self._drop(self.known)
        self.known.clear()
        if _lock.acquire(blocking=False):
            try:
                _sweep()
            finally:
                _lock.release()

    def __del__(self) -> None:
        self._drop(self.known)


class _Entry:
    """The words of a call, and what must live as long as they do."""

    def __init__(self, words: list[int], kept: tuple[Any, ...]) -> None:
        self.memory = np.array(words, np.int64)
        self.words, self.address, self.kept = flat_view(self.memory), address_of(self.memory), kept
        self.bucket = calls.BUCKETS + (words[calls.HASH] >> calls.HASH_BITS - calls.BUCKET_BITS)


def learn(short: Short, arguments: tuple[Any, ...], known: Known, entries: Entries,
          inputs: Sequence[np.ndarray], out: np.ndarray | None, *, holds: bool) -> None:
    """Let `short.call(*arguments)` make a call that is known, where it can.

    inputs: the arrays that the call reads or changes, in the order of `arguments`. holds: the
    program is short enough to run on this thread without letting others run Python meanwhile.
    """
    plan, described = known.plan, arguments[: len(arguments) - short.numbers]
    settings = tuple([a for a in described if type(a) is not np.ndarray])
    if (not _is_constant(settings) or len(arguments) > calls.MOST_ARGUMENTS
            or len(known.made) > calls.MOST_MADE or not _load(short)):
        return
    words = _description(short, described)
    if len(words) > calls.MOST_WORDS - 2 * (1 + calls.MOST_AXES):
        return
    places = _places(arguments, inputs, out, len(known.made))
    head = [0] * calls.DESCRIPTION
    head[calls.HASH], head[calls.SIZE] = _hash(words), len(words)
    if any(entry.kept[0] is known and entry.words[calls.HASH] == head[calls.HASH]
           for entry in entries.known):
        return  # it has been learnt: just now Python was to see to it
    if not holds:
        head[calls.MODE] = calls.SHARES if plan.is_parallel else calls.RELEASES
    head[calls.DOOR : calls.MOVES + 1] = plan.native
    head[calls.UNALIGNED], head[calls.ELEMENTWISE] = known.unaligned, known.elementwise
    head[calls.LABELS_PLACE] = -1 if known.labels is None else places[known.labels]
    head[calls.OUT] = -1 if out is None else places[0]
    if short.numbers:
        head[calls.NUMBERS_AT] = address_of(np.asarray(plan.kept))
        head[calls.WHOLE] = short.whole
    if short.keeps == "number":
        head[calls.EXTRA_KIND], head[calls.EXTRA] = calls.FLOAT, address_of(plan.kept)
    elif short.keeps == "object":
        head[calls.EXTRA_KIND], head[calls.EXTRA] = calls.OBJECT, id(plan.kept)
    entry = _entry(head, words, known, places, settings)
    _link(entry, entries)


def _load(short: Short) -> bool:
    """Let there be a function, if there can be."""
    if not short.own and _builtin.is_possible():
        short.call, short.own = _builtin.new_function(short.name, short.numbers)
    return short.own != 0


def _is_constant(setting: Any) -> bool:
    if type(setting) is tuple:
        return all(map(_is_constant, setting))
    if dataclasses.is_dataclass(setting):
        kind: Any = type(setting)
        return kind.__dataclass_params__.frozen and all(
            _is_constant(getattr(setting, field.name))
            for field in dataclasses.fields(setting))
    return type(setting) in _SETTINGS


def _places(arguments: tuple[Any, ...], inputs: Sequence[np.ndarray], out: np.ndarray | None,
            made: int) -> list[int]:
    """Where each of (*results, *inputs) is: its number among arguments, or among new results."""
    places, position = [], 0
    if out is not None:  # comes last, and may be an input too
        places.append(max(n for n, argument in enumerate(arguments) if argument is out))
    places += range(calls.MOST_ARGUMENTS, calls.MOST_ARGUMENTS + made)
    for array in inputs:
        while arguments[position] is not array:
            position += 1
        places.append(position)
        position += 1
    return places


def _description(short: Short, arguments: tuple[Any, ...]) -> list[int]:
    """As `kernels.calls.describe` has it."""
    words = [_builtin.thread_address(), short.own]
    for argument in arguments:
        if type(argument) is np.ndarray:
            words += [2 * argument.ndim + 1, _builtin.dtype_word(argument.dtype)]
            for pair in zip(argument.shape, argument.strides, strict=True):
                words += pair
        else:
            words.append(id(argument))
    return words


def _hash(words: list[int]) -> int:
    return sum(word * (calls.FACTOR + n * calls.STEP)
               for n, word in enumerate(words)) & calls.HASH_MASK


def _entry(head: list[int], words: list[int], known: Known, places: list[int],
           settings: tuple[Any, ...]) -> _Entry:
    """Head, description, and the sections that the head tells of."""
    whole = head + words
    whole[calls.CELLS], whole[calls.CELL_COUNT] = len(whole), len(known.cells)
    for cell, number, offset in known.cells:
        whole += [cell, places[number], offset]
    whole[calls.WRITES], whole[calls.WRITE_COUNT] = len(whole), len(known.written)
    for number, low, high, others in known.written:
        # New arrays lie apart from all others; where, is not known when this is looked at.
        given = [span for span in others if places[span[0]] < calls.MOST_ARGUMENTS]
        whole += [places[number], low, high, len(given)]
        for other, other_low, other_high in given:
            whole += [places[other], other_low, other_high]
    whole[calls.MAKES], whole[calls.MAKE_COUNT] = len(whole), len(known.made)
    shapes = []
    for shape, dtype in known.made:
        shapes.append(len(whole) + 2)
        whole += [id(dtype), len(shape), 0, *shape]
    entry = _Entry(whole, (known, settings))
    for place in shapes:
        entry.words[place] = entry.address + 8 * (place + 1)
    return entry


def _link(entry: _Entry, entries: Entries) -> None:
    """Put an entry at the head of its chain, unless somebody changes chains just now."""
    if not _lock.acquire(blocking=False):
        return
    try:
        _sweep()
        table = flat_view(_builtin.table())
        _entries[entry.address] = entry
        entries.known.append(entry)
        entry.words[calls.NEXT] = table[entry.bucket]
        table[entry.bucket] = entry.address
    finally:
        _lock.release()


def _sweep() -> None:
    """Take out of their chains what has been dropped; at any moment chains are whole."""
    while _dropped:
        entry = _dropped.pop()
        if entry.address in _entries:
            words, place = flat_view(_builtin.table()), entry.bucket
            while words[place] != entry.address:
                words, place = _entries[words[place]].words, calls.NEXT
            words[place] = entry.words[calls.NEXT]
            del _entries[entry.address]


def hits() -> int:
    """How many calls have been made here, in all threads."""
    return flat_view(_builtin.table())[calls.HITS]


def _renew() -> None:
    """After a fork nobody else changes chains."""
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)
