"""Central differences against backward functions, for the tests of fastbp.compat."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

H = 1e-5


def assert_slopes(f: Callable[[], np.ndarray], x: np.ndarray, df: np.ndarray | float,
                  analytic: np.ndarray, what: str = "gradient") -> None:
    """The gradient by x of sum(f() * df), f reading x: (f(x+h) - f(x-h)) / 2h in float64.

    Bound: truncation is h^2/6 of the third derivative, some 1e-10 for values of magnitude 1 to 10,
    and rounding u*sum|f df|/h with u = 1.1e-16 (both terms with a factor of 20 to spare).
    """
    assert analytic.shape == x.shape, what
    numeric = np.zeros(x.shape)
    terms = np.abs(np.asarray(f()) * df).sum()
    for place in np.ndindex(x.shape):
        before = x[place]
        x[place] = before + H
        above = np.copy(f())
        x[place] = before - H
        numeric[place] = np.sum((above - f()) * df) / (2 * H)
        x[place] = before
    bound = 20 * (H**2 * (1 + np.abs(analytic)) + 1.2e-16 * (1 + terms) / H)
    error = np.abs(numeric - analytic)
    worst = np.unravel_index(np.argmax(error - bound), error.shape)
    assert np.all(error <= bound), f"{what}{worst}: {analytic[worst]}, numeric {numeric[worst]}"
