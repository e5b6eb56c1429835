"""One evening of a log, part by part: from its lines to the events of a raid, with what is known of it so far."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import polars as pl

from pipeline import wire
from pipeline.combatlog import players, pulls, translate, units
from pipeline.combatlog.clock import Clock
from pipeline.combatlog.evenings import Opening
from pipeline.combatlog.layouts import Layout
from pipeline.combatlog.lines import Lines, take_apart
from pipeline.combatlog.pulls import Pull, PullState, Span
from pipeline.combatlog.reader import Segment
from pipeline.combatlog.report import Books
from pipeline.events import ENVIRONMENT

BROKEN_CHARACTER = "\ufffd"
"""What decoding puts in the place of bytes that are no UTF-8."""


@dataclass
class Raid:
    """One evening of a log; `events` takes its lines, part after part."""

    clock: Clock
    """That of its first line."""
    include_dungeons: bool
    stated_id: str | None
    first_line: int = 1
    """Number of its first line in the log."""
    opening: Opening = field(default_factory=Opening)
    books: Books = field(default_factory=Books)
    pull_state: PullState = field(default_factory=PullState)
    hostiles: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=units.HOSTILES_SCHEMA))
    """Of the pull that goes on."""
    owners: dict[str, str] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    """Of players in a roster."""
    played: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=players.SCHEMA))
    """What players of the pull that goes on play."""

    @property
    def raid_id(self) -> str:
        """The one that was stated, else the one that its first lines make."""
        made = self.stated_id or self.opening.raid_id(self.clock)
        assert made is not None, "a raid begins with a line whose date exists"
        return made

    def events(self, lines: pl.DataFrame, segment: Segment, layouts: Sequence[Layout]) -> pl.DataFrame:
        """The events of some lines, sorted; books and memory are brought up to date.

        Args:
            lines: as `lines.timed` gives them, later ones than before.
            segment: what they are a part of.
            layouts: those that its build may have.
        """
        if segment.build and segment.build not in self.books.builds:
            self.books.builds.append(segment.build)
        _open(self.opening, lines)
        # Counted from the raid's first line, so that ids are those of a log of its own.
        own = lines.with_columns(pl.col("line") - (self.first_line - 1))
        taken = take_apart(own, layouts)
        translated = translate.translate(taken.picked)
        sound = translated.filter(pl.col("outcome").is_in([translate.EVENT, translate.NO_EVENT]))
        spans, self.pull_state = pulls.spans(sound, self.pull_state, own["line"][-1])
        events = self._settled(pulls.with_pulls(translated, spans), spans)
        self._account(own, taken, events)
        ends = [end for span in spans if span.end for end in self._ended(span.pull, span.end, span.success)]
        made = self._made(events, segment.content, layouts)
        return pl.concat([made, *ends]).sort(wire.ORDER) if ends else made

    def end_pull(self) -> list[pl.DataFrame]:
        """Enter the pull that is open, if one is, into the books as ended by its last line; its end, as events."""
        state, self.pull_state = self.pull_state, PullState(self.pull_state.count)
        return self._ended(state.open, state.last, None) if state.open and state.last else []

    def leave_pull_open(self) -> None:
        """Enter the pull that is open at the log's end, if one is, into the books; it has no event of its end."""
        if self.pull_state.open and self.pull_state.last:
            self._enter(self.pull_state.open, self.pull_state.last, None)

    def _made(self, events: pl.DataFrame, content: bytes, layouts: Sequence[Layout]) -> pl.DataFrame:
        hostiles = units.hostiles(events, self.hostiles)
        stated = units.owners(events, self.owners)
        made = translate.killers(events).filter(pl.col("outcome") == translate.EVENT)
        made = made.join(units.owner_of(made, stated), on="line", how="left", maintain_order="left")
        made = _with_roster_names(made, content, self.names)
        made, self.played = players.identified(made, self.played, layouts, self.pull_state)
        goes_on = self.pull_state.open.encounter_id if self.pull_state.open else ""
        self.hostiles = hostiles.filter(pl.col("encounter_id") == goes_on)
        self.owners.update(stated.select("unit", "owner").iter_rows())
        return wire.event_frame(translate.complete(made, self.raid_id, units.bosses(hostiles)))

    def _settled(self, events: pl.DataFrame, spans: Sequence[Span]) -> pl.DataFrame:
        """Take out what belongs to dungeons, and ends of encounters that did not begin."""
        ends = [span.last_line for span in spans if span.success is not None]
        is_stray_end = (pl.col("use") == "end") & ~pl.col("line").is_in(ends)
        is_left_out = pl.col("is_dungeon").fill_null(False) & (not self.include_dungeons)
        is_unused = (pl.col("outcome") == translate.EVENT) & (is_stray_end | is_left_out)
        return events.with_columns(
            outcome=pl.when(is_unused).then(pl.lit(translate.NO_EVENT)).otherwise(pl.col("outcome"))
        )

    def _account(self, lines: pl.DataFrame, taken: Lines, events: pl.DataFrame) -> None:
        books = self.books
        books.lines += lines.height
        books.not_utf8 += int(lines["raw"].str.contains(BROKEN_CHARACTER, literal=True).sum())
        books.count(books.unused, taken.unused["kind"])
        is_event, is_unused = (pl.col("outcome") == outcome for outcome in (translate.EVENT, translate.NO_EVENT))
        books.count(books.events, events.filter(is_event)["event_type"])
        books.count(books.unused, events.filter(is_unused)["event"])
        wrong = events.filter(~is_event & ~is_unused)
        kinds = wrong.select("line", kind=pl.format("{}: {}", "event", "outcome"))
        # The books name lines by their number in the file.
        books.miss(pl.concat([taken.not_understood, kinds]).with_columns(pl.col("line") + (self.first_line - 1)))

    def _ended(self, pull: Pull, end: datetime, success: bool | None) -> list[pl.DataFrame]:
        """Enter a pull that is over into the books; its end, as events, where the log has none."""
        self._enter(pull, end, success)
        if success is not None or not self._is_imported(pull):
            return []
        self.books.added["encounter_end"] += 1
        return [_end_without_line(pull, end, self.raid_id)]

    def _enter(self, pull: Pull, end: datetime, success: bool | None) -> None:
        verdict = pulls.NO_END if success is None else "kill" if success else "wipe"
        self.books.pulls.append(_pull_entry(pull, end, verdict, self._is_imported(pull)))

    def _is_imported(self, pull: Pull) -> bool:
        return self.include_dungeons or not pull.is_dungeon


def _open(opening: Opening, lines: pl.DataFrame) -> None:
    """Take in the first of a raid's lines."""
    if opening.is_whole:
        return
    dated = lines.filter(pl.col("timestamp").is_not_null()).select("stamp", "raw", "event")
    for stamp, line, event in dated.iter_rows():
        opening.add(stamp, line, event)
        if opening.is_whole:
            return


def _with_roster_names(events: pl.DataFrame, content: bytes, names: dict[str, str]) -> pl.DataFrame:
    """Rosters name nobody: each player's name is taken from another line, of this segment or an earlier one."""
    is_roster = pl.col("event_type") == "roster"
    for guid in events.filter(is_roster)["source_id"].unique():
        if found := units.name_in(content, guid):
            names[guid] = found
    name = pl.col("source_id").replace_strict(names, default=None, return_dtype=pl.String)
    return events.with_columns(source_name=pl.when(is_roster).then(name).otherwise(pl.col("source_name")))


def _pull_entry(pull: Pull, end: datetime, verdict: str, is_imported: bool) -> dict[str, Any]:
    return {
        "encounter_id": pull.encounter_id,
        "boss_id": pull.boss_id,
        "encounter_name": pull.name,
        "difficulty_id": pull.difficulty,
        "raid_size": pull.size,
        "start": pull.start.isoformat(timespec="milliseconds"),
        "duration_ms": _milliseconds(pull, end),
        "verdict": verdict,
        "imported": is_imported,
    }


def _milliseconds(pull: Pull, end: datetime) -> int:
    return max(0, round((end - pull.start).total_seconds() * 1000))


def _end_without_line(pull: Pull, end: datetime, raid_id: str) -> pl.DataFrame:
    marker = pl.DataFrame({"line": [pull.start_line], "raw": [pulls.NO_END]})
    end_event = pl.DataFrame(
        {
            "event_id": translate.event_ids(marker, raid_id),
            "event_type": "encounter_end",
            "timestamp": pl.Series([end], dtype=wire.TIMESTAMP),
            "raid_id": raid_id,
            "encounter_id": pull.encounter_id,
            "encounter_duration_ms": _milliseconds(pull, end),
            "source_player_id": ENVIRONMENT,
            "source_player_name": ENVIRONMENT,
            "encounter_name": pull.name or None,
            "encounter_difficulty": pulls.DIFFICULTIES.get(pull.difficulty, "other"),
            "boss_id": pull.boss_id,
            "raid_size": pull.size if 1 <= pull.size <= 100 else None,
            "source_system": "combat-log",
            "data_quality_flags": pl.Series([[pulls.NO_END]], dtype=pl.List(pl.String)),
        }
    )
    return wire.event_frame(end_event)
