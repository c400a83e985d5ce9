"""LLVM code of kernels: kept as text, linked once, optimised once, assembled."""

from __future__ import annotations

from typing import Any

import llvmlite.binding as llvm
from numba.core.cgutils import normalize_ir_text
from numba.core.codegen import CodeLibrary


class KernelLibrary(CodeLibrary):
    """A kernel's LLVM code as text, and the libraries it calls: neither linked nor optimised."""

    def __init__(self, codegen: Any, name: str) -> None:
        super().__init__(codegen, name)
        self.text = ""
        self.callees: dict[Any, None] = {}
        self._linked: Any = None

    def add_ir_module(self, ir_module: Any) -> None:
        """Numba's hook: all of the kernel's code, which may be dropped where nobody calls it."""
        for function in ir_module.functions:
            if not function.is_declaration:
                function.linkage = "linkonce_odr"
        self.add_door(ir_module)

    def add_door(self, ir_module: Any) -> None:
        """Code that stays even if nobody calls it."""
        self.text = normalize_ir_text(str(ir_module))

    def add_linking_library(self, library: Any) -> None:
        """Numba's hook: code that this code calls."""
        self.callees[library] = None

    def finalize(self) -> None:
        """Numba's hook: there is nothing to do before everything is there."""
        self._finalized = True

    def _get_module_for_linking(self) -> Any:
        """Numba's hook, for a function called from Python that calls this kernel."""
        if self._linked is None:
            self._linked = linked(self)
        return self._linked

    def get_function(self, name: str) -> Any:
        """Code is not inspected before it is linked."""
        raise NotImplementedError

    get_llvm_str = get_asm_str = get_function


def linked(library: KernelLibrary) -> Any:
    """One LLVM module of a library and everything below it.

    Callers come before what they call: the linker drops what nobody has called yet.
    """
    module = _parsed(library)
    seen = {library}

    def add(part: Any) -> None:
        if part in seen:
            return
        seen.add(part)
        if isinstance(part, KernelLibrary):
            module.link_in(_parsed(part))
            for callee in part.callees:
                add(callee)
        else:  # a function of Numba's own: `min`, `max`
            module.link_in(part._get_module_for_linking(), preserve=True)

    for callee in library.callees:
        add(callee)
    return module


def _parsed(library: KernelLibrary) -> Any:
    module = llvm.parse_assembly(library.text)
    module.data_layout = library.codegen._data_layout
    return module


def assembled(library: KernelLibrary) -> bytes:
    """Machine code of a library and everything below it, optimised as Numba does."""
    codegen = library.codegen
    codegen._check_llvm_bugs()
    whole = codegen.create_library(library.name)
    whole._final_module.link_in(linked(library))
    for variable in whole._final_module.global_variables:
        # Nobody else's: Numba's, which kernels have no use for, are dropped with their names,
        # which differ from process to process.
        variable.linkage = "internal"
    whole._optimize_final_module()
    whole._final_module.verify()
    code: bytes = codegen._tm.emit_object(whole._final_module)
    return code
