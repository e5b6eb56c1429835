"""When a line happened: `M/D h:m:s.mmm`, in newer builds `M/D/YYYY h:m:s.mmm` and the offset from UTC in hours.

Lines without offset show the clock of the player's computer, and the one offset that was stated is taken for all of
them. Where that clock is put forward or back inside a log (DST), what follows is an hour late or early: the hour that
the clock shows twice lies twice at the same time, and a pull over the change is an hour too long or, its end before
its start, takes no time and is set aside by Silver. Lines with offset are exact.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta

import polars as pl

from pipeline.errors import PipelineError

DAY = timedelta(days=1)
DATE = re.compile(r"(\d{1,2})/(\d{1,2})(?:/(\d{4}))?", re.ASCII)
OFFSET = re.compile(r"([+-])(\d{1,2})(?::?(\d{2}))?", re.ASCII)
MAX_OFFSET_MIN = 14 * 60
# Lines come out of order by milliseconds, so by one day at most (around midnight).
OUT_OF_ORDER_DAYS = 1
LEAP_YEAR_DAYS = 366
# From the game's release on; the upper end only keeps a mangled year from leaving what a datetime can hold.
YEARS = range(2004, 3000)
MICROSECONDS_PER_DAY = 86_400_000_000


@dataclass(frozen=True)
class Clock:
    """What is known about the time after some lines; carried from one part of a log to the next."""

    year: int | None
    """The year of the first line, where the lines name none."""
    offset_min: int | None
    """Minutes east of UTC, where the lines name none."""
    last: date | None = None
    """Date of the latest line so far."""


def parse_offset(text: str) -> int:
    """Minutes east of UTC of `+02:00`, `-4`, `+0530` or `Z`.

    Raises:
        PipelineError: it is none of these, or beyond 14 hours.
    """
    if text.upper() in ("Z", "UTC"):
        return 0
    match = OFFSET.fullmatch(text)
    minutes = int(match[2]) * 60 + int(match[3] or 0) if match else MAX_OFFSET_MIN + 1
    if not match or minutes > MAX_OFFSET_MIN or int(match[3] or 0) >= 60:
        raise PipelineError(f"{text!r} is no offset from UTC: write it like +02:00, -04:00 or Z")
    return -minutes if match[1] == "-" else minutes


def timestamps(stamps: pl.Series, clock: Clock, following: str | None = None) -> tuple[pl.Series, Clock]:
    """The instant (UTC) of each stamp, null where it is none, and the clock after them.

    Args:
        stamps: the beginnings of some lines.
        clock: that before them.
        following: the stamp after them, where it is known.
    """
    frame = (
        stamps.alias("stamp")
        .to_frame()
        .select(pl.col("stamp").str.splitn(" ", 2).struct.rename_fields(["date", "time"]))
        .unnest("stamp")
    )
    runs = frame["date"].rle().struct.unnest()
    texts = list(zip(runs["value"].to_list(), runs["len"].to_list(), strict=True))
    days, clock = dates(texts, clock, (following or "").partition(" ")[0])
    ordinals = [None if day is None else (day - date(1970, 1, 1)).days for day in days]
    day = pl.Series("day", ordinals, dtype=pl.Int64).repeat_by(runs["len"]).explode()
    instants = frame.with_columns(day).select(
        (pl.col("day") * MICROSECONDS_PER_DAY + _microseconds_of_day(clock.offset_min))
        .cast(pl.Datetime("us"))
        .dt.replace_time_zone("UTC")
        .alias("timestamp")
    )
    return instants["timestamp"], clock


def _microseconds_of_day(offset_min: int | None) -> pl.Expr:
    """Of `h:m:s.mmm[offset]`, in UTC (so below 0 or beyond a day where the date is another one there)."""
    offset_at = pl.col("time").str.find(".", literal=True) + len(".mmm")
    suffix = pl.col("time").str.slice(offset_at)
    known = pl.lit(offset_min, dtype=pl.Float64) * 60
    offset_s = pl.when(suffix == "").then(known).otherwise(suffix.cast(pl.Float64, strict=False) * 3600)
    nanoseconds = pl.col("time").str.head(offset_at).str.to_time("%H:%M:%S%.3f", strict=False).cast(pl.Int64)
    milliseconds = nanoseconds // 1_000_000 - (offset_s * 1000).cast(pl.Int64, strict=False)
    return pl.when(offset_s.is_between(-MAX_OFFSET_MIN * 60, MAX_OFFSET_MIN * 60)).then(milliseconds * 1000)


def dates(runs: Sequence[tuple[str | None, int]], clock: Clock, following: str = "") -> tuple[list[date | None], Clock]:
    """The date of each run of lines with the same date text, None where it is none, and the clock after them."""
    days: list[date | None] = []
    parsed = [DATE.fullmatch(text or "") for text in (*(text for text, _ in runs), following)]
    for match, after, (_, length) in zip(parsed, parsed[1:], runs, strict=False):
        day = None
        if match and not (length == 1 and _is_stray(match, after, clock)):
            day = _date(match, clock)
        if day:
            clock = replace(clock, last=day)
        days.append(day)
    return days, clock


def _date(match: re.Match[str], clock: Clock) -> date | None:
    month, day = int(match[1]), int(match[2])
    year = int(match[3]) if match[3] else _year(month, day, clock)
    try:
        return date(year, month, day) if year is not None and year in YEARS else None
    except ValueError:
        return None


def _year(month: int, day: int, clock: Clock) -> int | None:
    """The year of a date without one: a step back by more than a day is a New Year, one over New Year is disorder."""
    if clock.last is None:
        return clock.year
    before = clock.last - DAY
    if (month, day) == (before.month, before.day):
        return before.year
    return clock.last.year + ((month, day) < (clock.last.month, clock.last.day))


def _is_stray(match: re.Match[str], following: re.Match[str] | None, clock: Clock) -> bool:
    """Whether a single line's date fits neither the line before nor the one after, which fit each other: mangled."""
    if match[3] or following is None or clock.last is None:
        return False
    here, after = _day_of_year(match), _day_of_year(following)
    before = date(2000, clock.last.month, clock.last.day).timetuple().tm_yday
    return not _near(here, before) and not _near(here, after) and _near(before, after)


def _day_of_year(match: re.Match[str]) -> int:
    # A leap year's calendar with months of 31 days is near enough to tell neighbours from strays.
    month, day = min(int(match[1]), 12), int(match[2])
    return date(2000, max(month, 1), 1).timetuple().tm_yday + day - 1


def _near(one: int, other: int) -> bool:
    distance = abs(one - other)
    return min(distance, LEAP_YEAR_DAYS - distance) <= OUT_OF_ORDER_DAYS
