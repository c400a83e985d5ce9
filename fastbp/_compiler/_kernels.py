"""Kernels through Numba's front end: types inferred, then lowered to LLVM code as text.

Of Numba's passes only those are run that kernels need: there are no closures, `with` blocks,
generators, array expressions or overloads to inline in them.
"""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable
from typing import Any

import numba
from numba.core import types, typing
from numba.core.bytecode import FunctionIdentity
from numba.core.compiler import CompilerBase, _LowerResult
from numba.core.compiler_machinery import PassManager, register_pass
from numba.core.cpu import CPUContext
from numba.core.registry import CPUDispatcher, CPUTarget, cpu_target
from numba.core.typed_passes import (
    IRLegalization,
    NativeLowering,
    NoPythonBackend,
    NopythonTypeInference,
    PreLowerStripPhis,
)
from numba.core.typing.templates import builtin_registry
from numba.core.untyped_passes import (
    DeadBranchPrune,
    FixupArgs,
    GenericRewrites,
    IRProcessing,
    ReconstructSSA,
    RewriteSemanticConstants,
    TranslateByteCode,
)

from fastbp._compiler._link import KernelLibrary
from fastbp._jit import KERNELS, RUN_ARGUMENTS

OPTIONS: dict[str, Any] = {
    # x/0 is inf or nan as in NumPy: a kernel never raises.
    "error_model": "numpy",
    # Pointers only; `FASTBP_BOUNDSCHECK=1` checks them (fastbp/_simd/guard.py).
    "boundscheck": False,
    # a*b+c may be one instruction. Nothing else: "nnan" would fold isnan to False.
    "fastmath": {"contract"},
}


def known_kernels() -> dict[Callable, Kernel]:
    """All kernels, made known to Numba together with the primitives they call."""
    from fastbp._compiler._doors import register_call
    from fastbp._simd._types import register_primitives

    has_primitives = register_primitives()
    new = KERNELS[len(_known) :]
    for function in new:
        kernel = _known[function] = Kernel(function, {}, {"nopython": True, "_nrt": False,
                                                          **OPTIONS}, KernelCompiler)  # fmt: skip
        if tuple(inspect.signature(function).parameters) == RUN_ARGUMENTS:
            register_call(function)
        else:
            builtin_registry.register_global(function, types.Dispatcher(kernel))
    if new or has_primitives:
        TARGET.typing_context.refresh()
        TARGET.target_context.refresh()
    return _known


# What `known_kernels` returns, and what the two contexts below remember.
_known: dict[Callable, Kernel] = {}
_signatures: dict[Any, Any] = {}
_sizes: dict[Any, int] = {}


class _Typing(typing.Context):
    """Numba's typing context, which remembers how calls of built-in functions were typed.

    Numba tries some twenty templates for each `+`.
    """

    def resolve_function_type(self, func: Any, args: Any, kws: Any) -> Any:
        if kws or not isinstance(func, types.Function):
            return super().resolve_function_type(func, args, kws)
        signature = _signatures.get((func, args))
        if signature is None:
            signature = super().resolve_function_type(func, args, kws)
            if signature is not None:
                _signatures[func, args] = signature
        return signature


class _Context(CPUContext):
    """Numba's target context, which remembers the sizes of types: LLVM's parser tells them."""

    def get_abi_sizeof(self, ty: Any) -> int:
        size = _sizes.get(ty)
        if size is None:
            size = _sizes[ty] = super().get_abi_sizeof(ty)
        return size


class _Target(CPUTarget):
    """Numba's target for this machine, seen through the two contexts above.

    Copies share all registries with the original, as Numba's own `subtarget` does.
    """

    @functools.cached_property
    def _toplevel_typing_context(self) -> Any:
        return _seen_as(cpu_target.typing_context, _Typing)

    @functools.cached_property
    def _toplevel_target_context(self) -> Any:
        return _seen_as(cpu_target.target_context, _Context)


def _seen_as(context: Any, kind: type) -> Any:
    view = copy.copy(context)
    view.__class__ = kind
    return view


TARGET = _Target("cpu")


class Kernel(CPUDispatcher):
    """Numba's dispatcher of a kernel."""

    targetdescr = TARGET

    def compile(self, signature: tuple[Any, ...]) -> Any:
        """The kernel compiled for argument types, as code to link.

        Numba's own also keeps statistics, whose timers see each event of all inner compilations.
        """
        found = self.overloads.get(signature)
        if found is None:
            found = self._compiler.compile(signature, None)
            self.add_overload(found)
        return found

    def get_call_template(self, args: Any, kws: Any) -> Any:
        """Numba's hook. A literal 0 or 1 is an integer like others: it would make a copy."""
        args = tuple(types.intp if isinstance(a, types.IntegerLiteral) and a.literal_value in (0, 1)
                     else a for a in args)  # fmt: skip
        return super().get_call_template(args, kws)


def _not_callable() -> Any:
    """What stands where Numba keeps the function that Python would call.

    It must be a built-in function and unlike all others; this one refuses any arguments.
    """
    return object().__reduce__


@register_pass(mutates_CFG=True, analysis_only=False)
class _KernelLowering(NativeLowering):
    """Numba's lowering into a `KernelLibrary`, without wrappers for Python."""

    _name = "fastbp_kernel_lowering"

    def run_pass(self, state: Any) -> bool:
        flags, target = state.flags, state.targetctx
        flags.no_compile = flags.no_cpython_wrapper = flags.no_cfunc_wrapper = True
        library = KernelLibrary(target.codegen(), state.func_id.func_qualname)
        state.library = library
        state.func_id.unique_id = _number(state.func_id)
        super().run_pass(state)
        library.finalize()
        lowered = state["cr"]
        token = _not_callable()
        target.insert_user_function(token, lowered.fndesc, [library])
        state["cr"] = _LowerResult(lowered.fndesc, lowered.call_helper, cfunc=token,
                                   env=lowered.env)
        return True


def _number(identity: FunctionIdentity) -> int:
    """A kernel's number among those of the same name (a factory's): symbols are told apart by it.

    Numba numbers functions in the order it sees them, which differs from process to process.
    """
    function = identity.func
    return [f for f in KERNELS if f.__module__ == function.__module__
            and f.__qualname__ == function.__qualname__].index(function)  # fmt: skip


class KernelCompiler(CompilerBase):
    """The passes that a kernel goes through."""

    def define_pipelines(self) -> list[Any]:
        """Numba's hook."""
        manager = PassManager("kernel")
        for step in (TranslateByteCode, FixupArgs, IRProcessing, RewriteSemanticConstants,
                     DeadBranchPrune, GenericRewrites, ReconstructSSA, DeadBranchPrune,
                     NopythonTypeInference, PreLowerStripPhis, IRLegalization, _KernelLowering,
                     NoPythonBackend):  # fmt: skip
            manager.add_pass(step, step.__name__)
        manager.finalize()
        return [manager]


def callable_from_python(function: Callable) -> Any:
    """A Numba dispatcher that may call kernels."""
    known_kernels()
    return numba.njit(nogil=True, **OPTIONS)(function)
