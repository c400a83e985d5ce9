"""A call of an operation that is like one before, from Python's arguments to Python's result.

Design. The work of a small product takes 0.2 us, and Python's way to it 3: to describe the arrays,
find the plan, allocate the result, write addresses into the program's table, call it. Here all of
that is one built-in function of Python made of compiled code (ops/_short.py says how), which reads
array objects as memory. It holds the GIL and calls nothing that could run other Python code before
its work is done, so that one set of scratch words serves all threads and nothing changes under its
hands; only while a longer program runs, the GIL is let go, and no scratch word is read after that.
Whatever is unlike what is remembered is left to Python: it returns None.

Everything is a line of int64 words. The table, shared by all operations:

    NDARRAY .. NEW_REAL    addresses of the types `ndarray` and `float`, of None and True, and of C
                           functions
    HITS                   how many calls have been made here
    MADE                   the new results of the call under way
    PLACES                 addresses of the data of arguments that are arrays, then of new results
    SEEN                   the description of the call under way
    LEAVE .. POOL          C functions that let the GIL go and take it, that tell the core and the
                           value of a context's variable; that variable, and addresses of a word for
                           its value, of the words with limits (_runtime.py) and of the word with
                           the address of the pool's control block (_pool.py)
    BUCKETS                the first entry of each chain of remembered calls

An entry, of one remembered call, is a head of the words below, then its description, its cells,
what it writes, and what it makes:

    cells    (word of the program's table, place, offset) of each address
    writes   (place, low, high, count, then `count` times (place, low, high)): bytes of an argument
             that is written, and of those that are read, from their addresses
    makes    (dtype object, axes, address of the shape, shape ...) of each new result
"""

from __future__ import annotations

import numpy as np

from fastbp._jit import kernel
from fastbp._simd import at, call_address, fetch_add, pointer_to
from fastbp.kernels.program import LABELS, REFUSED, ROWS, TAKEN, is_ready

# Bytes of CPython's and NumPy's objects (both are fixed interfaces; ops/_short.py looks anyway).
TYPE, DATA, AXES, SHAPE, STRIDES, DTYPE, FLAGS = 8, 16, 24, 32, 40, 56, 64
REAL_VALUE = 16
# In a dtype object: four characters and its number, which tell all about numbers of machine order.
DTYPE_WORD = 24
WRITEABLE = 0x0400

# Words of the table.
NDARRAY, REAL, NONE, TRUE, THREAD, INCREF, DECREF = range(7)
NEW_ARRAY, NEW_TUPLE, SET_ITEM, NEW_REAL, HITS = range(7, 12)
MADE, MOST_MADE = 12, 3
PLACES, MOST_ARGUMENTS = 16, 16
SEEN, MOST_WORDS = PLACES + MOST_ARGUMENTS + MOST_MADE, 128
LEAVE, ENTER, CORE, VALUE_OF, SCOPE, VALUE_AT, LIMITS, POOL = range(168, 176)
BUCKETS, BUCKET_BITS = 192, 8
TABLE_WORDS = BUCKETS + (1 << BUCKET_BITS)
MOST_AXES = 8

# Words of an entry: the next one of the chain, the description's hash and length, the program, the
# word where a memory counts how often it has moved and what it counted, sections, how to return.
NEXT, HASH, SIZE, DOOR, JOB, WORDS_AT, MOVES_AT, MOVES, UNALIGNED, LABELS_PLACE = range(10)
CELLS, CELL_COUNT, WRITES, WRITE_COUNT, MAKES, MAKE_COUNT = range(10, 16)
# The argument that is returned, or -1; what is returned before arrays: nothing, the object `EXTRA`,
# or the float64 at address `EXTRA` as a Python float; whether the work is elementwise; where
# numbers go, and whether as int64; how the program runs: on this thread with the GIL held, or let
# go, or with the pool.
OUT, EXTRA_KIND, EXTRA, ELEMENTWISE, NUMBERS_AT, WHOLE, MODE = range(16, 23)
NO_EXTRA, OBJECT, FLOAT = range(3)
HOLDS, RELEASES, SHARES = range(3)
DESCRIPTION = 23

# Of the words with limits: threads of a run (0: not known), whether contexts may have limits of
# their own.
COUNT, SCOPES = range(2)
CORE_BITS = (1 << 32) - 1

# hash = sum_i word[i] * (FACTOR + i * STEP), without its sign bit.
FACTOR, STEP = 0x4F1BBCDCBFA53E0B, 0x1E3779B97F4A7C16
HASH_BITS, HASH_MASK = 63, (1 << 63) - 1


@kernel
def call_again(me, arguments, count, like):
    """A remembered call: Python's result, a new reference; None for any other; 0 with an exception
    set where there is no memory.

    me: the built-in function's own object, an array of two words, the table's address and how many
    of its last arguments are numbers (float): these may differ from call to call, and the program
    reads them from where its entry says. The address of `me` tells the operation. arguments:
    `count` addresses of Python objects. The result is what is returned before arrays, `out`, new
    arrays: alone where there is one, True where there is none, else a tuple of them.
    """
    own = pointer_to(pointer_to(me + DATA, np.int64)[0], np.int64)
    table, given = pointer_to(own[0], np.int64), pointer_to(arguments, np.int64)
    size, numbers = describe(table, me, given, count - own[1]), at(given, count - own[1])
    entry = find(table, size) if are_real(table, numbers, own[1]) else 0
    if entry == 0:
        return owned(table, table[NONE])
    known = pointer_to(entry, np.int64)
    if (pointer_to(known[MOVES_AT], np.int64)[0] != known[MOVES]
            or not is_aligned(table, known) or not may_write(table, known, given)):
        return owned(table, table[NONE])
    threads = company(table, known) if known[MODE] == SHARES else 1
    if threads == 0:
        return owned(table, table[NONE])
    made = make(table, known)
    first = table[MADE] if made > 0 else 0
    second = table[MADE + 1] if made > 1 else 0
    third = table[MADE + 2] if made > 2 else 0
    if made < known[MAKE_COUNT]:
        release(table, first, second, third)
        return 0
    words, cells = pointer_to(known[WORDS_AT], np.int64), at(known, known[CELLS])
    for i in range(known[CELL_COUNT]):
        words[cells[3 * i]] = table[PLACES + cells[3 * i + 1]] + cells[3 * i + 2]
    take_numbers(known, numbers, own[1])
    if known[LABELS_PLACE] >= 0:
        pointer_to(known[JOB], np.int64)[LABELS] = table[PLACES + known[LABELS_PLACE]]
    if run_program(table, known, threads) == REFUSED:
        release(table, first, second, third)
        return owned(table, table[NONE])
    table[HITS] += 1
    return result(table, known, given, first, second, third)


@kernel
def company(table, known):
    """How many threads are to share the program; 0 where Python must see to it: where the context
    has a limit of its own, or workers are asleep, busy, too few, not trusted, or on this core.
    """
    limits, cpu = pointer_to(table[LIMITS], np.int64), -1
    if limits[SCOPES] != 0 and is_scoped(table):
        return 0
    threads = limits[COUNT]
    if threads <= 1:
        return threads
    if table[CORE] != 0:
        cpu = call_address(table[CORE]) & CORE_BITS
    control = pointer_to(pointer_to(table[POOL], np.int64)[0], np.int64)
    rows = pointer_to(known[JOB], np.int64)[ROWS]
    return threads if is_ready(control, threads, rows, cpu) else 0


@kernel
def is_scoped(table):
    """True where this thread's context has a limit of its own."""
    value = pointer_to(table[VALUE_AT], np.int64)
    value[0] = 0
    call_address(table[VALUE_OF], table[SCOPE], 0, table[VALUE_AT])
    if value[0] != 0:
        call_address(table[DECREF], value[0])
    return value[0] != table[NONE]


@kernel
def run_program(table, known, threads):
    """Run it; REFUSED where its labels are no classes. Others may use the table meanwhile."""
    control, state = 0, 0
    if threads > 1:
        control = pointer_to(table[POOL], np.int64)[0]
        pointer_to(control, np.int64)[TAKEN] = 1
    if known[MODE] != HOLDS:
        state = call_address(table[LEAVE])
    done = call_address(known[DOOR], control, known[JOB], threads, 0, 1)
    if threads > 1:
        fetch_add(pointer_to(control, np.int64), TAKEN, -1)
    if state != 0:
        call_address(table[ENTER], state)
    return done


@kernel
def describe(table, me, given, count):
    """Write the call's description and its arrays' places; how many words it has, or 0: too many.

    The thread, the operation, and of each argument its address, or where it is exactly an `ndarray`
    2*axes + 1 (no address is odd), what its dtype is, and its shape and strides.
    """
    if count > MOST_ARGUMENTS:
        return 0
    seen, size = at(table, SEEN), 2
    seen[0], seen[1] = call_address(table[THREAD]), me
    for i in range(count):
        value = given[i]
        if size + 2 + 2 * MOST_AXES > MOST_WORDS:
            return 0
        if pointer_to(value + TYPE, np.int64)[0] != table[NDARRAY]:
            seen[size] = value
            size += 1
            continue
        axes = pointer_to(value + AXES, np.int32)[0]
        if axes > MOST_AXES:
            return 0
        table[PLACES + i] = pointer_to(value + DATA, np.int64)[0]
        seen[size] = 2 * axes + 1
        seen[size + 1] = pointer_to(
            pointer_to(value + DTYPE, np.int64)[0] + DTYPE_WORD, np.int64)[0]
        shape = pointer_to(pointer_to(value + SHAPE, np.int64)[0], np.int64)
        strides = pointer_to(pointer_to(value + STRIDES, np.int64)[0], np.int64)
        for axis in range(axes):
            seen[size + 2 + 2 * axis], seen[size + 3 + 2 * axis] = shape[axis], strides[axis]
        size += 2 + 2 * axes
    return size


@kernel
def find(table, size):
    """Address of the entry with the description of `size` words that has been seen, or 0."""
    seen, mixed, factor = at(table, SEEN), 0, FACTOR
    for i in range(size):
        mixed += seen[i] * factor
        factor += STEP
    mixed &= HASH_MASK
    entry = table[BUCKETS + (mixed >> (HASH_BITS - BUCKET_BITS))]
    while entry != 0:
        known = pointer_to(entry, np.int64)
        if known[HASH] == mixed and known[SIZE] == size:
            i = 0
            while i < size and known[DESCRIPTION + i] == seen[i]:
                i += 1
            if i == size:
                return entry
        entry = known[NEXT]
    return 0


@kernel
def is_aligned(table, known):
    """True where arguments lie at whole elements, labels at whole int64 (new arrays always do)."""
    bits, cells = 0, at(known, known[CELLS])
    for i in range(known[CELL_COUNT]):
        if cells[3 * i + 1] < MOST_ARGUMENTS:
            bits |= table[PLACES + cells[3 * i + 1]] + cells[3 * i + 2]
    if bits & known[UNALIGNED] != 0:
        return False
    return known[LABELS_PLACE] < 0 or table[PLACES + known[LABELS_PLACE]] & 7 == 0


@kernel
def may_write(table, known, given):
    """True where arguments that are written are writeable, and apart from those that are read.

    In elementwise work what is written may lie exactly over what is read.
    """
    where = known[WRITES]
    for _ in range(known[WRITE_COUNT]):
        write = at(known, where)
        flags = pointer_to(given[write[0]] + FLAGS, np.int32)[0]
        if flags & WRITEABLE == 0:
            return False
        begin, end = table[PLACES + write[0]] + write[1], table[PLACES + write[0]] + write[2]
        for i in range(write[3]):
            read = at(write, 4 + 3 * i)
            low, high = table[PLACES + read[0]] + read[1], table[PLACES + read[0]] + read[2]
            over = known[ELEMENTWISE] != 0 and low == begin and high == end
            if low < end and begin < high and not over:
                return False
        where += 4 + 3 * write[3]
    return True


@kernel
def are_real(table, numbers, count):
    """True where all numbers are exactly `float`."""
    for i in range(count):
        if pointer_to(numbers[i] + TYPE, np.int64)[0] != table[REAL]:
            return False
    return True


@kernel
def take_numbers(known, numbers, count):
    """Copy the numbers to where the program reads them."""
    for i in range(count):
        value = pointer_to(numbers[i] + REAL_VALUE, np.float64)[0]
        if known[WHOLE] != 0:
            pointer_to(known[NUMBERS_AT] + 8 * i, np.int64)[0] = int(value)
        else:
            pointer_to(known[NUMBERS_AT] + 8 * i, np.float64)[0] = value


@kernel
def make(table, known):
    """Allocate the new results; how many there are: too few where there is no memory."""
    where = known[MAKES]
    for i in range(known[MAKE_COUNT]):
        want = at(known, where)
        owned(table, want[0])  # the dtype, for the array to keep
        array = call_address(table[NEW_ARRAY], table[NDARRAY], want[0], want[1],
                             want[2], 0, 0, 0, 0)
        if array == 0:
            return i
        table[MADE + i] = array
        table[PLACES + MOST_ARGUMENTS + i] = pointer_to(array + DATA, np.int64)[0]
        where += 3 + want[1]
    return known[MAKE_COUNT]


@kernel
def release(table, first, second, third):
    """Give up new results (0: none)."""
    for thing in (first, second, third):
        if thing != 0:
            call_address(table[DECREF], thing)


@kernel
def owned(table, thing):
    """The object with one reference more."""
    call_address(table[INCREF], thing)
    return thing


@kernel
def result(table, known, given, first, second, third):
    """What the call returns, of new arrays (0: none); 0 with an exception set where there is no
    memory for it.

    A new tuple may run other Python code, so nothing of the table or the entry is read after it.
    """
    makes, kind = known[MAKE_COUNT], known[EXTRA_KIND]
    out = owned(table, given[known[OUT]]) if known[OUT] >= 0 else 0
    extra = 0
    if kind == OBJECT:
        extra = owned(table, known[EXTRA])
    elif kind == FLOAT:
        extra = call_address(table[NEW_REAL], pointer_to(known[EXTRA], np.float64)[0])
    count = makes + (1 if out != 0 else 0) + (1 if kind != NO_EXTRA else 0)
    if count == 0:
        return owned(table, table[TRUE])
    if count == 1:
        return first if makes == 1 else out
    whole = 0
    if kind == NO_EXTRA or extra != 0:
        whole = call_address(table[NEW_TUPLE], count)
    place = 0
    for thing in (extra, out, first, second, third):
        if thing != 0 and whole != 0:
            call_address(table[SET_ITEM], whole, place, thing)
            place += 1
        elif thing != 0:
            call_address(table[DECREF], thing)
    return whole
