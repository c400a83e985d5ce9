"""Inverted dropout with the masks of NumPy's global random numbers (docs/math.md#dropout)."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastbp._errors import ArgumentError
from fastbp.compat.cs231n._arrays import named, same_shape
from fastbp.compat.cs231n._edition import dropout_p_drops

DropoutCache = tuple[dict[str, Any], np.ndarray | None]


@named()
def dropout_forward(x: Any, dropout_param: dict[str, Any]) -> tuple[np.ndarray, DropoutCache]:
    """Keep each number with probability p, scaled by 1/p; in mode "test" return x itself.

    Arguments:
        x: any shape.
        dropout_param: `mode` "train" or "test"; `p`, the share that is kept (in editions to 2017,
            see `install`, the share that is dropped); `seed`, if present, for np.random.seed.
    Returns:
        out of x's shape and dtype, and the cache (dropout_param, mask); mask is 0 or 1/p in x's
        dtype, None in mode "test". It is np.random.rand(*x.shape) < p: the same seed gives the same
        mask as the course's own code.
    Raises:
        ArgumentError: an unknown mode, or p that keeps nothing or more than everything.
    """
    values = np.asarray(x)
    p, mode = dropout_param["p"], dropout_param["mode"]
    drops = dropout_p_drops()
    keep = 1 - p if drops else p
    if mode not in ("train", "test"):
        raise ArgumentError(f"mode {mode!r}", '"train" or "test"')
    if not 0 < keep <= 1:
        raise ArgumentError(f"p={p!r}", "a share of at least 0 and below 1 to drop" if drops
                            else "a share above 0 and up to 1 to keep")
    if "seed" in dropout_param:
        np.random.seed(dropout_param["seed"])  # noqa: NPY002 - the course's random numbers
    if mode == "test":
        return values, (dropout_param, None)
    kept = np.random.rand(*values.shape) < keep  # noqa: NPY002
    dtype = values.dtype if values.dtype.kind == "f" else np.dtype(np.float64)
    mask = np.multiply(kept, dtype.type(1 / keep), dtype=dtype)
    return (values * mask).astype(values.dtype, copy=False), (dropout_param, mask)


@named()
def dropout_backward(dout: Any, cache: DropoutCache) -> np.ndarray:
    """dx = dout through the forward pass's mask, of dout's dtype; in mode "test" dout itself."""
    upstream, (_, mask) = np.asarray(dout), cache
    if mask is None:
        return upstream
    same_shape("dout", upstream, mask.shape)
    if upstream.dtype == mask.dtype or upstream.dtype.kind != "f":
        return upstream * mask
    return np.multiply(upstream, mask, dtype=upstream.dtype)
