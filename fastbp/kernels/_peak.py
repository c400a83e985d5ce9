"""What the machine can do at most, for `fastbp bench`: multiply-adds in registers, reads of memory.

Nothing here is part of training. `multiply_adds` keeps CHAINS independent sums in registers: a
multiply-add has a latency of 4 or 5 cycles and two start a cycle, so 10 chains keep both units
busy, and 12 with their two operands fit in 16 registers.
"""

from __future__ import annotations

from fastbp._jit import kernel
from fastbp._simd import fma, lane_sum, lanes, load, pointer, splat

CHAINS = 12
"""Independent sums; one turn of the loop is CHAINS * lanes multiply-adds."""


@kernel
def multiply_adds(values, turns, like):
    """values[0] = sum of CHAINS sums of `turns` products, each from its own start; values: address
    of two factors.

    Returns the number of lanes of a register.
    """
    p = pointer(values, like)
    x, y = splat(p, p[0]), splat(p, p[1])
    # Different starts: equal chains would be compiled to one.
    a0, a1, a2, a3 = splat(p, 0.0), splat(p, 1.0), splat(p, 2.0), splat(p, 3.0)
    a4, a5, a6, a7 = splat(p, 4.0), splat(p, 5.0), splat(p, 6.0), splat(p, 7.0)
    a8, a9, a10, a11 = splat(p, 8.0), splat(p, 9.0), splat(p, 10.0), splat(p, 11.0)
    for _ in range(turns):
        a0, a1, a2, a3 = fma(x, y, a0), fma(x, y, a1), fma(x, y, a2), fma(x, y, a3)
        a4, a5, a6, a7 = fma(x, y, a4), fma(x, y, a5), fma(x, y, a6), fma(x, y, a7)
        a8, a9, a10, a11 = fma(x, y, a8), fma(x, y, a9), fma(x, y, a10), fma(x, y, a11)
    p[0] = lane_sum(((a0 + a1) + (a2 + a3)) + ((a4 + a5) + (a6 + a7))
                    + ((a8 + a9) + (a10 + a11)))
    return lanes(p)


@kernel
def read_all(values, size, total, like):
    """total[0] = the sum of values (size,), read once from front to back; both are addresses.

    What is left behind the last 8 registers is not read. Returns 0.
    """
    p = pointer(values, like)
    width = lanes(p)
    a0 = a1 = a2 = a3 = a4 = a5 = a6 = a7 = splat(p, 0.0)
    for i in range(0, size - 8 * width + 1, 8 * width):
        a0, a1 = a0 + load(p, i, None), a1 + load(p, i + width, None)
        a2, a3 = a2 + load(p, i + 2 * width, None), a3 + load(p, i + 3 * width, None)
        a4, a5 = a4 + load(p, i + 4 * width, None), a5 + load(p, i + 5 * width, None)
        a6, a7 = a6 + load(p, i + 6 * width, None), a7 + load(p, i + 7 * width, None)
    pointer(total, like)[0] = lane_sum(((a0 + a1) + (a2 + a3)) + ((a4 + a5) + (a6 + a7)))
    return 0
