"""The executor: one compiled function that runs a table of instructions.

    for each step, for each instruction, for each task: run(instruction, task)

Some instructions may open a run, before its first step, and some may close it.

Alone (`threads` = 1) that is what it does. In company each instruction's tasks are cut into as many
runs as there are threads. Every thread goes through all instructions: it claims tasks of its
own run first, so that it meets the rows and columns it had before in its caches, then what
the others have left. Before an instruction's tasks it waits until all tasks before the
instruction's `wait` mark are done. A claimed task's owner is a running thread and waits only for
earlier tasks, so there is no deadlock, whatever the number of threads that take part, and a thread
that comes late finds fewer tasks.

Which thread runs a task has no influence on any result: the bits are the same for every
number of threads.

A task may be a *strand*: a run of instructions over some rows of a batch, all of whose tasks one
thread does in order. Strands of one table entry are independent of each other, so that a whole
forward pass needs one wait (docs/design/011-strands.md).
"""

from __future__ import annotations

import numpy as np

from fastbp._jit import NEEDS, kernel
from fastbp._simd import (
    compare_exchange,
    fetch_add,
    flush_subnormals,
    load_acquire,
    pause,
    pointer_to,
    restore_subnormals,
    ticks,
    yield_processor,
)
from fastbp.kernels._instruction import FIRST, HEADER, OP, TASKS, WAIT, WORDS
from fastbp.kernels.tasks import PARTS_FOR_ALL, PARTS_FOR_IMAGES, ROW, run_task

# The entry that stands for strands; the first of its words, one more than it has tasks, are where
# each strand's instructions begin, right behind it, and where the last one's end.
STRANDS = -1
MOST_STRANDS = WORDS - 1
# Words of a job's control block; the counters have cache lines of their own, APART words from each
# other. There are DONES of tasks done, and thread `slot` adds to number slot % DONES: a counter
# that all add to would travel from core to core with every task.
JOB, ACTIVE = 0, 16
PROGRAM, STEPS, THREADS, CLAIMS, STALLS = range(32, 37)
# For callers that do not ask Python (`is_ready`): how many workers look for jobs just now, whether
# a caller in Python has the pool, or one of the others, whether the pool has lost its trust in
# workers, how many words CLAIMS has, and the core that workers are kept off.
AWAKE, ASKED, TAKEN, WARY, ROOM, KEPT_OFF = range(37, 43)
DONE, DONES, APART = 48, 8, 16
CONTROL = DONE + DONES * APART
# A claim word counts the claimed tasks of a run in its low bits, and the step above them.
STEP_BIT = 32
# Words of a program: addresses and lengths of its tables, and its kind: bytes of an element, and
# IMAGES more where it has instructions for images.
TABLE, SCALARS, ROWS, TICKETS, KIND = range(5)
IMAGES = 16
# What must hold before a run: `LABEL_COUNT` int64 at address LABELS are in 0 .. CLASSES-1.
LABELS, LABEL_COUNT, CLASSES = range(5, 8)
# Not 0: subnormal numbers are taken as zero.
FLUSH = 8
# Becomes 1 when an instruction halts the run (losses.run_merge_loss): what comes after it in the
# table, and all later steps, do nothing.
HALTED = 9
# Not 0: several threads share the tasks of this run.
SHARED = 10
# Rows before BODY run once, before the first step; rows from CLOSING on once, behind the last one,
# also of a run that was halted. How many tasks each of these parts has: TICKETS are a step's.
BODY, CLOSING, OPENING_TICKETS, CLOSING_TICKETS = range(11, 15)
# 0: this run leaves out what opens runs, or what closes them.
OPENS, CLOSES = 15, 16
JOB_WORDS = 17
REFUSED = -1
# Spins before a waiting thread gives its core away: some 25 microseconds.
PATIENCE = 2000
# Ticks before a thread takes a strand that was another's: some 2 microseconds.
HESITATION = 6000
# A wait is a stall where it took so many ticks (half a millisecond) and four times the waiting
# thread's longest task: whoever has the task has been sent off its core.
STALL_TICKS, STALL_TASKS = 1_500_000, 4


@kernel
def run_piece(job, code, reals, row, task, step, slot, like, images, closing):
    """Task `task` of the entry `row`: of an instruction, or a whole strand, until it halts."""
    first, last, begin, end = row, row + 1, task, task + 1
    strands = code[row * ROW + OP] == STRANDS
    if strands:
        first, last = code[row * ROW + HEADER + task], code[row * ROW + HEADER + task + 1]
    for inner in range(first, last):
        if strands:
            if is_halted(job, closing):
                return
            begin, end = 0, code[inner * ROW + TASKS]
        for piece in range(begin, end):
            run_task(code, reals, inner, piece, step, slot, like, images)


@kernel
def is_halted(job, closing):
    """True where the run has ended, so that only what closes it is still to be done."""
    return load_acquire(job, HALTED) != 0 and not closing


@kernel
def next_row(code, row):
    """The entry behind `row` and its strands."""
    if code[row * ROW + OP] == STRANDS:
        return code[row * ROW + HEADER + code[row * ROW + TASKS]]
    return row + 1


@kernel
def rows_of(job, steps, turn):
    """(first, last) row of a turn: 0 opens the run, turn t is step t - 1, steps + 1 closes it."""
    if turn == 0:
        return 0, job[BODY] * job[OPENS]
    if turn <= steps:
        return job[BODY], job[CLOSING]
    return job[CLOSING], job[ROWS] if job[CLOSES] != 0 else job[CLOSING]


@kernel
def tickets_before(job, turn):
    """How many tasks the turns before this one have."""
    return job[OPENING_TICKETS] * job[OPENS] + (turn - 1) * job[TICKETS] if turn > 0 else 0


@kernel
def run_alone(job, steps, slot, like, images):
    """Every task in order on this thread."""
    code, reals = pointer_to(job[TABLE], np.int64), pointer_to(job[SCALARS], np.float64)
    for turn in range(steps + 2):
        closing = turn > steps
        row, last = rows_of(job, steps, turn)
        while row < last and not is_halted(job, closing):
            for task in range(code[row * ROW + TASKS]):
                run_piece(job, code, reals, row, task, turn - 1, slot, like, images, closing)
            row = next_row(code, row)


@kernel
def run_shared(control, job, steps, slot, like, images):
    """Claim and run tasks until none is left; slot 0 also waits until all of them are done."""
    code, reals = pointer_to(job[TABLE], np.int64), pointer_to(job[SCALARS], np.float64)
    claims, own = pointer_to(control[CLAIMS], np.int64), DONE + slot % DONES * APART
    threads, span, longest = control[THREADS], claims_of(job[ROWS]), 0
    # Who comes late begins with the step that is being done.
    late = tasks_done(control) - tickets_before(job, 1)
    for turn in range(0 if late < 0 else min(late // job[TICKETS], steps) + 1, steps + 2):
        closing = turn > steps
        row, last = rows_of(job, steps, turn)
        begin = tickets_before(job, turn)
        while row < last:
            tasks, wait = code[row * ROW + TASKS], begin + code[row * ROW + WAIT]
            base = tasks // threads
            extra = tasks - base * threads
            for other in range(threads):
                if other == 1 and leaves_others(code, row, last) and are_done(
                        control, begin + code[row * ROW + FIRST] + tasks):
                    break
                part = (slot + other) % threads
                first = part * base + min(part, extra)
                size = base + (1 if part < extra else 0)
                done, halted = 0, False
                task = claim(claims, part * span + row, turn, size)
                while task >= 0:
                    if done == 0:
                        await_done(control, wait, slot, longest)
                        halted = is_halted(job, closing)
                    if not halted:
                        start = ticks()
                        run_piece(job, code, reals, row, first + task, turn - 1, slot, like,
                                  images, closing)
                        longest = max(longest, ticks() - start)
                    done += 1
                    task = claim(claims, part * span + row, turn, size)
                if done > 0:
                    fetch_add(control, own, done)
            row = next_row(code, row)
    if slot == 0:
        count = tickets_before(job, steps + 1) + job[CLOSING_TICKETS] * job[CLOSES]
        await_done(control, count, slot, longest)


@kernel
def claims_of(rows):
    """Words that each thread has for its claims: no two threads' are in lines that lie together."""
    return (rows + APART - 1) // APART * APART


@kernel
def claim(claims, place, step, size):
    """The number of a task of this run (of `size` tasks) that is the caller's now, or -1."""
    while True:
        seen = load_acquire(claims, place)
        turn = seen >> STEP_BIT
        count = seen - (turn << STEP_BIT)
        if turn < step + 1:  # untouched in this step
            count = 0
        if turn > step + 1 or count >= size:
            return -1
        if compare_exchange(claims, place, seen, ((step + 1) << STEP_BIT) + count + 1):
            return count


@kernel
def tasks_done(control):
    """How many tasks of the job are done, or a moment ago were.

    By all threads there are: one that was not asked to may have joined.
    """
    total = 0
    for i in range(DONES):
        total += load_acquire(control, DONE + i * APART)
    return total


@kernel
def leaves_others(code, row, last):
    """True for strands behind which everything waits: a thread that took another's strand as soon
    as it has done its own would take memory too that the other one has, and will want again.
    """
    if code[row * ROW + OP] != STRANDS:
        return False
    after = next_row(code, row)
    return after == last or (
        code[after * ROW + WAIT] == code[row * ROW + FIRST] + code[row * ROW + TASKS])


@kernel
def are_done(control, count):
    """True as soon as `count` tasks are done; false where that takes longer than HESITATION, and at
    once where there is nobody else to do them.
    """
    start = ticks()
    while load_acquire(control, ACTIVE) > 0 and ticks() - start < HESITATION:
        if tasks_done(control) >= count:
            return True
        pause()
    return False


@kernel
def await_done(control, count, slot, longest):
    """Spin until `count` tasks of the job are done; the caller's thread notes a stall."""
    spins, start = 0, 0
    while tasks_done(control) < count:
        spins += 1
        if spins < PATIENCE:
            pause()
        else:
            if spins == PATIENCE:
                start = ticks()
            yield_processor()
    stalled = spins >= PATIENCE and ticks() - start > max(STALL_TICKS, STALL_TASKS * longest)
    if slot == 0 and stalled:
        control[STALLS] = 1


@kernel
def take_part(control, job, steps, shared, slot, like, images):
    """This thread's part of a job, with the job's way of treating subnormal numbers."""
    before = 0
    if job[FLUSH] != 0:
        before = flush_subnormals()
    if shared:
        run_shared(control, job, steps, slot, like, images)
    else:
        run_alone(job, steps, slot, like, images)
    if job[FLUSH] != 0:
        restore_subnormals(before)


@kernel
def are_classes(labels, count, classes):
    """True where 0 <= labels[i] < classes for all i < count."""
    for i in range(count):
        if labels[i] < 0 or labels[i] >= classes:
            return False
    return True


@kernel
def work(control_address, subject, threads, slot, steps, like):
    """The library's compiled door: run a program, or help whoever runs one.

    control_address: CONTROL words of the pool. like: any pointer of the program's dtype. slot 0
    runs the program whose JOB_WORDS are at address `subject` `steps` times on the calling thread,
    offering tasks to others if `threads` > 1; on return nobody touches the program any more.
    Returns 0, or REFUSED without having done anything where the job's labels are not classes.
    slot > 0 helps with open jobs of the kind `subject` until `steps` idle turns have passed;
    returns the kind of a waiting job that this door does not serve, else 0.

    Running and helping share it, because two doors would each contain every kernel.
    """
    return serve(control_address, subject, threads, slot, steps, like, None)


@kernel
def work_with_images(control_address, subject, threads, slot, steps, like):
    """`work` with the instructions for images too.

    A door of its own, because compiling those takes almost as long as all others together, and
    most networks never see an image.
    """
    return serve(control_address, subject, threads, slot, steps, like, 1)


NEEDS[work], NEEDS[work_with_images] = PARTS_FOR_ALL, PARTS_FOR_ALL + PARTS_FOR_IMAGES


@kernel
def serve(control_address, subject, threads, slot, steps, like, images):
    """What both doors do; `images` is None where the instructions for images are left out."""
    control = pointer_to(control_address, np.int64)
    if slot > 0:
        return follow(control, slot, steps, subject, like, images)
    job = pointer_to(subject, np.int64)
    if not are_classes(pointer_to(job[LABELS], np.int64), job[LABEL_COUNT], job[CLASSES]):
        return REFUSED
    job[HALTED] = 0
    job[SHARED] = 1 if threads > 1 else 0
    if threads == 1:
        take_part(control, job, steps, False, slot, like, images)
        return 0
    for i in range(DONES):
        control[DONE + i * APART] = 0
    control[PROGRAM], control[STEPS], control[THREADS] = subject, steps, threads
    claims = pointer_to(control[CLAIMS], np.int64)
    for i in range(threads * claims_of(job[ROWS])):
        claims[i] = 0
    fetch_add(control, JOB, 1)  # odd: open
    take_part(control, job, steps, True, slot, like, images)
    fetch_add(control, JOB, 1)  # even: closed; nobody joins any more
    spins = 0
    while load_acquire(control, ACTIVE) > 0:
        spins += 1
        if spins > PATIENCE:
            yield_processor()
    return 0


@kernel
def is_ready(control, threads, rows, cpu):
    """True where a program of so many rows may be given to `threads` threads at once, by a caller
    on this core: enough workers look for jobs, nobody else has them, and nothing is to be seen to.
    """
    return (load_acquire(control, AWAKE) >= threads - 1 and load_acquire(control, TAKEN) == 0
            and control[ASKED] == 0 and control[WARY] == 0 and control[STALLS] == 0
            and threads * claims_of(rows) <= control[ROOM] and control[KEPT_OFF] == cpu)


@kernel
def follow(control, slot, spins, kind, like, images):
    """A worker's turn: join each open job once, leave after `spins` idle turns."""
    fetch_add(control, AWAKE, 1)
    other = help_all(control, slot, spins, kind, like, images)
    fetch_add(control, AWAKE, -1)
    return other


@kernel
def help_all(control, slot, spins, kind, like, images):
    """The kind of a job that another door is needed for, or 0 when all has been quiet for long."""
    idle, seen = 0, 0
    while idle < spins:
        job = load_acquire(control, JOB)
        if job & 1 == 0 or job == seen:
            idle += 1
            pause()
            continue
        fetch_add(control, ACTIVE, 1)
        other = 0
        if load_acquire(control, JOB) == job:  # still open, so its caller waits for us
            program = pointer_to(control[PROGRAM], np.int64)
            wanted = program[KIND]
            if wanted == kind or (images is not None and wanted == kind - IMAGES):
                take_part(control, program, control[STEPS], True, slot, like, images)
            else:
                other = wanted
        fetch_add(control, ACTIVE, -1)
        if other != 0:
            return other
        seen, idle = job, 0
    return 0
