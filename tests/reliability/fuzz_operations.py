"""A random operation of the table between guard pages, against the same one on ordinary memory.

Arguments are sealed unless they are to be changed, results go to guarded memory where there is
`out=`, workspaces are poisoned, one to three threads take part; every bit of the results must be
that of one thread (checks 1, 12, 25).
"""

from __future__ import annotations

import numpy as np
from cases import main
from guard_pages import fenced, place
from operations import OPERATIONS, bits, copies

import fastbp
from fastbp import _memory, _pool
from fastbp.ops import _again, _plans


def forget() -> None:
    """Begin with new plans and new memory, whatever this thread has kept."""
    _plans._local.known.clear()
    _again.forget()
    _memory._local.__dict__.clear()


def case(seed: int) -> int:
    """One operation; how many elements were compared."""
    rng = np.random.Generator(np.random.PCG64(seed))
    op = OPERATIONS[rng.integers(len(OPERATIONS))]
    dtype, right = (np.float32, np.float64)[rng.integers(2)], bool(rng.integers(2))
    size = tuple(int(n) for n in rng.integers(1, rng.choice([6, 40, 90]), 3))
    args = op.make(rng, size, dtype)
    with fastbp.threads(1):
        expected = bits(op.run(**copies(args)))
    blocks, guarded = [], {}
    forget()
    with fastbp.threads(int(rng.integers(1, 4)), oversubscribe=True):
        with fenced(right=right):
            for name, value in args.items():
                strides = tuple(s // value.itemsize for s in value.strides)
                block, guarded[name] = place(value.shape, strides, value.dtype, right=right)
                guarded[name][...] = value
                if name not in op.changed:
                    block.seal()
                blocks.append(block)
            if op.out in args:
                out = args[op.out]
                block, guarded["out"] = place(out.shape, (out.shape[1], 1), dtype, right=right)
                blocks.append(block)
            results = op.run(**guarded)
            assert bits(results) == expected, f"{op} {size} {np.dtype(dtype)}"
        for block in blocks:
            block.assert_slack_untouched(f"{op} {size}")
    forget()
    return sum(np.size(result) for result in results)


if __name__ == "__main__":
    _pool.MOST_THREADS = 3  # each has 640 KB of scratch memory, which is poisoned for each case
    main(case)
