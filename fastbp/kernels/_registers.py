"""Registers at the end of a row: one loop body for full registers and for the last one."""

from __future__ import annotations

from fastbp._jit import kernel
from fastbp._simd import counter, lanes, load, select, splat, store


@kernel
def load_upto(p, i, n):
    """Lanes p[i], p[i+1], ...: a full register where n allows it, else the first n, then 0."""
    if n >= lanes(p):
        v = load(p, i, None)
    else:
        v = load(p, i, n)
    return v


@kernel
def store_upto(p, i, v, n):
    """Write the first min(n, lanes) lanes of v to p[i], p[i+1], ..."""
    if n >= lanes(p):
        store(p, i, v, None)
    else:
        store(p, i, v, n)


@kernel
def keep_upto(p, v, n, other):
    """The first n lanes of v, `other` in the rest; v is a register of p's dtype."""
    return select(counter(p, 0) < min(n, lanes(p)), v, splat(p, other))
