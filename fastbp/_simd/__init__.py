"""Vector primitives: a plain Python meaning and an LLVM one for each.

The only folder that imports llvmlite. Everything here is called from kernels.
"""

from fastbp._simd.atomic import (
    compare_exchange,
    fetch_add,
    load_acquire,
    pause,
    ticks,
    yield_processor,
)
from fastbp._simd.bits import bits_of, counter, float_of_bits, to_float, to_integer
from fastbp._simd.control import flush_subnormals, restore_subnormals
from fastbp._simd.foreign import call_address
from fastbp._simd.guard import OutOfBoundsError, guarded
from fastbp._simd.machine import Machine, machine
from fastbp._simd.pointer import (
    Pointer,
    at,
    data_pointer,
    lanes,
    pointer,
    pointer_to,
    scalar,
    tile_rows,
    to_line,
)
from fastbp._simd.tile import tile_product, transpose_block
from fastbp._simd.vector import (
    absolute,
    any_lane,
    fma,
    lane_max,
    lane_sum,
    load,
    load_as,
    maximum,
    minimum,
    select,
    splat,
    sqrt,
    store,
)

__all__ = [
    "Machine", "OutOfBoundsError", "Pointer", "absolute", "any_lane", "at", "bits_of",
    "call_address", "compare_exchange", "counter", "data_pointer", "fetch_add", "float_of_bits",
    "flush_subnormals", "fma", "guarded", "lane_max", "lane_sum", "lanes", "load", "load_acquire",
    "load_as", "machine", "maximum", "minimum", "pause", "pointer", "pointer_to",
    "restore_subnormals", "scalar", "select", "splat", "sqrt", "store", "ticks", "tile_product",
    "tile_rows", "to_float", "to_integer", "to_line", "transpose_block", "yield_processor",
]
