"""Nielsen's "Neural Networks and Deep Learning": `network` and `network2`.

The book's classes, data and random numbers; whole mini-batches are computed at once, compiled:
see docs/compat-miniflow-nielsen.md.
"""

from fastbp.compat import _install


def install() -> tuple[str, ...]:
    """Let `import network` and `import network2` find fastbp's modules from now on.

    Returns:
        The names that are replaced.
    """
    return _install.install("nielsen")
