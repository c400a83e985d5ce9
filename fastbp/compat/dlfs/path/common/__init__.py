"""The book's `common` with fastbp's modules; all others come from the user's own `common`."""

import importlib
import sys
from pkgutil import extend_path

from fastbp.compat.dlfs import MODULES

__path__ = extend_path(__path__, __name__)

for _name in MODULES:
    _module = importlib.import_module(f"fastbp.compat.dlfs.{_name}")
    sys.modules[f"{__name__}.{_name}"] = globals()[_name] = _module
