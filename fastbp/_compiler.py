"""The only file that runs Numba: kernels to object code.

Numba optimises and assembles the whole call tree below every function it compiles, so code at
depth d is compiled d times. Kernels are never called from Python: their LLVM code is
kept as it is and linked into the function that Python calls, where it is optimised once. For the
matmul alone this takes the first compilation from 9.8 to 3.5 s.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.core import types
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase, DefaultPassBuilder, _LowerResult
from numba.core.compiler_lock import global_compiler_lock
from numba.core.compiler_machinery import register_pass
from numba.core.registry import cpu_target
from numba.core.typed_passes import NativeLowering
from numba.core.typing.templates import builtin_registry

from fastbp._jit import KERNELS

OPTIONS: dict[str, Any] = {
    # x/0 is inf or nan as in NumPy: a kernel never raises.
    "error_model": "numpy",
    # Pointers only; `FASTBP_BOUNDSCHECK=1` checks them (fastbp/_simd/guard.py).
    "boundscheck": False,
    # a*b+c may be one instruction. Nothing else: "nnan" would fold isnan to False.
    "fastmath": {"contract"},
}


@global_compiler_lock
def object_code(function: Callable, words: int, dtype: np.dtype, name: str) -> bytes:
    """Machine code of `int64 name(int64 * words)`, which calls the kernel `function`.

    The kernel's last argument, a pointer that tells the type of elements, is null.
    """
    like = types.CPointer(numba.from_dtype(dtype))
    result = _kernels()[function].compile_result((types.int64,) * words + (like,))
    library = cpu_target.target_context.codegen().create_library(name)
    library.enable_object_caching()
    library.add_ir_module(_door(result.fndesc, words, name))
    library.add_linking_library(result.library)
    library.finalize()
    code: bytes = library._get_compiled_object()
    return code


def callable_from_python(function: Callable) -> Any:
    """A Numba dispatcher that may call kernels."""
    _kernels()
    return numba.njit(nogil=True, **OPTIONS)(function)


def _door(kernel: Any, words: int, name: str) -> Any:
    """A module with the one function that C calls: Numba's own convention behind C's."""
    context = cpu_target.target_context
    module = ir.Module(f"door.{name}")
    word = ir.IntType(64)
    function = ir.Function(module, ir.FunctionType(word, [word] * words), name)
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    inner = context.declare_function(module, kernel)
    null = ir.Constant(context.get_value_type(kernel.argtypes[-1]), None)
    # Kernels never raise, so the status says nothing.
    _, result = context.call_conv.call_function(builder, inner, kernel.restype, kernel.argtypes,
                                                [*function.args, null])
    builder.ret(result)
    return module


class _Kernel:
    """Numba's dispatcher of a kernel."""

    def __init__(self, function: Callable) -> None:
        self.dispatcher = numba.njit(pipeline_class=KernelCompiler, **OPTIONS)(function)

    def compile_result(self, signature: tuple[Any, ...]) -> Any:
        """The kernel compiled for argument types, as code to link."""
        self.dispatcher.compile(signature)
        return self.dispatcher.overloads[signature]


_known: dict[Callable, _Kernel] = {}


def _kernels() -> dict[Callable, _Kernel]:
    """All kernels, made known to Numba together with the primitives they call."""
    from fastbp._simd._types import register_primitives

    register_primitives()
    for function in KERNELS[len(_known) :]:
        kernel = _known[function] = _Kernel(function)
        builtin_registry.register_global(function, types.Dispatcher(kernel.dispatcher))
    cpu_target.typing_context.refresh()
    cpu_target.target_context.refresh()
    return _known


class _KernelLibrary(JITCodeLibrary):
    """LLVM code that waits to be linked: neither optimised nor assembled."""

    def _optimize_functions(self, ll_module: Any) -> None:
        ll_module.data_layout = self._codegen._data_layout

    def _optimize_final_module(self) -> None:
        pass

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()
        self._finalized = True


def _not_callable() -> Any:
    """What stands where Numba keeps the function that Python would call.

    It must be a built-in function and unlike all others; this one refuses any arguments.
    """
    return object().__reduce__


@register_pass(mutates_CFG=True, analysis_only=False)
class _KernelLowering(NativeLowering):
    """Numba's lowering into a `_KernelLibrary`, without wrappers for Python."""

    _name = "fastbp_kernel_lowering"

    def run_pass(self, state: Any) -> bool:
        flags, target = state.flags, state.targetctx
        flags.no_compile = flags.no_cpython_wrapper = flags.no_cfunc_wrapper = True
        library = _KernelLibrary(target.codegen(), state.func_id.func_qualname)
        library.enable_object_caching()
        state.library = library
        super().run_pass(state)
        library.finalize()
        lowered = state["cr"]
        token = _not_callable()
        target.insert_user_function(token, lowered.fndesc, [library])
        state["cr"] = _LowerResult(lowered.fndesc, lowered.call_helper, cfunc=token,
                                   env=lowered.env)
        return True


class KernelCompiler(CompilerBase):
    """The no-Python pipeline with `_KernelLowering` at its end."""

    def define_pipelines(self) -> list[Any]:
        """Numba's hook: the passes to run."""
        manager = DefaultPassBuilder.define_nopython_pipeline(self.state)
        manager.passes = [(_KernelLowering if step is NativeLowering else step, text)
                          for step, text in manager.passes]
        manager.finalize()
        return [manager]
