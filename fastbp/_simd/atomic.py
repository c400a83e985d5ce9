"""Words shared between threads: tickets, completion counts, and a polite wait."""

from __future__ import annotations

import os
import platform
from typing import Any

from llvmlite import ir

from fastbp._simd._emit import I32, I64, llvm_function, lowers, types
from fastbp._simd.machine import _ARM


def _is_word(p: Any) -> bool:
    return p == types.CPointer(types.int64)


def fetch_add(p: Any, i: int, amount: int) -> int:
    """p[i] += amount as one step; the value before."""
    before = p[i]
    p[i] = before + amount
    return before


def compare_exchange(p: Any, i: int, expected: int, value: int) -> bool:
    """p[i] = value if it is `expected`, as one step; whether it was."""
    if p[i] != expected:
        return False
    p[i] = value
    return True


def load_acquire(p: Any, i: int) -> int:
    """p[i], seen before any later access of this thread."""
    return p[i]


def yield_processor() -> None:
    """Let another thread or process have this core (POSIX; a spin hint elsewhere)."""


def pause() -> None:
    """A hint to the core that this is a spin loop."""


def ticks() -> int:
    """A clock of some 10^9 ticks a second where the processor has one that is free, else 0."""
    return 0


@lowers(ticks, lambda: types.int64)
def _ticks(builder: Any, sig: Any) -> Any:
    if platform.machine().lower() in _ARM:
        return I64(0)
    return builder.call(llvm_function(builder, "llvm.readcyclecounter", I64, []), [])


@lowers(fetch_add, lambda p, i, n: types.int64 if _is_word(p) else None)
def _fetch_add(builder: Any, sig: Any, p: Any, i: Any, amount: Any) -> Any:
    return builder.atomic_rmw("add", builder.gep(p, [i]), amount, "seq_cst")


@lowers(compare_exchange, lambda p, i, e, v: types.boolean if _is_word(p) else None)
def _compare_exchange(builder: Any, sig: Any, p: Any, i: Any, expected: Any, value: Any) -> Any:
    where = builder.gep(p, [i])
    result = builder.cmpxchg(where, expected, value, "seq_cst", "seq_cst")
    return builder.extract_value(result, 1)


@lowers(load_acquire, lambda p, i: types.int64 if _is_word(p) else None)
def _load_acquire(builder: Any, sig: Any, p: Any, i: Any) -> Any:
    return builder.load_atomic(builder.gep(p, [i]), "acquire", 8)


@lowers(yield_processor, lambda: types.none)
def _yield_processor(builder: Any, sig: Any) -> None:
    if os.name == "posix":
        builder.call(llvm_function(builder, "sched_yield", I32, []), [])
    else:
        _pause(builder, sig)


@lowers(pause, lambda: types.none)
def _pause(builder: Any, sig: Any) -> None:
    if platform.machine().lower() in _ARM:
        builder.call(llvm_function(builder, "llvm.aarch64.hint", ir.VoidType(), [I32]), [I32(1)])
    else:
        builder.call(llvm_function(builder, "llvm.x86.sse2.pause", ir.VoidType(), []), [])
