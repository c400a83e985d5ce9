"""Operations on images (N, C, H, W) for the table: convolution, pooling, normalisation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import reference
from conditions import Array
from operation import LARGE, Args, Operation, Size, roundoff

from fastbp import ops

GROUPS = 2
# (settings, height and width of the window) of convolutions.
CONVOLUTIONS: dict[str, tuple[dict[str, Any], tuple[int, int]]] = {
    "padded": ({"padding": 1}, (3, 3)),
    "strided": ({"stride": (2, 1), "padding": (0, 2), "groups": GROUPS}, (2, 3)),
    "dilated": ({"dilation": 2, "padding": 2}, (3, 2)),
}


def image_of(size: Size) -> tuple[int, int, int, int]:
    """(N, C, H, W) for a size of the table; no samples where it has none."""
    rows, cols, depth = size
    if 0 in (rows, cols):
        return 0, GROUPS, 5, 4
    if size[0] >= LARGE[0]:
        return 3, 8 * GROUPS, 30, 37
    return 1 + rows % 4, GROUPS * (1 + cols % 3), 4 + rows % 11, 5 + (cols + depth) % 13


def _shaped(**shapes: Callable[[Size], tuple[int, ...]]) -> Callable[..., Args]:
    def make(rng: np.random.Generator, size: Size, dtype: Any) -> Args:
        return {name: reference.reals(rng, shape(size), dtype) for name, shape in shapes.items()}
    return make


def _channels(size: Size) -> tuple[int, ...]:
    return image_of(size)[1:2]


def _by_pixel(x: Array) -> Array:
    return reference.by_pixel(x)


def _as_images(rows: Array, like: Array) -> Array:
    n, c, h, w = like.shape
    return rows.reshape(n, h, w, c).transpose(0, 3, 1, 2)


# ---- convolution ------------------------------------------------------------------------------


def _convolution(name: str) -> tuple[Operation, Operation]:
    settings, window = CONVOLUTIONS[name]
    groups = settings.get("groups", 1)

    def filters(size: Size) -> tuple[int, ...]:
        return GROUPS * (1 + size[2] % 5), image_of(size)[1] // groups, *window

    def outputs(size: Size) -> tuple[int, ...]:
        like = np.zeros((1, *image_of(size)[1:]))
        shape: tuple[int, ...] = reference.conv2d_forward(like, np.zeros(filters(size)),
                                                          **settings).shape
        return (image_of(size)[0], *shape[1:])

    def sizes(args: Args) -> Array:
        return reference.conv2d_forward(*(np.abs(args[n]) for n in "xwb"), **settings)

    def backward_bounds(args: Args) -> tuple[Any, ...]:
        dy, x, w = (np.abs(args[n]) for n in ("dy", "x", "w"))
        u, found = roundoff(args), reference.conv2d_backward(dy, x, w, **settings)
        terms = w.size // w.shape[1], dy[:, 0].size, dy[:, 0].size
        return tuple((k + 3) * u * s for k, s in zip(terms, found, strict=True))

    def gradient(x: Array, w: Array, b: Array, dy: Array) -> dict[str, Array]:
        dx, dw, db = ops.conv2d_backward(dy, x, w, **settings)
        return {"x": dx, "w": dw, "b": db}  # type: ignore[dict-item]

    return (
        Operation(
            f"conv2d_forward {name}",
            _shaped(x=image_of, w=filters, b=lambda size: filters(size)[:1]),
            lambda x, w, b, **k: (ops.conv2d_forward(x, w, b, **settings, **k),),
            lambda x, w, b: (reference.conv2d_forward(x, w, b, **settings),),
            lambda args: ((args["w"][0].size + 3) * roundoff(args) * sizes(args),),
            out="product", exact=True, gradient=gradient),
        Operation(
            f"conv2d_backward {name}", _shaped(dy=outputs, x=image_of, w=filters),
            lambda dy, x, w: ops.conv2d_backward(dy, x, w, **settings),
            lambda dy, x, w: reference.conv2d_backward(dy, x, w, **settings), backward_bounds,
            exact=True))


# ---- pooling ----------------------------------------------------------------------------------


def _pool(kind: str, settings: dict[str, Any], size: tuple[int, int]) -> tuple[Operation, ...]:
    forward, backward = (getattr(ops, f"{kind}_pool2d_{way}") for way in ("forward", "backward"))
    twin, twin_backward = (getattr(reference, f"{kind}_pool2d_{way}")
                           for way in ("forward", "backward"))
    taps = size[0] * size[1] + 2

    def outputs(table_size: Size) -> tuple[int, ...]:
        n, *rest = image_of(table_size)
        return (n, *twin(np.zeros((1, *rest)), size, **settings)[0].shape[1:])

    def bound(args: Args) -> tuple[Any, ...]:
        if kind == "max":
            return (0.0,)
        return (taps * roundoff(args) * twin(np.abs(args["x"]), size, **settings)[0],)

    def backward_bound(args: Args) -> tuple[Any, ...]:
        kept = twin(args["x"], size, **settings)[1]
        return (taps * roundoff(args) * twin_backward(np.abs(args["dy"]), kept),)

    def gradient(x: Array, dy: Array) -> dict[str, Array]:
        return {"x": backward(dy, forward(x, size, **settings)[1])}

    return (
        Operation(f"{kind}_pool2d_forward", _shaped(x=image_of),
                  lambda x, **k: (forward(x, size, **settings, **k)[0],),
                  lambda x: (twin(x, size, **settings)[0],), bound, out="product",
                  gradient=gradient if kind == "avg" else None),
        Operation(f"{kind}_pool2d_backward", _shaped(dy=outputs, x=image_of),
                  lambda dy, x: (backward(dy, forward(x, size, **settings)[1]),),
                  lambda dy, x: (twin_backward(dy, twin(x, size, **settings)[1]),),
                  backward_bound))


# ---- normalisation ----------------------------------------------------------------------------


def _spatial_batchnorm() -> tuple[Operation, Operation]:
    forward, backward = ops.spatial_batchnorm_forward, ops.spatial_batchnorm_backward

    def bound(args: Args) -> tuple[Any, ...]:
        found = reference.batchnorm_forward_bound(
            _by_pixel(args["x"]), args["gamma"], args["beta"], args["x"].dtype)
        return (_as_images(found, args["x"]),)

    def backward_bounds(args: Args) -> tuple[Any, ...]:
        dx, dgamma, dbeta = reference.batchnorm_backward_bounds(
            _by_pixel(args["dy"]), _by_pixel(args["x"]), args["gamma"], args["x"].dtype)
        return _as_images(dx, args["x"]), dgamma, dbeta

    return _normalisation("spatial_batchnorm", forward, backward, (), bound, backward_bounds)


def _groupnorm() -> tuple[Operation, Operation]:
    def rows_of(x: Array) -> Array:
        return x.reshape(len(x) * GROUPS, -1)

    def along(vector: Array, x: Array) -> Array:
        return rows_of(np.broadcast_to(vector[:, None, None], x.shape))

    def bound(args: Args) -> tuple[Any, ...]:
        x = args["x"]
        found = reference.batchnorm_forward_bound(
            rows_of(x), along(args["gamma"], x), along(args["beta"], x), x.dtype, axis=1)
        return (found.reshape(x.shape),)

    def backward_bounds(args: Args) -> tuple[Any, ...]:
        x, dy, gamma, axes = args["x"], args["dy"], args["gamma"], (0, 2, 3)
        dx = reference.batchnorm_backward_bounds(rows_of(dy), rows_of(x), along(gamma, x), x.dtype,
                                                 axis=1)[0]
        error = reference.normalized_error(rows_of(x), x.dtype, 1e-5, 1)
        count = (dy[:, 0].size + 3) * roundoff(args)
        size = np.abs(dy) * (count * np.abs(error.xhat) + error.xhat_error).reshape(x.shape)
        return dx.reshape(x.shape), size.sum(axis=axes), count * np.abs(dy).sum(axis=axes)

    return _normalisation("groupnorm", ops.groupnorm_forward, ops.groupnorm_backward, (GROUPS,),
                          bound, backward_bounds)


def _normalisation(name: str, forward: Any, backward: Any, settings: tuple[int, ...],
                   bound: Any, backward_bounds: Any) -> tuple[Operation, Operation]:
    twin, twin_backward = (getattr(reference, f"{name}_{way}") for way in ("forward", "backward"))

    def gradient(x: Array, gamma: Array, beta: Array, dy: Array) -> dict[str, Array]:
        found = backward(dy, forward(x, gamma, beta, *settings)[1])
        return dict(zip(("x", "gamma", "beta"), found, strict=True))

    return (
        Operation(f"{name}_forward", _shaped(x=image_of, gamma=_channels, beta=_channels),
                  lambda x, gamma, beta: (forward(x, gamma, beta, *settings)[0],),
                  lambda x, gamma, beta: (twin(x, gamma, beta, *settings)[0],), bound,
                  gradient=gradient),
        Operation(f"{name}_backward",
                  _shaped(dy=image_of, x=image_of, gamma=_channels, beta=_channels),
                  lambda dy, x, gamma, beta: backward(dy, forward(x, gamma, beta, *settings)[1]),
                  lambda dy, x, gamma, beta: twin_backward(
                      dy, twin(x, gamma, beta, *settings)[1]), backward_bounds))


IMAGE_OPERATIONS: tuple[Operation, ...] = (
    *(op for name in CONVOLUTIONS for op in _convolution(name)),
    *_pool("max", {"stride": 1, "padding": 1}, (3, 2)),
    *_pool("avg", {"stride": 2}, (2, 3)),
    *_spatial_batchnorm(), *_groupnorm(),
)
