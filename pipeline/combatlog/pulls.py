"""Pulls: from ENCOUNTER_START to ENCOUNTER_END, to the next start or to the log's end."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import polars as pl

DIFFICULTIES = {14: "normal", 15: "heroic", 16: "mythic", 17: "lfr"}
# Of these ids the game uses some for dungeons only and some for raids only, however few players come (a raid of an old
# expansion may be walked alone); in all others the size decides.
DUNGEON_DIFFICULTIES = frozenset({1, 2, 8, 23})
RAID_DIFFICULTIES = frozenset({*DIFFICULTIES, 9, 198})
DUNGEON_SIZE = 5
NO_END = "no_end"
SPAN_SCHEMA = pl.Schema(
    {
        "first_line": pl.Int64(),
        "last_line": pl.Int64(),
        "encounter_id": pl.String(),
        "pull_start": pl.Datetime("us", "UTC"),
        "pull_name": pl.String(),
        "is_dungeon": pl.Boolean(),
    }
)


@dataclass(frozen=True)
class Pull:
    """One attempt at a boss."""

    encounter_id: str
    start_line: int
    start: datetime
    boss_id: str
    name: str
    difficulty: int
    size: int

    @property
    def is_dungeon(self) -> bool:
        """Whether it is a dungeon's boss and no raid's."""
        is_small = self.size <= DUNGEON_SIZE and self.difficulty not in RAID_DIFFICULTIES
        return is_small or self.difficulty in DUNGEON_DIFFICULTIES


@dataclass(frozen=True)
class Span:
    """The lines of one segment that belong to a pull."""

    pull: Pull
    first_line: int
    last_line: int
    end: datetime | None
    """When the pull ended; None where it goes on after the segment."""
    success: bool | None
    """The verdict; None where the log has none."""


@dataclass(frozen=True)
class PullState:
    """The state of a log's pulls between two segments."""

    count: int = 0
    """Pulls so far."""
    open: Pull | None = None
    last: datetime | None = None
    """Time of the open pull's latest line."""


def spans(picked: pl.DataFrame, state: PullState, last_line: int) -> tuple[list[Span], PullState]:
    """Find the pulls of a segment.

    Args:
        picked: the used lines, in order, numbers checked.
        state: that before the segment.
        last_line: the segment's last line.
    """
    found: list[Span] = []
    count, pull, first_line = state.count, state.open, 1
    for marker in _markers(picked):
        line = marker["line"]
        if marker["use"] == "start":
            if pull:
                found.append(Span(pull, first_line, line - 1, _latest(picked, first_line, line - 1, state.last), None))
            count += 1
            pull, first_line = _pull(marker, count), line
        elif pull and pull.boss_id == marker["boss_id"]:
            found.append(Span(pull, first_line, line, marker["timestamp"], marker["success"] == "1"))
            pull = None
    last = None
    if pull:
        found.append(Span(pull, first_line, last_line, None, None))
        last = _latest(picked, first_line, last_line, state.last)
    return found, PullState(count, pull, last)


def _markers(picked: pl.DataFrame) -> Iterator[dict[str, Any]]:
    chosen = picked.filter(pl.col("use").is_in(["start", "end"]))
    columns = ("line", "timestamp", "use", "boss_id", "encounter_name", "difficulty", "size", "success")
    return chosen.select(columns).iter_rows(named=True)


def _pull(marker: dict[str, Any], number: int) -> Pull:
    return Pull(
        encounter_id=f"{marker['boss_id']}-{number}",
        start_line=marker["line"],
        start=marker["timestamp"],
        boss_id=marker["boss_id"],
        name=marker["encounter_name"],
        difficulty=int(marker["difficulty"]),
        size=int(marker["size"]),
    )


def _latest(picked: pl.DataFrame, first_line: int, last_line: int, carried: datetime | None) -> datetime | None:
    inside = picked.filter(pl.col("line").is_between(first_line, last_line))["timestamp"].max()
    return max((moment for moment in (inside, carried) if isinstance(moment, datetime)), default=None)


def span_frame(found: Iterable[Span]) -> pl.DataFrame:
    """The spans as a frame, in order of lines."""
    rows = [
        {
            "first_line": span.first_line,
            "last_line": span.last_line,
            "encounter_id": span.pull.encounter_id,
            "pull_start": span.pull.start,
            "pull_name": span.pull.name,
            "is_dungeon": span.pull.is_dungeon,
        }
        for span in found
    ]
    return pl.DataFrame(rows, schema=SPAN_SCHEMA)


def with_pulls(picked: pl.DataFrame, found: Iterable[Span]) -> pl.DataFrame:
    """The used lines (sorted) with encounter_id, pull_start, pull_name and is_dungeon, null outside of pulls."""
    joined = picked.join_asof(span_frame(found), left_on="line", right_on="first_line", strategy="backward")
    outside = (pl.col("line") > pl.col("last_line")).fill_null(True)
    columns = ("encounter_id", "pull_start", "pull_name", "is_dungeon")
    return joined.with_columns(pl.when(~outside).then(pl.col(name)).alias(name) for name in columns).drop("last_line")
