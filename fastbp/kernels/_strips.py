"""How matrices are cut: blocks for tasks, chunks of rows and strips of columns inside one."""

from __future__ import annotations

from collections.abc import Callable

from fastbp._jit import kernel
from fastbp._simd import to_line
from fastbp._simd.strip import strip_lanes

# Rows taken at a time: the length of a chain of additions, and as many streams as hardware fetches
# ahead (walking down 64 and more rows of 4 KB reads at 13 GB/s, 32 at 24 GB/s).
CHUNK = 32
# From so many strips on the first may be a part of one, so that the others lie on cache lines: a
# register that does not takes two accesses. NumPy's arrays begin 16 bytes behind a line: 256x512
# BatchNorm forward 34 and 25 us, backward 49 and 31.
STRIPS = 4


@kernel
def block(task, rows, cols, block_rows, block_cols):
    """(first row, first column, rows, columns) of a task's block of a (rows, cols) matrix.

    Blocks of block_rows x block_cols, smaller at the ends, are numbered along rows.
    """
    across = (cols + block_cols - 1) // block_cols
    i, j = (task // across) * block_rows, (task % across) * block_cols
    return i, j, min(block_rows, rows - i), min(block_cols, cols - j)


def over_strips(function: Callable) -> Callable:
    """Decorator: a kernel over a matrix from a function for one strip of one chunk of rows.

    `function(start, end, i, n, *arguments)` does rows start .. end-1 of the strip of columns that
    begins at i, where n columns are left. The kernel is called with (rows, cols, chunk, matrix,
    step, *arguments) and takes `chunk` rows at a time, in each chunk all strips of `matrix`' type
    in order. Strips begin on the cache lines of `matrix`, whose rows are `step` elements apart.

    A factory, because a kernel that is passed as an argument could not be kept in the cache.
    """
    one = kernel(function)

    @kernel
    def sweep(rows, cols, chunk, matrix, step, *arguments):
        head = to_line(matrix, step) if cols >= STRIPS * strip_lanes(matrix) else 0
        for start in range(0, rows, chunk):
            i = 0
            while i < cols:
                n = head if i < head else cols - i
                one(start, min(rows, start + chunk), i, n, *arguments)
                i += min(n, strip_lanes(matrix))

    sweep.__doc__ = function.__doc__
    return sweep
