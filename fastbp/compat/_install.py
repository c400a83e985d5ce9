"""Other people's module names, and fastbp's modules in their place.

A finder in front of the others answers for the names in the table, wherever a script lies and
whatever it does to `sys.path`; all other modules of the same package are the user's own.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

from fastbp._errors import ArgumentError


def _beside(package: str, target: str, names: str) -> dict[str, str]:
    return {f"{package}.{name}": f"{target}.{name}" for name in names.split()}


REPLACED: dict[str, dict[str, str]] = {
    "cs231n": _beside(
        "cs231n", "fastbp.compat.cs231n",
        "layers layer_utils fast_layers im2col optim solver gradient_check classifiers.cnn "
        "classifiers.fc_net classifiers.linear_classifier classifiers.linear_svm "
        "classifiers.neural_net classifiers.softmax"),
    "dlfs": _beside(
        "common", "fastbp.compat.dlfs",
        "layers functions gradient util optimizer multi_layer_net multi_layer_net_extend trainer"),
    "miniflow": {"miniflow": "fastbp.compat.miniflow"},
    "nielsen": {"network": "fastbp.compat.nielsen.network",
                "network2": "fastbp.compat.nielsen.network2"},
    "micrograd": _beside("micrograd", "fastbp.compat.micrograd", "engine nn"),
}
"""For each compatible interface: the names that scripts import, and fastbp's modules."""


def replaced_modules(interface: str) -> dict[str, str]:
    """A row of `REPLACED`.

    Raises:
        ArgumentError: no such interface.
    """
    if interface not in REPLACED:
        raise ArgumentError(f"compat={interface!r}", f"one of {', '.join(REPLACED)}")
    return REPLACED[interface]


def install(interface: str) -> tuple[str, ...]:
    """Let imports of an interface's names find fastbp's modules from now on, in this process.

    What was imported under these names before is imported anew at the next `import`; names that
    a script has already taken out of those modules stay what they are. A second call changes
    nothing.

    Returns:
        The names that are replaced.
    Raises:
        ArgumentError: no such interface.
    """
    modules = replaced_modules(interface)
    if not any(isinstance(f, _Finder) and f.modules == modules for f in sys.meta_path):
        sys.meta_path.insert(0, _Finder(modules))
        sys.meta_path.append(_Parents(modules))
        for name in modules:
            _forget(name)
    return tuple(modules)


def _forget(name: str) -> None:
    """Drop a module that was imported from elsewhere, also from the package it is in."""
    module = sys.modules.pop(name, None)
    package, _, last = name.rpartition(".")
    if module is not None and getattr(sys.modules.get(package), last, None) is module:
        delattr(sys.modules[package], last)


class _Finder(MetaPathFinder):
    """Finds fastbp's modules under other names."""

    def __init__(self, modules: Mapping[str, str]) -> None:
        self.modules = modules

    def find_spec(self, fullname: str, path: Sequence[str] | None,
                  target: ModuleType | None = None) -> ModuleSpec | None:
        """A spec for a name in the table."""
        if fullname not in self.modules:
            return None
        return ModuleSpec(fullname, _Alias(self.modules[fullname]))


class _Alias(Loader):
    """Loads a module that has a name of its own, which it keeps."""

    def __init__(self, name: str) -> None:
        self.name = name

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """The module, imported under its own name."""
        module = importlib.import_module(self.name)
        self.spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Take back what the import system wrote into it; it has been executed."""
        module.__spec__ = self.spec


class _Parents(MetaPathFinder):
    """Finds an empty package for `common` in `common.layers` where the user has none."""

    def __init__(self, names: Iterable[str]) -> None:
        parts = [name.split(".") for name in names]
        self.packages = {".".join(p[:n]) for p in parts for n in range(1, len(p))}

    def find_spec(self, fullname: str, path: Sequence[str] | None,
                  target: ModuleType | None = None) -> ModuleSpec | None:
        """A spec for a package that nobody else has found."""
        if fullname not in self.packages:
            return None
        return ModuleSpec(fullname, None, is_package=True)
