"""The package `common` of the book "Deep Learning from Scratch" (Saito), on fastbp's kernels.

Its modules are here under their own names: `layers`, `functions`, `gradient`, `util`, `optimizer`,
`multi_layer_net`, `multi_layer_net_extend`, `trainer`. The book's scripts run unchanged with the
folder `path()` first on PYTHONPATH. What is kept and what differs: docs/compat-dlfs.md.
"""

from __future__ import annotations

from pathlib import Path

from fastbp.compat import _install

MODULES = ("functions", "gradient", "layers", "multi_layer_net", "multi_layer_net_extend",
           "optimizer", "trainer", "util")  # fmt: skip
"""The modules of `common` that fastbp stands in for."""


def path() -> str:
    """The folder to put first on PYTHONPATH: `common.layers` and the others are then fastbp's.

    Modules of the user's own `common` that fastbp does not have are still found there.
    """
    return str(Path(__file__).parent / "path")


def install() -> tuple[str, ...]:
    """Let `import common.layers` and the others find fastbp's modules from now on.

    Returns:
        The names that are replaced.
    """
    return _install.install("dlfs")
