"""Running a program where only declared memory exists (with FASTBP_BOUNDSCHECK=1)."""

from __future__ import annotations

import numpy as np

from fastbp import _pool
from fastbp._jit import DISABLED
from fastbp._program import Program
from fastbp._simd import guard, guarded


def run(program: Program, *arrays: np.ndarray | None, steps: int = 1) -> None:
    """Run the program; kernels may touch these arrays and the program's own memory only.

    A matrix stands for its memory to the end of its padded rows.
    """
    # Plain Python would also see the executor read its own table.
    if not guard.ENABLED or DISABLED:
        program.run(steps)
        return
    pool = _pool._pool
    own = (*program.tables(), program._job, pool.control, pool.claims, *program.memory.blocks())
    with guarded(*(_whole(a) for a in arrays if a is not None), *own):
        program.run(steps)


def _whole(array: np.ndarray) -> np.ndarray:
    base = array.base
    return base if isinstance(base, np.ndarray) and array.ndim == 2 else array
