"""The modules of Stanford's CS231n assignments 1 and 2, on fastbp's kernels.

`install()` lets `from cs231n.layers import *` and its like find them; docs/compat-cs231n.md says
what is there, how to swap it in and what differs.
"""

from fastbp.compat.cs231n._install import MODULES, ON_REQUEST, install

__all__ = ["MODULES", "ON_REQUEST", "install"]
