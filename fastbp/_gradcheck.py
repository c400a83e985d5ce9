"""Check gradients against finite differences: directional, or element by element.

Design. The slope of f along a direction d is compared with the inner product <gradient, d>: one
number tests every element at once, so 8 directions are enough for any size; the per-element form
takes 8 evaluations for each element and names the wrong one. Slopes are central differences of
five points, error h^4 f'''''/30, so the default step of 1e-4 leaves some 1e-12 of f by truncation
and by rounding (Fornberg 1988). Each slope is taken with h and h/2; where the two disagree
(a ReLU's kink lies between the points), the step is made smaller, and a point that stays rough is
reported as such. The numeric slope never sees the analytic one.

float64 only: in float32 the differences would have three digits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from fastbp._errors import DTypeError, FastbpError, ShapeError

Array = npt.NDArray[Any]

DEFAULT_STEP = 1e-4
"""Distance between the points, for values of magnitude 1; larger values take a larger one."""

_SHRINK = 16.0
_ATTEMPTS = 4
_ROUNDINGS = 64
"""f is taken to be exact to this many units in the last place of the largest value it returned."""

_EPS = float(np.finfo(np.float64).eps)


class GradcheckError(FastbpError, ValueError):
    """The question cannot be answered: nothing to compare, or f changes from call to call."""


@dataclass(frozen=True)
class Comparison:
    """One slope: what the gradient says, what the differences say, how far they may differ."""

    what: str
    analytic: float
    numeric: float
    bound: float
    smooth: bool = True

    @property
    def error(self) -> float:
        """|analytic - numeric|."""
        return abs(self.analytic - self.numeric)

    @property
    def passed(self) -> bool:
        """The error is within the bound (never so for NaN) and f is smooth here."""
        return self.smooth and self.error <= self.bound

    def __str__(self) -> str:
        verdict = "ok" if self.passed else "WRONG" if self.smooth else "NOT SMOOTH"
        return (
            f"{verdict:10s} {self.what}: analytic {self.analytic:.10g}, numeric "
            f"{self.numeric:.10g}, error {self.error:.3g}, bound {self.bound:.3g}"
        )


@dataclass(frozen=True)
class GradcheckReport:
    """All comparisons of one check; true in a condition when each of them passed."""

    comparisons: tuple[Comparison, ...]

    @property
    def passed(self) -> bool:
        """Every comparison passed, and there was at least one."""
        return bool(self.comparisons) and all(c.passed for c in self.comparisons)

    @property
    def failures(self) -> tuple[Comparison, ...]:
        """The comparisons that did not pass."""
        return tuple(c for c in self.comparisons if not c.passed)

    def __bool__(self) -> bool:
        return self.passed

    def __str__(self) -> str:
        count = f"{len(self.comparisons)} slopes compared"
        if self.passed:
            return f"gradients right: {count}"
        lines = [f"gradients wrong: {count}, {len(self.failures)} out of bound"]
        lines += [str(c) for c in self.failures[:20]]
        if not all(c.smooth for c in self.failures):
            lines.append("not smooth: a kink (ReLU at 0) is too close; choose another point")
        return "\n".join(lines)


class Layer(Protocol):
    """What `gradcheck_layer` needs; `parameters` and `gradients` may be missing."""

    def forward(self, x: Array, /) -> Array:
        """The output for `x`."""

    def backward(self, dy: Array, /) -> Array:
        """The gradient by the last `x`, given that by its output."""


def gradcheck(
    f: Callable[[Array], float],
    x: Array,
    analytic: Array,
    *,
    step: float | None = None,
    directions: int = 8,
    per_element: bool = False,
    rtol: float = 1e-6,
    seed: int = 0,
) -> GradcheckReport:
    """Compare `analytic` with finite differences of the scalar function `f` at `x`.

    Arguments:
        f: takes an array like `x`, returns a number; is called with fresh arrays, which it must
            not keep.
        x: float64, any shape, not empty; not changed.
        analytic: the gradient to check, in the shape of `x`.
        step: distance of the points (default 1e-4), multiplied by the RMS of `x` where above 1.
        directions: how many random directions (standard normal).
        per_element: one comparison an element instead of random directions.
        rtol: allowed error, relative to the gradient's norm (directional) or to the element. What
            f loses by rounding is allowed on top: 64 units in its last place, divided by the step.
        seed: of the directions.

    Returns:
        A report, false where a comparison failed; `print(report)` shows which.

    Raises:
        DTypeError: `x` is not float64.
        ShapeError: `analytic` has another shape.
        GradcheckError: `x` is empty, or `f` gives another value the second time.
    """
    return GradcheckReport(
        _Checker(step, directions, per_element, rtol, seed).compare("x", f, x, analytic)
    )


def gradcheck_layer(
    layer: Layer,
    x: Array,
    *,
    dy: Array | None = None,
    step: float | None = None,
    directions: int = 8,
    per_element: bool = False,
    rtol: float = 1e-6,
    seed: int = 0,
) -> GradcheckReport:
    """Check `layer.backward`: its result, and every gradient in `layer.gradients`.

    The function differentiated is sum(dy * layer.forward(x)), `dy` standard normal unless given.
    Parameters are changed in place and put back, and so are running statistics in
    `layer.buffers`. Arguments, result and errors otherwise as for `gradcheck`.
    """
    checker = _Checker(step, directions, per_element, rtol, seed)
    parameters: Mapping[str, Array] = getattr(layer, "parameters", {})
    buffers: Mapping[str, Array] = getattr(layer, "buffers", {})
    before = {name: array.copy() for name, array in buffers.items()}
    _require_float64({"x": x, **parameters})
    y = layer.forward(x)
    weights = checker.rng.standard_normal(y.shape) if dy is None else dy
    size = float(np.abs(weights * y).sum())
    dx = np.array(layer.backward(weights))
    gradients = {name: np.array(g) for name, g in getattr(layer, "gradients", {}).items()}
    _require_same_names(parameters, gradients)

    def objective(value: Array) -> float:
        return float((weights * layer.forward(value)).sum())

    try:
        comparisons = checker.compare("x", objective, x, dx, size)
        for name, array in parameters.items():
            f = _function_of(array, lambda: objective(x))
            comparisons += checker.compare(name, f, array.copy(), gradients[name], size)
    finally:
        for name, array in before.items():
            buffers[name][...] = array
    return GradcheckReport(comparisons)


def gradcheck_network(
    net: Any,
    x: Any,
    y: Any,
    loss: Any,
    *,
    step: float | None = None,
    directions: int = 8,
    per_element: bool = False,
    rtol: float = 1e-6,
    seed: int = 0,
) -> GradcheckReport:
    """Check the gradient of the loss by every parameter of a float64 network.

    `x` and `y` are one batch, `loss` as for `Trainer`. The network is left as it was. Arguments,
    result and errors otherwise as for `gradcheck`.
    """
    from fastbp.trainer import Trainer  # here: users of the two functions above need no trainer

    _require_float64(net.parameters)
    before = {name: np.array(array) for name, array in net.state_dict().items()}
    trainer = Trainer(net, loss=loss)
    gradients = {name: np.array(g) for name, g in trainer.gradients(x, y)[1].items()}
    _require_same_names(net.parameters, gradients)
    checker = _Checker(step, directions, per_element, rtol, seed)
    comparisons: tuple[Comparison, ...] = ()
    try:
        for name, array in net.parameters.items():
            f = _function_of(array, lambda: float(trainer.gradients(x, y)[0]))
            comparisons += checker.compare(name, f, array.copy(), gradients[name])
    finally:
        net.load_state_dict(before)
    return GradcheckReport(comparisons)


@dataclass(frozen=True)
class _Slope:
    """A numeric slope, how far rounding may have moved it, and whether it can be trusted."""

    value: float
    noise: float
    smooth: bool


class _Checker:
    """The settings of one check, and its random numbers."""

    def __init__(
        self, step: float | None, directions: int, per_element: bool, rtol: float, seed: int
    ) -> None:
        if not rtol > 0 or directions < 1 or (step is not None and not step > 0):
            raise GradcheckError(
                f"rtol={rtol}, directions={directions}, step={step}", "numbers above 0"
            )
        self.step = DEFAULT_STEP if step is None else step
        self.directions = directions
        self.per_element = per_element
        self.rtol = rtol
        self.rng = np.random.default_rng(seed)

    def compare(
        self, name: str, f: Callable[[Array], float], x: Array, analytic: Array, size: float = 0.0
    ) -> tuple[Comparison, ...]:
        """All comparisons for one array; `size` is the magnitude of the terms that f adds up."""
        _require_float64({name: x})
        analytic = np.asarray(analytic, np.float64)
        if analytic.shape != x.shape:
            raise ShapeError(f"gradient by {name} has shape {analytic.shape}", f"{x.shape}")
        if x.size == 0:
            raise GradcheckError(f"{name} is empty, shape {x.shape}", "at least one element")
        first, second = float(f(x.copy())), float(f(x.copy()))
        if first != second and not (np.isnan(first) and np.isnan(second)):
            raise GradcheckError(
                f"two evaluations at the same {name} gave {first!r} and {second!r}",
                "the same value",
                "switch dropout and other randomness off",
            )
        size = max(size, abs(first))
        step = self.step * max(1.0, float(np.sqrt(np.mean(np.square(x)))))
        norm = float(np.linalg.norm(analytic))
        comparisons = []
        for what, d in self._directions(x.shape):
            product = float(np.vdot(analytic, d))
            scale = abs(product) if self.per_element else norm
            slope = self._slope(_line(f, x, d), step, scale, size)
            bound = self.rtol * max(scale, abs(slope.value)) + slope.noise
            comparisons.append(
                Comparison(f"{name}{what}", product, slope.value, bound, slope.smooth)
            )
        return tuple(comparisons)

    def _directions(self, shape: tuple[int, ...]) -> Iterator[tuple[str, Array]]:
        """Pairs (label, direction)."""
        if not self.per_element:
            for i in range(self.directions):
                yield f", direction {i}", self.rng.standard_normal(shape)
            return
        for index in np.ndindex(shape):
            d = np.zeros(shape)
            d[index] = 1.0
            yield f"[{', '.join(map(str, index))}]", d

    def _slope(
        self, line: Callable[[float], float], step: float, scale: float, size: float
    ) -> _Slope:
        """d line / dt at 0, with a step small enough that halving it changes nothing."""
        for _ in range(_ATTEMPTS):
            wide, size_wide = _five_point(line, step)
            narrow, size_narrow = _five_point(line, step / 2)
            unit = _EPS * max(size, size_wide, size_narrow)
            noise = _ROUNDINGS * unit / (step / 2)
            if abs(wide - narrow) <= self.rtol * max(scale, abs(narrow)) + noise:
                return _Slope(narrow, noise, True)
            step /= _SHRINK
        return _Slope(narrow, noise, bool(np.isnan(narrow)))


def _line(f: Callable[[Array], float], x: Array, d: Array) -> Callable[[float], float]:
    """`f` along the direction `d` from `x`."""
    return lambda t: float(f(x + t * d))


def _five_point(line: Callable[[float], float], h: float) -> tuple[float, float]:
    """(slope at 0, largest |value|) from the values at -2h, -h, h, 2h."""
    a, b, c, d = line(-2 * h), line(-h), line(h), line(2 * h)
    return (8 * (c - b) - (d - a)) / (12 * h), max(abs(a), abs(b), abs(c), abs(d))


def _function_of(array: Array, evaluate: Callable[[], float]) -> Callable[[Array], float]:
    """`evaluate` as a function of what stands in `array`, which keeps its values."""

    def f(value: Array) -> float:
        kept = array.copy()
        array[...] = value
        try:
            return evaluate()
        finally:
            array[...] = kept

    return f


def _require_float64(arrays: Mapping[str, Array]) -> None:
    for name, array in arrays.items():
        dtype = np.asarray(array).dtype
        if dtype != np.float64:
            raise DTypeError(
                f"{name} has dtype {dtype}",
                "float64",
                'finite differences need it: build the layer or network with dtype="float64"',
            )


def _require_same_names(parameters: Mapping[str, Array], gradients: Mapping[str, Array]) -> None:
    missing = sorted(set(parameters) - set(gradients))
    if missing:
        raise GradcheckError(f"no gradient for {', '.join(missing)}", "one for each parameter")
