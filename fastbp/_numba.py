"""Import Numba without SciPy, which it would only ask for its version and for a BLAS.

SciPy's import is a fifth of the way to the first training step. No kernel calls a BLAS; other code
of this process that uses Numba's `np.dot` finds SciPy as before. Imported before anything else of
fastbp.
"""

from __future__ import annotations

import importlib.util
import sys


def _import_numba() -> None:
    """Numba checks the version of a SciPy that it finds: let it find none."""
    if "numba" in sys.modules or "scipy" in sys.modules:
        import numba

        return
    sys.modules["scipy"] = None  # type: ignore[assignment]
    try:
        import numba  # noqa: F401
    finally:
        del sys.modules["scipy"]


def _import_array_functions() -> None:
    """The first compilation or cache hit imports these, and they ask once whether there is a
    BLAS.
    """
    if "numba.np.arraymath" in sys.modules or importlib.util.find_spec("scipy") is None:
        return
    from numba.np import linalg

    ensure_blas = linalg.ensure_blas
    linalg.ensure_blas = lambda: None
    try:
        from numba.np import arraymath

        arraymath.ensure_blas = ensure_blas
    finally:
        linalg.ensure_blas = ensure_blas


_import_numba()
_import_array_functions()
