"""Real data that ships inside the package; source and licence are in README.md beside it."""

from __future__ import annotations

from importlib import resources

import numpy as np
from numpy.typing import NDArray

__all__ = ["load_digits"]

DIGITS_MAX = 16
"""The largest grey value in the digits file."""


def load_digits() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The UCI optical digits: 1797 images of 8x8 pixels, ten classes.

    Returns:
        x: float32 (1797, 64), grey values scaled to [0, 1], one image a row.
        y: int64 (1797,), the digit 0..9.
    """
    with (resources.files(__name__).joinpath("digits.npz").open("rb") as stream,
          np.load(stream, allow_pickle=False) as archive):
        pixels, labels = archive["pixels"], archive["labels"]
    return pixels.astype(np.float32) / np.float32(DIGITS_MAX), labels.astype(np.int64)
