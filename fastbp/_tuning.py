"""Block sizes, each with where it comes from. They travel to kernels as arguments.

None of them may depend on the machine's number of threads: they decide how sums are divided,
and so the bits of results.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class GemmBlocks:
    """How a matrix product is divided (see fastbp/kernels/gemm.py)."""

    # At most so many tiles of rows and of columns in a task: the packed tiles of A stay in L2
    # while B's panels pass. Measured (one core, GFLOP/s at 512, 1024, 2048 cubed and 256x512x784,
    # tiles x panels of 32 columns):
    # 4x8 171 158 140 172; 8x4 169 156 124 172; 16x4 171 157 129 172; 37x2 167 153 149 172.
    # Twice as many panels where they have half of the columns, two threads: float64 512 to 2048
    # cubed 0.99 to 1.10, AVX2 0.98 to 1.03, float64 with AVX2 (four times) 1.01 to 1.07.
    task_tiles: int = 4
    task_columns: int = 1024
    # From so many bytes of B on, and for so few rows, B comes from memory rather than the last
    # cache: fewer panels, whose k block stays in L2 from one task to the next; with more rows twice
    # as many. 32 panels over 16, two threads: 128x4096x4096 0.81, 256 rows 0.93, 512 to 1024 rows
    # 1.02, 4096 cubed 1.03 to 1.04 (float64 1.06; 64 over 32 panels 0.98, 512x4096x4096 0.92).
    far_bytes: int = 36 << 20
    far_rows: int = 512
    far_panels: int = 16
    # Tasks wanted of a large product, so that threads finish together.
    tasks: int = 32
    # A task below this many FLOPs (some 10 us) costs more to hand out than it gains.
    task_flops: int = 2_000_000
    # Steps of k that storing a tile and its epilogue take (80 to 200 cycles of 14 a step).
    tile_ends: int = 12
    # Below so many rows a product takes the time that reading B takes.
    least_rows: int = 8
    # From this k on one column is computed by dot products: 1024x512x1 takes a tenth of the time.
    dot_least: int = 16
    # From so many tiles on their number is made even, and a multiple of 4.
    even_tiles: int = 7
    shared_tiles: int = 12
    # From so many panels on, columns of a packed B go to threads by half. On two threads, time
    # before over time after: 256x512x784 1.10, 512 cubed 1.04, 1024 cubed 1.06, 128x256x784 1.15;
    # where C has more rows than columns it is a loss (784x256x512 0.97, 2048x512x2048 0.94).
    halved_panels: int = 8
    # ... and only from so long a k on. Without halves: 256x10x512 1.8 times as fast, 512x10x1024
    # 1.9, 256x32x512 1.05, 256x64x512 0.99, 256x128x512 0.91.
    halved_least: int = 64
    # Longest k that a tile sums at once: 192 to 1024 differ by less than 3 %.
    k_most: int = 1024
    # Elements of packed operands that exist at once (float32: 256 MB).
    packed_most: int = 1 << 26
    # Elements a packing task moves.
    pack_task: int = 1 << 16
    # An operand is read in place while so few tiles or panels read it ...
    direct_reuse: int = 2
    # ... or while its extent is so small: 256 cubed gains 5 %, 512x512 would lose 12 %.
    direct_bytes: int = 256 * 1024
    # A larger B too, for what one thread packs the other has to fetch from its cache: two threads,
    # packed over in place, 300 cubed 1.09, 400 cubed 1.09, 128x784x256 1.10 to 1.15, 98x784x100
    # 2.1, the steps 784-256-128-10 1.06 and 100-512-512-10 1.02. Not where rows lie a multiple of
    # 2 KiB apart (`_arena.SAME_SETS`): 512 cubed 0.90.
    direct_b_bytes: int = 1 << 20
    # A with contiguous k is read in place by at most so many panels, by any number from so long a k
    # on. Two threads, in place over packed: 2000 wide with k = 130 0.91, 200 1.10, 500 1.05.
    rows_reuse: int = 32
    rows_least: int = 192

    def __post_init__(self) -> None:
        if min(self.task_tiles, self.task_columns, self.task_flops, self.k_most) < 1:
            raise ValueError(f"block sizes must be positive: {self}")


GEMM_BLOCKS = GemmBlocks()


@dataclass(frozen=True)
class StrandBlocks:
    """When and how a batch is divided into strands (fastbp/strands.py)."""

    # FLOPs of a step below which there are none: 64-100-10 with 100 rows would take 39 us, not 36.
    least_flops: int = 6_000_000
    # FLOPs and rows of a strand, at least; and strands at most.
    task_flops: int = 2_000_000
    least_rows: int = 16
    most: int = 16
    # Numbers of gradients that a task of the update adds up.
    update_task: int = 16_000


STRANDS = StrandBlocks()


@dataclass(frozen=True)
class SectionBlocks:
    """When a step is cut by neurons (fastbp/sections.py; measurements: docs/design/013)."""

    # Neurons of the widest hidden layer, weights and FLOPs of a step below which waiting takes what
    # is gained; and weights where there are several hidden layers, each with two waits more.
    least_neurons: int = 64
    least_weights: int = 4_000
    least_weights_deep: int = 13_000
    least_flops: int = 300_000
    # From so many neurons of a single hidden layer on there are four sections instead of two.
    many_neurons: int = 256
    # FLOPs of a section's step at most: more are better cut for as many threads as there may be;
    # sooner where the batch can be cut into strands.
    most_flops: int = 24_000_000
    most_flops_in_strands: int = 8_000_000
    # Neurons of each hidden layer that a section has at least: a cache line of float32.
    least_own: int = 16
    # Samples of a run at least: 64-100-10 gains in 8 steps of 32 what copying takes.
    least_run_rows: int = 800


SECTIONS = SectionBlocks()
