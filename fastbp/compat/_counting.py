"""How often a script calls what is in fastbp's modules: wrappers that count, for the runner only.

A call counts where its caller is not part of fastbp: what functions do among themselves is left
out, but not what a user's network does that fastbp's solver calls.
"""

from __future__ import annotations

import functools
import importlib
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from types import FunctionType, ModuleType
from typing import Any

_OWN = "fastbp."


class Watch:
    """Counts calls of the functions and methods of some modules.

    Arguments:
        modules: from the names that scripts use to the modules themselves. Their functions and
            classes are changed in place, for the rest of the process. A module that has
            `accept_wrappers` is told afterwards.
    """

    def __init__(self, modules: Mapping[str, str]) -> None:
        self.counts: Counter[str] = Counter()
        self._wrappers: dict[Callable[..., Any], Callable[..., Any]] = {}
        self._classes: dict[type[Any], str] = {}
        loaded = {alias: importlib.import_module(name) for alias, name in modules.items()}
        homes = {name: alias for alias, name in modules.items()}
        for alias, module in loaded.items():
            for name, value in _public(module):
                label = f"{homes.get(value.__module__, alias)}.{name}"
                if isinstance(value, type):
                    self._classes.setdefault(value, label)
                else:
                    setattr(module, name, self._function(value, label))
        for kind in {base: None for known in self._classes for base in known.__mro__}:
            if kind.__module__.startswith(_OWN):
                self._class(kind)
        for module in loaded.values():
            if hasattr(module, "accept_wrappers"):
                module.accept_wrappers()

    def _function(self, function: Callable[..., Any], label: str) -> Callable[..., Any]:
        if function not in self._wrappers:
            self._wrappers[function] = self._wrapper(function, lambda _: label)
        return self._wrappers[function]

    def _class(self, kind: type[Any]) -> None:
        """Wrap the methods that a class itself defines."""
        for name, member in list(vars(kind).items()):
            if name.startswith("_") and name != "__call__":
                continue
            if isinstance(member, FunctionType):
                setattr(kind, name, self._wrapper(member, functools.partial(self._method, name)))
            elif isinstance(member, (staticmethod, classmethod)):
                label = f"{self._classes.get(kind, kind.__name__)}.{name}"
                again = type(member)
                setattr(kind, name, again(self._function(member.__func__, label)))

    def _method(self, name: str, arguments: tuple[Any, ...]) -> str:
        """A method's label, after the class that scripts know of the object's bases."""
        for kind in type(arguments[0]).__mro__ if arguments else ():
            if kind in self._classes:
                return self._label(kind, name)
        return name

    def _label(self, kind: type[Any], name: str) -> str:
        return self._classes[kind] + ("" if name == "__call__" else f".{name}")

    def _wrapper(self, function: Callable[..., Any], label: Callable[[tuple[Any, ...]], str]
                 ) -> Callable[..., Any]:
        counts, frame = self.counts, sys._getframe

        @functools.wraps(function)
        def counted(*args: Any, **options: Any) -> Any:
            if not str(frame(1).f_globals.get("__name__")).startswith(_OWN):
                counts[label(args)] += 1
            return function(*args, **options)

        return counted

    def summary(self, interface: str) -> str:
        """The table of counts, most calls first."""
        if not self.counts:
            return f"fastbp: the script called nothing of {interface}'s modules"
        rows = sorted(self.counts.items(), key=lambda row: (-row[1], row[0]))
        width = max(len("calls"), *(len(f"{count:,}") for _, count in rows))
        lines = [f"  {count:>{width},}  {label}" for label, count in rows]
        return "\n".join([f"fastbp ran in place of {interface}:", f"  {'calls':>{width}}  function",
                          *lines])


def _public(module: ModuleType) -> list[tuple[str, Any]]:
    """Names without underscore of fastbp's own functions and classes in a module."""
    return [(name, value) for name, value in vars(module).items() if not name.startswith("_")
            and isinstance(value, (FunctionType, type)) and value.__module__.startswith(_OWN)]
