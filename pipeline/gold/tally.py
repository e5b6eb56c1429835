"""Sums, counts and firsts by row: what a pull, a player or a second adds up to.

Who or what an event belongs to is the number of a row (of `fights.pulls`, of `fights.players`, of a second), so that a
table's column is one array and an event one addition into it: there is a place for what never happened, which stays 0.
"""

from collections.abc import Iterable
from typing import TypeVar

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Amounts = npt.NDArray[np.float64]
Value = TypeVar("Value", bound=np.generic)

NOBODY = -1
"""The row of what belongs to no row."""


def sums(rows: Rows, amounts: Amounts, n: int) -> Amounts:
    """The sum of the amounts of each of `n` rows, added up in their order."""
    return np.bincount(rows, weights=amounts, minlength=n).astype(np.float64, copy=False)  # whole numbers if no rows


def counts(rows: Rows, n: int) -> Rows:
    """How often each of `n` rows occurs."""
    return np.bincount(rows, minlength=n)


def marks(several: Iterable[Rows], n: int) -> Flags:
    """Whether each of `n` rows occurs in any of several arrays."""
    marked = np.full(n, fill_value=False)
    for rows in several:
        marked[rows] = True
    return marked


def firsts(rows: Rows, n: int, known: Flags | None = None, preferred: Flags | None = None) -> Rows:
    """The earliest place of each of `n` rows.

    Args:
        rows: at each place, to which row it belongs, or NOBODY.
        n: how many rows there are.
        known: which places count; all by default.
        preferred: which of them go before the others; none by default.

    Returns:
        Places, NOBODY for a row that has none.
    """
    known = rows != NOBODY if known is None else known & (rows != NOBODY)
    earliest = _earliest(rows, n, known)
    if preferred is None:
        return earliest
    better = _earliest(rows, n, known & preferred)
    return np.where(better == NOBODY, earliest, better)


def lasts(rows: Rows, n: int, known: Flags | None = None, preferred: Flags | None = None) -> Rows:
    """As `firsts`, the latest place."""
    known, preferred = (each if each is None else each[::-1] for each in (known, preferred))
    latest = firsts(rows[::-1], n, known, preferred)
    return np.where(latest == NOBODY, NOBODY, len(rows) - 1 - latest)


def begins(lengths: Rows) -> Rows:
    """Where each of several stretches begins when they lie one after the other."""
    return np.cumsum(lengths) - lengths


def steps(moments: Rows, values: npt.NDArray[Value], n: int) -> npt.NDArray[Value]:
    """`n` places that hold each value from its moment to the next one's; of those at one moment the last."""
    order = np.argsort(moments, kind="stable")
    return np.repeat(values[order], np.diff(moments[order], append=n))


def _earliest(rows: Rows, n: int, known: Flags) -> Rows:
    places = np.flatnonzero(known)
    earliest = np.full(n, len(rows))
    np.minimum.at(earliest, rows[places], places)
    return np.where(earliest == len(rows), NOBODY, earliest)
