"""Networks of `fastbp.compat.micrograd` beside the same in plain Python."""

import random

import numpy as np
import pytest

from fastbp.benchmark._peers.compat_micrograd import PlainMLP
from fastbp.compat.micrograd.nn import MLP

# Sums of at most 17 products of numbers below 10, in another order and with fused multiply-adds.
ABSOLUTE = 1e-12


def twins(nin, nouts, seed=3):
    """The same network twice: ours and the plain twin."""
    random.seed(seed)
    ours = MLP(nin, nouts)
    random.seed(seed)
    return ours, PlainMLP(nin, nouts)


def inputs(nin, rows, seed=0):
    return np.random.default_rng(seed).normal(size=(rows, nin)).tolist()


def close(ours, theirs):
    assert ours == pytest.approx(theirs, rel=ABSOLUTE, abs=ABSOLUTE)


def grads(values):
    return [v.grad for v in values]


def listed(out):
    return out if isinstance(out, list) else [out]


def walk(root):
    """All values that a root was made from, itself included."""
    seen, stack = {root}, [root]
    while stack:
        for child in stack.pop()._prev:
            if child not in seen:
                seen.add(child)
                stack.append(child)
    return seen
