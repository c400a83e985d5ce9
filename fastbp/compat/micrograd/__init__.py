"""micrograd: a scalar autograd engine and small networks on it (docs/compat-micrograd.md).

`engine.Value` computes at once, as the original does. A call of `nn.MLP` or `nn.Layer` is recorded
as one entry; calls wait and are computed together by fastbp's kernels, forward and backward.
"""

from __future__ import annotations

from fastbp.compat import _install


def install() -> tuple[str, ...]:
    """Let `import micrograd.engine` and `micrograd.nn` find fastbp's modules from now on.

    Returns:
        The names that are replaced.
    """
    return _install.install("micrograd")
