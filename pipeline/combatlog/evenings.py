"""Evenings: after a pause of some hours a log goes on with another raid.

An evening inside a log is the same raid, event for event, as it is in a log of its own: its id is made of its own
first lines, its lines and pulls are counted from 1.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import polars as pl

from pipeline.combatlog.clock import Clock, dates

VERSION = "COMBAT_LOG_VERSION"
MAX_RAID_ID = 64  # as long as RAID_ID_PATTERN allows


@dataclass
class Opening:
    """The first lines of a raid, of which its id is made; the same however much the log grows."""

    stamp: str = ""
    """Date and time of the first."""
    is_whole: bool = False
    """Whether the last of them is there: the first that does not state the game's version."""
    _hash: hashlib.blake2b = field(default_factory=lambda: hashlib.blake2b(digest_size=4))

    def add(self, stamp: str, line: str, event: str) -> None:
        """Take in a line that has a date and a time, if it is still one of the first."""
        if not self.is_whole:
            self.stamp = self.stamp or stamp
            self._hash.update(f"{line}\n".encode())
            self.is_whole = event != VERSION

    @property
    def date_text(self) -> str:
        """Date of the first."""
        return self.stamp.partition(" ")[0]

    @property
    def names_year(self) -> bool:
        """Whether its lines name their year."""
        return self.date_text.count("/") == 2

    @property
    def names_offset(self) -> bool:
        """Whether its lines name their offset from UTC."""
        return len(self.stamp.partition(".")[2]) > 3

    def raid_id(self, clock: Clock) -> str | None:
        """`log-{YYYYMMDD}-{8 hex digits}`, of the first line's date and of what the lines say; None: no such date."""
        [day], _ = dates([(self.date_text, 1)], clock)
        return None if day is None else f"log-{day:%Y%m%d}-{self._hash.hexdigest()}"


def numbered(raid_id: str, number: int) -> str:
    """The id of a log's evening where the log's was stated: `raid_id`, `raid_id-2`, `raid_id-3`."""
    suffix = "" if number == 1 else f"-{number}"
    return raid_id[: MAX_RAID_ID - len(suffix)] + suffix


def beginnings(
    instants: pl.Series, following: datetime | None, latest: datetime | None, pause: timedelta
) -> tuple[list[int], datetime | None]:
    """Where evenings begin: at a line at least a pause later than all before; only lines count that the next confirms.

    So time that goes back (a log twice in one file, a clock put back, lines out of order) begins none, and neither does
    a single line with a stray time: the next line lies a pause or more away from it.

    Args:
        instants: the lines' times, null where a line has none.
        following: the time of the line after them.
        latest: the latest time before them.
        pause: how long it must be.

    Returns:
        The positions of the lines that begin an evening, and the latest time so far.
    """
    moment = pl.col("moment")
    timed = instants.alias("moment").to_frame().with_row_index("at").drop_nulls()
    confirmed = timed.filter((moment.shift(-1, fill_value=following) - moment).is_between(-pause, pause, closed="none"))
    before = pl.max_horizontal(moment.cum_max().shift(1), pl.lit(latest, dtype=instants.dtype))
    begins = confirmed.filter(moment - before >= pause)["at"].to_list()
    latest_now = confirmed.select(pl.max_horizontal(moment.max(), pl.lit(latest, dtype=instants.dtype))).item()
    return begins, latest_now


def parts(lines: pl.DataFrame, begins: Sequence[int]) -> Iterator[tuple[bool, pl.DataFrame]]:
    """Lines cut where evenings begin, none of the parts empty; with each, whether it begins one."""
    ends = [*begins, lines.height]
    if ends[0] > 0:
        yield False, lines.head(ends[0])
    for begin, end in zip(begins, ends[1:], strict=True):
        yield True, lines.slice(begin, end - begin)
