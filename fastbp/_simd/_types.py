"""Numba's side of the primitives: the types they use, and their registration.

Imports Numba, so it is itself imported only when something is compiled: a process that finds its
kernels in the cache never pays for it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba.core import types
from numba.core.datamodel import models
from numba.core.types import (
    Array,
    CPointer,
    DType,
    Float,
    Integer,
    NoneType,
    Number,
    NumberClass,
    boolean,
    float32,
    float64,
    int32,
    int64,
    intp,
    none,
    uint32,
)
from numba.extending import lower_builtin, register_model, type_callable

from fastbp._simd import _emit

__all__ = [
    "Array", "CPointer", "DType", "Float", "Integer", "NoneType", "Number", "NumberClass",
    "Vector", "boolean", "float32", "float64", "int32", "int64", "intp", "none",
    "register_primitives", "uint32",
]


class Vector(types.Type):
    """One register of lanes of a NumPy scalar type; `boolean` lanes make it a mask."""

    def __init__(self, dtype: types.Type, lanes: int) -> None:
        self.dtype = dtype
        self.lanes = lanes
        super().__init__(name=f"Vector({dtype}, {lanes})")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Vector) -> None:
        super().__init__(dmm, fe_type, _emit.register_ir(fe_type))


_registered: list[_emit.Primitive] = []


def register_primitives() -> bool:
    """Tell Numba's typing and lowering registries of all primitives; True where some are new:
    modules that were imported since have theirs.

    Directly: an `@overload` around an `@intrinsic` means the same but compiles one more function
    for every signature, which would be most of the first start's time.
    """
    new = _emit.PRIMITIVES[len(_registered) :]
    for primitive in new:
        _register(primitive)
    _registered.extend(new)
    return bool(new)


def _register(primitive: _emit.Primitive) -> None:
    function, typing, emit = primitive.function, primitive.typing, primitive.emit
    if typing is not None:

        @type_callable(function)
        def typer(context: Any) -> Callable:
            return typing

    names = primitive.arguments
    narrow = [globals()[name] for name in names] if names else [types.VarArg(types.Any)]

    @lower_builtin(function, *narrow)
    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        value = emit(builder, sig, *args)
        return context.get_dummy_value() if sig.return_type == none else value
