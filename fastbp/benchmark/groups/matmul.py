"""Matrix products: squares, the shapes of training, and what a CPU with AVX2 would get."""

from __future__ import annotations

import platform
from typing import Any

from fastbp.benchmark.groups import GroupOptions
from fastbp.benchmark.rows import Row

SQUARES = {
    "float32": (16, 32, 64, 128, 256, 512, 768, 1024, 2048, 4096),
    "float64": (64, 256, 512, 1024, 2048),
}
AVX2_SQUARES = (256, 512, 1024)

SHAPES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("256x784x512", {"m": 256, "k": 784, "n": 512}),
    ("256x512x10", {"m": 256, "k": 512, "n": 10}),
    ("512x256x10 a.T", {"m": 512, "k": 256, "n": 10, "transpose_a": True}),
    ("256x10x512 b.T", {"m": 256, "k": 10, "n": 512, "transpose_b": True}),
    ("784x256x512 a.T", {"m": 784, "k": 256, "n": 512, "transpose_a": True}),
    ("256x512x512 b.T", {"m": 256, "k": 512, "n": 512, "transpose_b": True}),
    ("1x784x512", {"m": 1, "k": 784, "n": 512}),
    ("1024x512x1", {"m": 1024, "k": 512, "n": 1}),
    ("127x257x509", {"m": 127, "k": 257, "n": 509}),
)
"""MxKxN of a layer's forward pass, dW (a.T) and dX (b.T), batch 1, one output, primes."""


def rows(options: GroupOptions) -> list[Row]:
    """float32 squares, shapes of training, float64 squares, AVX2."""
    found = [square(n, "float32") for n in SQUARES["float32"]]
    found += [row(name, {**sizes, "dtype": "float32"}) for name, sizes in SHAPES]
    found += [square(n, "float64", " float64") for n in SQUARES["float64"]]
    if platform.machine().lower() in ("x86_64", "amd64"):
        found += [
            square(n, "float32", " AVX2", subject="fastbp AVX2", peers=("numpy AVX2", "numpy"))
            for n in AVX2_SQUARES
        ]
    return found


def square(n: int, dtype: str, note: str = "", **settings: Any) -> Row:
    """A product of two n x n matrices."""
    return row(f"{n}{note}", {"m": n, "k": n, "n": n, "dtype": dtype}, **settings)


def row(name: str, spec: dict[str, Any], **settings: Any) -> Row:
    """A product of the sizes in `spec`."""
    flops = 2.0 * spec["m"] * spec["k"] * spec["n"]
    settings.setdefault("peers", ("numpy", "torch", "jax"))
    return Row("matmul", name, "matmul", spec, flops=flops, dtype=spec["dtype"], **settings)
