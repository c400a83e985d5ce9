"""Functions with C's calling convention around kernels: for Python, and between object files.

Kernels that run instructions are compiled in parts, each in an object file of its own
(`fastbp._jit.PARTS`). Their calls, in the executor, are calls of a symbol that is defined there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.core import types
from numba.core.cgutils import get_or_insert_function
from numba.core.compiler_lock import global_compiler_lock
from numba.extending import lower_builtin, type_callable
from numba.np.numpy_support import as_dtype

from fastbp._compiler._kernels import TARGET, known_kernels
from fastbp._compiler._link import KernelLibrary, assembled
from fastbp._jit import PARTS


@global_compiler_lock
def door_code(function: Callable, words: int, dtype: np.dtype, name: str) -> bytes:
    """Machine code of `int64 name(int64 * words)`, which calls the kernel `function`.

    The kernel's last argument, a pointer that tells the type of elements, is null.
    """
    signature = (types.int64,) * words + (_pointer(dtype),)
    kernel = known_kernels()[function].compile(signature)
    return _assembled(name, [(name, kernel, words)])


@global_compiler_lock
def part_code(part: str, dtype: np.dtype) -> bytes:
    """Machine code of a part's functions."""
    signature = _signature(_pointer(dtype))
    kernels = known_kernels()
    doors = [(_symbol(f, dtype), kernels[f].compile(signature), len(signature))
             for f in PARTS[part].functions]  # fmt: skip
    return _assembled(part, doors)


def _pointer(dtype: np.dtype) -> Any:
    return types.CPointer(numba.from_dtype(dtype))


def _signature(like: Any) -> tuple[Any, ...]:
    """The types of RUN_ARGUMENTS."""
    return (types.CPointer(types.int64), types.CPointer(types.float64),
            types.int64, types.int64, types.int64, like)  # fmt: skip


def _symbol(function: Callable, dtype: np.dtype) -> str:
    return f"{function.__name__}_{dtype.name}"


def _assembled(name: str, doors: list[tuple[str, Any, int]]) -> bytes:
    context = TARGET.target_context
    module = context.codegen()._create_empty_module(name)
    library = KernelLibrary(context.codegen(), name)
    for symbol, kernel, given in doors:
        _add_door(module, symbol, kernel.fndesc, given)
        library.add_linking_library(kernel.library)
    library.add_door(module)
    return assembled(library)


def _add_door(module: Any, symbol: str, kernel: Any, given: int) -> None:
    """C's convention around Numba's; arguments beyond the `given` ones are null."""
    context = TARGET.target_context
    kinds = [context.get_value_type(kind) for kind in kernel.argtypes]
    result = ir.VoidType() if kernel.restype == types.none else ir.IntType(64)
    function = ir.Function(module, ir.FunctionType(result, kinds[:given]), symbol)
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    inner = context.declare_function(module, kernel)
    # Kernels never raise, so the status says nothing.
    _, value = context.call_conv.call_function(
        builder, inner, kernel.restype, kernel.argtypes,
        [*function.args, *(ir.Constant(kind, None) for kind in kinds[given:])])
    if kernel.restype == types.none:
        builder.ret_void()
    else:
        builder.ret(value)


def register_call(function: Callable) -> None:
    """Tell Numba that calls of `function` are calls of another object file's symbol."""

    @type_callable(function)
    def typer(context: Any) -> Callable:
        return lambda w, r, task, step, slot, like: types.none

    @lower_builtin(function, types.VarArg(types.Any))
    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kinds = _signature(sig.args[-1])
        values = [context.cast(builder, value, given, wanted)
                  for value, given, wanted in zip(args, sig.args, kinds, strict=True)]
        symbol = _symbol(function, as_dtype(sig.args[-1].dtype))
        shape = ir.FunctionType(ir.VoidType(), [value.type for value in values])
        builder.call(get_or_insert_function(builder.module, shape, symbol), values)
        return context.get_dummy_value()
