"""Public names of a package that are imported when somebody first asks for them.

A first training step needs a third of the modules; without bytecode files each costs a
millisecond (docs/design/006-start-up.md).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazily(package: str, parts: Mapping[str, str]
           ) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of a package (PEP 562).

    parts: for each module of the package its public names, separated by spaces. The module's own
    name stands for the module. (What a module has may not be called like a module of
    the package: whoever imports that one would put it in the name's place.)
    """
    home = {module: module for module in parts}
    home |= {name: module for module, names in parts.items() for name in names.split()}
    space = vars(sys.modules[package])

    def get(name: str) -> Any:
        part = home.get(name)
        if part is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = import_module(f"{package}.{part}")
        value = space[name] = module if name == part else getattr(module, name)
        return value

    return get, lambda: sorted({*space, *home})
