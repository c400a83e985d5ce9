"""Bounds checking of every pointer access, for tests: `FASTBP_BOUNDSCHECK=1`.

Numba's `boundscheck` knows arrays only; kernels use pointers. With the switch on, each
access compares its address range with the buffers declared through `guarded` and counts
what falls outside, compiled and in plain Python alike. Kernels compiled this way hold the
address of this process's table, so they are never cached on disk.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
from llvmlite import ir

ENABLED = os.environ.get("FASTBP_BOUNDSCHECK") == "1"
_MOST = 64
_COUNT, _OUTSIDE, _FIRST, _RANGES = 0, 1, 2, 3  # table: buffers, violations, first bad address
_table = (ctypes.c_int64 * (_RANGES + 2 * _MOST))()
_I64 = ir.IntType(64)


class OutOfBoundsError(AssertionError):
    """A kernel read or wrote outside the buffers that the test declared."""


@contextlib.contextmanager
def guarded(*buffers: np.ndarray) -> Iterator[None]:
    """Declare the only memory that kernels may touch inside the block."""
    if len(buffers) > _MOST:
        raise ValueError(f"{len(buffers)} buffers; at most {_MOST} can be declared")
    _table[_COUNT] = len(buffers)
    _table[_OUTSIDE] = 0
    for number, buffer in enumerate(buffers):
        low, high = np.lib.array_utils.byte_bounds(buffer)
        _table[_RANGES + 2 * number] = low
        _table[_RANGES + 2 * number + 1] = high
    try:
        yield
        if _table[_OUTSIDE]:
            raise OutOfBoundsError(
                f"{_table[_OUTSIDE]} accesses outside, first at {_table[_FIRST]:#x}")
    finally:
        _table[_COUNT] = 0


def check_plain(address: int, size: int) -> None:
    """Plain Python's check: raises at the access itself."""
    if not ENABLED or _table[_COUNT] == 0 or size == 0:
        return
    for number in range(_table[_COUNT]):
        low, high = _table[_RANGES + 2 * number], _table[_RANGES + 2 * number + 1]
        if low <= address and address + size <= high:
            return
    raise OutOfBoundsError(f"access of {size} bytes at {address:#x} is in no declared buffer")


def check(builder: Any, pointer: Any, size: Any) -> None:
    """Emit the compiled check of `size` bytes (an i64 value) at `pointer`."""
    if ENABLED:
        address = builder.ptrtoint(pointer, _I64)
        builder.call(_checker(builder.module), [address, size])


def _checker(module: Any) -> Any:
    name = "fastbp_guard"
    if name in module.globals:
        return module.globals[name]
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [_I64, _I64]), name)
    function.linkage = "linkonce_odr"
    function.attributes.add("noinline")  # it is called from thousands of places
    address, size = function.args
    entry, loop, test, bad, done = (function.append_basic_block(n)
                                    for n in ("entry", "loop", "test", "bad", "done"))
    b = ir.IRBuilder(entry)
    base = ir.Constant(_I64, ctypes.addressof(_table)).inttoptr(_I64.as_pointer())

    def slot(index: Any) -> Any:
        return b.gep(base, [index])

    count = b.load(slot(_I64(_COUNT)))
    idle = b.or_(b.icmp_signed("==", count, _I64(0)), b.icmp_signed("<=", size, _I64(0)))
    b.cbranch(idle, done, loop)
    b.position_at_end(loop)
    number = b.phi(_I64)
    number.add_incoming(_I64(0), entry)
    b.cbranch(b.icmp_signed("<", number, count), test, bad)
    b.position_at_end(test)
    where = b.add(_I64(_RANGES), b.mul(number, _I64(2)))
    low, high = b.load(slot(where)), b.load(slot(b.add(where, _I64(1))))
    inside = b.and_(b.icmp_signed("<=", low, address),
                    b.icmp_signed("<=", b.add(address, size), high))
    number.add_incoming(b.add(number, _I64(1)), test)
    b.cbranch(inside, done, loop)
    b.position_at_end(bad)
    outside = b.load(slot(_I64(_OUTSIDE)))
    first = b.load(slot(_I64(_FIRST)))
    is_first = b.icmp_signed("==", outside, _I64(0))
    b.store(b.select(is_first, address, first), slot(_I64(_FIRST)))
    b.store(b.add(outside, _I64(1)), slot(_I64(_OUTSIDE)))
    b.branch(done)
    b.position_at_end(done)
    b.ret_void()
    return function
