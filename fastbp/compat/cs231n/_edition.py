"""Which year's conventions hold where a call does not say so itself."""

from __future__ import annotations

from fastbp._errors import ArgumentError

LATEST = 2025
_FIRST = 2016
_year = LATEST


def choose(year: int) -> None:
    """Follow the conventions of the course's edition of that year, from 2016 on."""
    global _year
    if isinstance(year, bool) or not isinstance(year, int) or year < _FIRST:
        raise ArgumentError(f"edition={year!r}", f"a year from {_FIRST} on",
                            "2018 and later editions agree with each other")
    _year = year


def dropout_p_drops() -> bool:
    """True where the p of dropout is the share that is dropped (to 2017), not the share kept."""
    return _year <= 2017


def penalty_is_halved() -> bool:
    """True where the classifiers of assignment 1 add reg/2 * sum(W*W) (2016), not reg*sum(W*W)."""
    return _year <= 2016
