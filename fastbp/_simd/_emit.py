"""How a primitive gets its compiled meaning: one decorator, and the IR helpers all share.

A primitive is a plain Python function, so that kernels run under `NUMBA_DISABLE_JIT=1`;
`lowers` records its typing and its LLVM code, which Numba is told of when something is compiled
(`_types.register_primitives`).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llvmlite import ir

from fastbp._simd import guard
from fastbp._simd.machine import machine

if TYPE_CHECKING:
    from fastbp._simd._types import Vector

I1, I32, I64 = ir.IntType(1), ir.IntType(32), ir.IntType(64)


class _NumbaTypes:
    """The names of `_types`, which is imported when the first of them is used."""

    def __getattr__(self, name: str) -> Any:
        value = getattr(importlib.import_module("fastbp._simd._types"), name)
        setattr(self, name, value)
        return value


types = _NumbaTypes()


@dataclass(frozen=True)
class Primitive:
    """A function, how Numba types a call of it (None: it knows), and how the call is emitted."""

    function: Callable
    typing: Callable[..., Any] | None
    arguments: tuple[str, ...]
    emit: Callable


PRIMITIVES: list[Primitive] = []


def lowers(function: Callable, typing: Callable[..., Any] | None, *arguments: str) -> Callable:
    """Decorator: the compiled meaning of `function`.

    `typing(*argument types)` returns the result's type, or None where the arguments do not
    fit. The decorated emitter is called as `emit(builder, signature, *argument values)`.
    `arguments` names the types it is for (needed for operators, which others lower too).
    """

    def record(emit: Callable) -> Callable:
        PRIMITIVES.append(Primitive(function, typing, arguments, emit))
        return emit

    return record


def scalar_ir(dtype: Any) -> ir.Type:
    """The LLVM type of a lane."""
    if dtype == types.boolean:
        return I1
    if isinstance(dtype, types.Float):
        return ir.FloatType() if dtype.bitwidth == 32 else ir.DoubleType()
    return ir.IntType(dtype.bitwidth)


def register_ir(vector: Vector) -> ir.VectorType:
    """The LLVM type of a register."""
    return ir.VectorType(scalar_ir(vector.dtype), vector.lanes)


def vector_of(dtype: Any) -> Vector:
    """The full register of `dtype` lanes on this machine."""
    return types.Vector(dtype, machine().lanes(dtype.bitwidth // 8))


def llvm_function(builder: Any, name: str, result: ir.Type, arguments: list[ir.Type]) -> Any:
    """Declare an LLVM intrinsic by its full name: llvmlite's own helper cannot name vectors."""
    module = builder.module
    if name in module.globals:
        return module.globals[name]
    return ir.Function(module, ir.FunctionType(result, arguments), name)


def suffix(vector: ir.VectorType) -> str:
    """`v16f32` and the like: the suffix of LLVM's overloaded intrinsics."""
    element = vector.element
    if isinstance(element, ir.IntType):
        kind = f"i{element.width}"
    else:
        kind = "f32" if isinstance(element, ir.FloatType) else "f64"
    return f"v{vector.count}{kind}"


def splat_ir(builder: Any, scalar: Any, vector: ir.VectorType) -> Any:
    """All lanes equal to `scalar`."""
    empty = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(empty, scalar, I32(0))
    order = ir.Constant(ir.VectorType(I32, vector.count), [I32(0)] * vector.count)
    return builder.shuffle_vector(first, empty, order)


def first_lanes(builder: Any, count: Any, lanes: int) -> Any:
    """The mask of lanes 0..count-1 (count may exceed the lanes or be negative)."""
    index = ir.VectorType(I32, lanes)
    clipped = builder.select(builder.icmp_signed("<", count, I64(lanes)), count, I64(lanes))
    bound = splat_ir(builder, builder.trunc(clipped, I32), index)
    return builder.icmp_signed("<", ir.Constant(index, [I32(i) for i in range(lanes)]), bound)


def scalar_load(builder: Any, pointer: Any) -> Any:
    """Load one element."""
    guard.check(builder, pointer, I64(bytes_of(pointer.type.pointee)))
    return builder.load(pointer)


def vector_load(builder: Any, pointer: Any, vector: ir.VectorType) -> Any:
    """Load a register from an address aligned to its elements only."""
    guard.check(builder, pointer, I64(bytes_of(vector.element) * vector.count))
    cast = builder.bitcast(pointer, vector.as_pointer())
    return builder.load(cast, align=bytes_of(vector.element))


def vector_store(builder: Any, value: Any, pointer: Any) -> None:
    """Store a register to an address aligned to its elements only."""
    vector = value.type
    guard.check(builder, pointer, I64(bytes_of(vector.element) * vector.count))
    builder.store(value, builder.bitcast(pointer, vector.as_pointer()),
                  align=bytes_of(vector.element))


def masked_load(builder: Any, pointer: Any, count: Any, vector: ir.VectorType) -> Any:
    """The first `count` lanes from memory, 0 elsewhere; memory of other lanes is not touched."""
    _check_lanes(builder, pointer, count, vector)
    mask = first_lanes(builder, count, vector.count)
    where = vector.as_pointer()
    f = llvm_function(builder, f"llvm.masked.load.{suffix(vector)}.p0", vector,
                      [where, I32, mask.type, vector])
    return builder.call(f, [builder.bitcast(pointer, where), I32(bytes_of(vector.element)), mask,
                            ir.Constant(vector, None)])


def masked_store(builder: Any, value: Any, pointer: Any, count: Any) -> None:
    """The first `count` lanes to memory; memory of other lanes is not touched."""
    vector = value.type
    _check_lanes(builder, pointer, count, vector)
    mask = first_lanes(builder, count, vector.count)
    where = vector.as_pointer()
    f = llvm_function(builder, f"llvm.masked.store.{suffix(vector)}.p0", ir.VoidType(),
                      [vector, where, I32, mask.type])
    builder.call(f, [value, builder.bitcast(pointer, where), I32(bytes_of(vector.element)), mask])


def _check_lanes(builder: Any, pointer: Any, count: Any, vector: ir.VectorType) -> None:
    if guard.ENABLED:
        full = I64(vector.count)
        clipped = builder.select(builder.icmp_signed("<", count, full), count, full)
        guard.check(builder, pointer, builder.mul(clipped, I64(bytes_of(vector.element))))


def multiply_add(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """`a*b + c`: one instruction where the machine has it, else two (never a libm call)."""
    if not machine().has_fma:
        return builder.fadd(builder.fmul(a, b), c)
    f = llvm_function(builder, f"llvm.fma.{suffix(a.type)}", a.type, [a.type] * 3)
    return builder.call(f, [a, b, c])


def bytes_of(scalar: ir.Type) -> int:
    """Bytes of one element in memory."""
    if isinstance(scalar, ir.IntType):
        return scalar.width // 8
    return 4 if isinstance(scalar, ir.FloatType) else 8
