"""Parsing: one-line errors and the types of option values."""

from __future__ import annotations

import argparse
import math
from typing import Any, NoReturn

Commands = Any
"""What `ArgumentParser.add_subparsers` returns (argparse keeps the type private)."""


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, without the usage text."""

    def error(self, message: str) -> NoReturn:
        """Exit with status 2."""
        self.exit(2, f"fastbp: error: {message}; see `{self.prog} --help`\n")


def count(text: str) -> int:
    """A whole number of 1 or more."""
    return _whole(text, 1)


def whole(text: str) -> int:
    """A whole number of 0 or more."""
    return _whole(text, 0)


def _whole(text: str, least: int) -> int:
    try:
        number = int(text)
    except ValueError:
        number = least - 1
    if number < least:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of {least} or more")
    return number


def positive(text: str) -> float:
    """A finite number above 0."""
    number = _number(text)
    if not 0.0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return number


def non_negative(text: str) -> float:
    """A finite number of 0 or more."""
    number = _number(text)
    if not 0.0 <= number < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of 0 or more")
    return number


def fraction(text: str) -> float:
    """A number from 0 to below 1."""
    number = _number(text)
    if not 0.0 <= number < 1.0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to below 1")
    return number


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def betas(text: str) -> tuple[float, float]:
    """Two numbers from 0 to below 1, with a comma between them."""
    parts = text.split(",")
    if len(parts) != 2:
        raise argparse.ArgumentTypeError(f"{text!r} is not two numbers such as 0.9,0.999")
    return fraction(parts[0].strip()), fraction(parts[1].strip())


_SECONDS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def duration(text: str) -> float:
    """Seconds: a number above 0, or one with the unit s, m, h or d."""
    number = text.rstrip("smhd")
    seconds = _number(number) * _SECONDS.get(text[len(number) :], math.nan)
    if not 0.0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time such as 90s, 10m, 2h or 1d")
    return seconds


def interval(text: str) -> dict[str, Any]:
    """When to save, as arguments of `callbacks.Checkpoint`: a time, steps or epochs."""
    every: dict[str, Any] = {"every_epochs": None, "every_steps": None, "every_seconds": None}
    for unit in ("steps", "epochs"):
        if text.endswith(unit):
            return {**every, f"every_{unit}": count(text.removesuffix(unit))}
    if text[-1:] not in ("s", "m", "h", "d"):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a time such as 90s, 10m or 2h, nor like 1000steps or 5epochs")
    return {**every, "every_seconds": duration(text)}


def file_or_fraction(text: str) -> str | float:
    """A fraction where the text is a number, else the name of a file."""
    return text if math.isnan(_number(text)) else fraction(text)


def sizes(text: str) -> tuple[int, ...]:
    """Comma-separated widths of the hidden layers; "none" for a model without."""
    if text == "none":
        return ()
    return tuple(count(part.strip()) for part in text.split(","))
