"""A log from its first line to its last: segment by segment, with what has to be remembered between them."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

from pipeline import wire
from pipeline.combatlog import pulls, translate, units
from pipeline.combatlog.clock import Clock, parse_offset
from pipeline.combatlog.layouts import LAYOUTS, Layout, layouts_of
from pipeline.combatlog.lines import Lines, take_apart
from pipeline.combatlog.pulls import Pull, PullState, Span
from pipeline.combatlog.reader import Identity, Segment, default_raid_id, identify, opened, segments
from pipeline.combatlog.report import Books
from pipeline.combatlog.sidefile import SideFile
from pipeline.errors import PipelineError
from pipeline.events import ENVIRONMENT


@dataclass
class Memory:
    """What is known after some segments."""

    clock: Clock
    pull_state: PullState = field(default_factory=PullState)
    hostiles: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=units.HOSTILES_SCHEMA))
    """Of the pull that goes on."""
    owners: dict[str, str] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    """Of players in a roster."""


class Log:
    """A combat log to be read once: `raid_id`, then `frames()`, after which `books` tells what its lines became."""

    def __init__(
        self, file: Path, stated: SideFile, include_dungeons: bool, layouts: tuple[Layout, ...] = LAYOUTS
    ) -> None:
        """Look at the log's first lines.

        Raises:
            PipelineError: it is no combat log, or a year or an offset is needed and not stated.
        """
        identity = identify(file)
        self.file = file
        self.clock = _clock(identity, stated, file)
        self.raid_id = stated.raid_id or default_raid_id(identity, self.clock, file)
        self.include_dungeons = include_dungeons
        self.layouts = layouts
        self.books = Books()

    def frames(self) -> Iterator[pl.DataFrame]:
        """The log's events (wire schema, each frame sorted), one segment at a time.

        Raises:
            PipelineError: the log cannot be read, or no line has a date that exists.
        """
        memory = Memory(self.clock)
        with opened(self.file) as stream:
            for segment in segments(stream):
                frame = self._events(segment, memory)
                if frame.height:
                    yield frame
        if memory.pull_state.open and memory.pull_state.last:
            ended = self._close(memory.pull_state.open, memory.pull_state.last, None)
            if ended.height:
                yield ended
        self.books.check(str(self.file))
        if memory.clock.last is None:
            raise PipelineError(f"{self.file}: no line has a date that exists in {self.clock.year}; give another year")

    def _events(self, segment: Segment, memory: Memory) -> pl.DataFrame:
        """The events of a segment; books and memory are brought up to date."""
        lines, memory.clock = take_apart(segment, memory.clock, layouts_of(segment.build, self.layouts))
        translated = translate.translate(lines.picked)
        sound = translated.filter(pl.col("outcome").is_in([translate.EVENT, translate.NO_EVENT]))
        spans, memory.pull_state = pulls.spans(sound, memory.pull_state, segment.first_line + segment.n_lines - 1)
        events = self._settled(pulls.with_pulls(translated, spans), spans)
        hostiles = units.hostiles(events, memory.hostiles)
        stated = units.owners(events, memory.owners)
        _remember(memory, hostiles, stated)
        self._account(segment, lines, events)
        made = translate.killers(events).filter(pl.col("outcome") == translate.EVENT)
        made = made.join(units.owner_of(made, stated), on="line", how="left", maintain_order="left")
        made = _with_roster_names(made, segment.text, memory.names)
        complete = wire.event_frame(translate.complete(made, self.raid_id, units.bosses(hostiles)))
        ends = [self._close(span.pull, span.end, span.success) for span in spans if span.end]
        return pl.concat([complete, *ends]).sort(wire.ORDER)

    def _settled(self, events: pl.DataFrame, spans: list[Span]) -> pl.DataFrame:
        """Take out what belongs to dungeons, and ends of encounters that did not begin."""
        ends = [span.last_line for span in spans if span.success is not None]
        is_stray_end = (pl.col("use") == "end") & ~pl.col("line").is_in(ends)
        is_left_out = pl.col("is_dungeon").fill_null(False) & (not self.include_dungeons)
        is_unused = (pl.col("outcome") == translate.EVENT) & (is_stray_end | is_left_out)
        return events.with_columns(
            outcome=pl.when(is_unused).then(pl.lit(translate.NO_EVENT)).otherwise(pl.col("outcome"))
        )

    def _account(self, segment: Segment, lines: Lines, events: pl.DataFrame) -> None:
        books = self.books
        books.lines += segment.n_lines
        if segment.build and segment.build not in books.builds:
            books.builds.append(segment.build)
        books.count(books.unused, lines.unused["kind"])
        is_event, is_unused = (pl.col("outcome") == outcome for outcome in (translate.EVENT, translate.NO_EVENT))
        books.count(books.events, events.filter(is_event)["event_type"])
        books.count(books.unused, events.filter(is_unused)["event"])
        wrong = events.filter(~is_event & ~is_unused)
        kinds = wrong.select("line", kind=pl.format("{}: {}", "event", "outcome"))
        books.miss(pl.concat([lines.not_understood, kinds]))

    def _close(self, pull: Pull, end: datetime, success: bool | None) -> pl.DataFrame:
        """Enter a pull that is over into the books; its end as an event where the log has none."""
        is_imported = self.include_dungeons or not pull.is_dungeon
        verdict = pulls.NO_END if success is None else "kill" if success else "wipe"
        self.books.pulls.append(_pull_entry(pull, end, verdict, is_imported))
        if success is not None or not is_imported:
            return pl.DataFrame(schema=wire.WIRE_SCHEMA)
        self.books.added["encounter_end"] += 1
        return _end_without_line(pull, end, self.raid_id)


def _clock(identity: Identity, stated: SideFile, file: Path) -> Clock:
    missing = []
    if not identity.names_year and stated.year is None:
        missing.append(("the year of its first line", "--year 2022", "year: 2022"))
    if not identity.names_offset and stated.utc_offset is None:
        missing.append(("its offset from UTC", "--utc-offset=+02:00", 'utc_offset: "+02:00"'))
    if missing:
        whats, options, keys = zip(*missing, strict=True)
        raise PipelineError(
            f"{file}: the log does not say {' and '.join(whats)}. Say it: `import-log {' '.join(options)}`, or for "
            f"data/raw/ a file {file.name}.yaml beside the log with the line{'s' * (len(keys) > 1)} "
            f"{' and '.join(f'`{key}`' for key in keys)} (with your log's values)"
        )
    return Clock(stated.year, None if stated.utc_offset is None else parse_offset(stated.utc_offset))


def _remember(memory: Memory, hostiles: pl.DataFrame, stated: pl.DataFrame) -> None:
    goes_on = memory.pull_state.open.encounter_id if memory.pull_state.open else ""
    memory.hostiles = hostiles.filter(pl.col("encounter_id") == goes_on)
    memory.owners.update(stated.select("unit", "owner").iter_rows())


def _with_roster_names(events: pl.DataFrame, text: str, names: dict[str, str]) -> pl.DataFrame:
    """Rosters name nobody: each player's name is taken from another line, of this segment or an earlier one."""
    is_roster = pl.col("event_type") == "roster"
    for guid in events.filter(is_roster)["source_id"].unique():
        if found := units.name_in(text, guid):
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
