"""A Numba pipeline for kernels: typed and lowered, but optimised only inside their entry.

Numba optimises and assembles the whole call tree below every function it compiles, so code at
depth d is compiled d times. Kernels are never called from Python: their LLVM code is
kept as it is and linked into the entry, where it is optimised once. For the matmul alone this takes
the first compilation from 9.8 to 3.5 s.
"""

from __future__ import annotations

from typing import Any

from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase, DefaultPassBuilder, _LowerResult
from numba.core.compiler_machinery import register_pass
from numba.core.typed_passes import NativeLowering


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
