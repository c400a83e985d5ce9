"""What the vector unit looks like: register width, register count, fused multiply-add.

Decided once per process from the CPU that Numba compiles for (`NUMBA_CPU_NAME` included),
so a kernel's compile-time sizes and the code LLVM emits always agree.
"""

from __future__ import annotations

import functools
import os
import platform
from dataclasses import dataclass

import llvmlite.binding as llvm

_AVX512 = ("skylake-avx512", "cascadelake", "cooperlake", "cannonlake", "icelake", "rocketlake",
           "tigerlake", "sapphirerapids", "emeraldrapids", "graniterapids", "diamondrapids",
           "znver4", "znver5", "x86-64-v4")
_AVX2 = ("haswell", "broadwell", "skylake", "core-avx2", "alderlake", "raptorlake", "meteorlake",
         "arrowlake", "lunarlake", "sierraforest", "grandridge", "gracemont", "znver1", "znver2",
         "znver3", "x86-64-v3")
_ARM = ("aarch64", "arm64")


@dataclass(frozen=True)
class Machine:
    """The part of an instruction set that the kernels are shaped by.

    `vector_bytes` is the width of one register, `tile_rows` the number of rows of the matmul
    register tile. A tile is `tile_rows` x 2 vectors; it needs `2*tile_rows` accumulators, two
    registers for a row of B and one or two for elements of A.
    """

    name: str
    vector_bytes: int
    registers: int
    has_fma: bool

    def __post_init__(self) -> None:
        if 2 * self.tile_rows + 3 > self.registers:
            raise ValueError(f"{self.name}: a tile of {self.tile_rows} rows needs "
                             f"{2 * self.tile_rows + 3} of {self.registers} registers")

    @property
    def tile_rows(self) -> int:
        """Rows of the register tile: 14 with 32 registers, 6 with 16 (Design: gemm.py)."""
        return 14 if self.registers == 32 else 6

    @property
    def has_masks(self) -> bool:
        """True where registers of their own tell which lanes are loaded and stored."""
        return self.vector_bytes == 64

    def lanes(self, itemsize: int) -> int:
        """Elements of `itemsize` bytes in one register."""
        return self.vector_bytes // itemsize


AVX512 = Machine("AVX-512", vector_bytes=64, registers=32, has_fma=True)
AVX2 = Machine("AVX2", vector_bytes=32, registers=16, has_fma=True)
NEON = Machine("NEON", vector_bytes=16, registers=32, has_fma=True)
GENERIC = Machine("generic", vector_bytes=16, registers=16, has_fma=False)


def _asked(name: str) -> str | None:
    """One of Numba's settings. It reads them itself too, but is not imported to be asked."""
    return os.environ.get(name) or None


def cpu_name() -> str:
    """The name of the CPU that Numba compiles for."""
    return _asked("NUMBA_CPU_NAME") or llvm.get_host_cpu_name()


def cpu_features() -> dict[str, bool]:
    """Features of the host, or those spelled in `NUMBA_CPU_FEATURES` for a named CPU."""
    spelled = _asked("NUMBA_CPU_FEATURES")
    if spelled is not None:
        words = [w for w in spelled.split(",") if w]
        return {w[1:]: w[0] == "+" for w in words}
    if _asked("NUMBA_CPU_NAME"):
        return {}
    return dict(llvm.get_host_cpu_features())


@functools.cache
def machine() -> Machine:
    """The vector unit that kernels of this process are built for."""
    if platform.machine().lower() in _ARM:
        return NEON
    name = cpu_name()
    if name != llvm.get_host_cpu_name():
        if name.startswith(_AVX512):
            return AVX512
        return AVX2 if name.startswith(_AVX2) else GENERIC
    features = cpu_features()
    if all(features.get(f) for f in ("avx512f", "avx512dq", "avx512vl", "avx512bw")):
        return AVX512
    if features.get("avx2") and features.get("fma"):
        return AVX2
    return GENERIC
