"""Exceptions that say what was given, what was wanted and what to do about it."""

from __future__ import annotations


class FastbpError(Exception):
    """Base of every error that fastbp raises on purpose.

    `given` says what was found and where, `wanted` what would have been right, `remedy` what to
    do. The message joins the parts that are not empty: "given; wanted ...; remedy".
    """

    def __init__(self, given: str, wanted: str = "", remedy: str = "") -> None:
        self.given = given
        self.wanted = wanted
        self.remedy = remedy
        parts = [given, f"wanted {wanted}" if wanted else "", remedy]
        super().__init__("; ".join(part for part in parts if part))


class ShapeError(FastbpError, ValueError):
    """An array has the wrong shape."""


class DTypeError(FastbpError, TypeError):
    """An array has the wrong element type."""


class DataError(FastbpError, ValueError):
    """A data file or data set cannot be used."""


class CheckpointError(FastbpError, ValueError):
    """A saved model cannot be read, or does not fit."""


class ArgumentError(FastbpError, ValueError):
    """A setting has a value that makes no sense."""


class NonFiniteError(FastbpError, ArithmeticError):
    """Training met a loss or parameters that are NaN or infinite.

    step: number of the step (from 1, over the trainer's life) that could not be made; epoch: from
    1; layer: name of the layer where it shows first ("0", "1", ...), or "" where it is not in a
    layer (data, loss).
    """

    def __init__(self, given: str, wanted: str = "", remedy: str = "", *, step: int = 0,
                 epoch: int = 0, layer: str = "") -> None:
        super().__init__(given, wanted, remedy)
        self.step, self.epoch, self.layer = step, epoch, layer


class DurabilityWarning(RuntimeWarning):
    """A file is in its place, but a power failure now might bring the old one back."""


class ConcurrencyError(FastbpError, RuntimeError):
    """Two threads want what only one can have at a time."""
