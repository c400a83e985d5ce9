"""The matmul register tile, and the vector transpose that packing is made of.

    C[i, j] = max(floor, C0[i, j] + sum_k A[i, k] * B[k, j])      i < rows, j < cols

Register budget (AVX-512): 14 x 2 accumulators, 2 registers of a row of B, 1-2 broadcasts of
A: 32 of 32. With 16 registers (AVX2, SSE) 6 x 2 + 2 + 1-2. A has one element per row of C
contiguous for each k (`A[k*a_step + i]`: a packed panel, or the rows of a transposed matrix as they
lie), B one row of up to two registers contiguous for each k (`B[k*b_step + j]`):

    a:  | k=0: i=0..13 | k=1: i=0..13 | ...      b:  | k=0: j=0..31 | k=1: j=0..31 | ...

Or A lies by rows (`A[i*a_row + k]`), where packing it is not worth the time.

Each element of C is summed over k in order, from C0 on, so its bits depend on nothing but
its own row and column. Edges: a variant for each number of rows and for one or two registers
of columns; only the last register of a row of C is masked. B is read in full registers, so
its panel must be readable (values beyond `cols` do not matter) up to the register's end; but a
single register of B with mask registers (AVX-512), where there is time for it: two would cost 2 to
4 % of 64 to 512 cubed.

Measured (AVX-512 Xeon, one core, in parts of the peak P of registers alone, measured beside it):
a 14x2 tile with its panels in L1 or L2 0.99, 10 rows 0.94, 7 rows 0.90, 4 rows 0.79, which is why
rows are divided evenly among tiles instead of leaving a small rest. Whole products on cold panels,
P over result: two steps of k a turn 1.06 to 1.10 (256x512x784, 512, 1024 cubed), four 1.12 to 1.14
(stack accesses); without the prefetches of A and B 1.22 at 1024 cubed, without that of C 1.17. One
line a turn of what is read next, into L2: 1000 to 2048 cubed 1.05 on two threads; the same lines in
bursts between stretches of k 1.00 to 1.03.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir

from fastbp._arena import ALIGNMENT
from fastbp._simd._emit import (
    I32,
    I64,
    llvm_function,
    lowers,
    masked_load,
    masked_store,
    multiply_add,
    register_ir,
    scalar_load,
    splat_ir,
    types,
    vector_load,
    vector_of,
    vector_store,
)
from fastbp._simd.machine import machine
from fastbp._simd.pointer import lanes

# Steps of k between a prefetch and its use: some 200 cycles.
AHEAD = 16
# Steps of k in one turn of the loop (a power of two).
UNROLL = 2
# The nearest cache that a line comes into, as LLVM's prefetch says it.
INTO_L1, INTO_L2 = 3, 2
# Steps of k between two rows that are fetched of a tile: at least and at most.
STRETCH = (4 * UNROLL, 16 * UNROLL)


def tile_product(c: Any, c_step: int, a: Any, a_row: int, a_step: int, b: Any, b_step: int, k: int,
                 start: Any, start_step: int, floor: Any, rows: int, cols: int,
                 soon: Any, then: Any, last: Any, soon_step: int, ahead: Any) -> None:
    """C = max(floor, C0 + A B) for one register tile; the equation and layout are above.

    c, c_step: the tile of C and its row stride; start, start_step: C0 and its row stride (0 repeats
    one row: a bias, or zeros; C itself accumulates). floor: 0 is ReLU, -inf is nothing; NaN passes.
    a_row, a_step: steps of A between rows of C and between elements of a sum; one of them is 1.
    1 <= rows <= tile_rows, 1 <= cols <= two registers. Overwrites C's rows x cols elements.
    soon, then, last: tiles with rows at soon_step that will be written next (C, or what the
    gradient C is about to update; all the same, or None, where there is one only): they are fetched
    while the sum is on its way. ahead: what a later tile will read (the next panel of B), asked for
    into L2 a line for each turn of the loop; None: nothing.
    """
    for i in range(rows):
        total = start.view(i * start_step, cols).copy()
        for p in range(k):
            total = a[p * a_step + i * a_row] * b.view(p * b_step, cols) + total
        c.view(i * c_step, cols)[:] = np.where(floor > total, floor, total)


@lowers(tile_product,
        lambda c, cs, a, ar, ast, b, bst, k, s, sst, f, r, n, s1, s2, s3, step, ahead: types.none)
def _tile_product(builder: Any, sig: Any, c: Any, c_step: Any, a: Any, a_row: Any, a_step: Any,
                  b: Any, b_step: Any, k: Any, start: Any, start_step: Any, floor: Any,
                  rows: Any, cols: Any, soon: Any, then: Any, last: Any, soon_step: Any,
                  ahead: Any) -> None:
    vector = register_ir(vector_of(sig.args[0].dtype))
    tiles = [place for place, kind in zip((soon, then, last), sig.args[14:17], strict=True)
             if kind != types.none]
    fetch = _Fetch(builder, k, tiles, soon_step)
    most = machine().tile_rows
    wide = builder.icmp_signed(">", cols, I64(vector.count))
    done = builder.append_basic_block("tile.done")
    by_rows = builder.icmp_signed("!=", a_row, I64(1))
    number = builder.add(rows, builder.add(builder.select(wide, I64(most), I64(0)),
                                           builder.select(by_rows, I64(2 * most), I64(0))))
    switch = builder.switch(number, done)
    for case in range(4 * most):
        height, registers, packed = case % most + 1, case // most % 2 + 1, case < 2 * most
        block = builder.append_basic_block(f"tile.{height}x{registers}")
        switch.add_case(I64(case + 1), block)
        builder.position_at_end(block)
        variant = _Variant(builder, vector, height, registers, cols, fetch)
        # Large products have no low tiles; 32x64x64, in L1, would lose 4 %.
        asks = sig.args[16] != types.none and 6 * height >= 5 * most
        left = _Packed(a, a_step, height) if packed else _ByRows(builder, a, a_row, height)
        total = variant.sum_over_k(left, b, b_step, k, variant.load(start, start_step),
                                   [ahead] if asks else [])
        variant.store(c, c_step, total, floor)
        builder.branch(done)
    builder.position_at_end(done)


class _Fetch:
    """What is written after a sum over k is fetched while it is on its way, row by row.

    The loop over k runs in stretches of `steps`; each begins with a row of every tile, but never
    with rows below, which another core may be writing. In each turn it cost 2 % of a large
    product and 10 % of a small one; all in the last turns 5 % of a wide layer's Adam step.
    """

    def __init__(self, builder: Any, k: Any, tiles: list[Any], row_step: Any) -> None:
        self.tiles, self.row_step = tiles, row_step
        low, high = I64(STRETCH[0]), I64(STRETCH[1])
        even = builder.and_(builder.lshr(k, I64(4)), I64(-UNROLL))
        steps = builder.select(builder.icmp_signed(">", even, low), even, low)
        self.steps = builder.select(builder.icmp_signed("<", steps, high), steps, high)


class _Packed:
    """A with the elements for all rows of C side by side: one pointer."""

    def __init__(self, a: Any, a_step: Any, height: int) -> None:
        self.pointers, self.step, self.height = [a], a_step, height

    def enter(self, builder: Any, pointers: list[Any]) -> list[Any]:
        """Pointers as a turn of the loop uses them."""
        return pointers

    def places(self, builder: Any, pointers: list[Any]) -> list[Any]:
        """Addresses of the elements for one k."""
        return [builder.gep(pointers[0], [I64(i)]) for i in range(self.height)]

    def ahead(self, builder: Any, pointers: list[Any]) -> list[Any]:
        """What to prefetch beside a row of B."""
        return [builder.gep(pointers[0], [builder.mul(I64(AHEAD), self.step)])]


class _ByRows:
    """A as it lies, k contiguous: a pointer for three rows, which x86 addresses from one."""

    def __init__(self, builder: Any, a: Any, a_row: Any, height: int) -> None:
        self.row, self.step, self.height = a_row, I64(1), height
        self.pointers = [builder.gep(a, [builder.mul(I64(i), a_row)]) for i in range(0, height, 3)]

    def enter(self, builder: Any, pointers: list[Any]) -> list[Any]:
        """The pointers, hidden from LLVM, which would make one of each row and spill them."""
        kind = ir.FunctionType(pointers[0].type, [pointers[0].type])
        return [builder.asm(kind, "", "=r,0", [p], False) for p in pointers]

    def places(self, builder: Any, pointers: list[Any]) -> list[Any]:
        """Addresses of the elements for one k."""
        return [builder.gep(pointers[i // 3], [builder.mul(I64(i % 3), self.row)])
                for i in range(self.height)]

    def ahead(self, builder: Any, pointers: list[Any]) -> list[Any]:
        """Nothing: rows are short, or their streams are the hardware's to follow.

        B needs it: without, a step of 784-256-128-10 takes 1.18 of its time, for the other core has
        written half of the weights.
        """
        return []


class _Variant:
    """The code of one tile shape: `height` rows by `registers` vectors, the last one masked."""

    def __init__(self, builder: Any, vector: Any, height: int, registers: int, cols: Any,
                 fetch: _Fetch) -> None:
        self.builder, self.vector, self.fetch = builder, vector, fetch
        self.height, self.registers = height, registers
        self.line = ALIGNMENT * vector.count // machine().vector_bytes
        self.last_count = builder.sub(cols, I64(vector.count * (registers - 1)))

    def _places(self, base: Any, step: Any) -> list[tuple[Any, bool]]:
        """(address, is the masked last one) of every register of a matrix tile, row by row."""
        places = []
        for i in range(self.height):
            row = self.builder.gep(base, [self.builder.mul(I64(i), step)])
            for v in range(self.registers):
                where = self.builder.gep(row, [I64(v * self.vector.count)])
                places.append((where, v == self.registers - 1))
        return places

    def load(self, base: Any, step: Any) -> list[Any]:
        """The tile's starting values."""
        return [masked_load(self.builder, where, self.last_count, self.vector) if last
                else vector_load(self.builder, where, self.vector)
                for where, last in self._places(base, step)]

    def store(self, base: Any, step: Any, values: list[Any], floor: Any) -> None:
        """max(floor, value) to memory; the order of operands lets NaN values pass."""
        builder = self.builder
        low = splat_ir(builder, floor, self.vector)
        for (where, last), value in zip(self._places(base, step), values, strict=True):
            value = builder.select(builder.fcmp_ordered(">", low, value), low, value)
            if last:
                masked_store(builder, value, where, self.last_count)
            else:
                vector_store(builder, value, where)

    def sum_over_k(self, a: Any, b: Any, b_step: Any, k: Any, start: list[Any],
                   lines: list[Any]) -> list[Any]:
        """Turns of UNROLL steps of k, in stretches (`_Fetch`), then the rest one by one; `lines`:
        where what is wanted in L2 begins, if anything.
        """
        builder = self.builder
        many = 1 + len(a.pointers)

        def steps(count: int, state: list[Any]) -> list[Any]:
            pb, pa, total = state[0], a.enter(builder, state[1:many]), state[many:]
            for _ in range(count):
                total = self._one_k(a, pa, pb, b_step, total)
                pa, pb = [builder.gep(p, [a.step]) for p in pa], builder.gep(pb, [b_step])
            return [pb, *pa, *total]

        def turn(left: Any, *state: Any) -> list[Any]:
            sums, following = state[: len(state) - len(lines)], []
            for line in state[len(sums) :]:
                self._prefetch(line, keep=INTO_L2)
                following.append(builder.gep(line, [I64(self.line)]))
            return [builder.sub(left, I64(UNROLL)), *steps(UNROLL, list(sums)), *following]

        def stretch(left: Any, number: Any, *state: Any) -> list[Any]:
            within = builder.icmp_signed("<", number, I64(self.height))
            row = builder.mul(builder.select(within, number, I64(0)), self.fetch.row_step)
            for tile in self.fetch.tiles:
                self._prefetch_row(builder.gep(tile, [row]), write=True)
            end = builder.sub(left, self.fetch.steps)
            end = builder.select(builder.icmp_signed(">", end, I64(0)), end, I64(0))
            left, *following = self._loop(turn, end, [left, *state])
            return [left, builder.add(number, I64(1)), *following]

        def single(left: Any, *state: Any) -> list[Any]:
            return [builder.sub(left, I64(1)), *steps(1, list(state))]

        whole, rest = builder.and_(k, I64(-UNROLL)), builder.and_(k, I64(UNROLL - 1))
        state = self._loop(stretch, I64(0), [whole, I64(0), b, *a.pointers, *start, *lines])[2:]
        return self._loop(single, I64(0), [rest, *state[: len(state) - len(lines)]])[1 + many:]

    def _loop(self, turn: Callable[..., list[Any]], end: Any, state: list[Any]) -> list[Any]:
        """`while state[0] > end: state = turn(*state)`, in phi nodes, hence registers."""
        builder = self.builder
        before = builder.block
        loop = builder.append_basic_block("tile.loop")
        after = builder.append_basic_block("tile.end")
        builder.cbranch(builder.icmp_signed(">", state[0], end), loop, after)
        builder.position_at_end(loop)
        current = [builder.phi(value.type) for value in state]
        following = turn(*current)
        last = builder.block
        builder.cbranch(builder.icmp_signed(">", following[0], end), loop, after)
        builder.position_at_end(after)
        result = [builder.phi(value.type) for value in state]
        for phi, out, first, again in zip(current, result, state, following, strict=True):
            phi.add_incoming(first, before)
            phi.add_incoming(again, last)
            out.add_incoming(first, before)
            out.add_incoming(again, last)
        return result

    def _one_k(self, a: Any, pa: list[Any], pb: Any, b_step: Any, total: list[Any]) -> list[Any]:
        """total + the products of one k: a row of B, and one element of A for each row of C."""
        builder, width = self.builder, self.vector.count
        for where in a.ahead(builder, pa):
            self._prefetch(where)
        self._prefetch_row(builder.gep(pb, [builder.mul(I64(AHEAD), b_step)]))
        if self.registers == 1 and machine().has_masks:
            row = [masked_load(builder, pb, self.last_count, self.vector)]
        else:
            row = [vector_load(builder, builder.gep(pb, [I64(v * width)]), self.vector)
                   for v in range(self.registers)]
        result = []
        for i, where in enumerate(a.places(builder, pa)):
            left = splat_ir(builder, scalar_load(builder, where), self.vector)
            for v in range(self.registers):
                result.append(multiply_add(builder, left, row[v], total[i * self.registers + v]))
        return result

    def _prefetch_row(self, where: Any, write: bool = False) -> None:
        """Bring the lines of one row of a panel or tile into L1."""
        for v in range(self.registers):
            self._prefetch(self.builder.gep(where, [I64(v * self.vector.count)]), write)

    def _prefetch(self, where: Any, write: bool = False, keep: int = INTO_L1) -> None:
        """Ask for a line; an address behind the operand's end does no harm."""
        byte = ir.IntType(8).as_pointer()
        f = llvm_function(self.builder, "llvm.prefetch.p0", ir.VoidType(), [byte, I32, I32, I32])
        purpose, keep, data = I32(int(write)), I32(keep), I32(1)
        self.builder.call(f, [self.builder.bitcast(where, byte), purpose, keep, data])


def transpose_block(out: Any, out_step: int, x: Any, x_step: int, rows: int, cols: int,
                    room: int) -> None:
    """out[c*out_step + r] = x[r*x_step + c] for r < rows, c < cols, both up to one register.

    Lanes rows .. room-1 of each row of out are overwritten with copies of x's last row: whole
    registers (room >= lanes) store faster.
    """
    width = lanes(x)
    for c in range(min(cols, width)):
        for r in range(min(room, width)):
            out[c * out_step + r] = x[min(r, rows - 1) * x_step + c]


@lowers(transpose_block, lambda out, out_step, x, x_step, rows, cols, room: types.none)
def _transpose_block(builder: Any, sig: Any, out: Any, out_step: Any, x: Any, x_step: Any,
                     rows: Any, cols: Any, room: Any) -> None:
    vector = register_ir(vector_of(sig.args[0].dtype))
    full = builder.and_(builder.icmp_signed(">=", cols, I64(vector.count)),
                        builder.icmp_signed(">=", room, I64(vector.count)))
    with builder.if_else(full) as (whole, edge):
        with whole:
            for value, where in _transposed(builder, vector, out, out_step, x, x_step, rows, None):
                vector_store(builder, value, where)
        with edge:
            columns = _transposed(builder, vector, out, out_step, x, x_step, rows, cols)
            for c, (value, where) in enumerate(columns):
                inside = builder.icmp_signed("<", I64(c), cols)
                masked_store(builder, value, where, builder.select(inside, room, I64(0)))


def _transposed(builder: Any, vector: Any, out: Any, out_step: Any, x: Any, x_step: Any,
                rows: Any, cols: Any) -> list[tuple[Any, Any]]:
    """(register, where it belongs) of each column.

    Perfect shuffles (Stone 1971): log2(width) rounds of interleaving row i with i + width/2.
    Rows past the end repeat the last one, which is readable.
    """
    width = vector.count
    block = []
    for r in range(width):
        inside = builder.icmp_signed("<", I64(r), rows)
        row = builder.select(inside, I64(r), builder.sub(rows, I64(1)))
        where = builder.gep(x, [builder.mul(row, x_step)])
        block.append(vector_load(builder, where, vector) if cols is None
                     else masked_load(builder, where, cols, vector))
    kind = ir.VectorType(I32, width)
    low = ir.Constant(kind, [I32(i // 2 + width * (i % 2)) for i in range(width)])
    high = ir.Constant(kind, [I32(i // 2 + width // 2 + width * (i % 2)) for i in range(width)])
    for _ in range(width.bit_length() - 1):
        pairs = [(block[i], block[i + width // 2]) for i in range(width // 2)]
        block = [builder.shuffle_vector(p, q, order) for p, q in pairs for order in (low, high)]
    return [(value, builder.gep(out, [builder.mul(I64(c), out_step)]))
            for c, value in enumerate(block)]
