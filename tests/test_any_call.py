"""Any call after a learnt one is what it is without a short way: results, errors, side effects."""

import itertools
import math

import numpy as np
import pytest
from operations import OPERATIONS, bits, copies

from fastbp.ops import _again, _lessons

pytestmark = pytest.mark.usefixtures("every_call_is_learnt")


class Other(np.ndarray):
    """A subclass, which operations take as an array."""


def unaligned(x):
    memory = np.zeros(x.nbytes + 1, np.uint8)
    result = memory[1:].view(x.dtype).reshape(x.shape)
    result[...] = x
    return result


def read_only(x):
    x = x.copy()
    x.flags.writeable = False
    return x


def strided(x):
    wide = np.zeros((*x.shape[:-1], 2 * x.shape[-1]), x.dtype)
    wide[..., ::2] = x
    return wide[..., ::2]


CHANGES = {
    "none": lambda x: x, "copy": lambda x: x.copy(), "read-only": read_only,
    "other dtype": lambda x: x.astype(np.float64 if x.dtype == np.float32 else np.float32),
    "other bytes": lambda x: x.astype(x.dtype.newbyteorder()),
    "whole numbers": lambda x: x.astype(np.int32), "unaligned": unaligned, "strided": strided,
    "reversed": lambda x: x[::-1].copy()[::-1], "columns": np.asfortranarray,
    "subclass": lambda x: x.copy().view(Other), "list": lambda x: x.tolist(),
    "fewer rows": lambda x: x[:-1], "fewer columns": lambda x: x[..., :-1].copy(),
    "one axis more": lambda x: x[None], "flat": lambda x: x.reshape(-1),
    "no axis": lambda x: x.reshape(-1)[0].reshape(()), "empty": lambda x: x[:0],
    "one element everywhere": lambda x: np.broadcast_to(x.reshape(-1)[:1], x.shape),
    "own dtype object": lambda x: x.astype(np.dtype(x.dtype.str, copy=True)),
    "none at all": lambda x: None,
}


def out_of(kind, args, shape, dtype):
    """An `out` over ordinary memory, or over an argument's."""
    first = next(v for v in args.values() if isinstance(v, np.ndarray))
    if kind == "over an argument":
        count = math.prod(shape)
        memory = np.zeros(count + first.size, dtype)
        memory[1 : 1 + first.size] = first.reshape(-1)
        args[next(k for k, v in args.items() if v is first)] = (
            memory[1 : 1 + first.size].reshape(first.shape))
        return memory[:count].reshape(shape)
    if kind == "the argument":
        return first
    return CHANGES[kind](np.zeros(shape, dtype))


OUTS = ("none", "read-only", "unaligned", "strided", "columns", "subclass", "other dtype",
        "fewer rows", "over an argument", "the argument")


def outcome(op, args, changes):
    """Everything a caller can tell of a call: bits, kinds and what it did to its arguments."""
    try:
        results = op.run(**args)
    except Exception as error:
        return type(error), str(error), changes
    told = [(type(r), r.dtype, r.shape, r.strides) if isinstance(r, np.ndarray) else type(r)
            for r in results]
    return told, bits(results), [bits((v,)) for v in args.values() if isinstance(v, np.ndarray)]


@pytest.mark.parametrize("op", OPERATIONS, ids=lambda op: op.name)
def test_any_call_is_as_the_long_way_has_it(op, monkeypatch):
    rng = np.random.Generator(np.random.PCG64(7))
    plain = op.make(rng, (4, 5, 3), (np.float32, np.float64)[rng.integers(2)])
    names = [name for name, value in plain.items() if isinstance(value, np.ndarray)]
    if not all(plain[name].size for name in names):
        pytest.skip("nothing to compute")
    made = [((name, change),) for name in names for change in CHANGES]
    pairs = [((names[i], a), (names[j], b)) for i, j in itertools.combinations(range(len(names)), 2)
             for a, b in rng.choice(list(CHANGES), (6, 2))]  # fmt: skip
    outs = [(("out", kind),) for kind in OUTS] if op.out else []

    def arguments(changes):
        args = copies(plain)
        for name, change in changes:
            if name == "out":
                like = next(r for r in op.run(**copies(plain)) if isinstance(r, np.ndarray))
                args["out"] = out_of(change, args, like.shape, like.dtype)
            else:
                args[name] = CHANGES[change](args[name])
        return args

    with monkeypatch.context() as patch, np.errstate(all="ignore"):
        patch.setattr(_again.Known, "run", lambda self, inputs, out: None)
        _again.forget()
        expected = [outcome(op, arguments(changes), changes) for changes in made + pairs + outs]
    _again.forget()
    with np.errstate(all="ignore"):
        for _ in range(4):
            op.run(**copies(plain))
        before = _lessons.hits()
        for _ in range(3):
            for changes, wanted in zip(made + pairs + outs, expected, strict=True):
                assert outcome(op, arguments(changes), changes) == wanted, changes
    assert _lessons.hits() >= before + 10
