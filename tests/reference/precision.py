"""The precision the twins compute in."""

from __future__ import annotations

from typing import Any, overload

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@overload
def widen(value: npt.ArrayLike, /) -> Array: ...
@overload
def widen(
    first: npt.ArrayLike, second: npt.ArrayLike, /, *more: npt.ArrayLike
) -> tuple[Array, ...]: ...
def widen(*values: npt.ArrayLike) -> Any:
    """The values as arrays one precision above the widest of them.

    float32, float16 and integers become float64; as soon as one value is float64, all become
    `np.longdouble` (64 bits of mantissa on x86-64, no more than 53 on some other platforms: the
    bounds in `bounds.py` know). One value comes back as an array, several as a tuple.
    """
    arrays = [np.asarray(value) for value in values]
    double = any(a.dtype.kind == "f" and a.dtype.itemsize >= 8 for a in arrays)
    dtype = np.longdouble if double else np.float64
    wide = tuple(a.astype(dtype) for a in arrays)
    return wide[0] if len(wide) == 1 else wide


def pi(like: Array) -> Any:
    """The number pi in the precision of `like` (`np.pi` is only float64)."""
    return 4 * np.arctan(like.dtype.type(1))


def as_rows(x: Array) -> Array:
    """`x` (N, d1, d2, ...) as (N, d1*d2*...); also right where N is 0."""
    return x.reshape(x.shape[0], int(np.prod(x.shape[1:])))
