"""How a thread's vector unit treats subnormal numbers.

Velocities of units that are never active shrink by the momentum at every step; some 800 steps later
they are subnormal, and each product with one takes the processor a hundred cycles. Training runs
with subnormal numbers taken as zero, as XLA does; so do not `ops`, whose results are tested down
to the smallest number.
"""

from __future__ import annotations

import platform
from typing import Any

from llvmlite import ir

from fastbp._simd._emit import I32, I64, llvm_function, lowers, types
from fastbp._simd.machine import _ARM

# Bits of the control word: results and operands on x86 (MXCSR FTZ, DAZ), both on ARM (FPCR FZ).
_FLUSH_X86, _FLUSH_ARM = 0x8040, 1 << 24


def flush_subnormals() -> int:
    """Take subnormal numbers as zero on this thread from now on; what `restore_subnormals` takes.

    Plain Python keeps them: it has no say in the matter.
    """
    return 0


def restore_subnormals(before: int) -> None:
    """Undo `flush_subnormals`."""


def _is_arm() -> bool:
    return platform.machine().lower() in _ARM


def _x86(builder: Any, name: str, word: Any) -> None:
    byte = ir.IntType(8).as_pointer()
    f = llvm_function(builder, f"llvm.x86.sse.{name}", ir.VoidType(), [byte])
    builder.call(f, [builder.bitcast(word, byte)])


def _set(builder: Any, value: Any) -> None:
    if _is_arm():
        builder.call(llvm_function(builder, "llvm.aarch64.set.fpcr", ir.VoidType(), [I64]), [value])
        return
    word = builder.alloca(I32)
    builder.store(builder.trunc(value, I32), word)
    _x86(builder, "ldmxcsr", word)


@lowers(flush_subnormals, lambda: types.int64)
def _flush(builder: Any, sig: Any) -> Any:
    if _is_arm():
        before = builder.call(llvm_function(builder, "llvm.aarch64.get.fpcr", I64, []), [])
        _set(builder, builder.or_(before, I64(_FLUSH_ARM)))
        return before
    word = builder.alloca(I32)
    _x86(builder, "stmxcsr", word)
    before = builder.zext(builder.load(word), I64)
    _set(builder, builder.or_(before, I64(_FLUSH_X86)))
    return before


@lowers(restore_subnormals, lambda b: types.none if isinstance(b, types.Integer) else None)
def _restore(builder: Any, sig: Any, before: Any) -> None:
    _set(builder, before)
